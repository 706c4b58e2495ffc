package s3api

import (
	"net"
	"net/http"
	"time"
)

// idleConnections is how many connections to the store are kept for the next request:
// enough for the cold reads and uploads of a busy broker. Go's own default of two
// would dial for nearly every range.
const idleConnections = 128

// Transport returns the HTTP transport of a driver.
func Transport(o Options) *http.Transport {
	t := new(http.Transport)
	Tune(o, t)
	return t
}

// Tune sets what a driver needs of its HTTP transport. It speaks HTTP/1.1 only, for one
// connection carries about 85 MB/s and HTTP/2 would put all requests on one.
func Tune(o Options, t *http.Transport) {
	t.Proxy = http.ProxyFromEnvironment
	t.DialContext = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true)
	t.ForceAttemptHTTP2 = false
	if o.TLS != nil {
		t.TLSClientConfig = o.TLS.Clone()
	}
	t.TLSHandshakeTimeout = 10 * time.Second
	t.MaxIdleConns = 2 * idleConnections
	t.MaxIdleConnsPerHost = idleConnections
	t.IdleConnTimeout = time.Minute
	t.ResponseHeaderTimeout = o.ResponseHeaderTimeout
	t.ExpectContinueTimeout = time.Second
	t.DisableCompression = true // bytes as they are: batches are compressed already
	t.WriteBufferSize = 64 << 10
	t.ReadBufferSize = 64 << 10
}
