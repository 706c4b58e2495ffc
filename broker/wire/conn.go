package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// conn is one connection: a goroutine that reads and starts requests, and while there are
// some one that waits for their answers and writes them. Most connections of a broker are
// idle, and a goroutine is most of what one costs.
//
//	            frame, Start                    clean stop
//	reading ──────────────────► reading ──► draining ──► closed
//	   │ bad input, peer gone, deadline, write failed ──► failed ──► closed
//
// Reading and draining answer what was started. Failed ends the context, so that pendings
// return, and releases their responses unsent.
type conn struct {
	info    Conn
	server  *Server
	socket  net.Conn
	context context.Context
	cancel  context.CancelCauseFunc

	frames   *frameReader
	pipeline *pipeline
	writer   *writer
	clientID string // of the last request; most send the same

	active   atomic.Int64 // when a response was last written, in nanoseconds
	failOnce sync.Once
	failure  error // set by fail; read after the other goroutine has ended
}

// serve runs the connection until it is closed, and returns why it was: nil after stop.
func (c *conn) serve() error {
	err := c.readRequests()
	if err != nil && !errors.Is(err, ErrShutdown) {
		c.fail(err)
	}
	c.pipeline.drain()
	c.frames.close()
	c.cancel(net.ErrClosed)
	c.socket.Close()         // everything was written or is given up
	c.failOnce.Do(func() {}) // no failure is on its way
	return c.failure
}

// fail closes the connection for a reason; the first one counts.
func (c *conn) fail(err error) {
	c.failOnce.Do(func() {
		c.failure = err
		c.cancel(err)
		c.pipeline.breakUp()
		c.socket.Close()
	})
}

// busySince is the last moment at which the connection had something to do.
func (c *conn) busySince() time.Time {
	if !c.pipeline.empty() {
		return time.Now()
	}
	return time.Unix(0, c.active.Load())
}

// readRequests reads frames and starts them until the connection fails or is stopped.
func (c *conn) readRequests() error {
	counters := &c.server.counters
	for {
		waited, ok := c.pipeline.wait()
		if waited {
			counters.pipelineWaits.Add(1)
		}
		if !ok {
			return net.ErrClosed
		}
		f, err := c.frames.next(c.context)
		if err != nil {
			return socketError(err)
		}
		if err := c.start(f); err != nil {
			f.release()
			return err
		}
	}
}

// start starts the request in f. The frame stays the caller's on error.
func (c *conn) start(f frame) error {
	h, err := parseHeader(f.bytes)
	if err != nil {
		return err
	}
	if string(h.clientID) != c.clientID {
		c.clientID = string(h.clientID)
	}
	r := &Request{
		Key:           h.key,
		Version:       h.version,
		CorrelationID: h.correlationID,
		ClientID:      c.clientID,
		Body:          f.bytes[h.size:],
		Size:          len(f.bytes),
		Conn:          &c.info,
	}
	counters := &c.server.counters
	counters.requests.Add(1)
	counters.requestBytes.Add(int64(len(f.bytes)) + 4)
	pending, err := c.server.handler.Start(c.context, r)
	if err != nil {
		return fmt.Errorf("%w: %w", errHandler, err)
	}
	counters.requestsNow.Add(1)
	if c.pipeline.push(started{pending: pending, ready: r.Ready, correlationID: h.correlationID, key: h.key, frame: f}) {
		go c.writeResponses()
	}
	return nil
}

// writeResponses answers started requests in order, until there are no more.
func (c *conn) writeResponses() {
	b := takeBatch()
	defer giveBatch(b)
	for {
		s, ok := c.pipeline.pop()
		if !ok {
			c.flush(b)
			if c.pipeline.leave() {
				return
			}
			continue
		}
		if !isReady(s.ready) || b.full() {
			c.flush(b)
		}
		response, err := s.pending(c.context)
		if err != nil {
			c.flush(b) // what came before is still owed
			c.fail(fmt.Errorf("%w: %w", errHandler, err))
		}
		answered := answer{frame: s.frame}
		if response != nil {
			answered.release = response.Release
			if s.key == keyApiVersions {
				response.Flexible = false // so that any client can read it (KIP-511)
			}
			if err == nil {
				if err := b.add(s.correlationID, response); err != nil {
					c.fail(err)
				}
			}
		}
		b.answers = append(b.answers, answered)
	}
}

// isReady says whether a pending is known not to wait.
func isReady(ready <-chan struct{}) bool {
	select {
	case <-ready:
		return true
	default:
		return false
	}
}

// flush writes what is in the batch, or gives it up when the connection has failed, and
// releases it either way.
func (c *conn) flush(b *batch) {
	if len(b.answers) == 0 {
		return
	}
	counters := &c.server.counters
	if b.responses > 0 && c.context.Err() == nil {
		if err := c.writer.write(b.chunks, b.files); err != nil {
			c.fail(socketError(err))
		} else {
			counters.responses.Add(int64(b.responses))
			counters.responseBytes.Add(b.size)
			c.active.Store(time.Now().UnixNano())
		}
	}
	for i := range b.answers {
		a := &b.answers[i]
		if a.release != nil {
			a.release()
		}
		n := len(a.frame.bytes)
		a.frame.release()
		c.pipeline.done(n)
		counters.requestsNow.Add(-1)
	}
	b.reset()
}

// socketError names an error of reading or writing, unless it has a name.
func socketError(err error) error {
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return err
		}
	}
	return fromSocket(err)
}
