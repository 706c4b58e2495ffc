package kraft

import (
	"errors"
	"slices"
	"testing"
)

func apply(t *testing.T, records ...[]byte) *Metadata {
	t.Helper()
	m := New()
	for _, r := range records {
		if err := m.Apply(r); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

var id = func() (p [16]byte) { p[0] = 7; return }()

func message(kind, version byte, parts ...[]byte) []byte {
	p := []byte{1, kind, version}
	for _, part := range parts {
		p = append(p, part...)
	}
	return p
}

var (
	topic     = message(2, 0, []byte("\x02t"), id[:], []byte{0})
	partition = message(3, 2, []byte{0, 0, 0, 0}, id[:], []byte("\x02\x00\x00\x00\x03\x02\x00\x00\x00\x03\x01\x01\x00\x00\x00\x03\x00\x00\x00\x05\x00\x00\x00\x00\x01\x00"))
)

func TestALeaderChangeBeginsAnEpochAndOthersDoNot(t *testing.T) {
	change := func(tags ...byte) []byte { return message(5, 2, []byte{0, 0, 0, 0}, id[:], tags) }
	m := apply(t, topic, partition,
		change(1, 1, 4, 0xff, 0xff, 0xff, 0xff),                          // no leader
		change(1, 1, 4, 0xff, 0xff, 0xff, 0xfe),                          // as it was
		change(2, 0, 1, 1, 6, 5, 2, 0, 0, 0, 3),                          // no one in sync, 3 eligible (KIP-966)
		message(5, 0, []byte{0, 0, 0, 0}, id[:], []byte{1, 99, 2, 1, 1})) // what we do not know
	p := m.Topics["t"].Partitions[0]
	if p.Leader != -1 || p.LeaderEpoch != 6 || len(p.ISR) != 0 || !slices.Equal(p.ELR, []int32{3}) || !slices.Equal(p.Replicas, []int32{3}) {
		t.Errorf("%+v", p)
	}
}

func TestAnAbortedMetadataTransactionLeavesNothing(t *testing.T) {
	begin, end, abort := message(23, 0, []byte{0, 0}), message(24, 0, []byte{0}), message(25, 0, []byte{0, 0})
	if m := apply(t, begin, topic, partition, abort); len(m.Topics) != 0 {
		t.Errorf("%+v", m.Topics)
	}
	if m := apply(t, begin, topic, partition, end); len(m.Topics) != 1 || len(m.Topics["t"].Partitions) != 1 {
		t.Errorf("%+v", m.Topics)
	}
}

func FuzzApply(f *testing.F) {
	f.Add(topic, partition)
	f.Add(message(4, 0, []byte("\x02\x02t\x02k\x02v\x00")), message(15, 0, make([]byte, 21)))
	f.Add(message(9, 0, id[:], []byte{0}), message(5, 2, []byte{0, 0, 0, 0}, id[:], []byte{1, 1, 4, 0, 0, 0, 1}))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		m := New()
		for _, p := range [][]byte{topic, partition, a, b} {
			if err := m.Apply(p); err != nil && !errors.Is(err, ErrMetadata) {
				t.Fatal(err)
			}
		}
	})
}
