//go:build interop

package interop

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/test/harness"
)

// txnTold is a story of transactions told to one broker, and its answers: code, and how far
// the epoch is from that of the first producer.
type txnTold struct {
	t       testing.TB
	c       *rawConn
	topic   string
	id      string
	first   *kmsg.InitProducerIDResponse
	answers []string
}

// passing are codes that a client asks again for.
var passing = []int16{
	kerr.ConcurrentTransactions.Code, kerr.CoordinatorLoadInProgress.Code, kerr.CoordinatorNotAvailable.Code,
	kerr.NotCoordinator.Code, kerr.NotEnoughReplicas.Code,
}

// tell asks until the answer is none of passing, and notes it.
func (s *txnTold) tell(what string, ask func() (code int16, more string)) {
	s.t.Helper()
	harness.Until(s.t, testLimit, what, func() error {
		code, more := ask()
		if slices.Contains(passing, code) {
			return errors.New(codeName(code))
		}
		s.answers = append(s.answers, fmt.Sprintf("%s: %s%s", what, codeName(code), more))
		return nil
	})
}

// epoch shows an answer's producer by its distance from the first.
func (s *txnTold) epoch(id int64, epoch int16) string {
	if id == -1 {
		return ""
	}
	return fmt.Sprintf(", id +%d, epoch +%d", id-s.first.ProducerID, epoch-s.first.ProducerEpoch)
}

func (s *txnTold) init(what string, version int16, id string, timeout int32, plusID int64, plusEpoch int16) {
	s.tell("init "+what, func() (int16, string) {
		q := kmsg.NewPtrInitProducerIDRequest()
		q.TransactionalID, q.TransactionTimeoutMillis = &id, timeout
		if plusEpoch >= 0 {
			q.ProducerID, q.ProducerEpoch = s.first.ProducerID+plusID, s.first.ProducerEpoch+plusEpoch
		}
		p := ask[*kmsg.InitProducerIDResponse](s.t, s.c, version, q)
		if p.ErrorCode == 0 && s.first == nil {
			s.first = p
		}
		if p.ErrorCode != 0 {
			return p.ErrorCode, ""
		}
		return 0, s.epoch(p.ProducerID, p.ProducerEpoch)
	})
}

func (s *txnTold) end(what string, version int16, id string, commit bool, plusID int64, plusEpoch int16) {
	s.tell("end "+what, func() (int16, string) {
		q := kmsg.NewPtrEndTxnRequest()
		q.TransactionalID, q.Commit = id, commit
		q.ProducerID, q.ProducerEpoch = s.first.ProducerID+plusID, s.first.ProducerEpoch+plusEpoch
		p := ask[*kmsg.EndTxnResponse](s.t, s.c, version, q)
		if version < 5 {
			return p.ErrorCode, ""
		}
		return p.ErrorCode, s.epoch(p.ProducerID, p.ProducerEpoch)
	})
}

func (s *txnTold) add(what string, version int16, id, topic string, partition int32, plusID int64, plusEpoch int16) {
	s.tell("add "+what, func() (int16, string) {
		q := kmsg.NewPtrAddPartitionsToTxnRequest()
		q.TransactionalID, q.ProducerID, q.ProducerEpoch = id, s.first.ProducerID+plusID, s.first.ProducerEpoch+plusEpoch
		q.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: topic, Partitions: []int32{0, partition}}}
		p := ask[*kmsg.AddPartitionsToTxnResponse](s.t, s.c, version, q).Topics[0].Partitions
		slices.SortFunc(p, func(a, b kmsg.AddPartitionsToTxnResponseTopicPartition) int { return int(a.Partition - b.Partition) })
		return p[len(p)-1].ErrorCode, ", " + codeName(p[0].ErrorCode)
	})
}

func (s *txnTold) produce(what string, version int16, id *string, plusEpoch int16, sequence int32) {
	s.tell("produce "+what, func() (int16, string) {
		q := produceRequest(s.topic, topicIDAt(s.t, s.c, s.topic), 0, recordBatch(nil, []byte("v"), func(b *kmsg.RecordBatch) {
			b.Attributes, b.ProducerID, b.ProducerEpoch, b.FirstSequence = 0x10, s.first.ProducerID, s.first.ProducerEpoch+plusEpoch, sequence
		}))
		q.TransactionID = id
		return ask[*kmsg.ProduceResponse](s.t, s.c, version, q).Topics[0].Partitions[0].ErrorCode, ""
	})
}

func topicIDAt(t testing.TB, c *rawConn, topic string) [16]byte {
	t.Helper()
	q := kmsg.NewPtrMetadataRequest()
	to := kmsg.NewMetadataRequestTopic()
	to.Topic = &topic
	q.Topics = append(q.Topics, to)
	return ask[*kmsg.MetadataResponse](t, c, 12, q).Topics[0].TopicID
}

func (s *txnTold) find() {
	harness.Until(s.t, testLimit, "the coordinator", func() error {
		q := kmsg.NewPtrFindCoordinatorRequest()
		q.CoordinatorType, q.CoordinatorKeys = 1, []string{s.id}
		return kerr.ErrorForCode(ask[*kmsg.FindCoordinatorResponse](s.t, s.c, 4, q).Coordinators[0].ErrorCode)
	})
}

// TestTxnCodesEqualApacheKafkas tells varve and Apache Kafka 4.3 the same story: each
// answer, with its epoch, has to be the same.
func TestTxnCodesEqualApacheKafkas(t *testing.T) {
	var told [2][]string
	for i, address := range []string{broker(t).Address, apache(t).Address} {
		s := &txnTold{t: t, c: dial(t, address), topic: topicOf(t), id: topicOf(t, "id")}
		createOn(t, address, s.topic, 2)
		harness.Until(t, testLimit, "leaders on "+address, func() error { return led(t, address, s.topic) })
		s.find()
		s.story()
		told[i] = s.answers
	}
	if len(told[0]) != len(told[1]) {
		t.Fatalf("%d answers, and %d of Apache Kafka", len(told[0]), len(told[1]))
	}
	for i := range told[0] {
		if told[0][i] != told[1][i] {
			t.Errorf("varve: %s\nKafka: %s", told[0][i], told[1][i])
		}
	}
}

func (s *txnTold) story() {
	none := int16(-1)
	s.init("a timeout too long", 5, s.id, 900_001, 0, none)
	s.init("no timeout", 5, s.id, 0, 0, none)
	s.init("an empty id", 5, "", int32(longTransaction.Milliseconds()), 0, none)
	s.init("first", 5, s.id, int32(longTransaction.Milliseconds()), 0, none)
	s.init("goes on", 5, s.id, int32(longTransaction.Milliseconds()), 0, 0)
	s.init("goes on, again", 5, s.id, int32(longTransaction.Milliseconds()), 0, 0)
	s.init("goes on, another producer", 5, s.id, int32(longTransaction.Milliseconds()), 7, 0)
	s.init("goes on, of a later epoch", 5, s.id, int32(longTransaction.Milliseconds()), 0, 5)
	s.init("goes on, of a later epoch, older", 3, s.id, int32(longTransaction.Milliseconds()), 0, 5)

	s.end("of nothing, commit", 5, s.id, true, 0, 1)
	s.end("of nothing, commit, older", 4, s.id, true, 0, 1)
	s.end("of nothing, abort, older", 4, s.id, false, 0, 1)
	s.end("of nothing, abort", 5, s.id, false, 0, 1)
	s.end("of nothing, abort, again", 5, s.id, false, 0, 1)
	s.end("of an unknown id", 5, s.id+"?", true, 0, 1)
	s.end("of no id", 5, "", true, 0, 1)
	s.end("of another producer", 5, s.id, true, 7, 2)
	s.end("of a later epoch", 5, s.id, true, 0, 9)
	s.end("of a later epoch, old", 1, s.id, true, 0, 9)

	s.add("an unknown topic", 3, s.id, "nowhere", 1, 0, 2)
	s.add("an unknown partition", 3, s.id, s.topic, 9, 0, 2)
	s.add("for an unknown id", 3, s.id+"?", s.topic, 1, 0, 2)
	s.add("for no id", 3, "", s.topic, 1, 0, 2)
	s.add("for another producer", 3, s.id, s.topic, 1, 7, 2)
	s.add("for a later epoch", 3, s.id, s.topic, 1, 0, 9)
	s.add("for a later epoch, old", 1, s.id, s.topic, 1, 0, 9)
	s.produce("without an id", 12, nil, 2, 0)
	s.produce("not verified", 11, &s.id, 2, 0)
	s.produce("not verified, old", 9, &s.id, 2, 0)
	s.produce("of a later epoch, old", 9, &s.id, 9, 0)
	s.produce("of a later epoch", 12, &s.id, 9, 0)

	s.add("first", 3, s.id, s.topic, 1, 0, 2)
	s.produce("verified", 9, &s.id, 2, 0)
	s.end("commit, older", 4, s.id, true, 0, 2)
	s.end("commit, older, again", 4, s.id, true, 0, 2)
	s.end("abort of the committed, older", 4, s.id, false, 0, 2)
	s.add("second", 3, s.id, s.topic, 1, 0, 2)
	s.end("abort, older", 4, s.id, false, 0, 2)
	s.end("commit of the aborted, older", 4, s.id, true, 0, 2)

	s.produce("added by the broker", 12, &s.id, 2, 1)
	s.end("commit", 5, s.id, true, 0, 2)
	s.end("commit, again", 5, s.id, true, 0, 2)
	s.end("abort of the committed", 5, s.id, false, 0, 2)
	s.end("commit of the next, which has not begun", 5, s.id, true, 0, 3)
	s.produce("late", 12, &s.id, 2, 2)
	s.produce("late, old", 9, &s.id, 2, 2)
	s.produce("of the next", 12, &s.id, 3, 0)
	s.end("late, of the last", 5, s.id, true, 0, 2)
	s.end("abort", 5, s.id, false, 0, 3)
	s.end("abort, again", 5, s.id, false, 0, 3)
	s.end("commit of the aborted", 5, s.id, true, 0, 3)

	s.produce("of an open one", 12, &s.id, 4, 0)
	s.init("takes over", 5, s.id, int32(longTransaction.Milliseconds()), 0, none)
	s.produce("of the fenced", 12, &s.id, 4, 1)
	s.end("of the fenced", 5, s.id, true, 0, 4)
	s.end("of the fenced, older", 4, s.id, true, 0, 4)
}
