package wire

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// muting answers with the body, and mutes the connection for as many seconds as the first
// byte of the body says.
func muting(started *atomic.Int64) Handler {
	return handlerFunc(func(ctx context.Context, r *Request) (Pending, error) {
		started.Add(1)
		r.Conn.Mute(time.Duration(r.Body[0]) * time.Second)
		return echo.Start(ctx, r)
	})
}

func TestMutedConnectionIsAnsweredAndNotRead(t *testing.T) { // KIP-219
	synctest.Test(t, func(t *testing.T) {
		var started atomic.Int64
		_, l, stop := servePipes(t, muting(&started), Options{})
		defer stop()
		c := l.dial()
		defer c.Close()
		sent := time.Now()
		all := bytes.Join([][]byte{request(0, []byte{5}), request(1, []byte{0}), request(2, []byte{0})}, nil)
		go c.Write(all) // a pipe is written as it is read
		for id, want := range []time.Duration{0, 5 * time.Second, 5 * time.Second} {
			got, _, err := readResponse(c)
			if err != nil || got != int32(id) || time.Since(sent) != want {
				t.Fatalf("response %d after %s (%v), want %d after %s", got, time.Since(sent), err, id, want)
			}
			synctest.Wait()
			if id == 0 && started.Load() != 1 {
				t.Fatalf("%d requests were started", started.Load())
			}
		}
	})
}

func TestLongestMuteCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Conn
		begin := time.Now()
		for _, d := range []time.Duration{time.Second, time.Minute, 0, -time.Second, 30 * time.Second} {
			c.Mute(d)
		}
		if held, err := c.hold(t.Context()); !held || err != nil || time.Since(begin) != time.Minute {
			t.Errorf("held %v for %s, %v; want a minute", held, time.Since(begin), err)
		}
		if held, err := c.hold(t.Context()); held || err != nil {
			t.Errorf("held %v once it was over, %v", held, err)
		}
	})
}

// A mute that comes while the connection waits for a request holds that request up, too,
// and one that is prolonged is waited for.
func TestMuteCountsForARequestThatIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var started atomic.Int64
		s, l, stop := servePipes(t, muting(&started), Options{})
		defer stop()
		c := l.dial()
		defer c.Close()
		synctest.Wait()
		var info *Conn
		s.each(func(c *conn) { info = &c.info })
		info.Mute(time.Second)
		sent := time.Now()
		go c.Write(request(0, []byte{0}))
		time.Sleep(500 * time.Millisecond)
		info.Mute(2 * time.Second)
		if _, _, err := readResponse(c); err != nil || time.Since(sent) != 2500*time.Millisecond {
			t.Errorf("answered after %s, %v", time.Since(sent), err)
		}
	})
}

func TestMuteHoldsUpNeitherStopNorFailure(t *testing.T) {
	for _, what := range []string{"stop", "failure"} {
		synctest.Test(t, func(t *testing.T) {
			var started atomic.Int64
			s, l, stop := servePipes(t, muting(&started), Options{})
			c := l.dial()
			defer c.Close()
			go c.Write(append(request(0, []byte{200}), request(1, []byte{0})...))
			if _, _, err := readResponse(c); err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			if what == "failure" {
				s.each(func(c *conn) { c.fail(ErrSlowReader) })
				synctest.Wait()
				if n := s.Stats().ConnectionsNow; n != 0 {
					t.Errorf("%d connections are left", n)
				}
			}
			stop()
			if d := time.Since(begin); d != 0 {
				t.Errorf("%s took %s", what, d)
			}
			if n := started.Load(); n != 1 {
				t.Errorf("%d requests were started", n)
			}
		})
	}
}

func TestRefusedConnectionIsClosedAfterItsTime(t *testing.T) { // KIP-612
	synctest.Test(t, func(t *testing.T) {
		refuse := true
		s, l, stop := servePipes(t, echo, Options{AdmitConnection: func(net.Addr) time.Duration {
			if refuse {
				return time.Second
			}
			return 0
		}})
		c, begin := l.dial(), time.Now()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) || time.Since(begin) != time.Second {
			t.Errorf("closed after %s, %v; want a second", time.Since(begin), err)
		}
		synctest.Wait()
		if n := s.Stats(); n.Closed["quota_per_ip"] != 1 || s.limits.open != 0 {
			t.Errorf("%d closed for the quota, %d open", n.Closed["quota_per_ip"], s.limits.open)
		}
		held := l.dial()
		synctest.Wait()
		refuse = false
		served := l.dial()
		go served.Write(request(1, nil))
		if _, _, err := readResponse(served); err != nil {
			t.Error(err)
		}
		served.Close()
		begin = time.Now()
		stop()
		if d := time.Since(begin); d != 0 || s.limits.open != 0 {
			t.Errorf("stop took %s, %d open", d, s.limits.open)
		}
		held.Close()
	})
}

func BenchmarkNotMuted(b *testing.B) {
	var c Conn
	b.ReportAllocs()
	for b.Loop() {
		if held, err := c.hold(b.Context()); held || err != nil {
			b.Fatal(held, err)
		}
	}
}
