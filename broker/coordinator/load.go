package coordinator

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/varvelog/varve/broker/coordinator/group"
	"github.com/varvelog/varve/segment/batch"
)

// maxDecompressed bounds a compressed batch of an adopted log (offsets.topic.compression.codec).
const maxDecompressed = 64 << 20

// load reads the log and begins to serve.
func (s *shard) load(ctx context.Context) error {
	replay := group.NewReplay(&s.g.limits)
	err := s.log.Scan(ctx, func(b batch.Batch) error { return replayBatch(replay, b) })

	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(err); err != nil {
		return err
	}
	now := s.g.now()
	s.check = now + s.g.o.RetentionCheck.Milliseconds()
	s.g.alarm.moved(s.check)
	for _, g := range replay.Groups(now) {
		s.groups[g.ID()] = &entry{Group: g, index: -1}
	}
	var all []decision
	for _, id := range s.ids() {
		e := s.groups[id]
		all = append(all, decision{e, e.Loaded(now)})
	}
	s.carryOutAll(now, all)
	return nil
}

// replayBatch applies one batch.
func replayBatch(replay *group.Replay, b batch.Batch) error {
	producerID := int64(-1)
	if b.Transactional() {
		producerID = b.ProducerID()
	}
	return eachRecord(b, func(r *batch.Record) error {
		if b.Control() {
			return replayMarker(replay, b.ProducerID(), r.Key)
		}
		return replay.Record(r.Offset, producerID, r.Key, r.Value)
	})
}

// eachRecord yields the records of a batch. A damaged one fails the load, as in Kafka:
// state that is silently wrong would be written over what was lost.
func eachRecord(b batch.Batch, yield func(*batch.Record) error) error {
	var failed error
	err := batch.Records(b, maxDecompressed, func(r *batch.Record) bool {
		if failed = yield(r); failed != nil {
			failed = fmt.Errorf("record at offset %d: %w", r.Offset, failed)
		}
		return failed == nil
	})
	if failed != nil {
		return failed
	}
	if err != nil {
		return fmt.Errorf("batch at offset %d: %w", b.BaseOffset(), err)
	}
	return nil
}

// replayMarker applies a control record. Its key is version int16, type int16: 0 ends a
// transaction by abort, 1 by commit (KIP-98); others are not ours.
func replayMarker(replay *group.Replay, producerID int64, key []byte) error {
	if len(key) < 4 {
		return fmt.Errorf("%w: control record with a key of %d bytes", group.ErrRecord, len(key))
	}
	if kind := binary.BigEndian.Uint16(key[2:]); kind <= 1 {
		replay.EndTransaction(producerID, kind == 1)
	}
	return nil
}
