package broker

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/coordinator"
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

// fallible is a coordinator that cannot read its log at first.
type fallible struct {
	mu    sync.Mutex
	fails int
	asked chan error // what each Load has returned
}

func (f *fallible) Load(context.Context, int32, int32, coordinator.Log) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	if f.fails--; f.fails >= 0 {
		err = errors.New("a sector cannot be read")
	}
	f.asked <- err
	return err
}

func (f *fallible) Unload(int32) {}

// TestACoordinatorThatCannotBeReadIsLoadedAgain: an error of a read is nothing to restart for.
func TestACoordinatorThatCannotBeReadIsLoadedAgain(t *testing.T) {
	b := open(t, t.TempDir())
	topic := create(t, b, "x", 1)
	f := &fallible{fails: 2, asked: make(chan error, 10)}
	b.loadCoordinator(f, topic, 0)
	for _, fails := range []bool{true, true, false} {
		select {
		case err := <-f.asked:
			if (err != nil) != fails {
				t.Errorf("loaded: %v", err)
			}
		case <-time.After(waitLimit):
			t.Fatal("not loaded again")
		}
	}
	never := &fallible{fails: 1 << 30, asked: make(chan error, 10)}
	b.loadCoordinator(never, topic, 0)
	<-never.asked
	if err := b.Close(); err != nil { // waits for who tries still
		t.Error(err)
	}
	if n := len(f.asked); n > 0 {
		t.Errorf("loaded %d times more than once", n)
	}
}
