package s3api

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"github.com/varvelog/varve/tiering/objstore"
)

// UnsignedPayload stands for the SHA-256 of a payload that the signature leaves out.
const UnsignedPayload = "UNSIGNED-PAYLOAD"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Payload is one request's bytes: a range of a Body. It is an io.ReadSeeker, so that
// an SDK can measure and rewind it.
//
// An HTTP transport may still read from a body when its request has already failed.
// After Stop it gets an error instead, so that the Body is left alone for good.
type Payload struct {
	// SHA256 is what the signature covers: hexadecimal, or UnsignedPayload.
	SHA256 string
	// CRC32C is the checksum to send, in base64; "" sends none.
	CRC32C string

	start, size int64

	mu       sync.Mutex // held while the Body is read
	body     objstore.Body
	position int64 // of the next Read, relative to start; guarded by mu
	failed   error // of the Body, not of the network; guarded by mu
	stopped  bool  // guarded by mu
}

var errStopped = errors.New("the upload has ended")

// newPayload returns size bytes of body from start, with the checksums o asks for.
func newPayload(o Options, body objstore.Body, start, size int64) (*Payload, error) {
	p := &Payload{SHA256: UnsignedPayload, start: start, size: size, body: body}
	switch {
	case o.Checksum == ChecksumWhenSupported:
		sum := crc32.New(castagnoli)
		if _, err := io.Copy(sum, p); err != nil {
			return nil, err
		}
		p.CRC32C = base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum.Sum32()))
	case !o.Secure():
		sum := sha256.New()
		if _, err := io.Copy(sum, p); err != nil {
			return nil, err
		}
		p.SHA256 = hex.EncodeToString(sum.Sum(nil))
	}
	p.position = 0
	return p, nil
}

// Size returns the length in bytes.
func (p *Payload) Size() int64 { return p.size }

// Read implements io.Reader.
func (p *Payload) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return 0, errStopped
	}
	if p.failed != nil {
		return 0, p.failed
	}
	rest := p.size - p.position
	if rest <= 0 {
		return 0, io.EOF
	}
	b = b[:min(int64(len(b)), rest)]
	if len(b) == 0 {
		return 0, nil
	}
	n, err := p.body.ReadAt(b, p.start+p.position)
	p.position += int64(n)
	if n == len(b) {
		return n, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	p.failed = fmt.Errorf("read body at %d: %w", p.start+p.position, err)
	return n, p.failed
}

// Seek implements io.Seeker.
func (p *Payload) Seek(offset int64, whence int) (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch whence {
	case io.SeekCurrent:
		offset += p.position
	case io.SeekEnd:
		offset += p.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning of a payload")
	}
	p.position = offset
	return offset, nil
}

// Stop waits for a Read under way, ends all further ones and returns the error of the
// Body, if it was the Body that failed.
func (p *Payload) Stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	return p.failed
}

// verify compares what the store says it took with what was sent.
func (p *Payload) verify(r Receipt) error {
	if p.CRC32C != "" && r.CRC32C != "" && p.CRC32C != r.CRC32C {
		return fmt.Errorf("%w: sent CRC32C %s, the store took %s", objstore.ErrMismatch, p.CRC32C, r.CRC32C)
	}
	return nil
}
