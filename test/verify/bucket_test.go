package verify_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/test/verify"
	"github.com/varvelog/varve/tiering/mem"
	"github.com/varvelog/varve/tiering/objstore"
)

// someLog is three batches of two records each, from base on.
func someLog(t *testing.T, base int64) []byte {
	t.Helper()
	var log []byte
	for range 3 {
		b, err := batch.NoProducer.Build(base, 0, []batch.Record{{Value: []byte("a")}, {Value: fmt.Append(nil, base)}})
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, b...)
		base += 2
	}
	return log
}

func TestBatchesFindsEveryFault(t *testing.T) {
	log := someLog(t, 10)
	for _, c := range []struct {
		name   string
		change func([]byte) []byte
		ok     bool
	}{
		{"nothing", func(b []byte) []byte { return b }, true},
		{"a flipped bit", func(b []byte) []byte { b[70] ^= 4; return b }, false},
		{"another offset", func(b []byte) []byte { b[7]++; return b }, false},
		{"cut", func(b []byte) []byte { return b[:len(b)-1] }, false},
		{"a batch missing", func(b []byte) []byte { return b[len(b)/3:] }, false},
		{"the last one missing", func(b []byte) []byte { return b[:len(b)/3] }, false},
		{"a batch twice", func(b []byte) []byte { return append(b, b[:len(b)/3]...) }, false},
		{"a length that lies", func(b []byte) []byte { b[8] = 0xff; return b }, false},
		{"magic 1", func(b []byte) []byte { b[16] = 1; return b }, false},
	} {
		if _, err := verify.Batches(c.change(bytes.Clone(log)), 10, 16); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestBucketFindsEveryFault(t *testing.T) {
	first, second := someLog(t, 0), someLog(t, 6)
	size := int64(len(first))
	good := verify.Partition{Name: "t-0", End: 12, Segments: []verify.Segment{{Key: "c/t/0/seg/a", Next: 6, Size: size}, {Key: "c/t/0/seg/b", Base: 6, Next: 12, Size: int64(len(second))}}}
	for _, c := range []struct {
		name   string
		change func(*verify.Partition, map[string][]byte)
		ok     bool
	}{
		{"nothing", func(*verify.Partition, map[string][]byte) {}, true},
		{"a start within the first segment", func(p *verify.Partition, _ map[string][]byte) { p.LogStart = 3 }, true},
		{"a missing object", func(_ *verify.Partition, m map[string][]byte) { delete(m, "c/t/0/seg/a") }, false},
		{"a short object", func(_ *verify.Partition, m map[string][]byte) { m["c/t/0/seg/a"] = m["c/t/0/seg/a"][:size] }, false},
		{"a flipped bit", func(_ *verify.Partition, m map[string][]byte) { m["c/t/0/seg/b"][80] ^= 1 }, false},
		{"an orphan", func(_ *verify.Partition, m map[string][]byte) { m["c/t/0/seg/c"] = first }, false},
		{"a gap", func(p *verify.Partition, _ map[string][]byte) { p.Segments = p.Segments[1:] }, false},
		{"a disk that begins too late", func(p *verify.Partition, _ map[string][]byte) { p.LocalStart = 13 }, false},
		{"an end that lies", func(p *verify.Partition, _ map[string][]byte) { p.End = 11 }, false},
		{"other offsets", func(p *verify.Partition, _ map[string][]byte) { p.Segments[0].Next, p.Segments[1].Base = 5, 5 }, false},
	} {
		p := good
		p.Segments = append([]verify.Segment(nil), good.Segments...)
		objects := map[string][]byte{
			"c/t/0/seg/a":  append(bytes.Clone(first), "tail"...),
			"c/t/0/seg/b":  append(bytes.Clone(second), "tail"...),
			"c/t/0/root/r": []byte("root"),
		}
		c.change(&p, objects)
		b, err := mem.New(mem.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for key, content := range objects {
			if err := b.Put(context.Background(), key, objstore.BytesBody(content)); err != nil {
				t.Fatal(err)
			}
		}
		r, err := verify.Bucket(context.Background(), b, []verify.Partition{p})
		if err != nil || (len(r.Faults) == 0) != c.ok {
			t.Errorf("%s: %v, %v", c.name, r.Faults, err)
		}
	}
}
