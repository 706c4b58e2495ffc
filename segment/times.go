package segment

import (
	"errors"
	"fmt"
	"io"

	"github.com/varvelog/varve/segment/batch"
)

// maxDecompressed bounds what a batch found by its timestamp may expand to, in bytes:
// as much as one segment.
const maxDecompressed = 1 << 30

// Timestamped is a record found by its timestamp.
type Timestamped struct {
	Offset      int64
	Timestamp   int64 // ms
	LeaderEpoch int32
}

// FirstAtOrAfter finds the first record in [LocalStart, bound) whose timestamp is >= ts.
func (l *Log) FirstAtOrAfter(ts, bound int64) (t Timestamped, found bool, err error) {
	err = l.untilKept(func() error {
		t, found, err = l.firstAtOrAfter(ts, bound)
		return err
	})
	return t, found, err
}

func (l *Log) firstAtOrAfter(ts, bound int64) (Timestamped, bool, error) {
	v := l.view()
	bound = min(bound, v.end)
	for i := v.find(v.localStart); i < len(v.segments) && v.segments[i].base < bound; i++ {
		s := v.segments[i]
		largest, err := s.maxTime()
		if err != nil {
			return Timestamped{}, false, fmt.Errorf("find timestamp %d: %w", ts, err)
		}
		if largest.Timestamp < ts {
			continue
		}
		e, err := s.floorTime(ts)
		if err != nil {
			return Timestamped{}, false, fmt.Errorf("find timestamp %d: %w", ts, err)
		}
		t, found, err := l.search(v, i, max(e.Offset, v.localStart), bound,
			func(h header) bool { return h.maxTimestamp >= ts },
			func(r *batch.Record) bool { return r.Timestamp >= ts && r.Offset >= v.localStart })
		if found || err != nil {
			return t, found, err
		}
	}
	return Timestamped{}, false, nil
}

// MaxTimestamp finds the first record with the largest timestamp in [LocalStart, bound)
// (KIP-734).
func (l *Log) MaxTimestamp(bound int64) (t Timestamped, found bool, err error) {
	err = l.untilKept(func() error {
		t, found, err = l.maxTimestamp(bound)
		return err
	})
	return t, found, err
}

func (l *Log) maxTimestamp(bound int64) (Timestamped, bool, error) {
	v := l.view()
	bound = min(bound, v.end)
	var best Timestamped
	found := false
	for i := v.find(v.localStart); i < len(v.segments) && v.segments[i].base < bound; i++ {
		largest, err := v.segments[i].maxTime()
		if err != nil {
			return Timestamped{}, false, fmt.Errorf("find largest timestamp: %w", err)
		}
		if largest.Timestamp < 0 || found && largest.Timestamp <= best.Timestamp {
			continue
		}
		t, ok, err := l.largest(v, i, bound, largest.Offset, largest.Timestamp)
		if err != nil {
			return Timestamped{}, false, err
		}
		if ok && (!found || t.Timestamp > best.Timestamp) {
			best, found = t, true
		}
	}
	return best, found, nil
}

// largest finds the first record with the largest timestamp of segment i in
// [localStart, bound). The segment's own largest, ts at the batch that ends with
// offset, answers at once where it lies in that range.
func (l *Log) largest(v view, i int, bound, offset, ts int64) (Timestamped, bool, error) {
	if offset < bound && v.segments[i].base >= v.localStart {
		return l.search(v, i, offset, bound,
			func(h header) bool { return h.last >= offset },
			func(r *batch.Record) bool { return r.Timestamp >= ts })
	}
	// The range cuts the segment: look at each batch in it.
	var best Timestamped
	found := false
	_, _, err := l.search(v, i, v.localStart, bound,
		func(h header) bool { return !found || h.maxTimestamp > best.Timestamp },
		func(r *batch.Record) bool {
			if r.Offset >= v.localStart && r.Offset < bound && r.Timestamp >= 0 && (!found || r.Timestamp > best.Timestamp) {
				best.Offset, best.Timestamp, found = r.Offset, r.Timestamp, true
			}
			return false
		})
	if err != nil || !found {
		return Timestamped{}, false, err
	}
	// Its epoch: the batch that holds it.
	return l.search(v, i, best.Offset, bound,
		func(h header) bool { return h.last >= best.Offset },
		func(r *batch.Record) bool { return r.Offset == best.Offset })
}

// search walks the batches of segment i from the one that holds offset up to bound,
// opens those that may hold the record, and returns the first record wanted.
func (l *Log) search(v view, i int, offset, bound int64, may func(header) bool, want func(*batch.Record) bool) (t Timestamped, found bool, err error) {
	s := v.segments[i]
	f, err := s.file()
	if err != nil {
		return t, false, err
	}
	defer f.Release()
	position, err := l.locate(v, i, f, offset)
	if err != nil {
		return t, false, err
	}
	_, size := v.bounds(i)
	w := s.scan(f, position, size)
	defer w.close()
	for {
		h, err := w.batch()
		if errors.Is(err, io.EOF) || err == nil && h.base >= bound {
			return t, false, nil
		}
		if err != nil {
			return t, false, err
		}
		if !may(h) {
			continue
		}
		b := make(batch.Batch, h.size)
		if _, err := f.ReadAt(b, h.position); err != nil && !errors.Is(err, io.EOF) {
			return t, false, err
		}
		err = batch.Records(b, maxDecompressed, func(r *batch.Record) bool {
			if want(r) && r.Offset < bound {
				t, found = Timestamped{r.Offset, r.Timestamp, h.epoch}, true
			}
			return !found
		})
		if err != nil {
			return t, false, &CorruptError{s.path(logSuffix), h.position, err.Error()}
		}
		if found {
			return t, true, nil
		}
	}
}
