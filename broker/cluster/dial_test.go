package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// authority signs certificates; its own is in file.
type authority struct {
	t    *testing.T
	file string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	a := authority{t: t}
	a.file, _ = a.issue("authority", true)
	return a
}

// issue makes a certificate for 127.0.0.1 and returns the files of it and its key.
func (a *authority) issue(name string, self bool) (cert, key string) {
	a.t.Helper()
	must := func(err error) {
		a.t.Helper()
		if err != nil {
			a.t.Fatal(err)
		}
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: self, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	if self {
		a.cert, a.key = c, private
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, private.Public(), a.key)
	must(err)
	secret, err := x509.MarshalECPrivateKey(private)
	must(err)
	dir := a.t.TempDir()
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	must(os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}), 0o600))
	return cert, key
}

// guardedEtcd starts an etcd that asks for a certificate of the authority and for a login.
func guardedEtcd(t *testing.T, a *authority, login Login) (endpoints []string) {
	t.Helper()
	c := embed.NewConfig()
	c.Name, c.Dir = "guarded", t.TempDir()
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	local := url.URL{Scheme: "https", Host: "127.0.0.1:0"}
	c.ListenPeerUrls, c.AdvertisePeerUrls = nil, []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{local}, []url.URL{local}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.TickMs, c.ElectionMs = tickMs, electionMs
	c.ClientTLSInfo.CertFile, c.ClientTLSInfo.KeyFile = a.issue("etcd", false)
	c.ClientTLSInfo.TrustedCAFile, c.ClientTLSInfo.ClientCertAuth = a.file, true
	e, err := embed.StartEtcd(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	<-e.Server.ReadyNotify()
	endpoints = []string{"https://" + e.Clients[0].Addr().String()}

	open := login
	open.User, open.Password = "", ""
	admin, err := dial(t.Context(), endpoints, open)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	for _, do := range []func(*clientv3.Client) error{
		func(c *clientv3.Client) error { _, err := c.RoleAdd(t.Context(), "root"); return err },
		func(c *clientv3.Client) error {
			_, err := c.UserAdd(t.Context(), login.User, login.Password)
			return err
		},
		func(c *clientv3.Client) error { _, err := c.UserGrantRole(t.Context(), login.User, "root"); return err },
		func(c *clientv3.Client) error { _, err := c.AuthEnable(t.Context()); return err },
	} {
		if err := do(admin); err != nil {
			t.Fatal(err)
		}
	}
	return endpoints
}

// TestExternalEtcdIsReachedByTLSAndLogin: and where it is not, the error says which of it
// is wrong, and no password.
func TestExternalEtcdIsReachedByTLSAndLogin(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	right := Login{CAFile: a.file, User: "root", Password: "open sesame"}
	right.CertFile, right.KeyFile = a.issue("broker", false)
	endpoints := guardedEtcd(t, &a, right)
	for _, c := range []struct {
		name   string
		change func(*Login)
		want   string // in the error, "": none
	}{
		{"right", func(*Login) {}, ""},
		{"another authority", func(l *Login) { l.CAFile = stranger.file }, "check varve.etcd.ca.file"},
		{"no certificate", func(l *Login) { l.CertFile, l.KeyFile = "", "" }, "check varve.etcd.ca.file, varve.etcd.cert.file"},
		{"certificate of a stranger", func(l *Login) { l.CertFile, l.KeyFile = stranger.issue("broker", false) }, "check varve.etcd.ca.file, varve.etcd.cert.file"},
		{"key of another", func(l *Login) { _, l.KeyFile = a.issue("other", false) }, "read varve.etcd.cert.file and varve.etcd.key.file"},
		{"no such file", func(l *Login) { l.CAFile += ".gone" }, "read varve.etcd.ca.file"},
		{"not PEM", func(l *Login) {
			l.CAFile = filepath.Join(t.TempDir(), "ca")
			_ = os.WriteFile(l.CAFile, []byte("x"), 0o600)
		}, "holds no certificate in PEM"},
		{"wrong password", func(l *Login) { l.Password = "open barley" }, "authentication failed"},
		{"no login", func(l *Login) { l.User, l.Password = "", "" }, "permission denied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			login := right
			c.change(&login)
			s, err := Open(t.Context(), Options{NodeID: 1, Dir: t.TempDir(), Endpoints: endpoints, Login: login, LeaseSeconds: 2}, "")
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(s.Register(t.Context(), Broker{ID: 1, Incarnation: "i"}), s.Close()); err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), login.Password) && login.Password != "" {
				t.Errorf("%v, want %q and no password", err, c.want)
			}
		})
	}
}
