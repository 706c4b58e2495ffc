//go:build interop

package interop

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/test/harness"
)

// Requests of producers and consumers without groups and transactions.

// readyForData has topics where records of long ago stay, and begin no new segment: one
// read of Apache Kafka's ends with its segment, one of ours goes on within the limits.
func readyForData(s *side) {
	s.creates("two", 2, "retention.ms=-1", oneSegment)
	s.creates("small", 1, "retention.ms=-1", oneSegment, "max.message.bytes=300")
	s.creates("compact", 1, "cleanup.policy=compact", oneSegment)
}

const oneSegment = "segment.ms=9223372036854775807"

var dataTopics = []topicName{"two", "two", "two", "small", "compact", "missing"}

func drawData(r *rand.Rand) step {
	switch r.IntN(20) {
	case 0, 1, 2, 3, 4, 5, 6:
		return drawProduce(r, dataTopics)
	case 7, 8, 9:
		return drawFetch(r, dataTopics)
	case 10, 11, 12:
		return drawSessionFetch(r)
	case 13, 14, 15:
		return drawListOffsets(r)
	case 16:
		return drawEpochEnd(r)
	case 17:
		return drawDeleteRecords(r)
	case 18:
		return drawDescribeProducers(r, dataTopics)
	}
	return drawProducerID(r)
}

// drawPartition is one that is there, mostly.
func drawPartition(r *rand.Rand) int32 { return pick[int32](r, 0, 0, 0, 1, 1, 0, 0, 1, 2, -1) }

func drawEpoch(r *rand.Rand) int32 { return pick[int32](r, -1, -1, -1, -1, 0, 0, 1, 5, -2) }

// drawOffset is near the beginning, where there are records.
func drawOffset(r *rand.Rand) int64 {
	return pick(r, 0, int64(r.IntN(12)), int64(r.IntN(12)), int64(r.IntN(40)), -1, -2, 1<<40)
}

// source is who produces: an idempotent producer in a slot, or nobody.
type source struct {
	slot            string
	epoch, sequence int // distance from the one that is due
	offIdentity     int64
	transactional   bool
}

func drawSource(r *rand.Rand) source {
	if r.IntN(2) == 0 {
		return source{}
	}
	return source{
		slot: pick(r, "a", "a", "b"), epoch: pick(r, 0, 0, 0, 0, 0, 0, 0, 1, -1), sequence: pick(r, 0, 0, 0, 0, 0, 0, -1, -2, 1, 5, -5),
		offIdentity: pick[int64](r, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1<<30),
	}
}

// stamp puts the producer into a batch for a partition. Not drawn: negative epochs and
// sequences, which Apache Kafka takes like any other.
func (o *source) stamp(s *side, b *kmsg.RecordBatch, topic topicName, partition int32) {
	if o.slot == "" {
		return
	}
	id, known := s.number["producer "+o.slot]
	if !known {
		id = 1 << 40
	}
	b.ProducerID, b.ProducerEpoch = id+o.offIdentity, max(0, int16(s.number["epoch "+o.slot])+int16(o.epoch))
	b.FirstSequence = max(0, int32(s.number[o.due(topic, partition)])+int32(o.sequence))
	if o.transactional {
		b.Attributes |= 0x10
	}
}

func (o *source) due(topic topicName, partition int32) string {
	return fmt.Sprintf("sequence %s %s %d", o.slot, topic, partition)
}

// drawChange damages a batch now and then. Not drawn: the timestamp type that only brokers
// set, where Apache Kafka takes a record of a valid time and resets the type, and ours
// refuses it with INVALID_TIMESTAMP, as Apache Kafka does if the record has no time. And
// null in place of records, which Apache Kafka never answers.
func drawChange(r *rand.Rand) (change func(*kmsg.RecordBatch), damage func([]byte) []byte) {
	change, damage = func(*kmsg.RecordBatch) {}, func(b []byte) []byte { return b }
	switch r.IntN(40) {
	case 0:
		change = func(b *kmsg.RecordBatch) { b.NumRecords++ }
	case 1:
		change = func(b *kmsg.RecordBatch) { b.LastOffsetDelta++ }
	case 2:
		change = func(b *kmsg.RecordBatch) { b.FirstOffset = 7 }
	case 3:
		change = func(b *kmsg.RecordBatch) { b.Attributes |= 0x20 }
	case 4:
		change = func(b *kmsg.RecordBatch) { b.PartitionLeaderEpoch = 3 }
	case 5:
		change = func(b *kmsg.RecordBatch) { b.MaxTimestamp = -1; b.FirstTimestamp = -1 }
	case 6:
		change = func(b *kmsg.RecordBatch) { b.Attributes |= 0x10 }
	case 7:
		change = func(b *kmsg.RecordBatch) { b.FirstTimestamp = -1 }
	case 8:
		change = func(b *kmsg.RecordBatch) { b.MaxTimestamp += 100 }
	case 9:
		change = func(b *kmsg.RecordBatch) { b.NumRecords = 0 }
	case 10:
		damage = func(b []byte) []byte { b[len(b)-1] ^= 1; return b }
	case 11:
		damage = func(b []byte) []byte { return b[:len(b)-1] }
	case 12:
		damage = func(b []byte) []byte { return append(b, b...) }
	case 13:
		damage = func([]byte) []byte { return []byte{} }
	case 14:
		damage = func(b []byte) []byte { b[16] = 1; return b }
	}
	return change, damage
}

// drawProduce is of one or more batches. Not drawn: a partition twice, of which Apache Kafka
// takes the last, and ours both.
func drawProduce(r *rand.Rand, topics []topicName) step {
	version, acks := versionOf(r, kmsg.Produce, 0), pick[int16](r, -1, -1, -1, -1, 1, 1, 2)
	type part struct {
		topic     topicName
		partition int32
		records   int
		key       []byte
		size      int
		time      int64
		by        source
		change    func(*kmsg.RecordBatch)
		damage    func([]byte) []byte
	}
	var parts []part
	some(r, 3, func() {
		p := part{topic: pick(r, topics...), partition: drawPartition(r), records: 1 + r.IntN(3), time: int64(r.IntN(50)), by: drawSource(r)}
		p.key, p.size = pick(r, nil, []byte("k")), pick(r, 3, 10, 50, 400)
		if change, damage := drawChange(r); acks != 2 && p.size < 300 { // one fault at a time
			p.change, p.damage = change, damage
		}
		if !slices.ContainsFunc(parts, func(o part) bool { return o.topic == p.topic && o.partition == p.partition }) {
			parts = append(parts, p)
		}
	})
	return request(version, func(s *side) *kmsg.ProduceRequest {
		q := kmsg.NewPtrProduceRequest()
		q.Acks, q.TimeoutMillis = acks, 10_000
		for _, p := range parts {
			raw := recordsBatch(p.records, p.key, make([]byte, p.size), s.base+p.time, func(b *kmsg.RecordBatch) {
				p.by.stamp(s, b, p.topic, p.partition)
				if p.change != nil {
					p.change(b)
				}
			})
			if p.damage != nil {
				raw = p.damage(raw)
			}
			more := produceRequest(s.name(p.topic), s.id(p.topic), p.partition, raw)
			q.Topics = append(q.Topics, more.Topics...)
		}
		return q
	}, func(s *side, q *kmsg.ProduceRequest, p kmsg.Response) {
		if q.Acks == 1 {
			s.visible(q, p.(*kmsg.ProduceResponse))
		}
		if len(parts) != 1 || len(p.(*kmsg.ProduceResponse).Topics) != 1 {
			return
		}
		if p.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode == 0 && parts[0].by.slot != "" {
			due := parts[0].by.due(parts[0].topic, parts[0].partition)
			s.number[due] = max(s.number[due], s.number[due]+int64(parts[0].by.sequence+parts[0].records))
		}
	})
}

// visible waits until what was appended with acks=1 is below the high watermark.
func (s *side) visible(q *kmsg.ProduceRequest, p *kmsg.ProduceResponse) {
	names := make(map[[16]byte]string)
	for _, to := range q.Topics {
		names[to.TopicID] = to.Topic
	}
	for _, to := range p.Topics {
		for _, part := range to.Partitions {
			name := to.Topic
			if name == "" {
				name = names[to.TopicID]
			}
			harness.Until(s, testLimit, "high watermark of "+name, func() error {
				l := must[*kmsg.ListOffsetsResponse](s, 7, listRequest(name, part.Partition, -1)).Topics[0].Partitions[0]
				if part.ErrorCode == 0 && l.Offset <= part.BaseOffset {
					return fmt.Errorf("%d is not above %d", l.Offset, part.BaseOffset)
				}
				return nil
			})
		}
	}
}

// recordsBatch is recordBatch with several records, a millisecond apart.
func recordsBatch(n int, key, value []byte, time int64, change func(*kmsg.RecordBatch)) []byte {
	return recordBatch(key, value, func(b *kmsg.RecordBatch) {
		b.Records = nil
		for i := range n {
			record := kmsg.NewRecord()
			record.OffsetDelta, record.TimestampDelta64 = int32(i), int64(i)
			record.Key, record.Value = key, value
			record.Length = int32(len(record.AppendTo(nil)) - 1) // the length, 0 as yet, takes one byte
			b.Records = record.AppendTo(b.Records)
		}
		b.NumRecords, b.LastOffsetDelta = int32(n), int32(n-1)
		b.FirstTimestamp, b.MaxTimestamp = time, time+int64(n-1)
		change(b)
	})
}

// fetched is one partition of a drawn fetch.
type fetched struct {
	topic     topicName
	partition int32
	offset    int64
	epoch     int32
	last      int32
	bytes     int32
}

func drawFetched(r *rand.Rand, topics []topicName) fetched {
	return fetched{pick(r, topics...), drawPartition(r), drawOffset(r), drawEpoch(r), pick[int32](r, -1, -1, -1, -1, 0, 1), pick[int32](r, 1<<20, 1<<20, 1, 150, 0)}
}

func (f *fetched) same(o fetched) bool { return f.topic == o.topic && f.partition == o.partition }

func (f *fetched) in(s *side) kmsg.FetchRequestTopic {
	q := fetchRequest(s.name(f.topic), s.id(f.topic), f.partition, f.offset).Topics[0]
	p := &q.Partitions[0]
	p.CurrentLeaderEpoch, p.LastFetchedEpoch, p.PartitionMaxBytes = f.epoch, f.last, f.bytes
	return q
}

// drawFetch is of a consumer without a session. Not drawn: a partition twice, of which
// Apache Kafka takes the last, and ours answers both; and of several partitions, a limit
// for all that leaves room for a part of a batch, with which Apache Kafka fills it, for
// clients to drop, and which ours leaves to the next partition.
func drawFetch(r *rand.Rand, topics []topicName) step {
	version, isolation := versionOf(r, kmsg.Fetch, 0), pick[int8](r, 0, 1)
	bytes, least := pick[int32](r, 1<<20, 1<<20, 1, 200), pick[int32](r, 0, 1, 1000)
	var parts []fetched
	some(r, 3, func() {
		f := drawFetched(r, topics)
		if !slices.ContainsFunc(parts, f.same) {
			parts = append(parts, f)
		}
	})
	if len(parts) > 1 && bytes == 200 {
		bytes = 1
	}
	return request(version, func(s *side) *kmsg.FetchRequest {
		q := fetchRequest("", [16]byte{}, 0, 0)
		q.Topics, q.IsolationLevel, q.MaxBytes, q.MinBytes, q.MaxWaitMillis = nil, isolation, bytes, least, 0
		for i := range parts {
			q.Topics = append(q.Topics, parts[i].in(s))
		}
		return q
	})
}

// drawSessionFetch opens, goes on with or ends the fetch session of a slot. Not drawn: a last
// fetched epoch, after which Apache Kafka fails a request of a version before it (12).
func drawSessionFetch(r *rand.Rand) step {
	version, slot, fresh := versionOf(r, kmsg.Fetch, 7), pick(r, "s", "s", "u"), r.IntN(2) == 0
	how := pick(r, "full", "full", "next", "next", "next", "next", "next", "next", "again", "ahead", "end", "unknown")
	topics := []topicName{"two", "two", "two", "small", "missing"}
	var parts, forgotten []fetched
	for range r.IntN(3) {
		f := drawFetched(r, topics)
		if f.last = -1; !slices.ContainsFunc(parts, f.same) {
			parts = append(parts, f)
		}
	}
	if r.IntN(3) == 0 {
		forgotten = append(forgotten, drawFetched(r, topics))
	}
	return request(version, func(s *side) *kmsg.FetchRequest {
		q := fetchRequest("", [16]byte{}, 0, 0)
		q.Topics, q.MinBytes, q.MaxWaitMillis = nil, 0, 0
		id, epoch := int32(s.number["session "+slot]), int32(s.number["session epoch "+slot])
		switch how {
		case "full":
			epoch = 0
			if fresh {
				id = 0
			}
		case "again":
			epoch--
		case "ahead":
			epoch++
		case "end":
			epoch = -1
		case "unknown":
			id += 7
		}
		q.SessionID, q.SessionEpoch = id, epoch
		for i := range parts {
			q.Topics = append(q.Topics, parts[i].in(s))
		}
		for _, f := range forgotten {
			q.ForgottenTopics = append(q.ForgottenTopics, kmsg.FetchRequestForgottenTopic{Topic: s.name(f.topic), TopicID: s.id(f.topic), Partitions: []int32{f.partition}})
		}
		return q
	}, func(s *side, q *kmsg.FetchRequest, p kmsg.Response) {
		a := p.(*kmsg.FetchResponse)
		if a.ErrorCode == 0 {
			s.number["session "+slot], s.number["session epoch "+slot] = int64(a.SessionID), int64(q.SessionEpoch+1)
		}
	})
}

// drawListOffsets is of times and what stands for one. Not drawn: -6, the earliest that is
// not in the bucket yet, as Apache Kafka has none; and -3, the latest time, of which Apache
// Kafka tells after DeleteRecords as well.
func drawListOffsets(r *rand.Rand) step {
	version, isolation := versionOf(r, kmsg.ListOffsets, 0), pick[int8](r, 0, 1)
	type part struct {
		topic     topicName
		partition int32
		epoch     int32
		time      int64
		relative  bool
	}
	var parts []part
	some(r, 4, func() {
		p := part{topic: pick(r, dataTopics...), partition: drawPartition(r), epoch: drawEpoch(r), time: pick[int64](r, -1, -2, -4, -5, -100, 0)}
		if r.IntN(3) == 0 {
			p.time, p.relative = int64(r.IntN(80)-10), true
		}
		parts = append(parts, p)
	})
	return request(version, func(s *side) *kmsg.ListOffsetsRequest {
		q := listRequest("", 0, 0)
		q.Topics, q.IsolationLevel = nil, isolation
		for _, p := range parts {
			if p.relative {
				p.time += s.base
			}
			to := listRequest(s.name(p.topic), p.partition, p.time).Topics[0]
			to.Partitions[0].CurrentLeaderEpoch = p.epoch
			q.Topics = append(q.Topics, to)
		}
		return q
	})
}

func drawEpochEnd(r *rand.Rand) step {
	version, topic, partition := versionOf(r, kmsg.OffsetForLeaderEpoch, 0), pick(r, dataTopics...), drawPartition(r)
	current, epoch := drawEpoch(r), pick[int32](r, -1, 0, 0, 0, 1, 5)
	return request(version, func(s *side) *kmsg.OffsetForLeaderEpochRequest {
		return epochRequest(s.name(topic), partition, current, epoch)
	})
}

func drawDeleteRecords(r *rand.Rand) step {
	version := versionOf(r, kmsg.DeleteRecords, 0)
	topic, partition, offset := pick(r, dataTopics...), drawPartition(r), pick(r, int64(r.IntN(8)), int64(r.IntN(30)), -1, -2, 1<<40)
	return request(version, func(s *side) *kmsg.DeleteRecordsRequest {
		return deleteRecordsRequest(s.name(topic), partition, offset)
	})
}

func drawDescribeProducers(r *rand.Rand, topics []topicName) step {
	topic, partition := pick(r, topics...), drawPartition(r)
	return request(0, func(s *side) *kmsg.DescribeProducersRequest {
		q := kmsg.NewPtrDescribeProducersRequest()
		q.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: s.name(topic), Partitions: []int32{partition}}}
		return q
	})
}

// drawProducerID gives a slot a new producer id, or asks for one in an odd way.
func drawProducerID(r *rand.Rand) step {
	version, slot := versionOf(r, kmsg.InitProducerID, 0), pick(r, "a", "b")
	own, epoch := r.IntN(3) == 0, pick[int64](r, 0, 0, 1, -1)
	return request(version, func(s *side) *kmsg.InitProducerIDRequest {
		q := kmsg.NewPtrInitProducerIDRequest()
		q.TransactionTimeoutMillis = 60_000
		if id, ok := s.number["producer "+slot]; ok && own {
			q.ProducerID, q.ProducerEpoch = id, int16(s.number["epoch "+slot]+epoch)
		}
		return q
	}, func(s *side, q *kmsg.InitProducerIDRequest, p kmsg.Response) {
		s.learnProducer(slot, p.(*kmsg.InitProducerIDResponse))
	})
}

// learnProducer keeps a producer, whose sequences begin anew.
func (s *side) learnProducer(slot string, p *kmsg.InitProducerIDResponse) {
	if p.ErrorCode != 0 {
		return
	}
	s.number["producer "+slot], s.number["epoch "+slot] = p.ProducerID, int64(p.ProducerEpoch)
	s.restart(slot)
}

// restart has the sequences of a producer begin at 0.
func (s *side) restart(slot string) {
	for key := range s.number {
		if len(key) > 10+len(slot) && key[:10+len(slot)] == "sequence "+slot+" " {
			delete(s.number, key)
		}
	}
}
