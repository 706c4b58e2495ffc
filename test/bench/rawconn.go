package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// rawConn speaks the protocol over one connection without a client's comfort: one
// request at a time.
type rawConn struct {
	net.Conn
	in     *bufio.Reader
	format *kmsg.RequestFormatter
	next   int32 // correlation id of the next request
}

// rawBuffer is how much is read at once: small enough to stay in a processor's cache.
const rawBuffer = 256 << 10

// rawLimit bounds one request.
const rawLimit = time.Minute

// smallBuffer is enough for small answers, on thousands of connections.
const smallBuffer = 4 << 10

func dial(ctx context.Context, address string) (*rawConn, error) {
	return dialBuffer(ctx, address, rawBuffer)
}

func dialBuffer(ctx context.Context, address string, buffer int) (*rawConn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &rawConn{Conn: c, in: bufio.NewReaderSize(c, buffer), format: kmsg.NewRequestFormatter(kmsg.FormatterClientID("bench"))}, nil
}

// send writes a request and reads the size and correlation id of its response. It
// returns how many bytes of the response follow.
func (c *rawConn) send(req kmsg.Request) (int, error) {
	c.next++
	if err := c.SetDeadline(time.Now().Add(rawLimit)); err != nil {
		return 0, err
	}
	if _, err := c.Write(c.format.AppendRequest(nil, req, c.next)); err != nil {
		return 0, err
	}
	var head [8]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return 0, err
	}
	if got := int32(binary.BigEndian.Uint32(head[4:])); got != c.next {
		return 0, fmt.Errorf("response to request %d came for %d", got, c.next)
	}
	return int(binary.BigEndian.Uint32(head[:4])) - 4, nil
}

// request sends a request and decodes its response.
func (c *rawConn) request(req kmsg.Request) (kmsg.Response, error) {
	size, err := c.send(req)
	if err != nil {
		return nil, err
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(c.in, body); err != nil {
		return nil, err
	}
	resp := req.ResponseKind()
	if resp.IsFlexible() && resp.Key() != int16(kmsg.ApiVersions) {
		body = body[1:] // no tagged fields in the header
	}
	return resp, resp.ReadFrom(body)
}
