// Package wire is the socket side of the Kafka protocol: listeners, connections,
// frames, request headers, pipelining, and responses whose record bytes leave by
// sendfile. It knows no API: a Handler above starts requests and answers.
package wire

import (
	"context"
	"net"
)

// Request is one request as it came. Body is valid until the Response was written or
// Release was called.
type Request struct {
	Key           int16
	Version       int16
	CorrelationID int32
	ClientID      string
	Body          []byte // what follows the header
	Conn          *Conn
}

// Conn is what a handler may know of a connection.
type Conn struct {
	ID       string // local:port-remote:port-n, as in Kafka
	Listener string
	Local    net.Addr // where the client reached us
	Remote   net.Addr
	// SoftwareName and SoftwareVersion are set by ApiVersions v3+ (KIP-511).
	SoftwareName, SoftwareVersion string
}

// Handler starts requests. Start is called from the connection's reading goroutine,
// in the order of the requests; it must not wait. What has to be waited for is in the
// Pending it returns. An error closes the connection.
type Handler interface {
	Start(ctx context.Context, r *Request) (Pending, error)
}

// Pending is a started request. Responses leave in request order; the connection's
// writing goroutine calls Pending and may wait in it. ctx ends with the connection.
// A nil response is not sent (acks=0). An error closes the connection.
type Pending func(ctx context.Context) (*Response, error)

// Response is a response without its length and correlation id.
type Response struct {
	Flexible bool    // response header v1: an empty tag section follows the correlation id
	Chunks   []Chunk // written in order
	Release  func()  // called once when written or given up; may be nil
}

// Chunk is bytes, or a region of a file.
type Chunk struct {
	Bytes    []byte
	File     File // nil: Bytes
	Position int64
	Size     int64
}

// File is what sendfile reads from; ReadAt is the fallback.
type File interface {
	Fd() (fd int, ok bool)
	ReadAt(p []byte, position int64) (int, error)
}

// Options bound what a peer can cost.
type Options struct {
	MaxRequestBytes int32 // socket.request.max.bytes, 100 MiB
	// … limits and deadlines of RELIABILITY.md section 4.
}
