package segment

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
)

// damaged is a stopped directory with one log of several segments, to be hurt.
type damaged struct {
	*vfs.Mem
	all      []batch.Batch
	segments []Info
}

const damagedLog = "/data/t-0/"

func newDamaged(t *testing.T) damaged {
	t.Helper()
	d := damaged{Mem: vfs.NewMem()}
	dir := openT(t, d.Mem, "/data")
	l := openLogT(t, dir, "t")
	d.all = appendN(t, l, 60, seeded(3))
	d.segments = l.Segments()
	if len(d.segments) < 5 {
		t.Fatalf("%d segments", len(d.segments))
	}
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d damaged) log(i int) string { return damagedLog + fileName(d.segments[i].Base, logSuffix) }

// readEach reads from every offset, and returns those that cannot be read. What is read
// has to be what was appended there.
func (d damaged) readEach(t *testing.T, l *Log) (failed map[int64]bool) {
	t.Helper()
	failed = map[int64]bool{}
	for _, b := range d.all {
		at := b.BaseOffset()
		r, err := l.Read(at, l.Offsets().End, 1, true)
		var corrupt *CorruptError
		if errors.As(err, &corrupt) {
			failed[at] = true
			continue
		}
		if err != nil {
			t.Fatalf("offset %d: %v", at, err)
		}
		p, err := r.Bytes()
		r.Release()
		if err != nil || !bytes.Equal(p, b) {
			failed[at] = true
			if got, _, err := batch.Next(p); err == nil && got.CheckCRC() == nil {
				t.Fatalf("offset %d: a sound batch of offset %d is served for it", at, got.BaseOffset())
			}
		}
	}
	return failed
}

// TestDamageFailsItsOwnOffsetsOnly hurts a sealed segment behind a clean stop, in every
// way in turn, with and without its indexes: offsets in the damage fail, loudly, all
// others are read, and so is another log of the directory (R34, R35).
func TestDamageFailsItsOwnOffsetsOnly(t *testing.T) {
	for name, hurt := range map[string]func(t *testing.T, d damaged){
		"missing": func(t *testing.T, d damaged) {
			if err := d.Remove(d.log(2)); err != nil {
				t.Fatal(err)
			}
		},
		"swapped with the next": func(t *testing.T, d damaged) {
			a, b := readMem(t, d, d.log(2)), readMem(t, d, d.log(3))
			writeMem(t, d, d.log(2), b)
			writeMem(t, d, d.log(3), a)
		},
		"garbage in the middle": func(t *testing.T, d damaged) {
			p := readMem(t, d, d.log(2))
			copy(p[len(p)/2:], bytes.Repeat([]byte{0xa5}, 100))
			writeMem(t, d, d.log(2), p)
		},
		"zeros from the middle on": func(t *testing.T, d damaged) {
			p := readMem(t, d, d.log(2))
			clear(p[len(p)/2:])
			writeMem(t, d, d.log(2), p)
		},
		"cut in the middle": func(t *testing.T, d damaged) {
			p := readMem(t, d, d.log(2))
			writeMem(t, d, d.log(2), p[:len(p)/2])
		},
	} {
		for _, indexed := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				d := newDamaged(t)
				hurt(t, d)
				if !indexed && name != "missing" { // there they are the evidence
					d.Remove(damagedLog + fileName(d.segments[2].Base, offsetSuffix))
					d.Remove(damagedLog + fileName(d.segments[3].Base, timeSuffix))
				}
				for start := range 2 { // the second start finds what the first has left
					dir := openT(t, d.Mem, "/data")
					c := testConfig
					l, rec, err := dir.OpenLog("t", 0, TopicID{1}, Options{Config: c, Now: func() time.Time { return time.UnixMilli(1) }})
					if err != nil {
						t.Fatalf("start %d: %v", start, err)
					}
					if name == "missing" && len(rec.Faults) == 0 {
						t.Error("nothing is said of a missing segment")
					}
					failed := d.readEach(t, l)
					if len(failed) == 0 {
						t.Error("nothing fails")
					}
					low, high := d.segments[2].Base, d.segments[2].Next
					if name == "swapped with the next" {
						high = d.segments[3].Next
					}
					for at := range failed {
						if at < low || at >= high {
							t.Errorf("start %d: offset %d fails, the damage is in [%d, %d)", start, at, low, high)
						}
					}
					if got := l.Offsets().End; got != d.all[len(d.all)-1].NextOffset() {
						t.Errorf("log end %d", got)
					}
					appendN(t, openLogT(t, dir, "other"), 1, seeded(1))
					if err := dir.Close(); err != nil {
						t.Fatal(err)
					}
				}
			})
		}
	}
}

// A read that runs into damage returns what is sound before it.
func TestReadStopsBeforeDamage(t *testing.T) {
	d := newDamaged(t)
	if err := d.Remove(d.log(2)); err != nil {
		t.Fatal(err)
	}
	l := openLogT(t, openT(t, d.Mem, "/data"), "t")
	r, err := l.Read(0, l.Offsets().End, 1<<20, true)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	if want := d.segments[0].Size + d.segments[1].Size; r.Size != want {
		t.Errorf("%d bytes, want the %d before the damage", r.Size, want)
	}
}

// TestPoisonedDirectoriesAreRefusedByName (B41, B39): what cannot be a log's file stops
// the log it lies in, with its path, and no other; what is no log is left alone.
func TestPoisonedDirectoriesAreRefusedByName(t *testing.T) {
	d := newDamaged(t)
	for _, name := range []string{"99999999999999999999.log", "x.log", "-0000000000000000001.index", "0.snapshot"} {
		m := d.Crash(nil)
		writeMem(t, m, damagedLog+name, nil)
		dir := openT(t, m, "/data")
		_, _, err := dir.OpenLog("t", 0, TopicID{1}, Options{Config: testConfig, Now: time.Now})
		var corrupt *CorruptError
		if !errors.As(err, &corrupt) || filepath.Base(corrupt.Path) != name {
			t.Errorf("%s: %v", name, err)
		}
		openLogT(t, dir, "other")
	}
	m := d.Crash(nil)
	m.MkdirAll(damagedLog + fileName(7, logSuffix))
	_, _, err := openT(t, m, "/data").OpenLog("t", 0, TopicID{1}, Options{Config: testConfig, Now: time.Now})
	var corrupt *CorruptError
	if !errors.As(err, &corrupt) {
		t.Errorf("a directory in place of a segment: %v", err)
	}
}
