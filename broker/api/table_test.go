package api

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestTableNamesEachKeyOnceInOrder(t *testing.T) {
	for i := range table {
		a := &table[i]
		if i > 0 && a.key <= table[i-1].key {
			t.Errorf("%s (%d) stands after %s (%d)", a.name, a.key, table[i-1].name, table[i-1].key)
		}
		if a.key > maxKey {
			t.Errorf("%s: key %d is above maxKey %d", a.name, a.key, maxKey)
		}
		if a.start == nil {
			t.Errorf("%s has no handler", a.name)
		}
	}
}

// everything is a server that offers the whole table.
func everything() *Server {
	s := &Server{}
	for i := range table {
		s.apis[table[i].key] = &table[i]
	}
	return s
}

func TestTableOffersWhatCanBeEncoded(t *testing.T) {
	for i := range table {
		a := &table[i]
		q := kmsg.RequestForKey(a.key)
		if q == nil {
			t.Errorf("%s: kmsg knows no key %d", a.name, a.key)
			continue
		}
		if a.min < 0 || a.min > a.max || a.max > q.MaxVersion() || a.advertised > a.min {
			t.Errorf("%s: advertised from %d, answered %d to %d, kmsg up to %d", a.name, a.advertised, a.min, a.max, q.MaxVersion())
		}
	}
}

// Older librdkafka compresses only where Produce is offered from version 0 (KAFKA-18659),
// and older clients join groups with version 0 (KAFKA-19444).
func TestTrapsOfApiVersions(t *testing.T) {
	want := map[int16]int16{0: 0, 11: 0, 16: 0, 18: 0}
	for _, k := range everything().advertised() {
		if first, ok := want[k.ApiKey]; ok && k.MinVersion != first {
			t.Errorf("key %d is advertised from version %d, want %d", k.ApiKey, k.MinVersion, first)
		}
	}
}

func TestUnknownVersionOfApiVersionsIsAnsweredAsVersion0(t *testing.T) { // KIP-511
	r, err := everything().unsupportedApiVersions()(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := kmsg.NewPtrApiVersionsResponse()
	if err := p.ReadFrom(r.Chunks[0].Bytes); err != nil {
		t.Fatal(err)
	}
	if p.ErrorCode != 35 || len(p.ApiKeys) != len(table) || r.Flexible {
		t.Errorf("code %d, %d keys, flexible header %v; want 35, %d, false", p.ErrorCode, len(p.ApiKeys), r.Flexible, len(table))
	}
}

func TestSoftwareNamePattern(t *testing.T) { // KIP-511
	for name, want := range map[string]bool{
		"apache-kafka-java": true, "4.3.0": true, "a": true, "": false, "-a": false, "a-": false, "a b": false, ".": false, "librdkafka\n": false,
	} {
		if got := plausibleSoftware(name); got != want {
			t.Errorf("plausibleSoftware(%q) = %v", name, got)
		}
	}
}
