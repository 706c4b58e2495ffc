package api

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/coordinator"
	"github.com/varvelog/varve/segment/batch"
)

// silentLog takes what is appended, and nobody hears of it again: the disk hangs.
type silentLog struct{}

func (silentLog) Append(int32, coordinator.Write) (func(context.Context) error, error) {
	return func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}, nil
}

func (silentLog) Scan(context.Context, func(batch.Batch) error) error { return nil }

// TestInitProducerIDIsAnsweredInTime: as with Kafka's request.timeout.ms, a producer does not
// wait for ever for a disk, or for the metadata, and asks again.
func TestInitProducerIDIsAnsweredInTime(t *testing.T) {
	id := "x"
	for _, test := range []struct {
		name            string
		transactionalID *string
		allocate        func(context.Context, int64) (int64, error)
	}{
		{"the disk hangs", &id, func(context.Context, int64) (int64, error) { return 1, nil }},
		{"the metadata hangs", &id, stuck},
		{"the metadata hangs, without a transactional id", nil, stuck},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ids := coordinator.NewProducerIDs(test.allocate)
				c := coordinator.NewTransactions(coordinator.TransactionOptions{
					Partitions: 1, Now: time.Now, ProducerID: ids.Take, MaxTimeout: time.Hour,
					AbortCheck: time.Hour, Expiration: time.Hour, ExpiryCheck: time.Hour,
				})
				if err := c.Load(t.Context(), 0, 1, silentLog{}); err != nil {
					t.Fatal(err)
				}
				defer c.Unload(0)
				s := &Server{Options: Options{Transactions: c, ProducerIDs: ids}}
				q := kmsg.NewPtrInitProducerIDRequest()
				q.TransactionalID, q.TransactionTimeoutMillis = test.transactionalID, 60_000
				began := time.Now()
				p := s.initProducerID(t.Context(), nil, q)
				if took := time.Since(began); p.ErrorCode != kerr.CoordinatorNotAvailable.Code || took != requestTimeout {
					t.Errorf("%v after %v, want COORDINATOR_NOT_AVAILABLE after %v", kerr.ErrorForCode(p.ErrorCode), took, requestTimeout)
				}
			})
		})
	}
}

func stuck(ctx context.Context, _ int64) (int64, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}
