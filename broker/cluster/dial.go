package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Login is how an external etcd is reached that asks for TLS or a login. The zero Login
// asks for neither, unless an endpoint begins with https://.
type Login struct {
	CAFile            string // PEM of who signs etcd's certificate, "": the system's
	CertFile, KeyFile string // PEM of what we show, "": nothing
	User, Password    string // "": no login
}

// dial makes a client of an external etcd. Without a login it does not wait for etcd: the
// first request does, within its deadline. But where TLS fails at every etcd that can be
// reached, the error says so: of later requests it would be the deadline's.
func dial(ctx context.Context, endpoints []string, login Login) (*clientv3.Client, error) {
	op := "dial etcd at " + strings.Join(endpoints, ", ")
	encrypted, err := login.tls()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if encrypted != nil {
		if err := handshakes(ctx, endpoints, encrypted); err != nil {
			return nil, unavailable(op, err)
		}
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            endpoints,
		DialTimeout:          dialTimeout,
		DialKeepAliveTime:    dialTimeout,
		DialKeepAliveTimeout: dialTimeout,
		TLS:                  encrypted,
		Username:             login.User,
		Password:             login.Password,
		Logger:               zap.NewNop(), // its errors come back from the calls
	})
	if err != nil {
		return nil, unavailable(op, err)
	}
	return client, nil
}

// tls reads the files; nil where none is named.
func (l Login) tls() (*tls.Config, error) {
	if l.CAFile == "" && l.CertFile == "" {
		return nil, nil //nolint:nilnil // there is no TLS
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if l.CAFile != "" {
		pem, err := os.ReadFile(l.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read varve.etcd.ca.file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read varve.etcd.ca.file: %w: %s holds no certificate in PEM", ErrInvalid, l.CAFile)
		}
	}
	if l.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(l.CertFile, l.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read varve.etcd.cert.file and varve.etcd.key.file: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// handshakes returns why TLS fails, where it does so at one endpoint and succeeds at none.
func handshakes(ctx context.Context, endpoints []string, c *tls.Config) error {
	var errs []error
	for _, endpoint := range endpoints {
		host := strings.TrimPrefix(endpoint, "https://")
		reached, err := handshake(ctx, host, c)
		switch {
		case reached && err == nil:
			return nil
		case reached:
			errs = append(errs, fmt.Errorf("TLS with %s failed, check varve.etcd.ca.file, varve.etcd.cert.file and etcd's own certificate: %w", host, err))
		}
	}
	return errors.Join(errs...)
}

// http2 is how a client of HTTP/2 begins: the preface, and settings without any.
const http2 = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// handshake connects by TLS until the server answers: by TLS 1.3 it tells only then
// whether it takes our certificate.
func handshake(ctx context.Context, host string, c *tls.Config) (reached bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	plain, err := new(net.Dialer).DialContext(ctx, "tcp", host)
	if err != nil {
		return false, err
	}
	defer plain.Close()
	deadline, _ := ctx.Deadline()
	if err := plain.SetDeadline(deadline); err != nil {
		return false, err
	}
	c = c.Clone()
	c.NextProtos = []string{"h2"}
	if c.ServerName, _, err = net.SplitHostPort(host); err != nil {
		return false, err
	}
	conn := tls.Client(plain, c)
	if _, err = io.WriteString(conn, http2); err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	var slow net.Error
	if errors.As(err, &slow) && slow.Timeout() {
		return false, err
	}
	return true, err
}
