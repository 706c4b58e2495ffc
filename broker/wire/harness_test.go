package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// handlerFunc makes a Handler of a function.
type handlerFunc func(ctx context.Context, r *Request) (Pending, error)

func (f handlerFunc) Start(ctx context.Context, r *Request) (Pending, error) { return f(ctx, r) }

// echo answers every request with its body.
var echo = handlerFunc(func(_ context.Context, r *Request) (Pending, error) {
	r.Ready = Immediately
	return func(context.Context) (*Response, error) {
		return &Response{Chunks: []Chunk{{Bytes: r.Body}}}, nil
	}, nil
})

// startServer serves h on a TCP listener of the loopback until the test ends.
func startServer(t testing.TB, h Handler, o Options) (*Server, string) {
	t.Helper()
	l, err := Listen(t.Context(), "PLAINTEXT", "127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	s := New(h, o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		checkNothingLeft(t, s)
	})
	return s, l.Addr().String()
}

func checkNothingLeft(t testing.TB, s *Server) {
	t.Helper()
	if n := s.Stats(); n.InFlightNow != 0 || n.RequestsNow != 0 || n.ConnectionsNow != 0 {
		t.Errorf("left over: %d bytes, %d requests, %d connections", n.InFlightNow, n.RequestsNow, n.ConnectionsNow)
	}
}

func dial(t testing.TB, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, benchmark := t.(*testing.B); !benchmark { // a test that hangs should fail
		c.SetDeadline(time.Now().Add(30 * time.Second))
	}
	return c
}

// request frames a Produce v3 request, whose header is v1, with a null client id.
func request(correlationID int32, body []byte) []byte {
	return keyedRequest(0, 3, correlationID, body)
}

func keyedRequest(key, version int16, correlationID int32, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(10+len(body)))
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = binary.BigEndian.AppendUint32(b, uint32(correlationID))
	b = append(b, 0xff, 0xff)
	return append(b, body...)
}

// readResponse reads one response: its correlation id and what follows it.
func readResponse(r io.Reader) (int32, []byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	body := make([]byte, int32(binary.BigEndian.Uint32(head[:]))-4)
	_, err := io.ReadFull(r, body)
	return int32(binary.BigEndian.Uint32(head[4:])), body, err
}

func mustWrite(t testing.TB, w io.Writer, b []byte) {
	t.Helper()
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
}

// mustBeClosed waits for the server to close c without sending anything.
func mustBeClosed(t testing.TB, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %d bytes, %v; want the connection closed", n, err)
	}
}

// eventually waits until the counters are as wanted.
func eventually(t testing.TB, s *Server, what string, ok func(Stats) bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(s.Stats()); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: %+v", what, s.Stats())
		}
	}
}

// pipeListener accepts net.Pipe connections, whose deadlines are virtual in a bubble.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	fail   chan error // errors to return first
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{}), fail: make(chan error, 100)}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case err := <-l.fail:
		return nil, err
	default:
	}
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9092} }

func (l *pipeListener) dial() net.Conn {
	client, server := net.Pipe()
	l.conns <- server
	return client
}

// servePipes serves h on a pipeListener; stop ends it and waits.
func servePipes(t *testing.T, h Handler, o Options) (s *Server, l *pipeListener, stop func()) {
	l = newPipeListener()
	s = New(h, o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, Listener{Name: "PLAINTEXT", Listener: l}) }()
	return s, l, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		checkNothingLeft(t, s)
	}
}
