package config

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
)

// parseEndpoint reads NAME://HOST:PORT; the host may be empty, and an IPv6 address stands
// in brackets.
func parseEndpoint(s string) (Endpoint, error) {
	name, address, ok := strings.Cut(s, "://")
	if !ok || name == "" {
		return Endpoint{}, fmt.Errorf("%q is not of the form NAME://host:port", s)
	}
	for _, r := range name {
		if !(r == '_' || r == '-' || r == '.' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z') {
			return Endpoint{}, fmt.Errorf("%q has a listener name with %q in it", s, r)
		}
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return Endpoint{}, fmt.Errorf("%q is not of the form NAME://host:port", s)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return Endpoint{}, fmt.Errorf("%q has no port from 0 to 65535", s)
	}
	return Endpoint{Name: strings.ToUpper(name), Host: host, Port: int32(n)}, nil
}

func (e Endpoint) String() string {
	return e.Name + "://" + net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))
}

func checkEndpoints(value string) string {
	_, reason := parseEndpoints(value)
	return reason
}

func parseEndpoints(value string) ([]Endpoint, string) {
	var all []Endpoint
	for _, s := range splitList(value) {
		e, err := parseEndpoint(s)
		if err != nil {
			return nil, err.Error()
		}
		for _, other := range all {
			if other.Name == e.Name {
				return nil, fmt.Sprintf("Each listener must have a different name, listeners: %s", value)
			}
			if other.Port == e.Port && e.Port != 0 && (other.Host == e.Host || other.Host == "" || e.Host == "") {
				return nil, fmt.Sprintf("Each listener must have a different port, listeners: %s", value)
			}
		}
		all = append(all, e)
	}
	return all, ""
}

// listeners fills the listeners of b out of the many keys that Kafka has had for them.
func (v *values) listeners(b *Broker, f *faults, notice func(string, ...any)) {
	value, set := v.get("listeners")
	if !set && (v.isSet("port") || v.isSet("host.name")) {
		host, _ := v.get("host.name")
		port, _ := v.get("port")
		value = "PLAINTEXT://" + net.JoinHostPort(host, port)
	}
	all, reason := parseEndpoints(value)
	if reason == "" && len(all) == 0 {
		reason = "At least one listener is needed"
	}
	if reason != "" {
		f.invalid("listeners", value, reason)
		return
	}
	controllers, _ := v.get("controller.listener.names")
	protocols := v.protocols(f)
	for _, e := range all {
		if contains(splitList(strings.ToUpper(controllers)), e.Name) {
			notice("listener %s is not opened: it is named in controller.listener.names, and there are no controllers apart from brokers", e)
			continue
		}
		switch protocol := protocols[e.Name]; protocol {
		case "PLAINTEXT":
			b.Listeners = append(b.Listeners, e)
		case "":
			f.invalid("listeners", value, "No security protocol defined for listener "+e.Name+"; name it in listener.security.protocol.map")
		default:
			f.invalid("listeners", value, "Listener "+e.Name+" has the security protocol "+protocol+", which is not built yet; only PLAINTEXT is")
		}
	}
	if len(b.Listeners) == 0 && len(*f) == 0 {
		f.invalid("listeners", value, "No listener is left for clients; name one that is not in controller.listener.names")
	}
	if name, set := v.get("inter.broker.listener.name"); set && name != "" && !named(b.Listeners, strings.ToUpper(name)) {
		f.invalid("inter.broker.listener.name", name, "There is no listener of that name in listeners")
	}
	v.advertised(b, f, splitList(strings.ToUpper(controllers)))
}

// advertised fills advertised.listeners.
func (v *values) advertised(b *Broker, f *faults, controllers []string) {
	value, set := v.get("advertised.listeners")
	if !set && v.isSet("advertised.host.name") && len(b.Listeners) > 0 {
		host, _ := v.get("advertised.host.name")
		port := strconv.Itoa(int(b.Listeners[0].Port))
		if v.isSet("advertised.port") {
			port, _ = v.get("advertised.port")
		}
		value = b.Listeners[0].Name + "://" + net.JoinHostPort(host, port)
	}
	all, reason := parseEndpoints(value)
	if reason != "" && !strings.Contains(reason, "different port") { // one port may be told for several
		f.invalid("advertised.listeners", value, reason)
		return
	}
	for _, e := range all {
		switch {
		case contains(controllers, e.Name):
		case !named(b.Listeners, e.Name):
			f.invalid("advertised.listeners", value, "There is no listener "+e.Name+" in listeners")
		case e.Host == "" || e.Host == "0.0.0.0" || e.Host == "::":
			f.invalid("advertised.listeners", value, "Clients cannot connect to "+e.String()+"; name a host, or leave "+e.Name+" out, and each client is told the address that it came by")
		default:
			b.AdvertisedListeners = append(b.AdvertisedListeners, e)
		}
	}
}

func named(all []Endpoint, name string) bool {
	for _, e := range all {
		if e.Name == name {
			return true
		}
	}
	return false
}

// protocols reads listener.security.protocol.map.
func (v *values) protocols(f *faults) map[string]string {
	value, _ := v.get("listener.security.protocol.map")
	protocols := map[string]string{}
	for _, pair := range splitList(value) {
		name, protocol, ok := strings.Cut(pair, ":")
		if !ok {
			f.invalid("listener.security.protocol.map", value, strconv.Quote(pair)+" is not of the form NAME:PROTOCOL")
			continue
		}
		protocols[strings.ToUpper(strings.TrimSpace(name))] = strings.ToUpper(strings.TrimSpace(protocol))
	}
	return protocols
}

// httpListener is varve.http.listener, or the place that is its default.
func (v *values) httpListener(b *Broker, f *faults) {
	value, set := v.get("varve.http.listener")
	switch {
	case strings.EqualFold(value, "none"):
	case set && value != "":
		if _, _, err := net.SplitHostPort(value); err != nil {
			f.invalid("varve.http.listener", value, "It is neither host:port nor none")
		}
		b.HTTPListener = value
	case len(b.Listeners) > 0:
		port := b.Listeners[0].Port
		switch {
		case port > 2000:
			port -= 1000
		case port > 0:
			port += 1000
		}
		b.HTTPListener = net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port)))
	}
}

// parseBucket reads varve.bucket into what it says of a Bucket.
func parseBucket(value string) (Bucket, error) {
	if dir, ok := strings.CutPrefix(value, "file:"); ok {
		return Bucket{Driver: "file", Dir: strings.TrimPrefix(dir, "//")}, nil
	}
	u, err := url.Parse(value)
	if err != nil || u.Host == "" || (u.Scheme != "s3" && u.Scheme != "minio") {
		return Bucket{}, fmt.Errorf("it is none of file:DIRECTORY, minio://host:port/bucket and s3://bucket")
	}
	if u.User != nil {
		return Bucket{}, fmt.Errorf("credentials belong into varve.bucket.access.key and varve.bucket.secret.key, which are not shown")
	}
	path := strings.Trim(u.Path, "/")
	b := Bucket{Driver: u.Scheme}
	if u.Scheme == "s3" {
		b.Name, b.Prefix = u.Host, path
	} else {
		b.Name, b.Prefix, _ = strings.Cut(path, "/")
		b.Endpoint = "http://" + u.Host
		if b.Name == "" {
			return Bucket{}, fmt.Errorf("it names no bucket: minio://host:port/bucket")
		}
	}
	for name, values := range u.Query() {
		if name != "secure" || u.Scheme != "minio" || len(values) != 1 || (values[0] != "true" && values[0] != "false") {
			return Bucket{}, fmt.Errorf("after the question mark only secure=true or secure=false of minio may stand; the rest are varve.bucket.* settings")
		}
		if values[0] == "true" {
			b.Endpoint = "https://" + u.Host
		}
	}
	if b.Prefix != "" {
		b.Prefix += "/"
	}
	return b, nil
}

func checkBucket(value string) string {
	if _, err := parseBucket(value); err != nil {
		s := err.Error()
		return strings.ToUpper(s[:1]) + s[1:]
	}
	return ""
}

// bucket completes b.Bucket, whose simple settings are in place.
func (v *values) bucket(b *Broker, f *faults) {
	value, _ := v.get("varve.bucket")
	parsed, err := parseBucket(value)
	if err != nil {
		return // parse has said so
	}
	to := &b.Bucket
	to.Driver, to.Dir, to.Name, to.Prefix, to.Endpoint = parsed.Driver, parsed.Dir, parsed.Name, parsed.Prefix, parsed.Endpoint
	if to.Driver == "file" {
		if to.Dir == "" {
			to.Dir = filepath.Join(b.LogDirs[0], "bucket")
		}
		return
	}
	if endpoint, set := v.get("varve.bucket.endpoint"); set && endpoint != "" {
		u, err := url.Parse(endpoint)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || strings.Trim(u.Path, "/") != "" {
			f.invalid("varve.bucket.endpoint", endpoint, "It is not of the form http://host:port or https://host:port")
		}
		to.Endpoint = endpoint
	}
	to.Region, _ = v.get("varve.bucket.region")
	to.AccessKeyID, _ = v.get("varve.bucket.access.key")
	to.SecretAccessKey, _ = v.get("varve.bucket.secret.key")
	to.SessionToken, _ = v.get("varve.bucket.session.token")
	if (to.AccessKeyID == "") != (to.SecretAccessKey == "") {
		f.add("varve.bucket.access.key", "", "varve.bucket.access.key and varve.bucket.secret.key are needed both, or none")
	} else if to.AccessKeyID == "" && to.Driver == "minio" {
		f.add("varve.bucket.access.key", "", "varve.bucket=%s needs varve.bucket.access.key and varve.bucket.secret.key", value)
	}
	to.PathStyle = to.Endpoint != ""
	if style, set := v.get("varve.bucket.path.style"); set {
		to.PathStyle = style == "true"
	}
	if to.Checksum, _ = v.get("varve.bucket.checksum"); to.Checksum == "" {
		to.Checksum = "when_required"
		if to.Endpoint == "" {
			to.Checksum = "when_supported"
		}
	}
}
