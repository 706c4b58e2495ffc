package wire

import (
	"net"
	"net/netip"
	"time"

	"go.uber.org/zap"
)

// Options bound what a peer can cost (RELIABILITY.md section 4). A limit that is zero or
// negative has the default that stands beside it.
type Options struct {
	// MaxRequestBytes is socket.request.max.bytes, 100 MiB.
	MaxRequestBytes int32
	// MaxInFlightBytes bounds the frames of all connections together, from their first
	// byte to the end of their answer (queued.max.request.bytes): 512 MiB, five of the
	// largest frames. Readers wait while it is used up, but for one, which may finish.
	MaxInFlightBytes int64
	// MaxPipelined and MaxPipelinedBytes bound the requests of one connection that are
	// started and not answered: 128, which is above what any client keeps in flight to
	// gain from, and 32 MiB. The request that passes the bytes is still started.
	MaxPipelined      int
	MaxPipelinedBytes int64

	// MaxIdle is connections.max.idle.ms, 10 minutes.
	MaxIdle time.Duration
	// MaxStall is how long a peer may take over a part of a frame, or to take part of a
	// response: 30 s, and a second more for every 8 KiB of it (stallRate).
	MaxStall time.Duration
	// ShutdownTimeout is how long Serve waits for started requests at the end: 10 s.
	ShutdownTimeout time.Duration

	// MaxConnections is 20,000 or 80 % of the descriptors this process may open,
	// whichever is less; MaxConnectionsPerIP 1,000 (an IPv6 address counts with its /64);
	// MaxConnectionRate 200 a second, above which connections wait to be accepted.
	// ConnectionOverrides are in place of MaxConnectionsPerIP for their addresses.
	// SetLimits changes all four.
	MaxConnections      int
	ConnectionOverrides map[netip.Addr]int
	MaxConnectionsPerIP int
	MaxConnectionRate   int

	// AdmitConnection returns 0 where an address may have one more connection now;
	// otherwise the connection is closed after the time that it returns, at most a few
	// seconds (KIP-612). nil: it always may.
	AdmitConnection func(remote net.Addr) time.Duration

	// SendBuffer and ReceiveBuffer are socket.send.buffer.bytes and
	// socket.receive.buffer.bytes; 0 or -1 leaves them to the system, which tunes them.
	SendBuffer, ReceiveBuffer int

	// NoSendfile sends files by copying; for tests, and for measuring the difference.
	NoSendfile bool

	Logger *zap.Logger // nil: none

	stallRate int64 // stallRate; tests have less patience
}

// stallRate is the slowest transfer that is not taken for a stall, in bytes a second. A
// modem is faster; a peer that means to hold memory is not.
const stallRate = 8 << 10

func (o Options) withDefaults() Options {
	setDefault(&o.MaxRequestBytes, 100<<20)
	setDefault(&o.MaxInFlightBytes, 512<<20)
	setDefault(&o.MaxPipelined, 128)
	setDefault(&o.MaxPipelinedBytes, 32<<20)
	setDefault(&o.MaxIdle, 10*time.Minute)
	setDefault(&o.MaxStall, 30*time.Second)
	setDefault(&o.stallRate, stallRate)
	setDefault(&o.ShutdownTimeout, 10*time.Second)
	setDefault(&o.MaxConnections, min(20_000, maxDescriptors()*8/10))
	setDefault(&o.MaxConnectionsPerIP, 1000)
	setDefault(&o.MaxConnectionRate, 200)
	if o.AdmitConnection == nil {
		o.AdmitConnection = func(net.Addr) time.Duration { return 0 }
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	return o
}

func setDefault[T int | int32 | int64 | time.Duration](limit *T, value T) {
	if *limit <= 0 {
		*limit = value
	}
}

// stallWindow is how much of a response a peer has to take in patience(stallWindow), in
// bytes: more than the socket's buffer frees at a time, a third of it, lest a slow but
// steady reader look like none. The system tunes a buffer up to 4 MiB (tcp_wmem).
func (o *Options) stallWindow() int64 {
	if o.SendBuffer <= 0 {
		return 2 << 20
	}
	return max(256<<10, int64(o.SendBuffer))
}

// patience is how long a transfer of size bytes may take.
func (o *Options) patience(size int64) time.Duration {
	return o.MaxStall + time.Duration(size)*time.Second/time.Duration(o.stallRate)
}
