package index

import (
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"testing"
)

// reader hides that bytes are in memory, so that the paged look-up runs.
type reader struct{ b Bytes }

func (r reader) ReadAt(p []byte, off int64) (int, error) { return r.b.ReadAt(p, off) }

func TestEntriesAreKafkasBytes(t *testing.T) {
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"offset", AppendOffset(nil, 100, Position{Offset: 357, Position: 4097}), "00000101" + "00001001"},
		{"time", AppendTime(nil, 100, Time{Timestamp: 1700000000000, Offset: 357}), "0000018bcfe56800" + "00000101"},
		{"aborted", AbortedTxn{1, 2, 3, 4}.Append(nil), "0000" + "0000000000000001" + "0000000000000002" + "0000000000000003" + "0000000000000004"},
	} {
		if got := hex.EncodeToString(c.got); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestFloorEqualsLinearSearch(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 2, 3, 511, 512, 513, 1500, 5000} {
		const base = 1 << 40
		var offsets, times Bytes
		var ps []Position
		var ts []Time
		p, e := Position{Offset: base}, Time{Timestamp: 1000, Offset: base}
		for range n {
			p.Offset += 1 + r.Int64N(5)
			p.Position += 100 + r.Int64N(1000)
			e.Timestamp += 1 + r.Int64N(7)
			e.Offset = p.Offset
			offsets, times = AppendOffset(offsets, base, p), AppendTime(times, base, e)
			ps, ts = append(ps, p), append(ts, e)
		}
		for _, hidden := range []bool{false, true} {
			var or, tr io.ReaderAt = offsets, times
			if hidden {
				or, tr = reader{offsets}, reader{times}
			}
			o := Offsets{Base: base, R: or, Size: int64(len(offsets)) + 3}
			i := Times{Base: base, R: tr, Size: int64(len(times))}
			for range 300 {
				at := base - 3 + r.Int64N(int64(n)*4+10)
				want := Position{Offset: base}
				for _, p := range ps {
					if p.Offset <= at {
						want = p
					}
				}
				if got, err := o.Floor(at); err != nil || got != want {
					t.Fatalf("n %d: Floor(%d) = %v, %v; want %v", n, at, got, err, want)
				}
				if got, err := o.FloorPosition(want.Position); err != nil || got != want {
					t.Fatalf("n %d: FloorPosition(%d) = %v, %v; want %v", n, want.Position, got, err, want)
				}
				stamp := 990 + r.Int64N(int64(n)*5+20)
				early := Time{-1, base}
				for _, e := range ts {
					if e.Timestamp < stamp {
						early = e
					}
				}
				if got, err := i.Floor(stamp); err != nil || got != early {
					t.Fatalf("n %d: Floor(ts %d) = %v, %v; want %v", n, stamp, got, err, early)
				}
			}
		}
	}
}

func TestFloorReportsAFileShorterThanItsSize(t *testing.T) {
	o := Offsets{R: reader{make(Bytes, 80)}, Size: 800}
	if _, err := o.Floor(1); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("err %v", err)
	}
}

func TestFloorAllocatesNothingButItsClosures(t *testing.T) {
	b := make(Bytes, 0, 8000)
	for i := range int64(1000) {
		b = AppendOffset(b, 0, Position{i, i * 10})
	}
	o := Offsets{R: b, Size: int64(len(b))}
	if n := testing.AllocsPerRun(100, func() { _, _ = o.Floor(500) }); n > 3 {
		t.Fatalf("%v allocations", n)
	}
}

func TestParseAbortedStopsAtTheFirstFault(t *testing.T) {
	good := []AbortedTxn{{7, 10, 20, 9}, {8, 12, 30, 11}}
	var p []byte
	for _, a := range good {
		p = a.Append(p)
	}
	for _, c := range []struct {
		name string
		tail []byte
		ok   bool
	}{
		{"whole", nil, true},
		{"torn", AbortedTxn{9, 31, 40, 30}.Append(nil)[:33], false},
		{"version", append([]byte{0, 1}, make([]byte, 32)...), false},
		{"out of order", AbortedTxn{9, 5, 30, 5}.Append(nil), false},
		{"last before first", AbortedTxn{9, 50, 40, 5}.Append(nil), false},
	} {
		got, err := ParseAborted(append(p[:len(p):len(p)], c.tail...))
		if !reflect.DeepEqual(got, good) || (err == nil) != c.ok {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
}

func TestOverlappingIsDoneAtTheStableOffset(t *testing.T) {
	txns := []AbortedTxn{{1, 0, 10, 0}, {2, 5, 20, 15}, {3, 18, 30, 28}}
	got, done := Overlapping(nil, txns, 11, 15)
	if !reflect.DeepEqual(got, txns[1:2]) || !done {
		t.Fatalf("%v %v", got, done)
	}
	got, done = Overlapping(nil, txns, 0, 100)
	if len(got) != 3 || done {
		t.Fatalf("%v %v", got, done)
	}
}

func FuzzLookups(f *testing.F) {
	f.Add([]byte{}, int64(0))
	f.Add(AppendTime(AppendOffset(nil, 0, Position{5, 6}), 0, Time{7, 8}), int64(5))
	f.Add(make([]byte, 5000), int64(-1))
	f.Fuzz(func(t *testing.T, p []byte, at int64) {
		o := Offsets{R: reader{p}, Size: int64(len(p))}
		tm := Times{R: reader{p}, Size: int64(len(p))}
		for _, f := range []func() error{
			func() error { _, err := o.Floor(at); return err },
			func() error { _, err := o.FloorPosition(at); return err },
			func() error { _, err := tm.Floor(at); return err },
			func() error { _, err := tm.Last(); return err },
		} {
			if err := f(); err != nil {
				t.Fatal(err)
			}
		}
		txns, err := ParseAborted(p)
		var again []byte
		for _, a := range txns {
			again = a.Append(again)
		}
		if len(again) > len(p) || string(again) != string(p[:len(again)]) || (err == nil && len(again) != len(p)) {
			t.Fatal("does not round trip")
		}
	})
}
