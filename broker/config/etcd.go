package config

import "strings"

// Etcd is how a broker reaches an external etcd that asks for TLS or a login.
type Etcd struct {
	CAFile            string // PEM, "": the system's
	CertFile, KeyFile string // PEM, "": none is shown
	User, Password    string // "": no login
}

// etcd completes b.Etcd.
func (v *values) etcd(b *Broker, f *faults) {
	e := &b.Etcd
	for name, to := range map[string]*string{
		"varve.etcd.ca.file": &e.CAFile, "varve.etcd.cert.file": &e.CertFile, "varve.etcd.key.file": &e.KeyFile,
		"varve.etcd.user": &e.User, "varve.etcd.password": &e.Password,
	} {
		*to, _ = v.get(name)
	}
	if *e != (Etcd{}) && len(b.MetadataEndpoints) == 0 {
		f.add("metadata.endpoints", "", "the settings varve.etcd.* are of an external etcd, and metadata.endpoints names none")
	}
	if (e.CertFile == "") != (e.KeyFile == "") {
		f.add("varve.etcd.cert.file", e.CertFile, "varve.etcd.cert.file and varve.etcd.key.file are needed both, or none")
	}
	if (e.User == "") != (e.Password == "") {
		f.add("varve.etcd.user", e.User, "varve.etcd.user and varve.etcd.password are needed both, or none")
	}
	for _, endpoint := range b.MetadataEndpoints {
		if strings.HasPrefix(endpoint, "http://") && (e.CAFile != "" || e.CertFile != "") {
			f.add("metadata.endpoints", endpoint, "an address that begins with http:// is connected to without TLS, in spite of varve.etcd.ca.file or varve.etcd.cert.file; begin it with https://")
		}
	}
}
