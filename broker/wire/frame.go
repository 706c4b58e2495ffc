package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// A frame is a length, int32, and that many bytes: header and body of a request.

const (
	// readAhead is the buffer that small frames are read through, many at a time. It is
	// held only while it has bytes; an idle connection has none.
	readAhead = 16 << 10
	// firstBytes is what a frame may take before any of it has come.
	firstBytes = 64 << 10
	// maxProven caps what a frame may take at once because earlier frames were that
	// large: Kafka's default batch of 1 MiB.
	maxProven = 1 << 20
)

// frame is a request's bytes in a buffer of the pool, held against the budget.
type frame struct {
	bytes  []byte
	budget *budget
}

func (f *frame) release() {
	if f.bytes != nil {
		n := cap(f.bytes)
		giveBuffer(f.bytes)
		f.bytes = nil
		f.budget.release(n)
	}
}

// frameReader reads the frames of a connection.
type frameReader struct {
	conn     net.Conn
	raw      syscall.RawConn // nil: not a socket
	options  *Options
	budget   *budget
	counters *counters
	stopping atomic.Bool                                  // no further frame is wanted
	busy     func() time.Time                             // last moment at which the connection was in use
	hold     func(context.Context) (held bool, err error) // waits while no request is to be read; nil: never
	readIn   func(fd uintptr) bool                        // raw's callback, made once
	readErr  error

	in         []byte // of the pool, nil while empty
	start, end int    // unread bytes of in
	proven     int    // largest frame that came whole, at most maxProven
	first      bool   // no frame yet
	armed      time.Time
}

func newFrameReader(c net.Conn, o *Options, b *budget, n *counters) *frameReader {
	f := &frameReader{conn: c, options: o, budget: b, counters: n, first: true}
	if s, ok := c.(*net.TCPConn); ok && readsRaw {
		if raw, err := s.SyscallConn(); err == nil {
			f.raw = raw
			f.readIn = f.readSocket
		}
	}
	return f
}

// next reads one frame, once hold lets it: before that only what was read ahead is in
// memory. It returns io.EOF between frames, io.ErrUnexpectedEOF within one, ErrFrameSize,
// ErrTLS, ErrHTTP, ErrIdle, ErrSlowFrame, ErrShutdown after stop, or the socket's error. The
// frame is the caller's to release.
func (f *frameReader) next(ctx context.Context) (frame, error) {
	var began time.Time // of a frame whose first bytes came without the rest
	for f.end-f.start < 4 {
		if f.end > f.start && began.IsZero() {
			began = time.Now()
		}
		if err := f.fill(began, f.end-f.start); err != nil {
			return frame{}, err
		}
	}
	if f.hold != nil {
		held, err := f.hold(ctx)
		if err != nil {
			return frame{}, err
		}
		if held {
			began = time.Time{} // the wait was ours
		}
	}
	prefix := f.in[f.start : f.start+4]
	size := int32(binary.BigEndian.Uint32(prefix))
	if f.first {
		switch {
		case prefix[0] == 0x16 && prefix[1] == 3:
			return frame{}, ErrTLS
		case bytes.Equal(prefix, []byte("GET ")), bytes.Equal(prefix, []byte("POST")), bytes.Equal(prefix, []byte("HEAD")):
			return frame{}, ErrHTTP
		}
		f.first = false
	}
	if size < minFrameBytes || size > f.options.MaxRequestBytes {
		return frame{}, fmt.Errorf("%w: %d bytes, limit %d", ErrFrameSize, size, f.options.MaxRequestBytes)
	}
	f.start += 4
	return f.body(ctx, int(size), began)
}

// body reads the size bytes of a frame into a buffer that grows as they come: it is never
// more than four times what has come, 64 KiB, or the largest frame so far.
func (f *frameReader) body(ctx context.Context, size int, began time.Time) (_ frame, err error) {
	out := frame{budget: f.budget}
	defer f.budget.whole(f)
	defer func() {
		if err != nil {
			out.release()
		}
	}()
	have := 0
	for {
		if have == cap(out.bytes) {
			room := min(size, max(firstBytes, f.proven, 4*have))
			waited, err := f.grow(ctx, &out, have, room)
			if err != nil {
				return out, err
			}
			if waited && !began.IsZero() {
				began = time.Now() // the wait was ours
			}
		}
		room := min(size, cap(out.bytes))
		n := copy(out.bytes[have:room], f.in[f.start:f.end])
		f.start += n
		have += n
		if have == size {
			break
		}
		if have == cap(out.bytes) {
			continue
		}
		if began.IsZero() {
			began = time.Now()
		}
		if size-have < readAhead/2 {
			err = f.fill(began, have)
		} else {
			n, err = f.read(out.bytes[have:room], began, have)
			have += n
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return out, err
		}
		if have == size {
			break
		}
	}
	out.bytes = out.bytes[:size]
	f.proven = max(f.proven, min(size, maxProven))
	return out, nil
}

// grow gives out a buffer of at least room bytes with the first have of the old one.
func (f *frameReader) grow(ctx context.Context, out *frame, have, room int) (waited bool, err error) {
	old := out.bytes
	size := room
	if class := classOf(room); class < classes {
		size = 1 << (minClass + 2*class)
	}
	waited, err = f.budget.reserve(ctx, size, f)
	if waited {
		f.counters.inFlightWaits.Add(1)
	}
	if err != nil {
		return waited, err
	}
	grown := takeBuffer(room)
	grown = grown[:cap(grown)]
	copy(grown, old[:have])
	out.bytes = grown
	if old != nil {
		n := cap(old)
		giveBuffer(old)
		f.budget.release(n)
	}
	return waited, nil
}

// fill reads more bytes into f.in. began is when the frame under way began, zero between
// frames, and have what has come of it.
func (f *frameReader) fill(began time.Time, have int) error {
	if f.start == f.end {
		f.start, f.end = 0, 0
	} else if f.start > 0 {
		f.end = copy(f.in, f.in[f.start:f.end])
		f.start = 0
	}
	if f.raw == nil {
		if f.in == nil {
			f.in = takeBuffer(readAhead)
		}
		n, err := f.read(f.in[f.end:], began, have)
		f.end += n
		return err
	}
	for {
		if err := f.arm(began, have); err != nil {
			return err
		}
		before := f.end
		f.readErr = nil
		err := f.raw.Read(f.readIn)
		if err == nil {
			err = f.readErr
		}
		if f.end > before {
			return nil
		}
		if !f.mayGoOn(err, began) {
			return f.timed(err, began)
		}
	}
}

// readSocket is called by the poller with the descriptor: it reads what is there, and
// holds no buffer while nothing is.
func (f *frameReader) readSocket(fd uintptr) bool {
	if f.in == nil {
		f.in = takeBuffer(readAhead)
	}
	n, err := readNow(int(fd), f.in[f.end:])
	if errors.Is(err, syscall.EAGAIN) {
		if f.end == 0 {
			giveBuffer(f.in)
			f.in = nil
		}
		return false
	}
	switch {
	case err != nil:
		f.readErr = err
	case n == 0:
		f.readErr = io.EOF
	default:
		f.end += n
	}
	return true
}

// read reads into p from the connection itself.
func (f *frameReader) read(p []byte, began time.Time, have int) (int, error) {
	for {
		if err := f.arm(began, have); err != nil {
			return 0, err
		}
		n, err := f.conn.Read(p)
		if n > 0 {
			return n, nil
		}
		if !f.mayGoOn(err, began) {
			return 0, f.timed(err, began)
		}
	}
}

// arm sets the deadline of the next read. Between frames it is set anew only when it has
// moved by a sixteenth, since setting it costs as much as a small read.
func (f *frameReader) arm(began time.Time, have int) error {
	if f.stopping.Load() {
		return ErrShutdown
	}
	now := time.Now()
	deadline := now.Add(f.options.MaxIdle)
	if !began.IsZero() {
		deadline = began.Add(f.options.patience(int64(have)))
	} else if !f.armed.IsZero() && f.armed.Sub(now) > f.options.MaxIdle-f.options.MaxIdle/16 && !f.armed.After(deadline) {
		return nil
	}
	f.armed = deadline
	if err := f.conn.SetReadDeadline(deadline); err != nil {
		return err
	}
	if f.stopping.Load() { // stop may have set its deadline before ours
		return ErrShutdown
	}
	return nil
}

// mayGoOn says whether a read that ended without bytes is to be tried again: when the
// deadline passed between frames, but a response was under way in the meantime.
func (f *frameReader) mayGoOn(err error, began time.Time) bool {
	if err == nil {
		return true
	}
	if !isTimeout(err) || !began.IsZero() || f.stopping.Load() {
		return false
	}
	if f.busy != nil && time.Since(f.busy()) < f.options.MaxIdle {
		f.armed = time.Time{}
		return true
	}
	return false
}

// timed names a timeout.
func (f *frameReader) timed(err error, began time.Time) error {
	switch {
	case !isTimeout(err):
		return err
	case f.stopping.Load():
		return ErrShutdown
	case began.IsZero():
		return ErrIdle
	}
	return ErrSlowFrame
}

// stop makes next return ErrShutdown, now and later. It may be called by any goroutine.
func (f *frameReader) stop() {
	f.stopping.Store(true)
	_ = f.conn.SetReadDeadline(time.Unix(1, 0)) // an error means that it is closed already
}

// close gives the buffer back. The caller reads no more.
func (f *frameReader) close() {
	if f.in != nil {
		giveBuffer(f.in)
		f.in = nil
	}
	f.budget.whole(f)
}
