package kraft

import (
	"errors"
	"fmt"
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

func TestWhatAdministratorsHaveSet(t *testing.T) {
	config := func(kind byte, of, name, value string) []byte {
		return message(4, 0, []byte{kind}, text(of), text(name), text(value), []byte{0})
	}
	unset := func(kind byte, of, name string) []byte {
		return message(4, 0, []byte{kind}, text(of), text(name), []byte{0, 0})
	}
	alice := []byte("\x03\x05user\x06alice\x00\x0aclient-id\x00\x00")
	again := []byte("\x03\x0aclient-id\x00\x00\x05user\x06alice\x00")
	quota := func(entity []byte, key string, high byte, remove byte) []byte {
		return message(14, 0, entity, text(key), []byte{high, 0xf0, 0, 0, 0, 0, 0, 0, remove, 0})
	}
	credential := func(user string, mechanism byte) []byte {
		return message(11, 0, text(user), []byte{mechanism}, text("salt"), text("stored"), text("server"), []byte{0, 0, 0x20, 0, 0})
	}
	var other [16]byte
	m := apply(t,
		config(32, "g", "share.auto.offset.reset", "earliest"), config(32, "left", "share.auto.offset.reset", "earliest"), unset(32, "left", "share.auto.offset.reset"),
		config(16, "s", "interval.ms", "1000"), config(4, "", "log.cleaner.threads", "2"), config(4, "1", "log.cleaner.threads", "3"), unset(4, "1", "log.cleaner.threads"),
		quota(alice, "producer_byte_rate", 0x3f, 0), quota(alice, "consumer_byte_rate", 0x3f, 0), quota(again, "consumer_byte_rate", 0, 1),
		credential("alice", 1), credential("alice", 2), credential("bob", 1), message(22, 0, text("bob"), []byte{1, 0}),
		message(18, 0, id[:], []byte{2}, text("t"), []byte{3}, text("User:alice"), text("*"), []byte{3, 3, 0}), message(18, 0, other[:]), message(19, 0, other[:], []byte{0}))
	s := m.Settings
	got := fmt.Sprint(s.Groups, s.Metrics, s.Brokers, len(s.ACLs))
	if want := "map[g:map[share.auto.offset.reset:earliest]] map[s:map[interval.ms:1000]] map[:map[log.cleaner.threads:2]] 1"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if len(s.Quotas) != 1 {
		t.Fatalf("quotas of %d entities", len(s.Quotas))
	}
	for _, q := range s.Quotas {
		if *q.Entity["user"] != "alice" || q.Entity["client-id"] != nil || len(q.Entity) != 2 || fmt.Sprint(q.Limits) != "map[producer_byte_rate:1]" {
			t.Errorf("%v: %v", q.Entity, q.Limits)
		}
	}
	want := Credential{8192, []byte("salt"), []byte("stored"), []byte("server")}
	if c := s.Credentials[Login{"alice", 2}]; len(s.Credentials) != 2 || fmt.Sprint(c) != fmt.Sprint(want) {
		t.Errorf("credentials %v", s.Credentials)
	}
}

// text is a compact string, or compact bytes.
func text(s string) []byte { return append([]byte{byte(len(s) + 1)}, s...) }

func FuzzApply(f *testing.F) {
	f.Add(topic, partition)
	f.Add(message(4, 0, []byte("\x02\x02t\x02k\x02v\x00")), message(15, 0, make([]byte, 21)))
	f.Add(message(14, 0, []byte("\x02\x05user\x00\x00\x02k12345678\x00\x00")), message(11, 0, []byte("\x02u\x01\x02s\x02k\x02k1234\x00")))
	f.Add(message(4, 0, []byte("\x20\x02g\x02k\x02v\x00")), message(18, 0, id[:]))
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
