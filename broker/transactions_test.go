package broker

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestOffsetsOfANamelessGroupBeginNoTransaction: as with Kafka, which looks at the group
// before it asks the coordinator of transactions.
func TestOffsetsOfANamelessGroupBeginNoTransaction(t *testing.T) {
	s := serve(t)
	s.createTopic()
	s.settle()
	s.succeeds("init", func() int16 { return s.init("x") })
	q := kmsg.NewPtrTxnOffsetCommitRequest()
	q.TransactionalID, q.ProducerID, q.ProducerEpoch, q.Generation = "x", s.producer.id, s.producer.epoch, -1
	q.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{{Offset: 1}}}}
	if code := request[*kmsg.TxnOffsetCommitResponse](s, q).Topics[0].Partitions[0].ErrorCode; code != kerr.InvalidGroupID.Code {
		t.Errorf("%v, want INVALID_GROUP_ID", kerr.ErrorForCode(code))
	}
	if state := s.describe().State; state != "Empty" {
		t.Errorf("state %s", state)
	}
}
