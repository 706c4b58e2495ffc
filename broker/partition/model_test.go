package partition

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
)

// model is what a partition has to look like: every batch ever appended, in order,
// scanned anew for every question.
type model struct {
	batches  []batch.Batch // as they lie in the log
	acked    int64         // everything below was acknowledged
	logStart int64
	floor    int64 // end of a log that has lost all its batches
}

func (m *model) end() int64 {
	if len(m.batches) == 0 {
		return m.floor
	}
	return m.batches[len(m.batches)-1].NextOffset()
}

// at returns the index of the batch that holds offset.
func (m *model) at(offset int64) int {
	return slices.IndexFunc(m.batches, func(b batch.Batch) bool { return b.NextOffset() > offset })
}

// record is a record as ListOffsets sees it.
type record struct{ offset, timestamp int64 }

func (m *model) records(bound int64) []record {
	var all []record
	for _, b := range m.batches {
		_ = batch.Records(b, 1<<30, func(r *batch.Record) bool {
			if r.Offset >= m.logStart && r.Offset < bound {
				all = append(all, record{r.Offset, r.Timestamp})
			}
			return true
		})
	}
	return all
}

// find is ListOffsets by a linear scan.
func (m *model) find(ts, bound int64) int64 {
	best := record{-1, math.MinInt64}
	for _, r := range m.records(bound) {
		if ts >= 0 && r.timestamp >= ts {
			return r.offset
		}
		if ts == MaxTimestamp && r.timestamp > best.timestamp {
			best = r
		}
	}
	return best.offset
}

// transactions lists the aborted transactions, and the first offset of an open one
// below high, or high.
func (m *model) transactions(high int64) (aborted []index.AbortedTxn, stable int64) {
	open := map[int64]int64{}
	stable = high
	for _, b := range m.batches {
		id := b.ProducerID()
		first, is := open[id]
		switch {
		case !b.Transactional():
		case !b.Control() && !is:
			open[id] = b.BaseOffset()
		case b.Control() && is:
			delete(open, id)
			if b.BaseOffset() >= high {
				stable = min(stable, first)
			}
			if marker, _ := batch.ReadMarker(b); !marker.Commit {
				aborted = append(aborted, index.AbortedTxn{ProducerID: id, FirstOffset: first, LastOffset: b.BaseOffset()})
			}
		}
	}
	for _, first := range open {
		stable = min(stable, first)
	}
	return aborted, max(stable, m.logStart)
}

// epochEnd is OffsetForLeaderEpoch by a linear scan of the epochs led.
func epochEnd(lineage []segment.EpochStart, epoch int32, end int64) (int32, int64) {
	if epoch > lineage[len(lineage)-1].Epoch {
		return -1, -1
	}
	found := segment.EpochStart{Epoch: -1}
	for _, e := range lineage {
		if e.Epoch > epoch {
			if found.Epoch < 0 {
				return epoch, e.Start
			}
			return found.Epoch, e.Start
		}
		found = e
	}
	return found.Epoch, end
}

// client is an idempotent or transactional producer that remembers its last batches.
type client struct {
	id       int64
	epoch    int16
	sequence int32
	inTxn    bool
	recent   []recent
}

type recent struct {
	sent batch.Batch // as it was sent
	base int64
}

// run is a random history on a house and its model.
type run struct {
	*house
	r       *rand.Rand
	m       model
	clients []*client
	ops     []string
	lineage []segment.EpochStart
	trimmed int64 // the highest log start there ever was
}

func (x *run) say(format string, a ...any) { x.ops = append(x.ops, fmt.Sprintf(format, a...)) }

func (x *run) records(n int) []batch.Record {
	records := make([]batch.Record, n)
	for i := range records {
		value := make([]byte, x.r.IntN(300))
		for j := range value {
			value[j] = byte(x.r.Uint32())
		}
		// Neither unique nor ascending.
		records[i] = batch.Record{Timestamp: x.clock.Load() - x.r.Int64N(20_000)/1000*1000, Key: []byte("k"), Value: value}
	}
	return records
}

// append appends a new batch, and half of the time waits for its flush.
func (x *run) appendNew(b batch.Batch, internal bool) (Appended, bool) {
	b = slices.Clone(b)
	a, err := x.p.AppendAsLeader(Append{Records: b, Acks: -1, LeaderEpoch: -1, Internal: internal})
	if err != nil || a.Duplicate || a.BaseOffset != x.m.end() {
		x.t.Errorf("append at %d: %+v, %v", x.m.end(), a, err)
		return a, false
	}
	x.m.batches = append(x.m.batches, b)
	if x.r.IntN(2) == 0 {
		x.flush()
		x.must(x.p.Wait(x.t.Context(), a))
		x.m.acked = a.NextOffset
	}
	return a, true
}

// transactional: two of the producers are. None is where markers are not flushed: a
// power cut then loses the outcome of transactions whose records are in the bucket.
func (x *run) transactional(c *client) bool { return c.id >= 2 && x.config.FlushMessages == 1 }

func (x *run) produce() {
	if x.r.IntN(4) == 0 {
		o := batch.Builder{Codec: batch.Codec(x.r.IntN(5)), ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1}
		b, err := o.Build(0, -1, x.records(1+x.r.IntN(20)))
		x.must(err)
		x.say("plain")
		x.appendNew(b, false)
		return
	}
	c := x.clients[x.r.IntN(len(x.clients))]
	if x.r.IntN(30) == 0 && !c.inTxn { // InitProducerId
		c.epoch, c.sequence, c.recent = c.epoch+1, 0, nil
	}
	n := 1 + x.r.IntN(20)
	txn := x.transactional(c)
	o := batch.Builder{Codec: batch.Codec(x.r.IntN(5)), ProducerID: c.id, ProducerEpoch: c.epoch, BaseSequence: c.sequence, Transactional: txn}
	b, err := o.Build(0, -1, x.records(n))
	x.must(err)
	x.say("producer %d sequence %d", c.id, c.sequence)
	if a, ok := x.appendNew(b, false); ok {
		c.sequence = int32((int64(c.sequence) + int64(n)) & math.MaxInt32)
		c.recent = append(c.recent, recent{b, a.BaseOffset})
		c.inTxn = c.inTxn || txn
	}
}

// retry sends one of the last batches again, as after a lost answer.
func (x *run) retry() {
	c := x.clients[x.r.IntN(len(x.clients))]
	if len(c.recent) == 0 {
		return
	}
	again := c.recent[max(0, len(c.recent)-1-x.r.IntN(retained))]
	x.say("producer %d again at %d", c.id, again.base)
	a, err := x.append(slices.Clone(again.sent))
	if err != nil || !a.Duplicate || a.BaseOffset != again.base {
		x.t.Errorf("duplicate of %d: %+v, %v", again.base, a, err)
	}
}

// misbehave sends what has to be refused.
func (x *run) misbehave() {
	c := x.clients[x.r.IntN(len(x.clients))]
	if len(c.recent) == 0 {
		return
	}
	o := batch.Builder{ProducerID: c.id, ProducerEpoch: c.epoch, BaseSequence: c.sequence, Transactional: x.transactional(c)}
	want := ErrOutOfOrderSequence
	switch x.r.IntN(3) {
	case 0:
		o.BaseSequence = (o.BaseSequence + 1 + int32(x.r.IntN(5))) & math.MaxInt32
	case 1:
		o.ProducerEpoch, o.BaseSequence = o.ProducerEpoch+1, 3
	case 2:
		if c.epoch == 0 {
			return
		}
		o.ProducerEpoch--
		want = ErrInvalidProducerEpoch
	}
	b, err := o.Build(0, -1, x.records(1))
	x.must(err)
	if a, err := x.append(b); !errors.Is(err, want) {
		x.t.Errorf("producer %d at sequence %d sent %d in epoch %d: %+v, %v", c.id, c.sequence, o.BaseSequence, o.ProducerEpoch, a, err)
	}
}

func (x *run) endTransaction() {
	for _, c := range x.clients {
		if c.inTxn {
			b, _ := markerBatch(x.t, 0, c.id, c.epoch, x.r.IntN(2) == 0, 1)
			x.say("marker of %d", c.id)
			x.appendNew(b, true)
			c.inTxn = false
			return
		}
	}
}

// deleteRecords moves the log start; after a crash it may be back where it was, in a
// log without tier.
func (x *run) deleteRecords() {
	o := x.p.Offsets()
	to := o.LogStart + x.r.Int64N(o.HighWatermark-o.LogStart+1)/4
	got, err := x.p.DeleteRecords(x.t.Context(), to)
	x.say("delete below %d: %d", to, got)
	if err != nil || got != max(to, o.LogStart) {
		x.t.Errorf("delete below %d: %d, %v", to, got, err)
	}
	x.m.logStart = got
}

func (x *run) housekeeping() {
	ctx := x.t.Context()
	switch x.r.IntN(5) {
	case 0:
		x.say("roll")
		x.must(x.p.roll(x.p.log.Roll))
	case 1:
		x.pass(time.Duration(x.r.IntN(60)) * time.Second)
		x.say("roll by time")
		x.must(x.p.Roll(x.now()))
	case 2:
		n, err := x.p.Copy(ctx)
		x.say("copy %d", n)
		x.must(err)
	case 3:
		x.must(x.p.Retain(ctx, x.now()))
		x.say("retain: local start %d", x.p.Offsets().LocalStart)
	case 4:
		x.must(x.p.Sweep(ctx))
	}
	x.m.acked = max(x.m.acked, x.p.Offsets().HighWatermark)
}

// again stops the broker, cleanly or by a power cut, and starts it.
func (x *run) again() {
	x.lineage = append(x.lineage, segment.EpochStart{Epoch: x.epoch + 1})
	if x.r.IntN(2) == 0 {
		x.say("restart")
		x.restart()
		x.m.acked = x.m.end()
	} else {
		if x.config.FlushMessages > 1 { // only what is in the bucket is sure to be there
			x.m.acked = max(0, x.p.Offsets().TieredEnd)
		}
		x.crash(x.r)
		x.say("crash: end %d of %d", x.p.Offsets().End, x.m.end())
	}
	o := x.p.Offsets()
	if o.End < x.m.acked || o.End > x.m.end() || o.HighWatermark != o.End {
		x.t.Errorf("recovered %+v, acknowledged up to %d, written up to %d", o, x.m.acked, x.m.end())
	}
	x.m.batches = slices.DeleteFunc(x.m.batches, func(b batch.Batch) bool { return b.NextOffset() > o.End })
	if o.End == o.LogStart && x.config.FlushMessages > 1 { // deleted in the bucket, lost on disk
		x.m.batches, x.m.floor = nil, o.End
	}
	if x.m.end() != o.End {
		x.t.Errorf("recovered end %d is no batch border", o.End)
	}
	x.lineage[len(x.lineage)-1].Start = o.End
	for i := range x.lineage { // epochs that lost all their records
		x.lineage[i].Start = min(x.lineage[i].Start, o.End)
	}
	x.lineage = compact(x.lineage)
	if x.p.remote == nil {
		x.m.logStart = min(x.m.logStart, o.LogStart)
	}
	for _, c := range x.clients {
		x.forget(c, o.LocalStart)
	}
}

// compact drops the epochs without records.
func compact(lineage []segment.EpochStart) []segment.EpochStart {
	var kept []segment.EpochStart
	for _, e := range lineage {
		if n := len(kept); n > 0 && kept[n-1].Start >= e.Start {
			kept = kept[:n-1]
		}
		kept = append(kept, e)
	}
	return kept
}

// forget makes a client begin again where the log has lost its batches, as one does
// that never got an answer.
//
// Of batches that had left the disk the broker knows the last one only, from the
// snapshot.
func (x *run) forget(c *client, localStart int64) {
	c.recent = slices.DeleteFunc(c.recent, func(r recent) bool { return r.base+int64(r.sent.LastOffsetDelta()) >= x.m.end() })
	if len(x.m.batches) == 0 {
		c.recent = nil
	}
	for len(c.recent) > 1 && c.recent[0].base < localStart {
		c.recent = c.recent[1:]
	}
	c.inTxn = false
	for _, b := range x.m.batches {
		if b.ProducerID() != c.id {
			continue
		}
		c.inTxn = !b.Control() && b.Transactional()
		if !b.Control() {
			c.sequence = int32((int64(b.LastSequence()) + 1) & math.MaxInt32)
			if b.ProducerEpoch() != c.epoch && len(c.recent) == 0 {
				c.epoch = b.ProducerEpoch()
			}
		}
	}
	if len(c.recent) == 0 { // all of this epoch is gone, or it never wrote: a new one
		c.epoch, c.sequence = c.epoch+1, 0
		if c.inTxn {
			b, _ := markerBatch(x.t, 0, c.id, c.epoch, false, 1)
			x.appendNew(b, true)
			c.inTxn = false
		}
	}
}

// check compares everything a client can ask.
func (x *run) check() {
	o := x.p.Offsets()
	_, stable := x.m.transactions(o.HighWatermark)
	if o.LogStart != x.m.logStart || o.End != x.m.end() || o.LastStable != stable || o.HighWatermark < x.m.acked ||
		o.LogStart > o.LocalStart || o.LocalStart > o.End || (x.p.remote != nil && o.LocalStart > max(o.TieredEnd, o.LogStart)) {
		x.t.Errorf("%+v; model: log start %d, stable %d, acknowledged %d, end %d", o, x.m.logStart, stable, x.m.acked, x.m.end())
	}
	for range 8 {
		x.checkRead(o)
		x.checkListOffsets(o)
	}
	x.checkEpochs(o)
}

// checkRead reads at a random offset: whole batches from the one that holds it,
// within the bound and the limit, at least one (I30), and the aborted transactions
// that overlap them (I33).
func (x *run) checkRead(o Offsets) {
	s := spec(o.LogStart + x.r.Int64N(o.End-o.LogStart+1))
	s.MaxBytes = int64(x.r.IntN(8000))
	s.Isolation = int8(x.r.IntN(2))
	r, err := x.read(s)
	if err != nil {
		x.t.Errorf("read at %d of %+v: %v", s.Offset, o, err)
		return
	}
	defer r.Records.Release()
	got, err := r.Records.Bytes()
	x.must(err)
	bound := r.Offsets.bound(s.Isolation)
	if s.Offset >= bound {
		if len(got) > 0 {
			x.t.Errorf("read at %d gave records above the bound %d", s.Offset, bound)
		}
		return
	}
	var want []byte
	end := s.Offset
	for i := x.m.at(s.Offset); i < len(x.m.batches); i++ {
		b := x.m.batches[i]
		if len(want) >= len(got) && len(want) > 0 {
			break
		}
		want = append(want, b...)
		end = b.NextOffset()
	}
	if !bytes.Equal(got, want) || end > bound {
		x.t.Errorf("read at %d: %d bytes, want %d, up to %d of %d", s.Offset, len(got), len(want), end, bound)
	}
	first := x.m.batches[x.m.at(s.Offset)].Size()
	if int64(len(got)) > max(s.MaxBytes, int64(first)) {
		x.t.Errorf("read at %d: %d bytes, limit %d", s.Offset, len(got), s.MaxBytes)
	}
	if s.Isolation == ReadCommitted {
		x.checkAborted(r.Aborted, s.Offset, end, bound)
	}
}

func (x *run) checkAborted(got []index.AbortedTxn, from, end, bound int64) {
	if !slices.IsSortedFunc(got, byFirstOffset) {
		x.t.Errorf("read of [%d, %d): aborted are not in the order of their beginnings: %+v", from, end, got)
	}
	all, _ := x.m.transactions(bound)
	for _, t := range all {
		overlaps := t.LastOffset >= from && t.FirstOffset < end
		if has := containsTxn(got, t); has != overlaps {
			x.t.Errorf("read of [%d, %d): aborted %+v listed %t, overlaps %t", from, end, t, has, overlaps)
		}
	}
}

func (x *run) checkListOffsets(o Offsets) {
	isolation := int8(x.r.IntN(2))
	bound := o.bound(isolation)
	ts := x.clock.Load() - x.r.Int64N(100_000)
	if x.r.IntN(4) == 0 {
		ts = MaxTimestamp
	}
	got, err := x.p.ListOffset(x.t.Context(), ts, isolation, -1)
	if want := x.m.find(ts, bound); err != nil || got.Offset != want {
		x.t.Errorf("timestamp %d below %d of %+v: %+v, %v, want %d", ts, bound, o, got, err, want)
	} else if want >= 0 && got.LeaderEpoch != x.m.batches[x.m.at(want)].LeaderEpoch() {
		x.t.Errorf("timestamp %d: epoch %d of offset %d", ts, got.LeaderEpoch, want)
	}
}

func (x *run) checkEpochs(o Offsets) {
	epoch := x.r.Int32N(x.epoch + 2)
	e, end, err := x.p.EpochEnd(x.t.Context(), -1, epoch)
	lineage := slices.Clone(x.lineage)
	x.trimmed = max(x.trimmed, o.LogStart)
	for len(lineage) > 1 && lineage[1].Start <= x.trimmed {
		lineage = lineage[1:]
	}
	lineage[0].Start = max(lineage[0].Start, x.trimmed)
	if x.p.remote == nil && epoch < lineage[0].Epoch {
		return // a power cut may have taken back the log start, and not what it did to the lineage
	}
	if wantE, wantEnd := epochEnd(lineage, epoch, o.End); err != nil || e != wantE || end != wantEnd {
		x.t.Errorf("end of epoch %d: %d %d, %v, want %d %d of %v", epoch, e, end, err, wantE, wantEnd, lineage)
	}
}

// TestRandomHistoriesEqualTheModel produces, repeats, rolls, copies, trims, deletes,
// restarts and cuts the power, and compares every answer with a naive scan.
func TestRandomHistoriesEqualTheModel(t *testing.T) {
	kinds := map[string]func(*config.Topic){
		"local":            func(*config.Topic) {},
		"tiered":           func(c *config.Topic) { c.RemoteStorage = true },
		"tiered unflushed": func(c *config.Topic) { c.RemoteStorage, c.FlushMessages = true, math.MaxInt64 },
	}
	seeds := uint64(8)
	if testing.Short() {
		seeds = 2
	}
	for kind, set := range kinds {
		for seed := range seeds {
			t.Run(fmt.Sprintf("%s/%d", kind, seed), func(t *testing.T) {
				c := defaults()
				set(&c)
				c.SegmentBytes, c.SegmentAge = 8<<10, 30*time.Second
				c.IndexInterval = 1000
				c.LocalRetentionBytes = 10 << 10
				x := &run{house: newHouse(t, c), r: rand.New(rand.NewPCG(seed, 0))}
				x.lineage = []segment.EpochStart{{Epoch: 1, Start: 0}}
				for id := range int64(4) {
					x.clients = append(x.clients, &client{id: id, sequence: math.MaxInt32 - 50*int32(id)})
				}
				for range 200 {
					switch n := x.r.IntN(100); {
					case n < 55:
						x.produce()
					case n < 62:
						x.retry()
					case n < 66:
						x.misbehave()
					case n < 76:
						x.endTransaction()
					case n < 94:
						x.housekeeping()
					case n < 96:
						x.deleteRecords()
					case n < 98:
						x.again()
					}
					x.check()
					if t.Failed() {
						t.Fatalf("history: %q", x.ops[max(0, len(x.ops)-30):])
					}
				}
			})
		}
	}
}

func containsTxn(list []index.AbortedTxn, t index.AbortedTxn) bool {
	return slices.ContainsFunc(list, func(k index.AbortedTxn) bool {
		return k.ProducerID == t.ProducerID && k.LastOffset == t.LastOffset
	})
}
