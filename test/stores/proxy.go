package stores

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Fault is what befalls one request on its way through a Proxy; the zero value is
// none.
type Fault struct {
	// Status answers with that HTTP status and an S3 error with Code, and the request
	// never reaches the store.
	Status int
	Code   string
	// AfterEffect lets the store do its work first: the outcome the client cannot know.
	AfterEffect bool
	// Answer is the body of the answer to Status instead of an S3 error.
	Answer string
	// Truncate ends the answer's body after that many bytes, though Content-Length
	// promised all; 0 leaves it whole.
	Truncate int64
	// HangAfter delivers that many bytes of the answer and then nothing until the client
	// gives up; 0 does not hang.
	HangAfter int64
	// Flip flips the lowest bit of the answer's first byte, FlipUpload that of the
	// request's.
	Flip, FlipUpload bool
	// Hang keeps the request unanswered until the client gives up.
	Hang bool
	// Slow pauses that long before every 64 KiB of the answer.
	Slow time.Duration
	// Reset drops the connection without an answer.
	Reset bool
	// ContentRange replaces that header of the answer.
	ContentRange string
}

// Proxy is an HTTP reverse proxy to an S3 server that injects faults. It keeps the Host
// header, so signatures stay valid.
type Proxy struct {
	// Endpoint is where clients find the proxy.
	Endpoint string

	target string
	client *http.Client
	done   chan struct{} // closed when the test ends: releases what hangs

	mu       sync.Mutex
	decide   func(*http.Request) Fault // guarded by mu
	requests []string                  // "METHOD /path?query" of every request; guarded by mu
}

// NewProxy starts a proxy to the server at endpoint. It injects nothing until told to.
func NewProxy(t testing.TB, endpoint string) *Proxy {
	t.Helper()
	p := newProxy(endpoint)
	server := httptest.NewServer(p)
	p.stopWith(t, server)
	return p
}

// NewTLSProxy is NewProxy for clients that speak TLS and trust what it returns.
func NewTLSProxy(t testing.TB, endpoint string) (*Proxy, *tls.Config) {
	t.Helper()
	p := newProxy(endpoint)
	server := httptest.NewUnstartedServer(p)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that are meant to fail
	server.StartTLS()
	p.stopWith(t, server)
	trust := x509.NewCertPool()
	trust.AddCert(server.Certificate())
	return p, &tls.Config{RootCAs: trust, MinVersion: tls.VersionTLS12}
}

func newProxy(endpoint string) *Proxy {
	return &Proxy{
		target: endpoint,
		client: &http.Client{
			Transport:     &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		done:   make(chan struct{}),
		decide: func(*http.Request) Fault { return Fault{} },
	}
}

// stopWith makes p serve on server until the test ends.
func (p *Proxy) stopWith(t testing.TB, server *httptest.Server) {
	p.Endpoint = server.URL
	t.Cleanup(func() {
		close(p.done)
		server.Close()
		p.client.CloseIdleConnections()
	})
}

// Inject decides from now on about every request, and forgets the requests so far. nil
// heals.
func (p *Proxy) Inject(decide func(*http.Request) Fault) {
	if decide == nil {
		decide = func(*http.Request) Fault { return Fault{} }
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.decide, p.requests = decide, nil
}

// Requests returns what reached the proxy since the last Inject, in order of arrival.
func (p *Proxy) Requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.requests...)
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.requests = append(p.requests, r.Method+" "+r.URL.RequestURI())
	fault := p.decide(r)
	p.mu.Unlock()
	switch {
	case fault.Hang:
		_, _ = io.Copy(io.Discard, r.Body) // else the server does not notice that the client left
		p.hang(r)
	case fault.Reset:
		panic(http.ErrAbortHandler)
	case fault.Status != 0 && !fault.AfterEffect:
		_, _ = io.Copy(io.Discard, r.Body)
		refuse(w, fault)
	default:
		p.forward(w, r, fault)
	}
}

// hang waits until the client has given up.
func (p *Proxy) hang(r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-p.done:
	}
}

// refuse answers in the store's place.
func refuse(w http.ResponseWriter, fault Fault) {
	body := fault.Answer
	if body == "" {
		body = fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>injected</Message></Error>`, fault.Code)
	}
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
	w.Header().Set("ETag", `"injected"`)
	w.WriteHeader(fault.Status)
	_, _ = io.WriteString(w, body)
}

// forward passes the request on and the answer back, with the fault's damage.
func (p *Proxy) forward(w http.ResponseWriter, r *http.Request, fault Fault) {
	request, err := http.NewRequestWithContext(r.Context(), r.Method, p.target+r.URL.RequestURI(), r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	request.Header, request.Host, request.ContentLength = r.Header.Clone(), r.Host, r.ContentLength
	request.Header.Del("Expect")
	if r.ContentLength == 0 {
		request.Body = http.NoBody
	}
	if fault.FlipUpload && r.ContentLength > 0 {
		request.Body = io.NopCloser(&flipper{Reader: r.Body})
	}
	response, err := p.client.Do(request)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer response.Body.Close()
	if fault.AfterEffect {
		_, _ = io.Copy(io.Discard, response.Body)
		if fault.Status == 0 {
			panic(http.ErrAbortHandler)
		}
		refuse(w, fault)
		return
	}
	for name, values := range response.Header {
		w.Header()[name] = values
	}
	if fault.ContentRange != "" {
		w.Header().Set("Content-Range", fault.ContentRange)
	}
	w.WriteHeader(response.StatusCode)
	p.deliver(w, r, response.Body, fault)
}

// deliver copies the answer's body. A server that returns before Content-Length is
// reached closes the connection, which is what a cut answer looks like.
func (p *Proxy) deliver(w http.ResponseWriter, r *http.Request, body io.Reader, fault Fault) {
	if fault.Flip {
		body = &flipper{Reader: body}
	}
	if fault.HangAfter > 0 {
		_, _ = io.CopyN(w, body, fault.HangAfter)
		_ = http.NewResponseController(w).Flush()
		p.hang(r)
		panic(http.ErrAbortHandler)
	}
	if fault.Truncate > 0 {
		_, _ = io.CopyN(w, body, fault.Truncate)
		panic(http.ErrAbortHandler)
	}
	if fault.Slow == 0 {
		_, _ = io.Copy(w, body)
		return
	}
	pause := time.NewTicker(fault.Slow)
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
		case <-p.done:
			return
		}
		if _, err := io.CopyN(w, body, 64<<10); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
	}
}

// flipper flips the lowest bit of the first byte it reads.
type flipper struct {
	io.Reader
	done bool
}

// Read implements io.Reader.
func (f *flipper) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if n > 0 && !f.done {
		p[0] ^= 1
		f.done = true
	}
	return n, err
}
