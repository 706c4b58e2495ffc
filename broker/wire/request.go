package wire

import (
	"context"
	"net"
	"sync/atomic"
	"time"
)

// Request is one request as it came. Body is valid until the Response was written or
// given up, so a Pending must not return while something still reads Body.
type Request struct {
	Key           int16
	Version       int16
	CorrelationID int32
	ClientID      string // "" when null
	Body          []byte // what follows the header
	Size          int    // bytes of header and body
	Conn          *Conn

	// Ready may be set by Start: a channel that is closed when Pending will not wait any
	// more. Answers that are ready together leave in one write. nil: not known, and what
	// was answered before is written first. Immediately is for what never waits.
	Ready <-chan struct{}
}

// Immediately is the Ready of a request whose Pending does not wait.
var Immediately <-chan struct{} = func() chan struct{} {
	closed := make(chan struct{})
	close(closed)
	return closed
}()

// Conn is what a handler may know of a connection. The exported fields do not change, but
// for Session, which belongs to the handler and is touched in Start only.
type Conn struct {
	ID       string // local:port-remote:port-n, as in Kafka
	Listener string
	Local    net.Addr // where the client reached us
	Remote   net.Addr

	// Stopping is closed when the server stops: an answer that waits for news leaves as
	// it is, and one that waits for a disk is still waited for. nil: it never stops.
	Stopping <-chan struct{}

	Session any // what the handler keeps with the connection

	software atomic.Pointer[[2]string]
	muted    atomic.Pointer[time.Time] // until when; nil: not
}

// Mute keeps further requests from being read for d, so that the client cannot go on
// though it was told to wait (KIP-219). The longest wait counts. Any goroutine may call it.
func (c *Conn) Mute(d time.Duration) {
	if d <= 0 {
		return
	}
	until := time.Now().Add(d)
	for {
		old := c.muted.Load()
		if old != nil && !old.Before(until) || c.muted.CompareAndSwap(old, &until) {
			return
		}
	}
}

// hold waits until the connection is not muted. It returns ErrShutdown when the server
// stops first, and ctx's error when the connection ends.
func (c *Conn) hold(ctx context.Context) (held bool, err error) {
	for until := c.muted.Load(); until != nil; until = c.muted.Load() {
		left := time.Until(*until)
		if left <= 0 {
			return held, nil
		}
		held = true
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-c.Stopping:
			err = ErrShutdown
		case <-ctx.Done():
			err = net.ErrClosed // the reason is known already
		}
		timer.Stop()
		if err != nil {
			return held, err
		}
	}
	return held, nil
}

// SetSoftware remembers the client's software, as ApiVersions v3 and later name it
// (KIP-511). Any goroutine may call it.
func (c *Conn) SetSoftware(name, version string) { c.software.Store(&[2]string{name, version}) }

// Software is what SetSoftware was last given, empty before.
func (c *Conn) Software() (name, version string) {
	if s := c.software.Load(); s != nil {
		return s[0], s[1]
	}
	return "", ""
}

// Handler starts requests. Start is called from the connection's reading goroutine,
// in the order of the requests; it must not wait. What has to be waited for is in the
// Pending it returns. An error closes the connection; if it wraps ErrUnknownKey, it is
// counted as such.
type Handler interface {
	Start(ctx context.Context, r *Request) (Pending, error)
}

// Pending is a started request. Responses leave in request order; the connection's
// writing goroutine calls Pending, once, and may wait in it. ctx ends with the connection,
// and may have ended before the call. A nil response is not sent (acks=0). An error
// closes the connection.
type Pending func(ctx context.Context) (*Response, error)

// Response is a response without its length and correlation id.
type Response struct {
	Flexible bool    // response header v1: an empty tag section follows the correlation id
	Chunks   []Chunk // written in order; not kept or changed
	Release  func()  // called once when written or given up; may be nil
}

// Chunk is bytes, or a region of a file.
type Chunk struct {
	Bytes    []byte
	File     File // nil: Bytes
	Position int64
	Size     int64
}

// File is what sendfile reads from; ReadAt is the fallback. The descriptor must stay open
// until the response is released.
type File interface {
	Fd() (fd int, ok bool)
	ReadAt(p []byte, position int64) (int, error)
}
