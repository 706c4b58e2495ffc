package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
)

// put changes a field of a batch and makes the CRC right again.
func put(b Batch, pos int, v any) Batch {
	switch v := v.(type) {
	case int16:
		binary.BigEndian.PutUint16(b[pos:], uint16(v))
	case int32:
		binary.BigEndian.PutUint32(b[pos:], uint32(v))
	case int64:
		binary.BigEndian.PutUint64(b[pos:], uint64(v))
	default:
		panic(v)
	}
	b.setCRC()
	return b
}

func TestValidateRefusesHeadersByName(t *testing.T) {
	producer := func(id int64, epoch int16, sequence int32) Batch {
		b := put(put(plain(t), posProducerID, id), posProducerEpoch, epoch)
		return put(b, posBaseSequence, sequence)
	}
	crc := plain(t)
	crc[posCRC] ^= 1
	flipped := plain(t)
	flipped[len(flipped)-1] ^= 1
	magic := plain(t)
	magic[posMagic] = 1
	for _, c := range []struct {
		name string
		b    Batch
		want error
	}{
		{"well formed", plain(t), nil},
		{"B11 CRC", crc, ErrCorrupt},
		{"B11 record byte", flipped, ErrCorrupt},
		{"B12 count 0", put(plain(t), posCount, int32(0)), ErrInvalid},
		{"B12 count -1", put(plain(t), posCount, int32(-1)), ErrInvalid},
		{"B12 count too small", put(plain(t), posCount, int32(2)), ErrInvalid},
		{"B12 count too large", put(plain(t), posCount, int32(4)), ErrInvalid},
		{"B12 count and delta too small", put(put(plain(t), posCount, int32(2)), posLastOffsetDelta, int32(1)), ErrInvalid},
		{"B12 count and delta too large", put(put(plain(t), posCount, int32(4)), posLastOffsetDelta, int32(3)), ErrInvalid},
		{"B12 count and delta of 2^31-1", put(put(plain(t), posCount, int32(math.MaxInt32)), posLastOffsetDelta, int32(math.MaxInt32-1)), ErrInvalid},
		{"B12 last offset delta too small", put(plain(t), posLastOffsetDelta, int32(1)), ErrInvalid},
		{"B12 last offset delta too large", put(plain(t), posLastOffsetDelta, int32(3)), ErrInvalid},
		{"B12 last offset delta -1", put(plain(t), posLastOffsetDelta, int32(-1)), ErrInvalid},
		{"B12 last offset delta -2^31", put(plain(t), posLastOffsetDelta, int32(math.MinInt32)), ErrInvalid},
		{"B13 cut short", plain(t)[:97], ErrTruncated},
		{"B13 less than a header", plain(t)[:40], ErrTruncated},
		{"B13 nothing", nil, ErrTruncated},
		{"B13 a second batch", append(plain(t), plain(t)...), ErrInvalid},
		{"B13 a byte too many", append(plain(t), 0), ErrInvalid},
		{"B14 magic 1", magic, ErrMagic},
		{"B15 control", put(plain(t), posAttributes, int16(attrControl)), ErrInvalid},
		{"B15 transactional without producer id", put(plain(t), posAttributes, int16(attrTransactional)), ErrInvalid},
		{"delete horizon", put(plain(t), posAttributes, int16(attrDeleteHorizon)), ErrInvalid},
		{"log append time", put(plain(t), posAttributes, int16(attrLogAppendTime)), ErrTimestamp},
		{"B16 id with epoch and sequence", producer(0, 0, 0), nil},
		{"B16 id with epoch -1", producer(5, -1, 0), ErrInvalid},
		{"B16 id with sequence -1", producer(5, 0, -1), ErrInvalid},
		{"B16 id with sequence -2^31", producer(5, 0, math.MinInt32), ErrInvalid},
		{"B16 no id, sequence and epoch 0", producer(-1, 0, 0), nil},
		{"B18 codec 5", put(plain(t), posAttributes, int16(5)), ErrCompression},
		{"B18 codec 6", put(plain(t), posAttributes, int16(6)), ErrCompression},
		{"B18 codec 7", put(plain(t), posAttributes, int16(7)), ErrCompression},
		{"unused attribute bits", put(plain(t), posAttributes, int16(0x7f00)), nil},
		{"a base offset of the client's", func() Batch { b := plain(t); b.Assign(1<<62, -1); return b }(), nil},
	} {
		if err := Validate(c.b, lenient()); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// TestValidateRefusesRecordsByName tries every way a record can be wrong by every
// codec, and in a record that is larger than any buffer.
func TestValidateRefusesRecordsByName(t *testing.T) {
	const null = -1
	big := strings.Repeat("v", 3*bufferSize)
	for _, c := range []struct {
		name    string
		count   int32
		records []byte
		reason  string // "": valid
	}{
		{"minimal", 1, raw("\x00", 0, 0, null, null, 0), ""},
		{"negative key and value size are null", 1, raw("\x00", 0, 0, -7, -9, 0), ""},
		{"attributes are ignored", 1, raw("\xff", 0, 0, null, null, 0), ""},
		{"a header", 1, raw("\x00", 0, 0, null, null, 1, 1, "k", null), ""},
		{"large", 1, raw("\x00", 0, 0, 1, "k", len(big), big, 1, len(big), big, len(big), big), ""},
		{"varints longer than needed", 1, append([]byte{0x8e, 0x00}, "\x00\x80\x00\x00\x01\x01\x00"...), ""},
		{"no bytes", 1, nil, "size is missing"},
		{"zero bytes", 1, make([]byte, 20), "attributes"},
		{"size -1", 1, []byte{0x01, 0, 0, 0, 1, 1, 0}, "size is missing"},
		{"size cut short", 1, []byte{0x80}, "size is missing"},
		{"size of more than 32 bits", 1, append(bytes.Repeat([]byte{0xff}, 9), 0), "size is missing"},
		{"size beyond the batch", 1, []byte{0x20, 0, 0, 0, 1, 1}, ""},
		{"size one too small", 1, []byte{0x0a, 0, 0, 0, 1, 1, 0}, "header count"},
		{"size one too large", 1, []byte{0x0e, 0, 0, 0, 1, 1, 0, 0}, "left over at its end"},
		{"timestamp delta cut", 1, raw("\x00", "\x80"), "timestamp delta"},
		{"timestamp delta of 11 bytes", 1, raw("\x00", strings.Repeat("\x80", 10)+"\x00", 0, null, null, 0), "timestamp delta"},
		{"offset delta missing", 1, raw("\x00", 0), "offset delta"},
		{"offset delta of 33 bits", 1, raw("\x00", 0, 1<<32, null, null, 0), "offset delta"},
		{"offset delta 1 at 0", 1, raw("\x00", 0, 1, null, null, 0), "place in the batch"},
		{"offset delta -1", 1, raw("\x00", 0, -1, null, null, 0), "place in the batch"},
		{"offset delta twice", 2, append(raw("\x00", 0, 0, null, null, 0), raw("\x00", 0, 0, null, null, 0)...), "record 1: its offset delta"},
		{"key size missing", 1, raw("\x00", 0, 0), "key size"},
		{"key beyond the record", 1, raw("\x00", 0, 0, 9, "k", null, 0), "key"},
		{"key of 2 GiB", 1, raw("\x00", 0, 0, math.MaxInt32, "k", null, 0), "key"},
		{"value size missing", 1, raw("\x00", 0, 0, null), "value size"},
		{"value beyond the record", 1, raw("\x00", 0, 0, null, 2, "v"), "value"},
		{"value of 2 GiB", 1, raw("\x00", 0, 0, null, math.MaxInt32, "v", 0), "value"},
		{"header count missing", 1, raw("\x00", 0, 0, null, null), "header count"},
		{"header count -1", 1, raw("\x00", 0, 0, null, null, -1), "header count"},
		{"header count of 2^31-1", 1, raw("\x00", 0, 0, null, null, math.MaxInt32, 0, null), "header count"},
		{"header missing", 1, raw("\x00", 0, 0, null, null, 2, 1, "k", 1, "v"), "header key size"},
		{"header key null", 1, raw("\x00", 0, 0, null, null, 1, null, null), "header key size"},
		{"header key beyond the record", 1, raw("\x00", 0, 0, null, null, 1, 5, "k", null), "header key"},
		{"header value missing", 1, raw("\x00", 0, 0, null, null, 1, 1, "k"), "header value size"},
		{"header value beyond the record", 1, raw("\x00", 0, 0, null, null, 1, 1, "k", 5, "v"), "header value"},
		{"bytes after the headers", 1, raw("\x00", 0, 0, null, null, 0, "more"), "left over at its end"},
		{"bytes after the last record", 1, append(raw("\x00", 0, 0, null, null, 0), 0), "after the last record"},
		{"a record after the last", 1, append(raw("\x00", 0, 0, null, null, 0), raw("\x00", 0, 1, null, null, 0)...), "after the last record"},
		{"large, value beyond the record", 1, raw("\x00", 0, 0, null, len(big)+1, big), "value"},
		{"large, bytes after the headers", 1, raw("\x00", 0, 0, null, len(big), big, 0, "more"), "left over at its end"},
		{"large, cut short", 1, raw("\x00", 0, 0, null, len(big), big, 0)[:len(big)], "value"},
	} {
		for _, codec := range codecs {
			p, err := compress(nil, codec, UsualLevel, c.records)
			if err != nil {
				t.Fatal(err)
			}
			err = Validate(wrap(codec, c.count, p), lenient())
			if c.name == "size beyond the batch" { // which field runs out is not the point
				c.reason = "record 0"
			}
			if c.reason == "" {
				if err != nil {
					t.Errorf("%s, %s: %v", c.name, codec, err)
				}
				continue
			}
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("%s, %s: %v, want %q", c.name, codec, err, c.reason)
			}
			// Records reads what a producer may not send: offset deltas with gaps.
			if err := Records(wrap(codec, c.count, p), 1<<30, func(*Record) bool { return true }); !errors.Is(err, ErrInvalid) &&
				!strings.Contains(c.name, "offset delta") {
				t.Errorf("%s, %s: Records: %v", c.name, codec, err)
			}
		}
	}
}

func TestValidateTimestampsLikeLogValidator(t *testing.T) {
	const now, day = 1_700_000_000_000, 86_400_000
	for _, c := range []struct {
		name       string
		timestamps []int64
		rules      Rules
		want       error
	}{
		{"at both bounds", []int64{now - day, now + 3600_000}, Rules{Now: now, TimestampBeforeMax: day, TimestampAfterMax: 3600_000}, nil},
		{"B19 too old", []int64{now, now - day - 1}, Rules{Now: now, TimestampBeforeMax: day, TimestampAfterMax: math.MaxInt64}, ErrTimestamp},
		{"B19 too far ahead", []int64{now, now + day + 1}, Rules{Now: now, TimestampBeforeMax: math.MaxInt64, TimestampAfterMax: day}, ErrTimestamp},
		{"B19 year 9999, default bound", []int64{253_370_764_800_000}, Rules{Now: now, TimestampBeforeMax: math.MaxInt64, TimestampAfterMax: 3600_000}, ErrTimestamp},
		{"B19 year 9999, no bound", []int64{253_370_764_800_000}, Rules{Now: now, TimestampBeforeMax: math.MaxInt64, TimestampAfterMax: math.MaxInt64}, nil},
		{"B19 none", []int64{-1}, Rules{Now: now, TimestampBeforeMax: day, TimestampAfterMax: day}, nil},
		{"B19 -2, bound", []int64{-2}, Rules{Now: now, TimestampBeforeMax: day, TimestampAfterMax: day}, ErrTimestamp},
		{"B19 -2, no bound", []int64{-2}, Rules{Now: now, TimestampBeforeMax: math.MaxInt64, TimestampAfterMax: day}, nil},
		{"append time ignores them", []int64{1, math.MaxInt64}, Rules{Now: now, LogAppendTime: true}, nil},
		{"B19 later than the first", []int64{now, now - 5, now - 9}, Rules{Now: now, TimestampBeforeMax: day, TimestampAfterMax: day}, nil},
	} {
		for _, codec := range codecs {
			o := NoProducer
			o.Codec = codec
			var records []Record
			for _, ts := range c.timestamps {
				records = append(records, Record{Timestamp: ts})
			}
			c.rules.MaxDecompressed = 1 << 20
			if err := Validate(build(t, o, records...), &c.rules); !errors.Is(err, c.want) {
				t.Errorf("%s, %s: %v, want %v", c.name, codec, err, c.want)
			}
		}
	}
}

func TestValidateNamesTheRecordsRefusedKIP467(t *testing.T) {
	const now, day = 1_700_000_000_000, 86_400_000
	good := Record{Timestamp: now, Key: []byte("k")}
	late, early := Record{Timestamp: now + 2*day, Key: []byte("k")}, Record{Timestamp: now - 2*day, Key: []byte("k")}
	unkeyed := Record{Timestamp: now}
	for _, c := range []struct {
		name              string
		records           []Record
		kind              error
		unkeyed, mistimed []int32
	}{
		{"no key", []Record{good, unkeyed, good, unkeyed}, ErrInvalid, []int32{1, 3}, nil},
		{"out of range", []Record{late, good, early}, ErrTimestamp, nil, []int32{0, 2}},
		{"both: the timestamp decides", []Record{unkeyed, good, late}, ErrTimestamp, []int32{0}, []int32{2}},
	} {
		rules := Rules{Now: now, TimestampBeforeMax: day, TimestampAfterMax: day, Compacted: true, MaxDecompressed: 1 << 20}
		err := Validate(build(t, NoProducer, c.records...), &rules)
		var refused *RecordErrors
		if !errors.As(err, &refused) || !errors.Is(err, c.kind) {
			t.Errorf("%s: %v, want %v", c.name, err, c.kind)
			continue
		}
		if !slices.Equal(refused.Unkeyed, c.unkeyed) || !slices.Equal(refused.Mistimed, c.mistimed) {
			t.Errorf("%s: no key %d, out of range %d", c.name, refused.Unkeyed, refused.Mistimed)
		}
	}
}

func TestValidateRefusesTimestampsThatOverflow(t *testing.T) {
	b := wrap(None, 1, raw("\x00", math.MaxInt64, 0, -1, -1, 0))
	if err := Validate(put(b, posBaseTimestamp, int64(1)), lenient()); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

func TestValidateCorrectsMaxTimestampAsKafkaDoes(t *testing.T) {
	for _, codec := range codecs {
		o := NoProducer
		o.Codec = codec
		good := build(t, o, Record{Timestamp: 100}, Record{Timestamp: 300}, Record{Timestamp: 200})
		for _, wrong := range []int64{0, -1, 299, 301, math.MaxInt64, math.MinInt64} {
			b := put(bytes.Clone(good), posMaxTimestamp, wrong)
			if err := Validate(b, lenient()); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b, good) {
				t.Errorf("%s, %d: %s", codec, wrong, Describe(b))
			}
		}
		b := put(bytes.Clone(good), posMaxTimestamp, int64(7))
		before := bytes.Clone(b)
		r := lenient()
		r.LogAppendTime = true
		if err := Validate(b, r); err != nil || !bytes.Equal(b, before) {
			t.Errorf("%s: a batch to be stamped was changed: %v", codec, err)
		}
	}
}

func TestValidateLeavesARefusedBatchAlone(t *testing.T) {
	b := build(t, NoProducer, Record{Timestamp: 5}, Record{Timestamp: 6, Key: []byte("k")})
	put(b, posMaxTimestamp, int64(99))
	before := bytes.Clone(b)
	r := lenient()
	r.Compacted = true
	if err := Validate(b, r); err == nil || !bytes.Equal(b, before) {
		t.Error(err)
	}
}

func TestValidateCompactedNeedsKeysB20(t *testing.T) {
	for _, codec := range codecs {
		o := NoProducer
		o.Codec = codec
		r := lenient()
		r.Compacted = true
		if err := Validate(build(t, o, Record{Key: []byte{}}, Record{Key: []byte("k")}), r); err != nil {
			t.Errorf("%s: keys, one empty: %v", codec, err)
		}
		b := build(t, o, Record{Key: []byte("k")}, Record{})
		if err := Validate(b, r); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "record 1") {
			t.Errorf("%s: %v", codec, err)
		}
		if err := Validate(b, lenient()); err != nil {
			t.Errorf("%s: a topic that is not compacted: %v", codec, err)
		}
	}
}

func TestValidateNamesTheWorstFaultOfSeveral(t *testing.T) {
	r := &Rules{Compacted: true, Now: 1000, TimestampBeforeMax: 10, TimestampAfterMax: 10}
	unkeyed, mistimed := Record{Timestamp: 1000}, Record{Timestamp: 1, Key: []byte("k")}
	if err := Validate(build(t, NoProducer, unkeyed, mistimed), r); !errors.Is(err, ErrTimestamp) {
		t.Errorf("a timestamp comes before a key: %v", err)
	}
	b := build(t, NoProducer, unkeyed, mistimed)
	b[len(b)-1] = 2 // a header that is not there
	b.setCRC()
	if err := Validate(b, r); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "header count") {
		t.Errorf("structure comes before both: %v", err)
	}
}

// TestValidateAgreesWithRecords: what Validate accepts, Records reads whole.
func TestValidateAgreesWithRecords(t *testing.T) {
	for _, codec := range codecs {
		o := NoProducer
		o.Codec = codec
		for name, records := range samples() {
			b := build(t, o, records...)
			if err := Validate(b, lenient()); err != nil {
				t.Errorf("%s, %s: %v", name, codec, err)
			}
			if got := collect(t, b); len(got) != len(records) {
				t.Errorf("%s, %s: %d records", name, codec, len(got))
			}
		}
	}
}

func TestValidateAndRecordsRunSideBySide(t *testing.T) {
	want := kafkaRecords()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 25 {
				b := kafkaBatch(t, codecs[(i+j)%len(codecs)].String())
				if j%3 == 0 { // a decoder that failed serves the next batch as well
					cut := framed(b[:len(b)-9])
					if err := Validate(cut, lenient()); !errors.Is(err, ErrInvalid) {
						t.Errorf("%s cut short: %v", b.Codec(), err)
					}
				}
				if err := Validate(b, lenient()); err != nil {
					t.Errorf("%s: %v", b.Codec(), err)
				}
				n := 0
				if err := Records(b, 1<<20, func(r *Record) bool {
					if !bytes.Equal(r.Value, want[n].Value) {
						t.Errorf("%s: record %d differs", b.Codec(), n)
					}
					n++
					return true
				}); err != nil || n != len(want) {
					t.Errorf("%s: %d records, %v", b.Codec(), n, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestValidateAllocatesNothingUncompressed(t *testing.T) {
	records := samples()["many"]
	b, r := build(t, NoProducer, records...), lenient()
	if n := testing.AllocsPerRun(20, func() {
		if err := Validate(b, r); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestValidateAllocatesLittleCompressed(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool forget")
	}
	records := samples()["many"]
	for _, codec := range codecs[1:] {
		o := NoProducer
		o.Codec = codec
		b, r := build(t, o, records...), lenient()
		if n := testing.AllocsPerRun(50, func() {
			if err := Validate(b, r); err != nil {
				t.Fatal(err)
			}
		}); n > 4 {
			t.Errorf("%s: %v allocations", codec, n)
		} else {
			t.Logf("%s: %v allocations", codec, n)
		}
	}
}
