package broker

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/varvelog/varve/broker/api"
	"github.com/varvelog/varve/broker/coordinator"
	"github.com/varvelog/varve/broker/coordinator/txn"
)

// newTransactions makes the transaction coordinator. Transactional ids are spread over as
// many partitions as __transaction_state has, whatever transaction.state.log.num.partitions
// says by now.
func (b *Broker) newTransactions() *coordinator.Transactions {
	c := b.config().Transactions
	partitions := c.Partitions
	if t, ok := b.store.Image().Topic(api.TransactionTopic); ok {
		partitions = int32(len(t.Partitions))
	}
	return coordinator.NewTransactions(coordinator.TransactionOptions{
		Partitions: partitions, Now: b.steadyNow, ProducerID: b.producerIDs.Take, Markers: markers{b},
		MaxTimeout: c.MaxTimeout, AbortCheck: c.AbortInterval, Expiration: c.IDExpiration, ExpiryCheck: c.ExpiryInterval,
	})
}

// markers writes the markers of transactions to the partitions of this broker.
type markers struct{ b *Broker }

// WriteMarker implements coordinator.MarkerWriter. Markers of __consumer_offsets go by way
// of the group coordinator, whose groups then read the offsets of the transaction.
func (m markers) WriteMarker(tp txn.Partition, marker coordinator.Marker) (func(context.Context) error, error) {
	t, ok := m.b.store.Image().Topic(tp.Topic)
	if !ok || tp.Partition < 0 || int(tp.Partition) >= len(t.Partitions) {
		return nil, errors.Join(coordinator.ErrMarkerNeedless, kerr.UnknownTopicOrPartition)
	}
	var (
		wait func(context.Context) error
		err  error
	)
	if tp.Topic == api.OffsetsTopic {
		wait, err = m.b.groups.EndTransaction(tp.Partition, marker)
	} else if p, open := m.b.replicas.Partition(t.ID, tp.Partition); open {
		wait, err = coordinatorLog{p}.Append(-1, marker.Write(m.b.Now().UnixMilli()))
	} else {
		err = kerr.NotLeaderForPartition
	}
	if err != nil {
		return nil, needless(err)
	}
	return func(ctx context.Context) error { return needless(wait(ctx)) }, nil
}

// needless says of the error that a later epoch of the producer gives that the marker has
// nothing to end.
func needless(err error) error {
	if errors.Is(err, kerr.InvalidProducerEpoch) {
		return errors.Join(coordinator.ErrMarkerNeedless, err)
	}
	return err
}
