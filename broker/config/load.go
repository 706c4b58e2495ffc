package config

import (
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// Sources is where settings come from, the strongest last.
type Sources struct {
	File io.Reader // a server.properties; nil: none
	Env  []string  // NAME=value, as of os.Environ; VARVE_LOG_RETENTION_HOURS is log.retention.hours
	Sets []string  // key=value, as of --set

	// ReadFile reads what VARVE_…_FILE names, for settings that are secrets; os.ReadFile
	// if nil.
	ReadFile func(path string) ([]byte, error)
}

// Load reads the settings of a broker. Notices are sentences about settings that were
// accepted and do nothing. The error is an *Error with every fault, or that of reading.
func Load(s Sources) (*Broker, []string, error) {
	v := &values{static: map[string]string{}}
	var f faults
	var notices []string
	if s.File != nil {
		properties, err := parseProperties(s.File)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		for _, p := range properties {
			v.set(p.key, p.value, &f)
		}
	}
	if err := v.environment(s, &f); err != nil {
		return nil, nil, err
	}
	for _, set := range s.Sets {
		key, value, ok := strings.Cut(set, "=")
		if !ok {
			f.add(set, "", "--set %s is not of the form key=value", set)
			continue
		}
		v.set(strings.TrimSpace(key), value, &f)
	}
	b := v.build(&f, func(format string, args ...any) { notices = append(notices, fmt.Sprintf(format, args...)) })
	if err := f.err(); err != nil {
		return nil, nil, err
	}
	return b, notices, nil
}

// values is what was set, by source; canonical and checked.
type values struct {
	static         map[string]string // file, environment, flags
	dynamicDefault map[string]string // altered for all brokers
	dynamicBroker  map[string]string // altered for this one
}

// get returns the value in effect of a broker key, and whether it was set.
func (v *values) get(name string) (value string, set bool) {
	for _, m := range []map[string]string{v.dynamicBroker, v.dynamicDefault, v.static} {
		if value, set := m[name]; set {
			return value, true
		}
	}
	return table().brokerByName[name].Default, false
}

func (v *values) isSet(name string) bool {
	_, set := v.get(name)
	return set
}

// set sets a broker key, or says what is wrong.
func (v *values) set(name, value string, f *faults) {
	// A key that was refused in the file and set again by a flag stays refused: the file
	// is wrong either way.
	k := table().brokerByName[name]
	if k != nil && k.Enforcement == Dormant {
		f.add(name, "", "%s", notYet(name))
		return
	}
	canonical, ok := accept(k, name, value, false, f)
	if ok {
		v.static[name] = canonical
	}
}

// accept checks a value of a key and of its enforcement.
func accept(k *Key, name, value string, topic bool, f *faults) (canonical string, ok bool) {
	if k == nil {
		f.add(name, value, "%s", unknown(name, topic))
		return "", false
	}
	shown := value
	if k.Sensitive {
		shown = "[hidden]"
	}
	canonical, reason := k.parse(value)
	if reason != "" {
		f.invalid(name, shown, reason)
		return "", false
	}
	if k.Enforcement == DefaultOnly && canonical != k.Default {
		f.invalid(name, shown, fmt.Sprintf("Only the default, %s, is possible as yet: %s", strconvQuoteEmpty(k.Default), k.Why))
		return "", false
	}
	return canonical, true
}

func strconvQuoteEmpty(s string) string {
	if s == "" {
		return "empty"
	}
	return s
}

// EnvironmentName is the variable that sets a broker key: varve.* keys without their
// first word.
func EnvironmentName(key string) string {
	name := strings.NewReplacer(".", "_", "-", "_").Replace(strings.TrimPrefix(key, "varve."))
	return "VARVE_" + strings.ToUpper(name)
}

// environment reads VARVE_* variables.
func (v *values) environment(s Sources, f *faults) error {
	byVariable := map[string]*Key{}
	for i := range table().broker {
		k := &table().broker[i]
		byVariable[EnvironmentName(k.Name)] = k
	}
	readFile := s.ReadFile
	if readFile == nil {
		readFile = os.ReadFile
	}
	variables := append([]string(nil), s.Env...)
	sort.Strings(variables)
	for _, variable := range variables {
		name, value, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, "VARVE_") || ofKubernetes(name, value) {
			continue
		}
		if k := byVariable[name]; k != nil {
			v.set(k.Name, value, f)
			continue
		}
		if k := byVariable[strings.TrimSuffix(name, "_FILE")]; k != nil && k.Sensitive && strings.HasSuffix(name, "_FILE") {
			content, err := readFile(value)
			if err != nil {
				return fmt.Errorf("%w: %s: %w", ErrInvalid, name, err)
			}
			v.set(k.Name, strings.TrimRight(string(content), "\r\n"), f)
			continue
		}
		reason := "Unknown variable " + name
		if near := nearest(strings.ToLower(name), lowered(byVariable)); near != "" {
			reason += "; did you mean " + strings.ToUpper(near) + "?"
		}
		f.add(name, value, "%s", reason)
	}
	return nil
}

func lowered(m map[string]*Key) map[string]*Key {
	all := make(map[string]*Key, len(m))
	for name, k := range m {
		all[strings.ToLower(name)] = k
	}
	return all
}

// ofKubernetes says whether Kubernetes sets a variable for a service called varve:
// VARVE_SERVICE_HOST, VARVE_PORT=tcp://…, VARVE_PORT_9092_TCP and so on.
func ofKubernetes(name, value string) bool {
	return strings.HasPrefix(name, "VARVE_SERVICE_") || strings.HasPrefix(name, "VARVE_PORT_") ||
		name == "VARVE_PORT" && strings.Contains(value, "://")
}

// build makes the typed settings.
func (v *values) build(f *faults, notice func(string, ...any)) *Broker {
	b := &Broker{values: v}
	t := table()
	for i := range t.broker {
		k := &t.broker[i]
		value, set := v.get(k.Name)
		if k.broker != nil && (set || !k.NoDefault) {
			k.store(k.broker(b), value)
		}
		if set && k.Enforcement == NoEffect {
			notice("%s has no effect: %s", k.Name, k.Why)
		}
	}
	v.identity(b, f)
	v.etcd(b, f)
	v.listeners(b, f, notice)
	v.httpListener(b, f)
	v.directories(b, f)
	v.bucket(b, f)
	overrides, _ := v.get("max.connections.per.ip.overrides")
	b.ConnectionOverrides, _ = connectionOverrides(overrides) // accept has checked it
	for _, n := range []*int{&b.MaxConnections, &b.MaxConnectionsPerIP, &b.MaxConnectionRate} {
		if *n == math.MaxInt32 {
			*n = 0 // Kafka's "no limit" is our default
		}
	}
	if b.GroupMinSessionTimeout > b.GroupMaxSessionTimeout {
		f.add("group.min.session.timeout.ms", "", "group.min.session.timeout.ms must be at most group.max.session.timeout.ms")
	}
	if b.CleanerThreads > 0 && b.CleanerDedupeBytes/int64(b.CleanerThreads) < leastCleanerBytes { // passes without end
		f.add("log.cleaner.dedupe.buffer.size", "", "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.")
	}
	b.Consumer.settle(f)
	b.Streams.settle(f)
	b.ShareGroups.settle(f)
	b.ShareRecords.settle(f)
	b.Topic = v.topicDefaults(f)
	return b
}

// identity settles node.id and broker.id. The default is 0, as in the quickstart.
func (v *values) identity(b *Broker, f *faults) {
	node, hasNode := v.get("node.id")
	broker, hasBroker := v.get("broker.id")
	k := &Key{Type: Int}
	switch {
	case hasBroker && broker != "-1" && hasNode && node != broker:
		f.invalid("node.id", node, "You must set `node.id` to the same value as `broker.id`")
	case hasBroker && broker != "-1" && !hasNode:
		k.store(&b.NodeID, broker)
	default:
		k.store(&b.NodeID, node)
	}
}

// directories settles log.dirs and what lies in the first of them by default.
func (v *values) directories(b *Broker, f *faults) {
	name := "log.dirs"
	value, set := v.get(name)
	if !set || value == "" {
		name = "log.dir"
		value, _ = v.get(name)
	}
	b.LogDirs = splitList(value)
	for i, dir := range b.LogDirs {
		b.LogDirs[i] = filepath.Clean(dir)
		if dir == "" || contains(b.LogDirs[:i], b.LogDirs[i]) {
			f.invalid(name, value, "Each directory must be named once")
		}
	}
	if len(b.LogDirs) == 0 {
		f.invalid(name, value, "At least one directory is needed")
		b.LogDirs = []string{"."}
	}
	for _, d := range []struct {
		dir  *string
		name string
	}{{&b.MetadataDir, "metadata"}, {&b.CacheDir, "cache"}} {
		if *d.dir == "" {
			*d.dir = filepath.Join(b.LogDirs[0], d.name)
		}
	}
}

// leastCleanerBytes is the least memory for the keys of one cleaner. Apache Kafka asks
// for a byte more.
const leastCleanerBytes = 1 << 20

// WithDynamic returns the settings with those that were altered while the cluster runs:
// for all brokers, and for this one, which is stronger. Only keys that are Dynamic may be
// in them. The error is an *Error with every fault.
func (b *Broker) WithDynamic(all, one map[string]string) (*Broker, error) {
	var f faults
	v := &values{static: b.values.static, dynamicDefault: acceptDynamic(all, true, &f), dynamicBroker: acceptDynamic(one, false, &f)}
	changed := v.build(&f, func(string, ...any) {})
	if err := f.err(); err != nil {
		return nil, err
	}
	return changed, nil
}

// WithStored is WithDynamic for what is stored, which a broker has taken that may know
// more than this one, or has another file: what does not hold is left out, and is in the
// second result.
func (b *Broker) WithStored(all, one map[string]string) (*Broker, []Fault) {
	var left faults
	all, one = acceptDynamic(all, true, &left), acceptDynamic(one, false, &left)
	for {
		changed, err := b.WithDynamic(all, one)
		switch {
		case err == nil:
			return changed, left
		case len(all)+len(one) == 0:
			panic(fmt.Sprintf("config: settings that were loaded do not hold: %v", err))
		}
		left = append(left, b.leaveOut(all, one, err)...)
	}
}

// Holding returns those settings of a layer that hold by themselves; forAll tells whether
// it is that of all brokers.
func Holding(layer map[string]string, forAll bool) map[string]string {
	return acceptDynamic(layer, forAll, new(faults))
}

// leaveOut removes the first setting without which the others hold together, or all of
// them, and says so. Each of them holds by itself.
func (b *Broker) leaveOut(all, one map[string]string, because error) []Fault {
	fault := func(name, value string) Fault {
		return Fault{Key: name, Value: value, Reason: because.Error()}
	}
	for _, layer := range []map[string]string{all, one} {
		for _, name := range sortedKeys(layer) {
			value := layer[name]
			delete(layer, name)
			if _, err := b.WithDynamic(all, one); err == nil {
				return []Fault{fault(name, value)}
			}
			layer[name] = value
		}
	}
	var left []Fault
	for _, layer := range []map[string]string{all, one} {
		for _, name := range sortedKeys(layer) {
			left = append(left, fault(name, layer[name]))
		}
		clear(layer)
	}
	return left
}

// acceptDynamic returns the settings of a layer that may be altered and hold by
// themselves; forAll tells whether it is that of all brokers.
func acceptDynamic(in map[string]string, forAll bool, f *faults) map[string]string {
	out := map[string]string{}
	for _, name := range sortedKeys(in) {
		k := brokerKey(name)
		switch {
		case k != nil && k.PerBroker && forAll:
			f.add(name, "", "Cannot update these configs at default cluster level, broker id must be specified: %s", name)
			continue
		case k != nil && !k.Dynamic:
			f.add(name, "", "Cannot update these configs dynamically: %s; set it in server.properties and restart", name)
			continue
		case k != nil && k.perListener:
			f.add(name, "", "These security configs can be dynamically updated only per-listener using the listener prefix: %s", name)
			continue
		}
		if canonical, ok := accept(k, name, in[name], false, f); ok {
			if name == "log.cleaner.threads" && canonical == "0" { // log.cleaner.enable turns compaction off
				f.invalid(name, canonical, "Log cleaner threads should be at least 1")
				continue
			}
			out[name] = canonical
		}
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
