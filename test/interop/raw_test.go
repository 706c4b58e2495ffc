//go:build interop

package interop

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// rawConn is a connection on which a test says exactly what it wants to say.
type rawConn struct {
	net.Conn
	last int32 // correlation id
}

func dial(t testing.TB, address string) *rawConn {
	t.Helper()
	c, err := dialFor(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// dialFor is dial for a connection that the caller closes.
func dialFor(address string) (*rawConn, error) {
	c, err := net.Dial("tcp", address)
	return &rawConn{Conn: c}, err
}

// rawLimit bounds one request and its answer.
const rawLimit = time.Minute

// roundTrip sends a request of the version that was set in it and returns the answer's
// body: the frame without correlation id and, where the header has them, tags.
func (c *rawConn) roundTrip(q kmsg.Request) ([]byte, error) {
	c.last++
	if err := c.SetDeadline(time.Now().Add(rawLimit)); err != nil {
		return nil, err
	}
	frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("interop")).AppendRequest(nil, q, c.last)
	if _, err := c.Write(frame); err != nil {
		return nil, err
	}
	flexible := q.ResponseKind()
	flexible.SetVersion(q.GetVersion())
	return c.answer(flexible.IsFlexible() && q.Key() != int16(kmsg.ApiVersions))
}

// answer reads one frame.
func (c *rawConn) answer(flexible bool) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c, body); err != nil {
		return nil, err
	}
	if len(body) < 4 || int32(binary.BigEndian.Uint32(body)) != c.last {
		return nil, fmt.Errorf("answer %x is not to request %d", body[:min(len(body), 16)], c.last)
	}
	body = body[4:]
	if !flexible {
		return body, nil
	}
	if len(body) == 0 || body[0] != 0 {
		return nil, fmt.Errorf("header of the answer ends with %x, not with an empty tag section", body[:min(len(body), 1)])
	}
	return body[1:], nil
}

// exchange is roundTrip with the answer decoded: exactly, to its last byte.
func (c *rawConn) exchange(q kmsg.Request) (kmsg.Response, error) {
	body, err := c.roundTrip(q)
	if err != nil {
		return nil, err
	}
	p := q.ResponseKind()
	p.SetVersion(q.GetVersion())
	if err := p.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("decode answer: %w (%x)", err, body)
	}
	if again := p.AppendTo(nil); !bytes.Equal(again, body) {
		return nil, fmt.Errorf("answer is not canonical, or bytes trail:\n got %x\nwant %x", body, again)
	}
	return p, nil
}

// ask sends a request of a version and returns its answer.
func ask[P kmsg.Response](t testing.TB, c *rawConn, version int16, q kmsg.Request) P {
	t.Helper()
	q.SetVersion(version)
	p, err := c.exchange(q)
	if err != nil {
		t.Fatalf("%s version %d: %v", kmsg.NameForKey(q.Key()), version, err)
	}
	return p.(P)
}

// codeName writes an error code as the protocol does.
func codeName(code int16) string {
	if code == 0 {
		return "NONE"
	}
	if e := kerr.TypedErrorForCode(code); e != nil {
		return e.Message
	}
	return fmt.Sprintf("code %d", code)
}

// refusedWith compares an error code with the expected one; nil is none.
func refusedWith(t testing.TB, what string, code int16, want *kerr.Error) {
	t.Helper()
	wanted := "NONE"
	if want != nil {
		wanted = want.Message
	}
	equal(t, what, codeName(code), wanted)
}
