package main

import (
	"sync/atomic"
	"testing"
)

func TestRecoverClonesWhatTheDiskHasNoRoomFor(t *testing.T) {
	const gb = 1_000_000_000
	for _, c := range []struct {
		way   recovering
		asked sizes
		free  int64
		want  recovering
	}{
		{recovering{}, sizes{}, 110 * gb, recovering{size: 100 * gb}},
		{recovering{}, sizes{}, 110*gb - 1, recovering{size: 100 * gb, cloned: true}},
		{recovering{}, sizes{recover: 20 * gb}, 57 * gb, recovering{size: 20 * gb}},
		{recovering{}, sizes{recover: 20 * gb, clone: true}, 57 * gb, recovering{size: 20 * gb, cloned: true}},
		{recovering{sealed: true}, sizes{recover: 100 * gb}, 57 * gb, recovering{size: 100 * gb, cloned: true, sealed: true}},
		{recovering{busy: true}, sizes{recover: 100 * gb, clone: true}, 57 * gb, recovering{size: 8 * gb, busy: true}},
		{recovering{busy: true}, sizes{recover: 2 * gb}, 57 * gb, recovering{size: 2 * gb, busy: true}},
	} {
		if got := c.way.on(c.asked, c.free); got != c.want {
			t.Errorf("%+v with %+v and %d bytes free: %+v, want %+v", c.way, c.asked, c.free, got, c.want)
		}
	}
}

func TestAboveCheckpointCountsWhatWasAcknowledged(t *testing.T) {
	l := &filling{topic: topic{name: "recover", partitions: 3}, ends: make([]atomic.Int64, 3)}
	for p, end := range []int64{100, 50, 7} {
		l.ends[p].Store(end)
	}
	// Partition 0 has a point, that of 1 lies above, as where no answer came; 2 has none.
	const text = "0\n4\nother 0 99\nrecover 0 90\nrecover 1 60\nrecover 9 1\n"
	if got, want := aboveCheckpoint(text, l), int64((10+0+7)*recoverRow); got != want {
		t.Errorf("%d bytes above the recovery points, want %d", got, want)
	}
}

func TestLostNamesThePartitionThatEndsTooEarly(t *testing.T) {
	l := &filling{ends: make([]atomic.Int64, 2)}
	l.ends[1].Store(8)
	if err := l.lost([]int64{0, 8}); err != nil {
		t.Error(err)
	}
	if err := l.lost([]int64{0, 7}); err == nil {
		t.Error("a record that is missing was not noticed")
	}
}

func TestFillBatchIsWhatBrokersTake(t *testing.T) {
	const limit = 1_048_588 // message.max.bytes
	b, err := fillBatch(fillRows)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > limit || len(b) < limit*9/10 {
		t.Errorf("a batch has %d bytes, the largest that is taken %d", len(b), limit)
	}
}

func TestIOCountsReadsTheKernelsLines(t *testing.T) {
	got := ioCounts("rchar: 12\nwchar: 3\nread_bytes: 4096\ncancelled_write_bytes: 0\n")
	if got["rchar"] != 12 || got["wchar"] != 3 || got["read_bytes"] != 4096 {
		t.Errorf("counts are %v", got)
	}
}

func TestScenariosApartRunOnlyWhereTheyAreNamed(t *testing.T) {
	apart, plain := &scenario{name: "recover", apart: true}, &scenario{name: "loaded"}
	for _, c := range []struct {
		args         []string
		apart, plain bool
	}{
		{nil, false, true},
		{[]string{"-run", "recover"}, true, false},
		{[]string{"-run", "."}, true, true},
	} {
		o, err := parse(c.args)
		if err != nil {
			t.Fatal(err)
		}
		if o.runs(apart) != c.apart || o.runs(plain) != c.plain {
			t.Errorf("%q runs the one apart: %v, the other: %v", c.args, o.runs(apart), o.runs(plain))
		}
	}
}
