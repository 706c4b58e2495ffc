package s3api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/varvelog/varve/tiering/objstore"
)

// check compares the answer to a ranged GET with the range and returns how many bytes
// to expect. Nothing but what was asked for may come: other bytes under the right
// name are the worst a store can return.
func (c Content) check(first, last int64) (int64, error) {
	if c.Range == "" {
		return c.checkWhole(first, last)
	}
	from, to, size, err := parseContentRange(c.Range)
	if err != nil {
		return 0, err
	}
	if from != first || to != min(last, size-1) {
		return 0, fmt.Errorf("%w: asked for bytes %d-%d, got %q", objstore.ErrMismatch, first, last, c.Range)
	}
	want := to - from + 1
	if c.Length >= 0 && c.Length != want {
		return 0, fmt.Errorf("%w: %q with a body of %d bytes", objstore.ErrMismatch, c.Range, c.Length)
	}
	return want, nil
}

// checkWhole is check for an answer without Content-Range, which is the whole object:
// legal, and right only if the whole object was within the range.
func (c Content) checkWhole(first, last int64) (int64, error) {
	switch {
	case c.Length == 0:
		return 0, fmt.Errorf("%w: the object is empty", objstore.ErrRange)
	case first != 0 || c.Length < 0 || c.Length-1 > last:
		return 0, fmt.Errorf("%w: asked for bytes %d-%d, got a whole object of %d bytes", objstore.ErrMismatch, first, last, c.Length)
	}
	return c.Length, nil
}

// parseContentRange reads "bytes first-last/size".
func parseContentRange(s string) (first, last, size int64, err error) {
	rest, isBytes := strings.CutPrefix(s, "bytes ")
	span, total, hasSize := strings.Cut(rest, "/")
	from, to, hasSpan := strings.Cut(span, "-")
	if !isBytes || !hasSize || !hasSpan {
		return 0, 0, 0, fmt.Errorf("%w: content range %.64q", objstore.ErrMismatch, s)
	}
	var errs [3]error
	first, errs[0] = strconv.ParseInt(from, 10, 64)
	last, errs[1] = strconv.ParseInt(to, 10, 64)
	size, errs[2] = strconv.ParseInt(total, 10, 64)
	if errors.Join(errs[:]...) != nil || first < 0 || last < first || size <= last {
		return 0, 0, 0, fmt.Errorf("%w: content range %.64q", objstore.ErrMismatch, s)
	}
	return first, last, size, nil
}

// stream is the body of a Get: exactly the bytes expected, or an error.
type stream struct {
	ctx    context.Context // of the Get, which governs its stream
	bucket *Bucket
	body   io.ReadCloser
	left   int64 // bytes still expected
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	if s.left <= 0 {
		return 0, io.EOF
	}
	n, err := s.body.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF) && s.left == 0:
		return n, io.EOF
	case s.ctx.Err() == nil && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)):
		return n, io.ErrUnexpectedEOF
	default:
		return n, s.bucket.classify(s.ctx, err)
	}
}

// Close implements io.Closer. A stream closed before its end costs its connection.
func (s *stream) Close() error { return s.body.Close() }
