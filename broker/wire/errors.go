package wire

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// Why a connection was closed.
var (
	ErrFrameSize       = errors.New("frame length out of range")
	ErrTLS             = errors.New("TLS client on a plaintext listener")
	ErrHTTP            = errors.New("HTTP client on a Kafka listener")
	ErrHeader          = errors.New("malformed request header")
	ErrUnknownKey      = errors.New("unknown API key")
	ErrIdle            = errors.New("connection idle for too long")
	ErrSlowFrame       = errors.New("request not received in time")
	ErrSlowReader      = errors.New("response not taken in time")
	ErrShortFile       = errors.New("file ends before the region to send")
	ErrResponseSize    = errors.New("response above 2 GiB")
	ErrShutdown        = errors.New("broker is shutting down")
	errTooMany         = errors.New("too many connections")
	errTooManyPerIP    = errors.New("too many connections from this address")
	errTooFastPerIP    = errors.New("too many new connections from this address for its quota")
	errHandler         = errors.New("handler")
	errPeer            = errors.New("closed by the peer")
	errConnectionError = errors.New("connection error")
)

// reason is one cause of a close as Stats counts it, in the order of preference.
type reason struct {
	name string
	err  error
}

var reasons = [...]reason{
	{"frame_size", ErrFrameSize},
	{"tls", ErrTLS},
	{"http", ErrHTTP},
	{"header", ErrHeader},
	{"unknown_key", ErrUnknownKey},
	{"idle", ErrIdle},
	{"slow_frame", ErrSlowFrame},
	{"slow_reader", ErrSlowReader},
	{"short_file", ErrShortFile},
	{"response_size", ErrResponseSize},
	{"shutdown", ErrShutdown},
	{"too_many", errTooMany},
	{"too_many_per_ip", errTooManyPerIP},
	{"quota_per_ip", errTooFastPerIP},
	{"handler", errHandler},
	{"peer", errPeer},
	{"error", errConnectionError},
}

// reasonOf is the index in reasons that err counts under.
func reasonOf(err error) int {
	for i, r := range reasons {
		if errors.Is(err, r.err) {
			return i
		}
	}
	return len(reasons) - 1
}

// fromSocket names the errors of a socket: a peer that went away is nobody's fault.
func fromSocket(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return errors.Join(errPeer, err)
	}
	return errors.Join(errConnectionError, err)
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
