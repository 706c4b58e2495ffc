package load

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/test/verify"
)

// numberHeader carries the number of a tombstone.
const numberHeader = "number"

// text is what values are cut from: bytes that no two places have in common.
var text = func() []byte {
	b := make([]byte, 1<<20)
	random := rand.NewChaCha8([32]byte{'v', 'a', 'r', 'v', 'e'})
	_, _ = random.Read(b) // it never fails
	return b
}()

// record is the record of a send: its size and content follow from its number.
func record(s verify.Send, minSize, maxSize int) *kgo.Record {
	r := &kgo.Record{}
	if s.Key != 0 {
		r.Key = binary.BigEndian.AppendUint32(nil, s.Key)
	}
	if s.Tombstone {
		r.Headers = []kgo.RecordHeader{{Key: numberHeader, Value: binary.BigEndian.AppendUint64(nil, s.Value)}}
		return r
	}
	size := max(minSize, 8)
	if maxSize > size {
		size += int(s.Value * 2654435761 % uint64(maxSize-size))
	}
	r.Value = append(binary.BigEndian.AppendUint64(nil, s.Value), filler(s.Value, size-8)...)
	return r
}

func filler(value uint64, size int) []byte {
	from := int(value * 7919 % uint64(len(text)-size))
	return text[from : from+size]
}

// ErrForeign is a record that no load wrote, or that was changed.
var ErrForeign = errors.New("a record that no load wrote, or that was changed")

// number is the value of a record that was read.
func number(r *kgo.Record) (uint64, error) {
	if r.Value == nil {
		for _, h := range r.Headers {
			if h.Key == numberHeader && len(h.Value) == 8 {
				return binary.BigEndian.Uint64(h.Value), nil
			}
		}
		return 0, ErrForeign
	}
	if len(r.Value) < 8 {
		return 0, ErrForeign
	}
	n := binary.BigEndian.Uint64(r.Value)
	if rest := r.Value[8:]; len(rest) >= len(text) || !bytes.Equal(rest, filler(n, len(rest))) {
		return 0, ErrForeign
	}
	return n, nil
}
