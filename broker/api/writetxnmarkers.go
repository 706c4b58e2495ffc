package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/coordinator"
	"github.com/varvelog/varve/broker/coordinator/txn"
)

// markerCode is what became of a marker. Who writes markers does not expect the codes of
// coordinators, to one of which a partition of __consumer_offsets belongs.
func markerCode(err error) int16 {
	switch c := code(err); c {
	case kerr.CoordinatorNotAvailable.Code, kerr.CoordinatorLoadInProgress.Code, kerr.NotCoordinator.Code:
		return kerr.NotLeaderForPartition.Code
	default:
		return c
	}
}

// writeTxnMarkers appends markers to partitions of this broker. Operators use it to end a
// transaction that its coordinator knows nothing of (KIP-664).
func (s *Server) writeTxnMarkers(ctx context.Context, c *call, q *kmsg.WriteTxnMarkersRequest) *kmsg.WriteTxnMarkersResponse {
	p := q.ResponseKind().(*kmsg.WriteTxnMarkersResponse)
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var waits []func() // all are appended before one is waited for
	for i := range q.Markers {
		from := &q.Markers[i]
		m := coordinator.Marker{
			Producer: txn.Producer{ID: from.ProducerID, Epoch: from.ProducerEpoch},
			Commit:   from.Committed, CoordinatorEpoch: from.CoordinatorEpoch,
		}
		if c.Version >= 2 {
			m.Version = txn.Version(from.TransactionVersion)
		}
		r := kmsg.NewWriteTxnMarkersResponseMarker()
		r.ProducerID = from.ProducerID
		for j := range from.Topics {
			t := kmsg.NewWriteTxnMarkersResponseMarkerTopic()
			t.Topic = from.Topics[j].Topic
			t.Partitions = make([]kmsg.WriteTxnMarkersResponseMarkerTopicPartition, len(from.Topics[j].Partitions))
			for k, index := range from.Topics[j].Partitions {
				to := &t.Partitions[k]
				to.Partition = index
				wait, err := s.Markers.WriteMarker(txn.Partition{Topic: t.Topic, Partition: index}, m)
				if to.ErrorCode = markerCode(err); err == nil {
					waits = append(waits, func() { to.ErrorCode = markerCode(wait(ctx)) })
				}
			}
			r.Topics = append(r.Topics, t)
		}
		p.Markers = append(p.Markers, r)
	}
	for _, wait := range waits {
		wait()
	}
	return p
}
