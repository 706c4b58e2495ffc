package config

import (
	"strings"
	"testing"
)

func TestSettingsOfAnExternalEtcd(t *testing.T) {
	for _, c := range []struct{ name, settings, want string }{
		{"all", "metadata.endpoints=https://a:2379,b:2379 varve.etcd.ca.file=ca varve.etcd.cert.file=c varve.etcd.key.file=k varve.etcd.user=u varve.etcd.password=sesame", ""},
		{"embedded", "varve.etcd.ca.file=ca", "metadata.endpoints names none"},
		{"no key", "metadata.endpoints=a:2379 varve.etcd.cert.file=c", "needed both"},
		{"no user", "metadata.endpoints=a:2379 varve.etcd.password=sesame", "needed both"},
		{"plain", "metadata.endpoints=http://a:2379 varve.etcd.ca.file=ca", "without TLS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, _, err := Load(Sources{File: strings.NewReader(strings.ReplaceAll(c.settings, " ", "\n"))})
			switch {
			case c.want == "" && err != nil:
				t.Fatal(err)
			case c.want == "" && b.Etcd != (Etcd{"ca", "c", "k", "u", "sesame"}):
				t.Errorf("%+v", b.Etcd)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "sesame")):
				t.Errorf("%v, want %q and no password", err, c.want)
			}
		})
	}
}
