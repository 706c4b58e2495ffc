//go:build interop

package interop

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/test/harness"
)

// Requests of transactional producers, and of those that watch them.

func readyForTxn(s *side) {
	s.creates("two", 2)
	s.creates("one", 1)
	s.coordinates("g")
	s.anchors("g")
	for _, slot := range txnSlots {
		s.findTxn(slot)
	}
}

var (
	txnTopics = []topicName{"two", "two", "two", "one", "missing"}
	txnSlots  = []string{"x", "y"}
)

// findTxn waits until there is a coordinator of the slot's transactional id.
func (s *side) findTxn(slot string) {
	harness.Until(s, testLimit, "coordinator of "+slot, func() error {
		q := kmsg.NewPtrFindCoordinatorRequest()
		q.CoordinatorType, q.CoordinatorKeys = 1, []string{s.prefix + slot}
		if code := must[*kmsg.FindCoordinatorResponse](s, 4, q).Coordinators[0].ErrorCode; code != 0 {
			return errors.New(codeName(code))
		}
		return nil
	})
}

// settled waits until no transaction of the stream is about to end: its markers are written
// some time after the answer.
func (s *side) settled() {
	s.Helper()
	q := kmsg.NewPtrDescribeTransactionsRequest()
	for _, slot := range txnSlots {
		q.TransactionalIDs = append(q.TransactionalIDs, s.prefix+slot)
	}
	harness.Until(s, testLimit, "end of transactions at "+s.broker, func() error {
		for _, x := range must[*kmsg.DescribeTransactionsResponse](s, 0, q).TransactionStates {
			if strings.HasPrefix(x.State, "Prepare") {
				return errors.New(x.State)
			}
		}
		return nil
	})
}

func drawTxn(r *rand.Rand) step {
	switch r.IntN(24) {
	case 0, 1, 2:
		return drawInitTxn(r)
	case 3, 4, 5:
		return drawAddPartitions(r)
	case 6, 7:
		return drawAddOffsets(r)
	case 8, 9:
		return drawTxnCommit(r)
	case 10, 11, 12, 13, 14:
		return drawTxnProduce(r)
	case 15, 16, 17, 18:
		return drawEndTxn(r)
	case 19:
		return drawDescribeTxn(r)
	case 20:
		return drawListTxn(r)
	case 21:
		return drawDescribeProducers(r, txnTopics)
	case 22:
		return drawTxnOffsets(r)
	}
	return drawTxnFetch(r)
}

// claim is whom a request of a transaction says it comes from: mostly the slot's producer.
type claim struct {
	slot  string
	id    int64
	epoch int64
}

func drawClaim(r *rand.Rand) claim {
	c := claim{slot: pick(r, txnSlots...)}
	if r.IntN(6) == 0 {
		c.epoch = pick[int64](r, -1, -1, 1, 5)
	}
	if r.IntN(25) == 0 {
		c.id = 1 << 30
	}
	return c
}

// producer is the claim's producer id and epoch as the side knows them.
func (c *claim) producer(s *side) (id int64, epoch int16) {
	known, ok := s.number["producer "+c.slot]
	if !ok {
		known = 1 << 40
	}
	return known + c.id, int16(s.number["epoch "+c.slot] + c.epoch)
}

func drawInitTxn(r *rand.Rand) step {
	c, version, own := drawClaim(r), versionOf(r, kmsg.InitProducerID, 0), r.IntN(3) == 0
	timeout := pick[int32](r, 60_000, 60_000, 60_000, 60_000, 60_000, 0, -1, 900_001)
	name := pick(r, c.slot, c.slot, c.slot, c.slot, c.slot, c.slot, c.slot, c.slot, c.slot, "=")
	return request(version, func(s *side) *kmsg.InitProducerIDRequest {
		q := kmsg.NewPtrInitProducerIDRequest()
		q.TransactionalID, q.TransactionTimeoutMillis = kmsg.StringPtr(s.name(topicName(name))), timeout
		if own {
			q.ProducerID, q.ProducerEpoch = c.producer(s)
		}
		return q
	}, func(s *side, _ *kmsg.InitProducerIDRequest, p kmsg.Response) {
		s.settled()
		s.learnProducer(c.slot, p.(*kmsg.InitProducerIDResponse))
	})
}

func drawAddPartitions(r *rand.Rand) step {
	c, version := drawClaim(r), versionOf(r, kmsg.AddPartitionsToTxn, 0)
	if r.IntN(3) > 0 {
		version = min(version, 3) // later ones are for brokers
	}
	verify := r.IntN(2) == 0
	var topics []topicName
	var partitions [][]int32
	some(r, 2, func() {
		topics = append(topics, pick[topicName](r, "two", "two", "two", "two", "two", "one", "missing"))
		partitions = append(partitions, pick(r, []int32{0}, []int32{1}, []int32{0, 1}, []int32{0, 5}, []int32{0}, []int32{0}))
	})
	return request(version, func(s *side) *kmsg.AddPartitionsToTxnRequest {
		q := kmsg.NewPtrAddPartitionsToTxnRequest()
		id, epoch := c.producer(s)
		q.TransactionalID, q.ProducerID, q.ProducerEpoch = s.prefix+c.slot, id, epoch
		x := kmsg.NewAddPartitionsToTxnRequestTransaction()
		x.TransactionalID, x.ProducerID, x.ProducerEpoch, x.VerifyOnly = q.TransactionalID, id, epoch, verify
		for i, topic := range topics {
			q.Topics = append(q.Topics, kmsg.AddPartitionsToTxnRequestTopic{Topic: s.name(topic), Partitions: partitions[i]})
			x.Topics = append(x.Topics, kmsg.AddPartitionsToTxnRequestTransactionTopic{Topic: s.name(topic), Partitions: partitions[i]})
		}
		q.Transactions = append(q.Transactions, x)
		return q
	})
}

func drawAddOffsets(r *rand.Rand) step {
	c, version := drawClaim(r), versionOf(r, kmsg.AddOffsetsToTxn, 0)
	group := pick(r, "g", "g", "g", "g", "g", "=")
	return request(version, func(s *side) *kmsg.AddOffsetsToTxnRequest {
		q := kmsg.NewPtrAddOffsetsToTxnRequest()
		q.TransactionalID, q.Group = s.prefix+c.slot, s.name(topicName(group))
		q.ProducerID, q.ProducerEpoch = c.producer(s)
		return q
	})
}

func drawTxnCommit(r *rand.Rand) step {
	c, version := drawClaim(r), versionOf(r, kmsg.TxnOffsetCommit, 0)
	generation, member := pick[int32](r, -1, -1, -1, -1, 0, 3), pick(r, "", "", "", "", "@nobody")
	topic, partition, offset, metadata := pick(r, txnTopics...), pick[int32](r, 0, 0, 1, 1, 5), int64(r.IntN(100)), drawNote(r)
	return request(version, func(s *side) *kmsg.TxnOffsetCommitRequest {
		q := kmsg.NewPtrTxnOffsetCommitRequest()
		q.TransactionalID, q.Group = s.prefix+c.slot, s.prefix+"g"
		q.ProducerID, q.ProducerEpoch = c.producer(s)
		q.Generation, q.MemberID = generation, member
		q.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: s.name(topic), TopicID: s.id(topic), Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{
			{Partition: partition, Offset: offset, LeaderEpoch: -1, Metadata: metadata},
		}}}
		return q
	})
}

// drawNote is the metadata of a commit: too much of it at times.
func drawNote(r *rand.Rand) *string {
	return pick(r, nil, kmsg.StringPtr(""), kmsg.StringPtr("m"), kmsg.StringPtr("m"), kmsg.StringPtr(strings.Repeat("m", 4096)), kmsg.StringPtr(strings.Repeat("m", 4097)))
}

// drawTxnProduce is of a producer that adds partitions first, or leaves that to the broker.
// Not drawn: versions below 11, which Apache Kafka refuses with the code of later ones at times.
func drawTxnProduce(r *rand.Rand) step {
	c, version := drawClaim(r), pick[int16](r, 11, 11, 12, 12, 12, 13)
	topic, partition, records, time := pick(r, txnTopics...), pick[int32](r, 0, 0, 0, 1, 1, 5), 1+r.IntN(2), int64(r.IntN(50))
	from := source{slot: c.slot, sequence: pick(r, 0, 0, 0, 0, 0, 0, 0, 0, -1, 1), epoch: int(c.epoch), offIdentity: c.id, transactional: true}
	other := r.IntN(25) == 0
	return request(version, func(s *side) *kmsg.ProduceRequest {
		q := produceRequest(s.name(topic), s.id(topic), partition, recordsBatch(records, nil, []byte("v"), s.base+time, func(b *kmsg.RecordBatch) {
			from.stamp(s, b, topic, partition)
		}))
		q.TransactionID = kmsg.StringPtr(s.prefix + c.slot)
		if other {
			q.TransactionID = kmsg.StringPtr(s.prefix + "z")
		}
		return q
	}, func(s *side, _ *kmsg.ProduceRequest, p kmsg.Response) {
		if p.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode == 0 {
			s.number[from.due(topic, partition)] += int64(max(0, from.sequence+records))
		}
	})
}

func drawEndTxn(r *rand.Rand) step {
	c, version, commit := drawClaim(r), versionOf(r, kmsg.EndTxn, 0), r.IntN(3) > 0
	if r.IntN(2) == 0 {
		version = 5
	}
	return request(version, func(s *side) *kmsg.EndTxnRequest {
		q := kmsg.NewPtrEndTxnRequest()
		q.TransactionalID, q.Commit = s.prefix+c.slot, commit
		q.ProducerID, q.ProducerEpoch = c.producer(s)
		return q
	}, func(s *side, _ *kmsg.EndTxnRequest, p kmsg.Response) {
		s.settled()
		if a := p.(*kmsg.EndTxnResponse); a.ErrorCode == 0 && a.ProducerID >= 0 {
			if a.ProducerID != s.number["producer "+c.slot] || int64(a.ProducerEpoch) != s.number["epoch "+c.slot] {
				s.restart(c.slot)
			}
			s.number["producer "+c.slot], s.number["epoch "+c.slot] = a.ProducerID, int64(a.ProducerEpoch)
		}
	})
}

func drawDescribeTxn(r *rand.Rand) step {
	var slots []topicName
	some(r, 3, func() { slots = append(slots, pick[topicName](r, "x", "x", "y", "z", "=")) })
	return request(0, func(s *side) *kmsg.DescribeTransactionsRequest {
		q := kmsg.NewPtrDescribeTransactionsRequest()
		for _, slot := range slots {
			q.TransactionalIDs = append(q.TransactionalIDs, s.name(slot))
		}
		return q
	})
}

func drawListTxn(r *rand.Rand) step {
	version, slot := versionOf(r, kmsg.ListTransactions, 0), pick(r, txnSlots...)
	states := pick(r, nil, nil, []string{"Ongoing"}, []string{"Empty", "CompleteCommit"}, []string{"NoSuchState", "CompleteAbort"})
	byID, byName := r.IntN(3) == 0, r.IntN(2) == 0
	return request(version, func(s *side) *kmsg.ListTransactionsRequest {
		q := kmsg.NewPtrListTransactionsRequest()
		q.StateFilters, q.DurationFilterMillis = states, -1
		if byID {
			q.ProducerIDFilters = []int64{s.number["producer "+slot]}
		}
		if byName {
			q.TransactionalIDPattern = kmsg.StringPtr(s.prefix + "[x]")
		}
		return q
	}, func(s *side, _ *kmsg.ListTransactionsRequest, p kmsg.Response) { // there are those of others
		a := p.(*kmsg.ListTransactionsResponse)
		all := a.TransactionStates
		a.TransactionStates = nil
		for _, x := range all {
			if strings.HasPrefix(x.TransactionalID, s.prefix) {
				a.TransactionStates = append(a.TransactionStates, x)
			}
		}
	})
}

func drawTxnOffsets(r *rand.Rand) step {
	version, stable := versionOf(r, kmsg.OffsetFetch, 1), r.IntN(3) == 0
	return request(version, func(s *side) *kmsg.OffsetFetchRequest {
		q := offsetFetchRequest(s, "g", []topicName{"two", "one"})
		q.RequireStable = stable && version >= 7
		return q
	})
}

// offsetFetchRequest asks for the offsets of two partitions of each topic in every version's way.
func offsetFetchRequest(s *side, group topicName, topics []topicName) *kmsg.OffsetFetchRequest {
	q := kmsg.NewPtrOffsetFetchRequest()
	q.Group = s.name(group)
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = q.Group
	for _, topic := range topics {
		q.Topics = append(q.Topics, kmsg.OffsetFetchRequestTopic{Topic: s.name(topic), Partitions: []int32{0, 1}})
		g.Topics = append(g.Topics, kmsg.OffsetFetchRequestGroupTopic{Topic: s.name(topic), TopicID: s.id(topic), Partitions: []int32{0, 1}})
	}
	q.Groups = append(q.Groups, g)
	return q
}

func drawTxnFetch(r *rand.Rand) step {
	version, isolation := versionOf(r, kmsg.Fetch, 0), pick[int8](r, 0, 1, 1)
	topic, partition, offset := pick[topicName](r, "two", "two", "one"), int32(r.IntN(2)), int64(r.IntN(15))
	return request(version, func(s *side) *kmsg.FetchRequest {
		q := fetchRequest(s.name(topic), s.id(topic), partition, offset)
		q.IsolationLevel, q.MinBytes = isolation, 0
		return q
	}, func(_ *side, _ *kmsg.FetchRequest, p kmsg.Response) { // Apache Kafka tells of later ones, too, and in the order of markers
		for i := range p.(*kmsg.FetchResponse).Topics {
			for j := range p.(*kmsg.FetchResponse).Topics[i].Partitions {
				part := &p.(*kmsg.FetchResponse).Topics[i].Partitions[j]
				part.AbortedTransactions = slices.DeleteFunc(part.AbortedTransactions, func(x kmsg.FetchResponseTopicPartitionAbortedTransaction) bool {
					return x.FirstOffset >= part.LastStableOffset
				})
				slices.SortFunc(part.AbortedTransactions, func(a, b kmsg.FetchResponseTopicPartitionAbortedTransaction) int {
					return cmp.Compare(a.FirstOffset, b.FirstOffset)
				})
			}
		}
	})
}
