package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestEchoOverTCP(t *testing.T) {
	s, address := startServer(t, echo, Options{})
	c := dial(t, address)
	for i, size := range []int{0, 1, 100, 64 << 10, 3 << 20} {
		body := bytes.Repeat([]byte{byte(i + 1)}, size)
		mustWrite(t, c, request(int32(i), body))
		id, got, err := readResponse(c)
		if err != nil || id != int32(i) || !bytes.Equal(got, body) {
			t.Fatalf("size %d: id %d, %d bytes, %v", size, id, len(got), err)
		}
	}
	if n := s.Stats(); n.Requests != 5 || n.ConnectionsNow != 1 {
		t.Errorf("%+v", n)
	}
}

// A connection that waits for its next request has one goroutine: none that would write.
func TestIdleConnectionHasNoWriter(t *testing.T) {
	_, address := startServer(t, echo, Options{})
	for range 20 {
		c := dial(t, address)
		for range 2 { // the second request is answered by another writer
			mustWrite(t, c, request(7, []byte("hello")))
			if id, got, err := readResponse(c); err != nil || id != 7 || string(got) != "hello" {
				t.Fatalf("id %d, %q, %v", id, got, err)
			}
		}
	}
	stacks := make([]byte, 1<<20)
	writers := func() int {
		return bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte("created by github.com/varvelog/varve/broker/wire.(*conn).start "))
	}
	for end := time.Now().Add(time.Minute); writers() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d writers:\n%s", writers(), stacks)
		}
	}
}

// Requests are started in order while earlier ones wait, and answered in order though
// later ones are ready first.
func TestPipelinedResponsesLeaveInRequestOrder(t *testing.T) {
	const n = 50
	release := make([]chan struct{}, n)
	for i := range release {
		release[i] = make(chan struct{})
	}
	var begun []int32
	allBegun := make(chan struct{})
	h := handlerFunc(func(_ context.Context, r *Request) (Pending, error) {
		begun = append(begun, r.CorrelationID)
		if len(begun) == n {
			close(allBegun)
		}
		wait := release[r.CorrelationID]
		if r.CorrelationID%3 == 0 {
			r.Ready = wait
		}
		return func(ctx context.Context) (*Response, error) {
			select {
			case <-wait:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			return &Response{Chunks: []Chunk{{Bytes: []byte{byte(r.CorrelationID)}}}}, nil
		}, nil
	})
	_, address := startServer(t, h, Options{})
	c := dial(t, address)
	var stream []byte
	for i := range int32(n) {
		stream = append(stream, request(i, nil)...)
	}
	mustWrite(t, c, stream)
	<-allBegun
	for i := n - 1; i >= 0; i-- {
		close(release[i])
	}
	for i := range int32(n) {
		if begun[i] != i {
			t.Fatalf("started %d as number %d", begun[i], i)
		}
		if id, body, err := readResponse(c); err != nil || id != i || body[0] != byte(i) {
			t.Fatalf("response %d: id %d, %v", i, id, err)
		}
	}
}

// What was answered does not wait for a later request that has to be waited for.
func TestAnswersAreNotHeldBackByALongPoll(t *testing.T) {
	h := handlerFunc(func(ctx context.Context, r *Request) (Pending, error) {
		if r.CorrelationID == 1 { // a Fetch that finds nothing
			return func(ctx context.Context) (*Response, error) { <-ctx.Done(); return nil, ctx.Err() }, nil
		}
		return echo.Start(ctx, r)
	})
	s, address := startServer(t, h, Options{})
	c := dial(t, address)
	mustWrite(t, c, append(request(0, []byte("now")), request(1, nil)...))
	if _, body, err := readResponse(c); err != nil || string(body) != "now" {
		t.Fatal(string(body), err)
	}
	c.Close()
	eventually(t, s, "closed", func(n Stats) bool { return n.ConnectionsNow == 0 })
}

func TestResponseHeaders(t *testing.T) {
	h := handlerFunc(func(_ context.Context, r *Request) (Pending, error) {
		if r.CorrelationID == 9 { // acks=0
			return func(context.Context) (*Response, error) { return nil, nil }, nil
		}
		return func(context.Context) (*Response, error) {
			return &Response{Flexible: true, Chunks: []Chunk{{}, {Bytes: []byte("body")}}}, nil
		}, nil
	})
	_, address := startServer(t, h, Options{})
	c := dial(t, address)
	mustWrite(t, c, keyedRequest(0, 3, 9, nil))
	mustWrite(t, c, keyedRequest(3, 9, 1, []byte{0}))
	mustWrite(t, c, keyedRequest(keyApiVersions, 3, 2, []byte{0}))
	for _, want := range []struct {
		id   int32
		body string
	}{{1, "\x00body"}, {2, "body"}} { // ApiVersions has header v0 (KIP-511)
		if id, body, err := readResponse(c); err != nil || id != want.id || string(body) != want.body {
			t.Fatalf("got %d %q %v, want %d %q", id, body, err, want.id, want.body)
		}
	}
}

// Reading stops while the pipeline is full, by count or by bytes.
func TestFullPipelineStopsReading(t *testing.T) {
	for name, o := range map[string]Options{
		"count": {MaxPipelined: 3},
		"bytes": {MaxPipelinedBytes: 3 * 1000},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var begun atomic.Int32
				release := make(chan struct{})
				s, l, stop := servePipes(t, handlerFunc(func(_ context.Context, r *Request) (Pending, error) {
					begun.Add(1)
					return func(context.Context) (*Response, error) { <-release; return &Response{}, nil }, nil
				}), o)
				c := l.dial()
				go func() {
					for i := range int32(10) {
						c.Write(request(i, make([]byte, 990)))
					}
				}()
				synctest.Wait()
				if begun.Load() != 3 {
					t.Errorf("%d requests started, want 3", begun.Load())
				}
				close(release)
				for i := range int32(10) {
					if id, _, err := readResponse(c); err != nil || id != i {
						t.Fatal(id, err)
					}
				}
				if s.Stats().PipelineWaits == 0 {
					t.Error("the wait was not counted")
				}
				stop()
			})
		})
	}
}

func TestConnectionIsClosedFor(t *testing.T) {
	refuse := handlerFunc(func(_ context.Context, r *Request) (Pending, error) {
		switch r.Key {
		case 4:
			return nil, fmt.Errorf("%w 4", ErrUnknownKey)
		case 5:
			return nil, errors.New("unsupported version")
		}
		return func(context.Context) (*Response, error) { return nil, errors.New("broken") }, nil
	})
	for name, c := range map[string]struct {
		send   []byte
		reason string
	}{
		"negative length (B1)":      {[]byte{0xff, 0, 0, 0}, "frame_size"},
		"100 MiB and a byte (B2)":   {[]byte{0x06, 0x40, 0, 1}, "frame_size"},
		"empty frame (B3)":          {[]byte{0, 0, 0, 0}, "frame_size"},
		"key 1000 (B5)":             {keyedRequest(1000, 0, 1, nil), "unknown_key"},
		"key the handler refuses":   {keyedRequest(4, 0, 1, nil), "unknown_key"},
		"Start fails (B6)":          {keyedRequest(5, 0, 1, nil), "handler"},
		"Pending fails":             {keyedRequest(0, 3, 1, nil), "handler"},
		"tags without end (B9)":     {keyedRequest(3, 9, 1, []byte{0xff, 0xff, 0xff, 0xff, 3}), "header"},
		"TLS ClientHello (B30)":     {[]byte{0x16, 3, 1, 2, 0, 1, 0, 1}, "tls"},
		"HTTP request":              {[]byte("GET /metrics HTTP/1.1\r\n\r\n"), "http"},
		"client id above the frame": {framed(head(3, 1, 0x10, 0)), "header"},
	} {
		t.Run(name, func(t *testing.T) {
			s, address := startServer(t, refuse, Options{})
			conn := dial(t, address)
			mustWrite(t, conn, c.send)
			mustBeClosed(t, conn)
			eventually(t, s, c.reason, func(n Stats) bool { return n.Closed[c.reason] == 1 })
		})
	}
}

// Every request that was started gets its Pending called and its response released, also
// when the peer has gone.
func TestPeerGoneReleasesWhatWasStarted(t *testing.T) {
	var released, called atomic.Int32
	allBegun := make(chan struct{})
	h := handlerFunc(func(_ context.Context, r *Request) (Pending, error) {
		if r.CorrelationID == 9 {
			close(allBegun)
		}
		return func(ctx context.Context) (*Response, error) {
			<-ctx.Done()
			called.Add(1)
			return &Response{Release: func() { released.Add(1) }, Chunks: []Chunk{{Bytes: r.Body}}}, nil
		}, nil
	})
	s, address := startServer(t, h, Options{})
	c := dial(t, address)
	for i := range int32(10) {
		mustWrite(t, c, request(i, make([]byte, 1000)))
	}
	<-allBegun
	c.Close()
	eventually(t, s, "closed", func(n Stats) bool { return n.ConnectionsNow == 0 })
	if called.Load() != 10 || released.Load() != 10 {
		t.Errorf("%d called, %d released, want 10", called.Load(), released.Load())
	}
}

func TestIdleConnectionIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l, stop := servePipes(t, echo, Options{})
		c := l.dial()
		begin := time.Now()
		for range 3 { // activity starts the time anew
			time.Sleep(9 * time.Minute)
			mustWrite(t, c, request(1, nil))
			if _, _, err := readResponse(c); err != nil {
				t.Fatal(err)
			}
		}
		mustBeClosedIn(t, c)
		if d := time.Since(begin); d < 36*time.Minute || d > 38*time.Minute {
			t.Errorf("closed after %v, want 10 minutes after the last request", d-27*time.Minute)
		}
		synctest.Wait()
		if n := s.Stats(); n.Closed["idle"] != 1 {
			t.Errorf("%+v", n)
		}
		stop()
	})
}

// mustBeClosedIn waits, for as long as it takes, for the server to close c.
func mustBeClosedIn(t *testing.T, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Fatalf("read %d bytes, %v; want the connection closed", n, err)
	}
}

func TestConnectionThatWaitsForAnAnswerIsNotIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l, stop := servePipes(t, handlerFunc(func(context.Context, *Request) (Pending, error) {
			return func(context.Context) (*Response, error) { time.Sleep(time.Hour); return &Response{}, nil }, nil
		}), Options{})
		c := l.dial()
		mustWrite(t, c, request(1, nil))
		if _, _, err := readResponse(c); err != nil {
			t.Fatal(err)
		}
		c.Close()
		stop()
	})
}

// B32: a frame must come within 30 seconds, and a second more for every 8 KiB.
func TestSlowFrameIsClosed(t *testing.T) {
	for name, c := range map[string]struct {
		perSecond int // bytes
		size      int
		ok        bool
	}{
		"a byte a second":           {1, 1000, false},
		"half of a length, no more": {0, 2, false},
		"16 KiB a second, 2 MiB":    {16 << 10, 2 << 20, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, l, stop := servePipes(t, echo, Options{})
				client := l.dial()
				begin := time.Now()
				data := request(1, make([]byte, c.size))
				if c.perSecond == 0 {
					mustWrite(t, client, data[:2])
				} else {
					go func() {
						for len(data) > 0 {
							n, err := client.Write(data[:min(len(data), c.perSecond)])
							if err != nil {
								return
							}
							data = data[n:]
							time.Sleep(time.Second)
						}
					}()
				}
				if c.ok {
					if _, body, err := readResponse(client); err != nil || len(body) != c.size {
						t.Fatal(len(body), err)
					}
				} else {
					mustBeClosedIn(t, client)
					if d := time.Since(begin); d < 29*time.Second || d > 33*time.Second {
						t.Errorf("closed after %v", d)
					}
					synctest.Wait()
					if n := s.Stats(); n.Closed["slow_frame"] != 1 {
						t.Errorf("%+v", n.Closed)
					}
				}
				client.Close()
				time.Sleep(2 * time.Second)
				stop()
			})
		})
	}
}

func TestReaderThatTakesNothingIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l, stop := servePipes(t, echo, Options{})
		c := l.dial()
		begin := time.Now()
		mustWrite(t, c, request(1, make([]byte, 1000)))
		for s.Stats().ConnectionsNow > 0 {
			time.Sleep(time.Second)
		}
		if d := time.Since(begin); d < 30*time.Second || d > 35*time.Second {
			t.Errorf("closed after %v", d)
		}
		if n := s.Stats(); n.Closed["slow_reader"] != 1 {
			t.Errorf("%+v", n.Closed)
		}
		stop()
	})
}

// The same on a socket: a full socket buffer is waited for, with a deadline.
func TestStuckReaderOnTCPIsClosed(t *testing.T) {
	big := bytes.Repeat([]byte{7}, 32<<20)
	var released atomic.Int32
	h := handlerFunc(func(context.Context, *Request) (Pending, error) {
		return func(context.Context) (*Response, error) {
			return &Response{Chunks: []Chunk{{Bytes: big}}, Release: func() { released.Add(1) }}, nil
		}, nil
	})
	// The whole response would be given a minute.
	s, address := startServer(t, h, Options{SendBuffer: 64 << 10, MaxStall: 50 * time.Millisecond, stallRate: 512 << 10})
	c := dial(t, address)
	mustWrite(t, c, request(1, nil))
	eventually(t, s, "slow reader", func(n Stats) bool { return n.Closed["slow_reader"] == 1 && n.ConnectionsNow == 0 })
	if released.Load() != 1 || s.Stats().BlockedWrites == 0 {
		t.Errorf("released %d, %+v", released.Load(), s.Stats())
	}
}

// A slow but steady reader gets everything.
func TestBlockedWriteGoesOn(t *testing.T) {
	big := make([]byte, 8<<20)
	for i := range big {
		big[i] = byte(i >> 10)
	}
	h := handlerFunc(func(context.Context, *Request) (Pending, error) {
		return func(context.Context) (*Response, error) {
			return &Response{Chunks: []Chunk{{Bytes: big[:1000]}, {Bytes: big[1000:]}}}, nil
		}, nil
	})
	s, address := startServer(t, h, Options{SendBuffer: 64 << 10})
	c := dial(t, address)
	// A window that the system grows could take a whole response without blocking.
	if err := c.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	for i := range int32(3) {
		mustWrite(t, c, request(i, nil))
		eventually(t, s, "blocked", func(n Stats) bool { return n.BlockedWrites > int64(i) })
		if id, body, err := readResponse(c); err != nil || id != i || !bytes.Equal(body, big) {
			t.Fatal(id, len(body), err)
		}
	}
}

func TestShutdownAnswersWhatWasStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipeListener()
		s := New(handlerFunc(func(_ context.Context, r *Request) (Pending, error) {
			return func(context.Context) (*Response, error) {
				time.Sleep(3 * time.Second)
				return &Response{Chunks: []Chunk{{Bytes: []byte("late")}}}, nil
			}, nil
		}), Options{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Serve(ctx, Listener{Name: "A", Listener: l}) }()
		c := l.dial()
		mustWrite(t, c, request(1, nil))
		cancel()
		if _, body, err := readResponse(c); err != nil || string(body) != "late" {
			t.Fatal(string(body), err)
		}
		mustBeClosedIn(t, c)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		checkNothingLeft(t, s)
	})
}

func TestShutdownEndsAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l, stop := servePipes(t, handlerFunc(func(context.Context, *Request) (Pending, error) {
			return func(ctx context.Context) (*Response, error) { <-ctx.Done(); return nil, ctx.Err() }, nil
		}), Options{})
		c := l.dial()
		mustWrite(t, c, request(1, nil))
		begin := time.Now()
		stop()
		if d := time.Since(begin); d != 10*time.Second {
			t.Errorf("took %v", d)
		}
		mustBeClosedIn(t, c)
	})
}

func TestShutdownTellsAnswersThatWaitForNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l, stop := servePipes(t, handlerFunc(func(_ context.Context, r *Request) (Pending, error) {
			return func(context.Context) (*Response, error) {
				<-r.Conn.Stopping
				return &Response{Chunks: []Chunk{{Bytes: []byte("no news")}}}, nil
			}, nil
		}), Options{})
		c := l.dial()
		mustWrite(t, c, request(1, nil))
		answered := make(chan string, 1)
		go func() {
			_, body, _ := readResponse(c)
			answered <- string(body)
		}()
		begin := time.Now()
		stop()
		if body, d := <-answered, time.Since(begin); body != "no news" || d > time.Second {
			t.Errorf("answer %q after %v", body, d)
		}
	})
}

func TestAcceptLoopSurvivesEMFILE(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l, stop := servePipes(t, echo, Options{})
		for range 20 {
			l.fail <- &net.OpError{Op: "accept", Err: syscall.EMFILE}
		}
		first := l.dial()
		first.Close()
		c := l.dial()
		mustWrite(t, c, request(5, nil))
		if id, _, err := readResponse(c); err != nil || id != 5 {
			t.Fatal(id, err)
		}
		if n := s.Stats().AcceptErrors; n == 0 {
			t.Error("no accept error was counted")
		}
		c.Close()
		stop()
	})
}

func TestConnectionLimits(t *testing.T) {
	for reason, o := range map[string]Options{
		"too_many":        {MaxConnections: 2},
		"too_many_per_ip": {MaxConnectionsPerIP: 2},
	} {
		t.Run(reason, func(t *testing.T) {
			s, address := startServer(t, echo, o)
			one, two := dial(t, address), dial(t, address)
			eventually(t, s, "two", func(n Stats) bool { return n.ConnectionsNow == 2 })
			mustBeClosed(t, dial(t, address))
			one.Close()
			eventually(t, s, "one", func(n Stats) bool { return n.ConnectionsNow == 1 && n.Closed[reason] == 1 })
			for _, c := range []net.Conn{two, dial(t, address)} {
				mustWrite(t, c, request(1, nil))
				if _, _, err := readResponse(c); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestConnectionLimitsAreAltered: those beyond a lower limit stay, and no more come.
func TestConnectionLimitsAreAltered(t *testing.T) {
	s, address := startServer(t, echo, Options{})
	here := netip.MustParseAddr("127.0.0.1")
	one, two := dial(t, address), dial(t, address)
	eventually(t, s, "two", func(n Stats) bool { return n.ConnectionsNow == 2 })
	for reason, o := range map[string]Options{
		"too_many":        {MaxConnections: 1},
		"too_many_per_ip": {MaxConnections: 3, ConnectionOverrides: map[netip.Addr]int{here: 2}},
	} {
		s.SetLimits(o)
		mustBeClosed(t, dial(t, address))
		eventually(t, s, reason, func(n Stats) bool { return n.Closed[reason] == 1 })
	}
	s.SetLimits(Options{MaxConnectionsPerIP: 1, ConnectionOverrides: map[netip.Addr]int{here: 3}, MaxConnectionRate: 1e6})
	for _, c := range []net.Conn{one, two, dial(t, address)} {
		mustWrite(t, c, request(1, nil))
		if _, _, err := readResponse(c); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheRateOfConnectionsIsAltered(t *testing.T) {
	now := time.Unix(1000, 0)
	l := &rateLimit{}
	l.set(1)
	if wait := l.take(now); wait != 0 {
		t.Errorf("the first waits %v", wait)
	}
	if wait := l.take(now); wait != time.Second {
		t.Errorf("the second waits %v", wait)
	}
	l.set(10)
	if wait := l.take(now.Add(time.Second)); wait != 0 {
		t.Errorf("one of ten waits %v", wait)
	}
}

func TestConnectionsWaitForTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l, stop := servePipes(t, echo, Options{MaxConnectionRate: 10})
		begin := time.Now()
		var all []net.Conn
		for range 31 {
			all = append(all, l.dial())
		}
		if d := time.Since(begin); d < 1900*time.Millisecond || d > 2200*time.Millisecond {
			t.Errorf("31 connections at 10 a second, 10 at once, took %v", d)
		}
		if s.Stats().AcceptDelays == 0 {
			t.Error("delays were not counted")
		}
		for _, c := range all {
			c.Close()
		}
		stop()
	})
}

// queued.max.request.bytes=-1 is no limit of its own, not a limit of nothing.
func TestNoLimitIsTheDefault(t *testing.T) {
	for _, o := range []Options{{}, {MaxInFlightBytes: -1, MaxConnections: -1, MaxPipelined: -1, MaxIdle: -1}} {
		o = o.withDefaults()
		if o.MaxInFlightBytes != 512<<20 || o.MaxConnections <= 0 || o.MaxPipelined != 128 || o.MaxIdle != 10*time.Minute {
			t.Errorf("%+v", o)
		}
	}
}

func TestPeerAddress(t *testing.T) {
	for in, want := range map[string]string{
		"10.1.2.3":           "10.1.2.3",
		"::ffff:10.1.2.3":    "10.1.2.3",
		"2001:db8:1:2:3::4":  "2001:db8:1:2::",
		"2001:db8:1:2:99::1": "2001:db8:1:2::",
		"::1":                "::1",
	} {
		if got := peerAddress(&net.TCPAddr{IP: net.ParseIP(in)}); got != netip.MustParseAddr(want) {
			t.Errorf("%s counts as %s, want %s", in, got, want)
		}
	}
}

func TestOncePerMinute(t *testing.T) {
	var o oncePerMinute
	now := time.Now()
	for i, want := range []bool{true, false, false, true} {
		if got := o.now(logKey{reason: 1}, now.Add(time.Duration(i)*25*time.Second)); got != want {
			t.Errorf("at %d s: %v", 25*i, got)
		}
	}
	for i := range 5000 {
		o.now(logKey{reason: i}, now)
	}
	if len(o.last) > 1024 {
		t.Errorf("%d keys kept", len(o.last))
	}
}

func TestListenSaysWhatToDoAboutATakenPort(t *testing.T) {
	l, err := Listen(t.Context(), "PLAINTEXT", "127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = Listen(t.Context(), "PLAINTEXT", "127.0.0.1", int32(l.Addr().(*net.TCPAddr).Port))
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "taken by another process") {
		t.Errorf("got %v", err)
	}
}

// B4, B32: slow peers hold little, and do not hold up others.
func TestThousandSlowPeersHoldLittle(t *testing.T) {
	if testing.Short() {
		t.Skip("opens many sockets")
	}
	s, address := startServer(t, echo, Options{MaxConnectionRate: 1e6, MaxConnections: 2000})
	const n = 500
	slow := make([]net.Conn, n)
	for i := range slow {
		slow[i] = dial(t, address)
		mustWrite(t, slow[i], []byte{0x06, 0, 0, 0, 0}) // a frame of 96 MiB, and its first byte
	}
	eventually(t, s, "slow peers", func(x Stats) bool { return x.ConnectionsNow == n && x.InFlightNow == n*firstBytes })
	c := dial(t, address)
	mustWrite(t, c, request(1, make([]byte, 1<<20)))
	if _, body, err := readResponse(c); err != nil || len(body) != 1<<20 {
		t.Fatal(len(body), err)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("heap %d MiB with %d slow peers", m.HeapInuse>>20, n)
	var closing sync.WaitGroup
	for _, c := range slow {
		closing.Go(func() { c.Close() })
	}
	closing.Wait()
	eventually(t, s, "freed", func(x Stats) bool { return x.ConnectionsNow <= 1 && x.InFlightNow == 0 })
}
