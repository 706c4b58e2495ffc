package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// Server serves connections of any number of listeners under one set of limits.
type Server struct {
	handler  Handler
	options  Options
	budget   budget
	counters counters
	limits   connectionLimits
	rate     rateLimit
	logged   oncePerMinute

	mu     sync.Mutex
	conns  map[*conn]struct{}
	serial int64

	stopping chan struct{} // closed by the first stop
	stopOnce sync.Once
}

// Listener is a listening socket with the name it has in listeners.
type Listener struct {
	Name string
	net.Listener
}

// Port is the port that l listens on, 0 if it is not a TCP listener.
func (l Listener) Port() int32 {
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		return int32(a.Port)
	}
	return 0
}

// New returns a server that starts nothing yet.
func New(h Handler, o Options) *Server {
	o = o.withDefaults()
	s := &Server{
		handler: h,
		options: o,
		budget:  budget{limit: o.MaxInFlightBytes},
		conns:   make(map[*conn]struct{}),

		stopping: make(chan struct{}),
	}
	s.SetLimits(o)
	return s
}

// SetLimits changes the limits of connections to those of o, while the server runs.
func (s *Server) SetLimits(o Options) {
	o = o.withDefaults()
	s.limits.set(o.MaxConnections, o.MaxConnectionsPerIP, o.ConnectionOverrides)
	s.rate.set(float64(o.MaxConnectionRate))
}

// Listen opens the socket of a listener. host "" is every address of this machine.
func Listen(ctx context.Context, name, host string, port int32) (Listener, error) {
	address := net.JoinHostPort(host, strconv.Itoa(int(port)))
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return Listener{}, fmt.Errorf("listener %s: port %d is taken by another process; stop it, or choose another port in listeners: %w", name, port, err)
	}
	if err != nil {
		return Listener{}, fmt.Errorf("listener %s: %w", name, err)
	}
	return Listener{Name: name, Listener: l}, nil
}

// Serve accepts and serves connections until ctx ends. Then it closes the listeners, lets
// requests that were started be answered for at most ShutdownTimeout, closes what is left
// and returns when all its goroutines have ended. It returns nil, or why a listener broke.
func (s *Server) Serve(ctx context.Context, listeners ...Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var accepting, serving sync.WaitGroup
	errs := make([]error, len(listeners))
	for i, l := range listeners {
		accepting.Go(func() {
			if errs[i] = s.accept(ctx, l, &serving); errs[i] != nil {
				cancel()
			}
		})
	}
	<-ctx.Done()
	for _, l := range listeners {
		l.Close() // it accepts no more; there is nothing to lose
	}
	accepting.Wait()
	s.stopOnce.Do(func() { close(s.stopping) })
	s.each(func(c *conn) { c.frames.stop() })
	served := make(chan struct{})
	go func() { serving.Wait(); close(served) }()
	deadline := time.NewTimer(s.options.ShutdownTimeout)
	defer deadline.Stop()
	select {
	case <-served:
	case <-deadline.C:
		s.each(func(c *conn) { c.fail(ErrShutdown) })
		<-served
	}
	return errors.Join(errs...)
}

func (s *Server) each(f func(*conn)) {
	s.mu.Lock()
	all := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	s.mu.Unlock()
	for _, c := range all {
		f(c)
	}
}

// Limits of the pause after a failed accept. 5 ms lets a connection end and free its
// descriptor; a second is still soon enough when the cause has gone.
const (
	minAcceptPause = 5 * time.Millisecond
	maxAcceptPause = time.Second
)

// accept runs the accept loop of a listener. No error but that the listener is closed
// ends it: a process out of descriptors, or a peer gone before accept, passes (B33).
func (s *Server) accept(ctx context.Context, l Listener, serving *sync.WaitGroup) error {
	pause := minAcceptPause
	for {
		socket, err := l.Accept()
		switch {
		case err == nil:
			pause = minAcceptPause
		case ctx.Err() != nil:
			return nil //nolint:nilerr // Serve has closed the listener, and returns why
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("listener %s: %w", l.Name, err)
		default:
			s.counters.acceptErrors.Add(1)
			if s.logged.now(logKey{reason: -1}, time.Now()) {
				s.options.Logger.Warn("cannot accept connections; raise the limit of open files if it says so", zap.String("listener", l.Name), zap.Error(err))
			}
			sleep(ctx, pause)
			pause = min(2*pause, maxAcceptPause)
			continue
		}
		s.counters.accepted.Add(1)
		if wait := s.rate.take(time.Now()); wait > 0 {
			s.counters.acceptDelays.Add(1)
			sleep(ctx, wait)
		}
		ip := peerAddress(socket.RemoteAddr())
		if err := s.limits.admit(ip); err != nil {
			s.closed(socket, err)
			socket.Close() // refused; nothing was written
			continue
		}
		if wait := s.options.AdmitConnection(socket.RemoteAddr()); wait > 0 {
			s.closed(socket, errTooFastPerIP)
			s.turnAway(ctx, socket, ip, wait, serving)
			continue
		}
		s.counters.connections.Add(1)
		serving.Go(func() {
			c := s.newConn(l.Name, socket)
			if ctx.Err() != nil { // Serve may have stopped the others already
				c.frames.stop()
			}
			if err := c.serve(); err != nil {
				s.closed(socket, err)
			}
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
			s.limits.leave(ip)
			s.counters.connections.Add(-1)
		})
	}
}

// turnAway closes a connection after wait, or when ctx ends. It is counted as one of its
// address until then: whoever tries again at once does so more slowly (KIP-612).
func (s *Server) turnAway(ctx context.Context, socket net.Conn, ip netip.Addr, wait time.Duration, serving *sync.WaitGroup) {
	serving.Add(1)
	end := sync.OnceFunc(func() {
		socket.Close() // nothing was written
		s.limits.leave(ip)
		serving.Done()
	})
	forget := context.AfterFunc(ctx, end)
	time.AfterFunc(wait, func() {
		forget()
		end()
	})
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (s *Server) newConn(listener string, socket net.Conn) *conn {
	if t, ok := socket.(*net.TCPConn); ok {
		// Both only tune; a socket that refuses serves as well.
		if s.options.SendBuffer > 0 {
			_ = t.SetWriteBuffer(s.options.SendBuffer)
		}
		if s.options.ReceiveBuffer > 0 {
			_ = t.SetReadBuffer(s.options.ReceiveBuffer)
		}
	}
	c := &conn{
		server:   s,
		socket:   socket,
		pipeline: newPipeline(s.options.MaxPipelined, s.options.MaxPipelinedBytes),
		frames:   newFrameReader(socket, &s.options, &s.budget, &s.counters),
		writer:   newWriter(socket, &s.options, &s.counters),
	}
	c.context, c.cancel = context.WithCancelCause(context.Background())
	c.frames.busy, c.frames.hold = c.busySince, c.info.hold
	c.active.Store(time.Now().UnixNano())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	c.info.ID = fmt.Sprintf("%s-%s-%d", socket.LocalAddr(), socket.RemoteAddr(), s.serial)
	c.info.Stopping = s.stopping
	c.info.Listener, c.info.Local, c.info.Remote = listener, socket.LocalAddr(), socket.RemoteAddr()
	s.conns[c] = struct{}{}
	return c
}

// closed counts a connection that did not end well, and logs what an operator should
// know, once a minute for each address and reason. Peers that hang up are not news.
func (s *Server) closed(socket net.Conn, err error) {
	i := reasonOf(err)
	s.counters.closed[i].Add(1)
	if errors.Is(err, errPeer) || errors.Is(err, ErrIdle) || errors.Is(err, ErrShutdown) {
		return
	}
	if s.logged.now(logKey{ip: peerAddress(socket.RemoteAddr()), reason: i}, time.Now()) {
		s.options.Logger.Warn("connection closed", zap.String("reason", reasons[i].name), zap.Stringer("remote", socket.RemoteAddr()), zap.Stringer("local", socket.LocalAddr()), zap.Error(err))
	}
}
