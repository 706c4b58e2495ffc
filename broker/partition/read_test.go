package partition

import (
	"errors"
	"testing"

	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
)

func TestReadRangeIsLogStartToLogEnd(t *testing.T) {
	h := newHouse(t, defaults())
	h.produce(plain(t, 10, 1, 1))
	_, err := h.append(plain(t, 10, 1, 1)) // above the high watermark
	h.must(err)
	_, err = h.p.DeleteRecords(t.Context(), 4)
	h.must(err)
	for _, c := range []struct {
		offset int64
		size   bool
		want   error
	}{
		{-1, false, ErrOffsetOutOfRange},
		{3, false, ErrOffsetOutOfRange},
		{4, true, nil}, // inside a batch: the whole batch
		{9, true, nil},
		{10, false, nil}, // at the high watermark
		{15, false, nil}, // above it, and below the log end
		{20, false, nil},
		{21, false, ErrOffsetOutOfRange},
	} {
		r, err := h.read(spec(c.offset))
		if !errors.Is(err, c.want) || (r.Records.Size > 0) != c.size {
			t.Errorf("offset %d: %d bytes, %v", c.offset, r.Records.Size, err)
		}
		if r.Offsets.HighWatermark != 10 || r.Offsets.LogStart != 4 {
			t.Errorf("offset %d: %+v", c.offset, r.Offsets)
		}
		r.Records.Release()
	}
}

func TestReadGivesAtLeastOneBatchOnlyWhereAsked(t *testing.T) {
	h := newHouse(t, defaults())
	h.produce(plain(t, 1, 1, 500))
	h.produce(plain(t, 1, 1, 500))
	s := spec(0)
	s.MaxBytes = 10
	if got := h.bytes(s); batch.Batch(got).NextOffset() != 1 || len(got) < 500 || len(got) > 700 {
		t.Errorf("%d bytes", len(got))
	}
	s.OneBatch = false
	if got := h.bytes(s); len(got) != 0 {
		t.Errorf("%d bytes", len(got))
	}
}

// lineageOf leads three epochs: 2 from 0, 5 from 10, 7 from 20.
func lineageOf(h *house) {
	for _, e := range []int32{2, 5, 7} {
		h.must(h.p.Lead(h.t.Context(), e, h.metadata.elect(e), []int32{1}))
		h.produce(plain(h.t, 10, int64(e), 1))
	}
}

func TestReadTellsADivergingEpochKIP320(t *testing.T) {
	h := newHouse(t, defaults())
	lineageOf(h)
	for _, c := range []struct {
		offset int64
		last   int32
		want   *segment.EpochStart
		err    error
	}{
		{10, 2, nil, nil},
		{11, 2, &segment.EpochStart{Epoch: 2, Start: 10}, nil},
		{15, 5, nil, nil},
		{25, 6, &segment.EpochStart{Epoch: 5, Start: 20}, nil},
		{30, 7, nil, nil},
		{31, 7, &segment.EpochStart{Epoch: 7, Start: 30}, nil},
		{5, 8, nil, ErrOffsetOutOfRange},
	} {
		s := spec(c.offset)
		s.LastFetchedEpoch = c.last
		r, err := h.read(s)
		if !errors.Is(err, c.err) || (r.Diverging == nil) != (c.want == nil) || c.want != nil && *r.Diverging != *c.want {
			t.Errorf("at %d after epoch %d: %+v, %v", c.offset, c.last, r.Diverging, err)
		}
		if r.Diverging != nil && r.Records.Size > 0 {
			t.Errorf("at %d after epoch %d: records of another lineage", c.offset, c.last)
		}
		r.Records.Release()
	}
}

func TestEpochEndAsInKafka(t *testing.T) {
	h := newHouse(t, defaults())
	lineageOf(h)
	for epoch, want := range map[int32]segment.EpochStart{
		0: {Epoch: 0, Start: 0}, 2: {Epoch: 2, Start: 10}, 3: {Epoch: 2, Start: 10}, 5: {Epoch: 5, Start: 20},
		6: {Epoch: 5, Start: 20}, 7: {Epoch: 7, Start: 30}, 8: {Epoch: -1, Start: -1}, -1: {Epoch: -1, Start: -1},
	} {
		if e, end, err := h.p.EpochEnd(t.Context(), -1, epoch); err != nil || e != want.Epoch || end != want.Start {
			t.Errorf("epoch %d ends as %d at %d, %v; want %+v", epoch, e, end, err, want)
		}
	}
}

func TestWatchTellsOfCommitsAndLeadership(t *testing.T) {
	h := newHouse(t, defaults())
	w := segment.NewWaiter()
	h.p.Watch(w)
	defer h.p.Unwatch(w)
	signalled := func(what string, do func()) {
		t.Helper()
		select {
		case <-w.C():
		default:
		}
		do()
		select {
		case <-w.C():
		default:
			t.Errorf("%s: no signal", what)
		}
	}
	_, err := h.append(sent{id: 1, n: 1, txn: true}.batch(t, 0))
	h.must(err)
	signalled("flush", h.flush)
	signalled("marker", func() { h.marker(1, 0, true) })
	signalled("delete records", func() { _, err := h.p.DeleteRecords(t.Context(), 1); h.must(err) })
	signalled("smaller ISR", func() { h.p.SetISR([]int32{1, 2}) })
	_, err = h.append(plain(t, 1, 1, 1))
	h.must(err)
	h.flush()
	signalled("follower", func() { h.p.SetFollowerEnd(2, 3) })
	signalled("resign", h.p.Resign)
}

func TestListOffsetsSpecialTimestampsWithoutATier(t *testing.T) {
	h := newHouse(t, defaults())
	lineageOf(h)
	_, err := h.p.DeleteRecords(t.Context(), 12)
	h.must(err)
	h.produce(sent{id: 1, n: 1, txn: true}.batch(t, 0))
	for name, c := range map[string]struct {
		ts        int64
		isolation int8
		want      segment.Timestamped
	}{
		"latest":                  {Latest, ReadUncommitted, segment.Timestamped{Offset: 31, Timestamp: -1, LeaderEpoch: 7}},
		"latest, committed":       {Latest, ReadCommitted, segment.Timestamped{Offset: 30, Timestamp: -1, LeaderEpoch: 7}},
		"earliest":                {Earliest, ReadUncommitted, segment.Timestamped{Offset: 12, Timestamp: -1, LeaderEpoch: 5}},
		"largest timestamp":       {MaxTimestamp, ReadUncommitted, segment.Timestamped{Offset: 30, Timestamp: 1000, LeaderEpoch: 7}},
		"largest, committed":      {MaxTimestamp, ReadCommitted, segment.Timestamped{Offset: 29, Timestamp: 16, LeaderEpoch: 7}},
		"earliest local":          {EarliestLocal, ReadUncommitted, segment.Timestamped{Offset: 12, Timestamp: -1, LeaderEpoch: 5}},
		"latest tiered":           {LatestTiered, ReadUncommitted, notFound},
		"earliest pending upload": {EarliestPending, ReadUncommitted, notFound},
		"a time":                  {8, ReadUncommitted, segment.Timestamped{Offset: 13, Timestamp: 8, LeaderEpoch: 5}},
		"a time before all":       {0, ReadUncommitted, segment.Timestamped{Offset: 12, Timestamp: 7, LeaderEpoch: 5}},
		"a time after all":        {2000, ReadUncommitted, notFound},
		"a time, committed":       {17, ReadCommitted, notFound},
	} {
		if got, err := h.p.ListOffset(t.Context(), c.ts, c.isolation, -1); err != nil || got != c.want {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, c.want)
		}
	}
}

func TestListOffsetsWaitsForTheHighWatermarkOfTheEpochKIP207(t *testing.T) {
	h := newHouse(t, defaults())
	h.produce(plain(t, 10, 1, 1))
	h.close()
	h.isr = []int32{1, 2}
	h.open()
	for _, ts := range []int64{Latest, MaxTimestamp, 5} {
		if _, err := h.p.ListOffset(t.Context(), ts, ReadUncommitted, -1); !errors.Is(err, ErrOffsetNotAvailable) {
			t.Errorf("timestamp %d: %v", ts, err)
		}
	}
	if got, err := h.p.ListOffset(t.Context(), Earliest, ReadUncommitted, -1); err != nil || got.Offset != 0 {
		t.Errorf("earliest: %+v, %v", got, err)
	}
	h.p.SetFollowerEnd(2, 10)
	if got, err := h.p.ListOffset(t.Context(), Latest, ReadUncommitted, -1); err != nil || got.Offset != 10 {
		t.Errorf("latest: %+v, %v", got, err)
	}
}

func TestDeleteRecordsStaysBelowTheHighWatermark(t *testing.T) {
	h := newHouse(t, defaults())
	h.produce(plain(t, 10, 1, 1))
	_, err := h.append(plain(t, 10, 1, 1))
	h.must(err)
	for _, c := range []struct {
		offset, want int64
		err          error
	}{
		{11, -1, ErrOffsetOutOfRange}, {-2, -1, ErrOffsetOutOfRange}, {3, 3, nil}, {2, 3, nil}, {-1, 10, nil},
	} {
		if got, err := h.p.DeleteRecords(t.Context(), c.offset); got != c.want || !errors.Is(err, c.err) {
			t.Errorf("delete below %d: %d, %v", c.offset, got, err)
		}
	}
	c := h.p.Config()
	c.CleanupCompact, c.CleanupDelete = true, false
	h.p.SetConfig(c)
	if _, err := h.p.DeleteRecords(t.Context(), -1); !errors.Is(err, ErrPolicy) {
		t.Errorf("compacted: %v", err)
	}
}
