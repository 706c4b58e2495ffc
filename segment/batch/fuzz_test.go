package batch

import (
	"bytes"
	"errors"
	"testing"
)

var sentinels = []error{ErrTruncated, ErrCorrupt, ErrMagic, ErrInvalid, ErrTimestamp, ErrCompression, ErrTooLarge}

// named fails where err is none of the package's errors.
func named(t *testing.T, err error) {
	t.Helper()
	for _, s := range sentinels {
		if err == nil || errors.Is(err, s) {
			return
		}
	}
	t.Fatalf("an error of no name: %v", err)
}

func FuzzNext(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte(plain(f)))
	f.Add([]byte(append(plain(f), plain(f)...)))
	f.Add([]byte(plain(f)[:70]))
	f.Fuzz(func(t *testing.T, p []byte) {
		for rest := p; ; {
			b, after, err := Next(rest)
			named(t, err)
			if err != nil {
				if b != nil || len(after) != len(rest) {
					t.Fatal("an error that took bytes")
				}
				return
			}
			if len(b) < HeaderSize || len(b)+len(after) != len(rest) || b[posMagic] != Magic {
				t.Fatalf("%d bytes cut off %d, %d left", len(b), len(rest), len(after))
			}
			Describe(b)
			rest = after
		}
	})
}

// FuzzValidate takes p for a header and records, makes length and CRC right, since no
// fuzzer guesses them, and asks that what is valid can be read, and stays valid,
// with another codec, too.
func FuzzValidate(f *testing.F) {
	for _, codec := range codecs[1:] { // small ones: the fuzzer wastes its time on large seeds
		f.Add([]byte(kafkaBatch(f, codec.String())))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) < HeaderSize {
			return
		}
		b := framed(p)
		const limit = 1 << 20
		rules := Rules{Now: 1_700_000_000_000, TimestampBeforeMax: 1 << 60, TimestampAfterMax: 1 << 50, MaxDecompressed: limit}
		err := Validate(b, &rules)
		named(t, err)
		if err != nil {
			return
		}
		if err := b.CheckCRC(); err != nil {
			t.Fatal(err)
		}
		next, newest := b.BaseOffset(), int64(noTimestamp)
		if err := Records(b, limit, func(r *Record) bool {
			if r.Offset != next {
				t.Fatalf("offset %d, want %d", r.Offset, next)
			}
			next++
			newest = max(newest, r.Timestamp)
			return true
		}); err != nil {
			t.Fatalf("valid, but: %v", err)
		}
		if next != b.NextOffset() || newest != b.MaxTimestamp() {
			t.Fatalf("offsets end at %d, timestamps at %d: %s", next, newest, Describe(b))
		}
		before := bytes.Clone(b)
		if err := Validate(b, &rules); err != nil || !bytes.Equal(b, before) {
			t.Fatalf("valid, but not twice: %v", err)
		}
		other, err := Recompress(b, Codec(b.CRC()%uint32(Zstd+1)), UsualLevel, limit)
		if err != nil || !bytes.Equal(b, before) {
			t.Fatalf("valid, but not to be recompressed: %v", err)
		}
		if err := Validate(other, &rules); err != nil || other.NextOffset() != b.NextOffset() || other.MaxTimestamp() != b.MaxTimestamp() {
			t.Fatalf("valid, but not as %s: %v: %s", other.Codec(), err, Describe(other))
		}
	})
}

// FuzzRecords asks that what can be read is read again from a batch built of it.
func FuzzRecords(f *testing.F) {
	for _, codec := range codecs[1:] {
		f.Add([]byte(kafkaBatch(f, codec.String())))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) < HeaderSize {
			return
		}
		b := framed(p)
		var records []Record
		err := Records(b, 1<<20, func(r *Record) bool {
			records = append(records, clone(*r))
			return true
		})
		named(t, err)
		if err != nil || len(records) == 0 {
			return
		}
		again, err := NoProducer.Build(0, 0, records)
		if errors.Is(err, ErrTimestamp) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		i := 0
		if err := Records(again, 0, func(r *Record) bool {
			w := &records[i]
			if !bytes.Equal(r.Key, w.Key) || (r.Key == nil) != (w.Key == nil) || !bytes.Equal(r.Value, w.Value) ||
				(r.Value == nil) != (w.Value == nil) || len(r.Headers) != len(w.Headers) || r.Timestamp != w.Timestamp {
				t.Fatalf("record %d differs", i)
			}
			i++
			return true
		}); err != nil || i != len(records) {
			t.Fatalf("%d of %d records: %v", i, len(records), err)
		}
	})
}

// framed is p as a batch with the right length, magic and CRC.
func framed(p []byte) Batch {
	b := Batch(bytes.Clone(p))
	put(b, posLength, int32(len(b)-LogOverhead))
	b[posMagic] = Magic
	b.setCRC()
	return b
}
