package api

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/broker/partition"
	"github.com/varvelog/varve/broker/share"
	"github.com/varvelog/varve/broker/telemetry"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/tiering"
	"github.com/varvelog/varve/tiering/objstore"
)

// codes is the one table from errors to protocol codes, first match wins.
var codes = []struct {
	err  error
	code *kerr.Error
}{
	{partition.ErrNotLeader, kerr.NotLeaderForPartition},
	{partition.ErrClosed, kerr.NotLeaderForPartition},
	{partition.ErrFencedEpoch, kerr.FencedLeaderEpoch},
	{partition.ErrUnknownEpoch, kerr.UnknownLeaderEpoch},
	{partition.ErrOffsetOutOfRange, kerr.OffsetOutOfRange},
	{partition.ErrNotEnoughReplicas, kerr.NotEnoughReplicas},
	{partition.ErrOutOfOrderSequence, kerr.OutOfOrderSequenceNumber},
	{partition.ErrInvalidProducerEpoch, kerr.InvalidProducerEpoch},
	{partition.ErrUnknownProducerID, kerr.UnknownProducerID},
	{partition.ErrDuplicateSequence, kerr.DuplicateSequenceNumber},
	{partition.ErrMessageTooLarge, kerr.MessageTooLarge},
	{partition.ErrCorrupt, kerr.CorruptMessage},
	{partition.ErrStorage, kerr.KafkaStorageError},
	{partition.ErrRemote, kerr.KafkaStorageError},
	{partition.ErrOffsetNotAvailable, kerr.OffsetNotAvailable},
	{partition.ErrInvalidTxnState, kerr.InvalidTxnState},
	{partition.ErrCoordinatorFenced, kerr.TransactionCoordinatorFenced},
	{partition.ErrPolicy, kerr.PolicyViolation},
	{share.ErrRecordState, kerr.InvalidRecordState},
	{share.ErrRequest, kerr.InvalidRequest},
	{share.ErrFenced, kerr.NotLeaderForPartition},
	{share.ErrNotReady, kerr.CoordinatorNotAvailable},
	{telemetry.ErrInvalidRequest, kerr.InvalidRequest},
	{telemetry.ErrThrottled, kerr.ThrottlingQuotaExceeded},
	{telemetry.ErrUnknownSubscription, kerr.UnknownSubscriptionID},
	{telemetry.ErrUnsupportedCompression, kerr.UnsupportedCompressionType},
	{telemetry.ErrTooLarge, kerr.TelemetryTooLarge},
	{telemetry.ErrInvalidRecord, kerr.InvalidRecord},
	{batch.ErrTruncated, kerr.InvalidRecord}, // there is no batch: the same bytes again would not help
	{batch.ErrCorrupt, kerr.CorruptMessage},
	{batch.ErrMagic, kerr.InvalidRecord},
	{batch.ErrInvalid, kerr.InvalidRecord},
	{batch.ErrTimestamp, kerr.InvalidTimestamp},
	{batch.ErrCompression, kerr.UnsupportedCompressionType},
	{batch.ErrTooLarge, kerr.MessageTooLarge},
	{segment.ErrFailed, kerr.KafkaStorageError},
	{segment.ErrClosed, kerr.NotLeaderForPartition},
	{segment.ErrOutOfRange, kerr.OffsetOutOfRange},
	{cluster.ErrTopicExists, kerr.TopicAlreadyExists},
	{cluster.ErrUnknownTopic, kerr.UnknownTopicOrPartition},
	{cluster.ErrInvalid, kerr.InvalidRequest},
	{cluster.ErrConflict, kerr.RequestTimedOut},
	{cluster.ErrUnavailable, kerr.RequestTimedOut},
	{config.ErrInvalid, kerr.InvalidConfig},
	{tiering.ErrFenced, kerr.NotLeaderForPartition},
	{tiering.ErrNotReady, kerr.RequestTimedOut},
	{tiering.ErrUnknown, kerr.LeaderNotAvailable},
	{objstore.ErrUnavailable, kerr.KafkaStorageError},
	{context.DeadlineExceeded, kerr.RequestTimedOut},
	{context.Canceled, kerr.RequestTimedOut},
}

// code returns the protocol code of an error; what is unknown is UNKNOWN_SERVER_ERROR.
func code(err error) int16 {
	if err == nil {
		return 0
	}
	var k *kerr.Error
	if errors.As(err, &k) {
		return k.Code
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.code.Code
		}
	}
	return kerr.UnknownServerError.Code
}

// text returns an error's sentence for the protocol's nullable error message. A code
// that stands alone has the protocol's sentence: its name goes beside it, in error_code.
func text(err error) *string {
	if err == nil {
		return nil
	}
	t := err.Error()
	var k *kerr.Error
	if errors.As(err, &k) && t == k.Error() {
		t = k.Description
	}
	return &t
}

// refusal is a protocol error with a sentence of its own.
type refusal struct {
	kind     *kerr.Error
	sentence string
}

func (r *refusal) Error() string { return r.sentence }
func (r *refusal) Unwrap() error { return r.kind }

// refuse makes a refusal.
func refuse(kind *kerr.Error, sentence string) error { return &refusal{kind, sentence} }
