//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/varvelog/varve/test/harness"
)

// TestStalledPeersAreClosed has one peer send nothing, one stop in the middle of a frame
// and one take nothing of its answer (B4). Each is closed within its limit, which is 30 s
// for the last two and more for what the system's buffers took, and counted under its reason.
func TestStalledPeersAreClosed(t *testing.T) {
	t.Parallel()
	b := harness.StartBroker(t, append(quick(), "connections.max.idle.ms=10000", "socket.send.buffer.bytes=65536")...)
	b.Run("topic", "create", "large")
	const batches, size = 40, 900_000
	writer := dial(t, b)
	for range batches {
		if p := writer.produce("large", 0, at0(t, size)); p.ErrorCode != 0 {
			t.Fatalf("produce: %s", errorName(p.ErrorCode))
		}
	}

	idle, partial, deaf := dial(t, b), dial(t, b), dial(t, b)
	if err := deaf.conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	if err := partial.write(cat(length(1000), header(3, 9, true))); err != nil {
		t.Fatal(err)
	}
	if err := deaf.write(frame(fetchRequest("large", 0, 0, batches*size, batches*size), 1)); err != nil {
		t.Fatal(err)
	}
	awaitClosed(t, b, "idle", time.Minute)
	mustEnd(t, idle)
	awaitClosed(t, b, "slow_frame", time.Minute)
	mustEnd(t, partial)
	awaitClosed(t, b, "slow_reader", 2*time.Minute)
	if n, err := io.Copy(io.Discard, deaf.in); n >= batches*size {
		t.Errorf("the peer that did not read got all %d bytes, %v", n, err)
	}
}

// awaitClosed waits for the first connection that was closed for a reason.
func awaitClosed(t *testing.T, b *harness.Broker, reason string, limit time.Duration) {
	t.Helper()
	want := fmt.Sprintf(`varve_connections_closed_total{reason=%q} `, reason)
	harness.Until(t, limit, "a connection closed as "+reason, func() error {
		page, err := b.HTTPGet("/metrics")
		if err != nil {
			return err
		}
		for lines := bufio.NewScanner(bytes.NewReader(page)); lines.Scan(); {
			if count, ok := bytes.CutPrefix(lines.Bytes(), []byte(want)); ok && string(count) != "0" {
				return nil
			}
		}
		return errors.New("none yet")
	})
}

// mustEnd reads to the end of the stream, which has to be there already.
func mustEnd(t *testing.T, r *raw) {
	t.Helper()
	if err := r.conn.SetDeadline(time.Now().Add(rawLimit)); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, r.in); n != 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%d bytes, %v; want the connection closed", n, err)
	}
}

// TestConsumeEndsBesideABrokerThatStands: a member whose group does not answer ends all the
// same when it is told to, whether it has something left to commit or only to leave. What it
// has printed is committed, or it says that it could not be.
func TestConsumeEndsBesideABrokerThatStands(t *testing.T) {
	for _, wait := range []bool{false, true} {
		t.Run(fmt.Sprintf("waits for its commit %v", wait), func(t *testing.T) {
			t.Parallel()
			b := harness.StartBroker(t, quick()...)
			b.Run("topic", "create", "standing")
			writer := dial(t, b)
			if p := writer.produce("standing", 0, at0(t, 10)); p.ErrorCode != 0 {
				t.Fatalf("produce: %s", errorName(p.ErrorCode))
			}
			committed := func() error {
				if described := b.Run("group", "describe", "standing", "--json"); !strings.Contains(described, `"current_offset":1`) {
					return errors.New(described)
				}
				return nil
			}
			c := harness.StartProcess(t, "varve consume", exec.Command(harness.Build(t, "./cmd/varve"),
				"consume", "standing", "--group", "standing", "--from-beginning", "--bootstrap-server", b.Address))
			c.WaitLine(t, "", time.Minute)
			if wait {
				harness.Until(t, time.Minute, "commit", committed)
			}
			b.Pause(t)
			_ = c.Stop(time.Minute)
			b.Resume(t)
			if c.Running() {
				t.Fatalf("consume does not end; it said:\n%s", c.Output())
			}
			if said := strings.Contains(c.Output(), "commit offsets of group standing: "); !said {
				if err := committed(); err != nil {
					t.Errorf("consume said %q, and the group is %v", c.Output(), err)
				}
			}
		})
	}
}
