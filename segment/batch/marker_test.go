package batch

import (
	"bytes"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestMarkerIsEncodedAsKIP98Says(t *testing.T) {
	for _, m := range []Marker{{Commit: true, CoordinatorEpoch: 7}, {CoordinatorEpoch: 1 << 30}} {
		b, err := m.Build(50, 3, 1000, 4, 123)
		if err != nil {
			t.Fatal(err)
		}
		if !b.Control() || !b.Transactional() || b.ProducerID() != 1000 || b.ProducerEpoch() != 4 || b.BaseSequence() != -1 || b.MaxTimestamp() != 123 {
			t.Errorf("%s", Describe(b))
		}
		got, err := ReadMarker(b)
		if err != nil || got != m {
			t.Errorf("%+v, %v, want %+v", got, err, m)
		}
		r := collect(t, b)[0]
		key := kmsg.ControlRecordKey{Type: kmsg.ControlRecordKeyType(m.Type())}
		value := kmsg.EndTxnMarker{CoordinatorEpoch: m.CoordinatorEpoch}
		if !bytes.Equal(r.Key, key.AppendTo(nil)) || !bytes.Equal(r.Value, value.AppendTo(nil)) {
			t.Errorf("key %x value %x", r.Key, r.Value)
		}
	}
	if kmsg.ControlRecordKeyTypeCommit != kmsg.ControlRecordKeyType(ControlCommit) || kmsg.ControlRecordKeyTypeAbort != kmsg.ControlRecordKeyType(ControlAbort) {
		t.Error("types differ")
	}
}

func TestParseMarkerRefusesByName(t *testing.T) {
	const value = "\x00\x00\x00\x00\x00\x01"
	for _, c := range []struct {
		name, key, value string
		want             error
	}{
		{"a commit", "\x00\x00\x00\x01", value, nil},
		{"a later version with more fields", "\x00\x01\x00\x01\xff", "\x00\x01\x00\x00\x00\x01\xff", nil},
		{"no key", "", value, ErrInvalid},
		{"short key", "\x00\x00\x00", value, ErrInvalid},
		{"negative key version", "\xff\xff\x00\x01", value, ErrInvalid},
		{"leader change", "\x00\x00\x00\x02", value, ErrInvalid},
		{"short value", "\x00\x00\x00\x01", value[:5], ErrInvalid},
		{"negative value version", "\x00\x00\x00\x01", "\xff\xff\x00\x00\x00\x01", ErrInvalid},
	} {
		if _, err := ParseMarker(&Record{Key: []byte(c.key), Value: []byte(c.value)}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if _, err := ReadMarker(plain(t)); !errors.Is(err, ErrInvalid) {
		t.Errorf("a batch of data: %v", err)
	}
}
