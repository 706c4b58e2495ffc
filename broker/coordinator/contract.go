// Package coordinator runs replicated state machines, one for each partition of an
// internal topic that this broker leads: it loads a machine's state by reading the
// partition, appends the records of each transition, and answers when they are
// committed. The machines themselves (groups, transactions) are pure and live in the
// packages below.
package coordinator

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/segment/batch"
)

// Log is one partition of an internal topic of which this broker is the leader.
type Log interface {
	// Append writes records as one batch, fenced by the leader epoch the coordinator was
	// loaded in, and returns at once; wait returns when it is committed.
	Append(leaderEpoch int32, records []batch.Record) (wait func(context.Context) error, err error)
	// Scan reads all batches up to the high watermark.
	Scan(ctx context.Context, yield func(batch.Batch) error) error
}

// Client is who asks.
type Client struct {
	ID   string // client.id
	Host string // "/127.0.0.1", as Kafka shows it
}

// Pending is an answer that may have to be waited for.
type Pending[R any] func(ctx context.Context) (R, error)

// Options of the group coordinator; durations and limits under Kafka's names.
type Options struct {
	Partitions             int32 // offsets.topic.num.partitions
	Now                    func() time.Time
	Rand                   *rand.Rand    // member ids
	SessionMin, SessionMax time.Duration // group.min/max.session.timeout.ms
	InitialRebalanceDelay  time.Duration // group.initial.rebalance.delay.ms
	GroupMaxSize           int           // group.max.size
	OffsetMetadataMax      int           // offset.metadata.max.bytes
	OffsetsRetention       time.Duration // offsets.retention.minutes
}

// Groups is the group coordinator of this broker.
type Groups struct{}

func NewGroups(o Options) *Groups { panic("unbuilt") }

// PartitionFor returns the partition of __consumer_offsets that a group lives in:
// abs(javaHash(group)) mod partitions, as in Kafka.
func (g *Groups) PartitionFor(group string) int32 { panic("unbuilt") }

// Load makes this broker the coordinator of a partition's groups. Until it has read
// the log, requests for them answer COORDINATOR_LOAD_IN_PROGRESS. Unload forgets them
// and answers waiting members NOT_COORDINATOR.
func (g *Groups) Load(ctx context.Context, partition, leaderEpoch int32, l Log) error {
	panic("unbuilt")
}
func (g *Groups) Unload(partition int32) { panic("unbuilt") }

// Tick expires sessions, ends rebalance delays and expires offsets that are due at
// now. It returns when it wants to be called next. Changed is signalled when that
// moment has moved closer.
func (g *Groups) Tick(now time.Time) (next time.Time) { panic("unbuilt") }
func (g *Groups) Changed() <-chan struct{}            { panic("unbuilt") }

// One method per API. Requests carry their version (GetVersion); answers are complete
// for that version.
func (g *Groups) Join(c Client, r *kmsg.JoinGroupRequest) Pending[*kmsg.JoinGroupResponse] {
	panic("unbuilt")
}
func (g *Groups) Sync(c Client, r *kmsg.SyncGroupRequest) Pending[*kmsg.SyncGroupResponse] {
	panic("unbuilt")
}
func (g *Groups) Heartbeat(r *kmsg.HeartbeatRequest) *kmsg.HeartbeatResponse { panic("unbuilt") }
func (g *Groups) Leave(r *kmsg.LeaveGroupRequest) *kmsg.LeaveGroupResponse   { panic("unbuilt") }
func (g *Groups) Commit(r *kmsg.OffsetCommitRequest) Pending[*kmsg.OffsetCommitResponse] {
	panic("unbuilt")
}
func (g *Groups) Fetch(r *kmsg.OffsetFetchRequest) *kmsg.OffsetFetchResponse { panic("unbuilt") }
func (g *Groups) Describe(r *kmsg.DescribeGroupsRequest) *kmsg.DescribeGroupsResponse {
	panic("unbuilt")
}
func (g *Groups) List(r *kmsg.ListGroupsRequest) *kmsg.ListGroupsResponse { panic("unbuilt") }
func (g *Groups) Delete(r *kmsg.DeleteGroupsRequest) Pending[*kmsg.DeleteGroupsResponse] {
	panic("unbuilt")
}
func (g *Groups) DeleteOffsets(r *kmsg.OffsetDeleteRequest) Pending[*kmsg.OffsetDeleteResponse] {
	panic("unbuilt")
}

// DropTopic removes the committed offsets of a deleted topic.
func (g *Groups) DropTopic(topic string) Pending[struct{}] { panic("unbuilt") }
