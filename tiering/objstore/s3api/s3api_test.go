package s3api

import (
	"errors"
	"io"
	"testing"

	"github.com/varvelog/varve/tiering/objstore"
)

func TestPartSizeKeepsPartsWithinTheLimit(t *testing.T) {
	tests := []struct{ size, configured, want int64 }{
		{300 << 20, 64 << 20, 64 << 20},
		{MinPartSize * MaxParts, MinPartSize, MinPartSize},
		{MinPartSize*MaxParts + 1, MinPartSize, 2 * MinPartSize},
		{5 << 40, 64 << 20, 1 << 30},
	}
	for _, tt := range tests {
		if got := partSize(tt.size, tt.configured); got != tt.want {
			t.Errorf("partSize(%d, %d) = %d, want %d", tt.size, tt.configured, got, tt.want)
		}
	}
}

func TestContentCheckAllowsOnlyTheRangeAskedFor(t *testing.T) {
	tests := []struct {
		name        string
		content     Content
		first, last int64
		want        int64
		err         error
	}{
		{"exact", Content{Length: 10, Range: "bytes 5-14/100"}, 5, 14, 10, nil},
		{"cut at the end", Content{Length: 5, Range: "bytes 95-99/100"}, 95, 200, 5, nil},
		{"length unknown", Content{Length: -1, Range: "bytes 5-14/100"}, 5, 14, 10, nil},
		{"whole object within the range", Content{Length: 10}, 0, 20, 10, nil},
		{"starts elsewhere", Content{Length: 10, Range: "bytes 6-15/100"}, 5, 14, 0, objstore.ErrMismatch},
		{"cut before the end", Content{Length: 9, Range: "bytes 5-13/100"}, 5, 14, 0, objstore.ErrMismatch},
		{"too long", Content{Length: 11, Range: "bytes 5-15/100"}, 5, 14, 0, objstore.ErrMismatch},
		{"length contradicts", Content{Length: 9, Range: "bytes 5-14/100"}, 5, 14, 0, objstore.ErrMismatch},
		{"range ignored", Content{Length: 100}, 5, 14, 0, objstore.ErrMismatch},
		{"range ignored from the beginning", Content{Length: 100}, 0, 14, 0, objstore.ErrMismatch},
		{"empty object", Content{Length: 0}, 0, 14, 0, objstore.ErrRange},
		{"unknown size", Content{Length: 10, Range: "bytes 5-14/*"}, 5, 14, 0, objstore.ErrMismatch},
		{"other unit", Content{Length: 10, Range: "lines 5-14/100"}, 5, 14, 0, objstore.ErrMismatch},
	}
	for _, tt := range tests {
		got, err := tt.content.check(tt.first, tt.last)
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: check = %d, %v; want %d, %v", tt.name, got, err, tt.want, tt.err)
		}
	}
}

func TestPayloadReadsNothingAfterStop(t *testing.T) {
	p, err := newPayload(Options{Endpoint: "http://x", Checksum: ChecksumWhenRequired}, objstore.BytesBody("0123456789"), 2, 5)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(p); err != nil || string(got) != "23456" {
		t.Fatalf("read %q, %v; want the range", got, err)
	}
	if _, err := p.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if n, err := p.Read(make([]byte, 5)); n != 0 || !errors.Is(err, errStopped) {
		t.Errorf("Read after Stop = %d, %v", n, err)
	}
}

// FuzzParseContentRange holds that whatever a store sends is refused or a range within
// the size it names.
func FuzzParseContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-0/1", "bytes 5-14/100", "bytes */100", "bytes 5-4/10", "bytes -1-5/9", "bytes 0-9223372036854775807/9223372036854775807", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		first, last, size, err := parseContentRange(s)
		if err != nil {
			if !errors.Is(err, objstore.ErrMismatch) {
				t.Fatalf("%q: %v, want ErrMismatch", s, err)
			}
			return
		}
		if first < 0 || last < first || size <= last {
			t.Fatalf("%q = %d-%d/%d", s, first, last, size)
		}
	})
}
