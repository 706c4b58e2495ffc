package coordinator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/coordinator/group"
	sharestate "github.com/varvelog/varve/broker/coordinator/share"
)

// ShareOptions of the share coordinator; durations and limits under Kafka's names.
type ShareOptions struct {
	Partitions         int32 // share.coordinator.state.topic.num.partitions
	Now                func() time.Time
	Metadata           func() group.Metadata
	UpdatesPerSnapshot int           // share.coordinator.snapshot.update.records.per.snapshot
	Cold               time.Duration // share.coordinator.cold.partition.snapshot.interval.ms
	Prune              time.Duration // share.coordinator.state.topic.prune.interval.ms
}

// Shares is the share coordinator of this broker (KIP-932): it keeps the state of share
// partitions for the group coordinator, which begins and deletes them, and for the leaders
// of their topics' partitions, which read and write them.
type Shares struct {
	o     ShareOptions
	alarm *alarm
	table table[*shareShard]
}

// NewShares makes a coordinator of no partitions.
func NewShares(o ShareOptions) *Shares { return &Shares{o: o, alarm: newAlarm()} }

// PrunableLog is a Log whose beginning can be deleted.
type PrunableLog interface {
	Log
	// End is the offset that the next record gets.
	End() int64
	// DeleteBefore deletes the records below offset, which is committed.
	DeleteBefore(ctx context.Context, offset int64) error
}

// ErrShareKey is returned for what is not the key of a share partition.
var ErrShareKey = errors.New(`a share partition's key is "group:topic id:partition"`)

// KeyPartition returns the partition of __share_group_state that the share partition of a
// coordinator key lives in: "group:topic id:partition", as FindCoordinator has it. The
// group's id may have colons.
func (c *Shares) KeyPartition(key string) (int32, error) {
	k, err := sharestate.ParseKey(key)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrShareKey, err)
	}
	return c.PartitionFor(k), nil
}

// PartitionFor returns the partition of __share_group_state that a share partition lives in.
func (c *Shares) PartitionFor(k sharestate.Key) int32 {
	return partitionFor(k.String(), c.o.Partitions)
}

// Load makes this broker the coordinator of a partition's share partitions. Unload forgets
// them. Errors and answers meanwhile are those of Groups.Load.
func (c *Shares) Load(ctx context.Context, partition, leaderEpoch int32, l Log) error {
	return c.table.load(ctx, partition, newShareShard(c, leaderEpoch, l))
}

// Unload ends the coordination of a partition's share partitions. It returns when nothing
// of it runs any more.
func (c *Shares) Unload(partition int32) { c.table.unload(partition) }

// Tick writes the snapshots of cold share partitions again, deletes what is stored of
// deleted topics, and has logs pruned. It returns when it wants to be called next; Changed
// is signalled when that moment has moved closer.
func (c *Shares) Tick(now time.Time) (next time.Time) {
	return c.alarm.tick(now.Add(min(c.o.Cold, c.o.Prune)), func() {
		for _, s := range c.table.all() {
			c.alarm.moved(s.tick(now.UnixMilli()))
		}
	})
}

// Changed is signalled when Tick is wanted earlier than it last said.
func (c *Shares) Changed() <-chan struct{} { return c.alarm.changed }

func (c *Shares) now() int64 { return c.o.Now().UnixMilli() }

// asked is a share partition of a request.
type asked struct {
	topic     [16]byte
	partition int32
}

// answer is what a share partition said to a request.
type answer struct {
	code    int16
	message string
	state   *sharestate.State // nil: there is none
}

// decision of a share partition: what it makes of a request, seen from its state.
type shareDecision func(now int64, k sharestate.Key, s *sharestate.State) sharestate.Step

// ask lets each share partition of a request decide, and returns what waits for the
// answers, in the order of the request. No answer is given before everything that it says
// is committed. Where the deadline of ctx passes they say COORDINATOR_NOT_AVAILABLE.
//
// sentence begins what is said where the coordinator itself refuses; decide has the number
// of the share partition in the request.
func (c *Shares) ask(groupID string, all []asked, sentence string, topicFirst bool, decide func(i int) shareDecision) Pending[[]answer] {
	g := &gathering{answers: make([]answer, len(all)), left: len(all), done: make(chan struct{})}
	for i := range g.answers {
		g.answers[i] = unavailable(sentence, kerr.CoordinatorNotAvailable.Code)
	}
	if len(all) == 0 {
		close(g.done)
	}
	topics := c.o.Metadata()
	for i, a := range all {
		k := sharestate.Key{Group: groupID, Topic: a.topic, Partition: a.partition}
		reply := func(code int16, said answer) {
			if code != 0 {
				said = unavailable(sentence, code)
			}
			g.answer(i, said)
		}
		if a.partition < 0 {
			reply(0, answer{code: kerr.InvalidRequest.Code, message: "The partition id cannot be a negative number."})
			continue
		}
		known := func() bool { t, ok := topics.TopicByID(a.topic); return ok && a.partition < t.Partitions }
		c.step(k, reply, topicFirst, known, decide(i))
	}
	return g.wait
}

// unavailable is an answer of the coordinator itself.
func unavailable(sentence string, code int16) answer {
	return answer{code: code, message: sentence + kerr.TypedErrorForCode(code).Description}
}

// step lets one share partition decide. reply is called once, perhaps under the lock of
// its shard.
func (c *Shares) step(k sharestate.Key, reply func(code int16, said answer), topicFirst bool, known func() bool, decide shareDecision) {
	now := c.now()
	s, code := c.table.enter(c.PartitionFor(k))
	if code != 0 {
		reply(code, answer{})
		return
	}
	defer s.mu.Unlock()
	unknown := answer{code: kerr.UnknownTopicOrPartition.Code, message: "This server does not host this topic-partition."}
	if topicFirst && !known() {
		reply(0, unknown)
		return
	}
	step := decide(now, k, s.state(k))
	switch {
	case step.Refusal != nil:
		s.settled(k, func(code int16) {
			reply(code, answer{code: step.Refusal.Code, message: step.Refusal.Message})
		})
	case !known():
		reply(0, unknown)
	default:
		s.carryOut(now, k, step, func(code int16) { reply(code, answer{state: step.Next}) })
	}
}

// gathering collects the answers of share partitions of several shards.
type gathering struct {
	done chan struct{} // closed with the last answer

	mu      sync.Mutex // a leaf: taken under shards' locks
	answers []answer
	left    int
}

func (g *gathering) answer(i int, said answer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answers[i] = said
	if g.left--; g.left == 0 {
		close(g.done)
	}
}

// wait is a Pending.
func (g *gathering) wait(ctx context.Context) ([]answer, error) {
	select {
	case <-g.done:
		return g.answers, nil
	default:
	}
	select {
	case <-g.done:
		return g.answers, nil
	case <-ctx.Done():
	}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, ctx.Err()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]answer(nil), g.answers...), nil
}

// text is a sentence for the protocol's nullable error message.
func (a answer) text() *string {
	if a.code == 0 {
		return nil
	}
	return &a.message
}

// Initialize handles InitializeShareGroupState v0.
func (c *Shares) Initialize(q *kmsg.InitializeShareGroupStateRequest) Pending[*kmsg.InitializeShareGroupStateResponse] {
	var all []asked
	var inits []sharestate.Initialization
	for _, t := range q.Topics {
		for _, p := range t.Partitions {
			all = append(all, asked{t.TopicID, p.Partition})
			inits = append(inits, sharestate.Initialization{StateEpoch: p.StateEpoch, StartOffset: p.StartOffset})
		}
	}
	response := q.ResponseKind().(*kmsg.InitializeShareGroupStateResponse)
	if q.GroupID == "" || hasEmpty(q.Topics, func(t kmsg.InitializeShareGroupStateRequestTopic) int { return len(t.Partitions) }) {
		return done(response)
	}
	wait := c.ask(q.GroupID, all, "Unable to initialize share group state: ", false, func(i int) shareDecision {
		return func(now int64, k sharestate.Key, s *sharestate.State) sharestate.Step {
			return s.Initialize(now, k, inits[i])
		}
	})
	return answered(wait, func(answers []answer) *kmsg.InitializeShareGroupStateResponse {
		for _, asked := range q.Topics {
			t := kmsg.NewInitializeShareGroupStateResponseTopic()
			t.TopicID = asked.TopicID
			for _, from := range asked.Partitions {
				p := kmsg.NewInitializeShareGroupStateResponseTopicPartition()
				p.Partition, p.ErrorCode, p.ErrorMessage = from.Partition, answers[0].code, answers[0].text()
				t.Partitions, answers = append(t.Partitions, p), answers[1:]
			}
			response.Topics = append(response.Topics, t)
		}
		return response
	})
}

// Read handles ReadShareGroupState v0. The leader that reads is stored: earlier ones are
// fenced.
func (c *Shares) Read(q *kmsg.ReadShareGroupStateRequest) Pending[*kmsg.ReadShareGroupStateResponse] {
	var all []asked
	var epochs []int32
	for _, t := range q.Topics {
		for _, p := range t.Partitions {
			all = append(all, asked{t.TopicID, p.Partition})
			epochs = append(epochs, p.LeaderEpoch)
		}
	}
	response := q.ResponseKind().(*kmsg.ReadShareGroupStateResponse)
	if q.GroupID == "" || hasEmpty(q.Topics, func(t kmsg.ReadShareGroupStateRequestTopic) int { return len(t.Partitions) }) {
		return done(response)
	}
	wait := c.ask(q.GroupID, all, "Unable to read share group state: ", false, func(i int) shareDecision {
		return func(now int64, k sharestate.Key, s *sharestate.State) sharestate.Step {
			return s.Read(now, k, c.o.UpdatesPerSnapshot, epochs[i])
		}
	})
	return answered(wait, func(answers []answer) *kmsg.ReadShareGroupStateResponse {
		for _, asked := range q.Topics {
			t := kmsg.NewReadShareGroupStateResponseTopic()
			t.TopicID = asked.TopicID
			for _, from := range asked.Partitions {
				t.Partitions, answers = append(t.Partitions, readAnswer(from.Partition, answers[0])), answers[1:]
			}
			response.Topics = append(response.Topics, t)
		}
		return response
	})
}

func readAnswer(partition int32, a answer) kmsg.ReadShareGroupStateResponseTopicPartition {
	p := kmsg.NewReadShareGroupStateResponseTopicPartition()
	p.Partition, p.ErrorCode, p.ErrorMessage = partition, a.code, a.text()
	if a.code != 0 {
		return p
	}
	p.StateEpoch, p.StartOffset = a.state.StateEpoch, a.state.StartOffset
	for _, from := range a.state.Batches {
		b := kmsg.NewReadShareGroupStateResponseTopicPartitionStateBatch()
		b.FirstOffset, b.LastOffset, b.DeliveryState, b.DeliveryCount = from.First, from.Last, from.DeliveryState, from.DeliveryCount
		p.StateBatches = append(p.StateBatches, b)
	}
	return p
}

// Write handles WriteShareGroupState v0-v1.
func (c *Shares) Write(q *kmsg.WriteShareGroupStateRequest) Pending[*kmsg.WriteShareGroupStateResponse] {
	var all []asked
	var updates []sharestate.Update
	for _, t := range q.Topics {
		for i := range t.Partitions {
			all = append(all, asked{t.TopicID, t.Partitions[i].Partition})
			updates = append(updates, shareUpdate(&t.Partitions[i]))
		}
	}
	response := q.ResponseKind().(*kmsg.WriteShareGroupStateResponse)
	if q.GroupID == "" || hasEmpty(q.Topics, func(t kmsg.WriteShareGroupStateRequestTopic) int { return len(t.Partitions) }) {
		return done(response)
	}
	wait := c.ask(q.GroupID, all, "Unable to write share group state: ", false, func(i int) shareDecision {
		return func(now int64, k sharestate.Key, s *sharestate.State) sharestate.Step {
			return s.Write(now, k, c.o.UpdatesPerSnapshot, updates[i])
		}
	})
	return answered(wait, func(answers []answer) *kmsg.WriteShareGroupStateResponse {
		for _, asked := range q.Topics {
			t := kmsg.NewWriteShareGroupStateResponseTopic()
			t.TopicID = asked.TopicID
			for _, from := range asked.Partitions {
				p := kmsg.NewWriteShareGroupStateResponseTopicPartition()
				p.Partition, p.ErrorCode, p.ErrorMessage = from.Partition, answers[0].code, answers[0].text()
				t.Partitions, answers = append(t.Partitions, p), answers[1:]
			}
			response.Topics = append(response.Topics, t)
		}
		return response
	})
}

func shareUpdate(from *kmsg.WriteShareGroupStateRequestTopicPartition) sharestate.Update {
	u := sharestate.Update{
		StateEpoch: from.StateEpoch, LeaderEpoch: from.LeaderEpoch,
		StartOffset: from.StartOffset, DeliveryComplete: from.DeliveryCompleteCount,
	}
	for _, b := range from.StateBatches {
		u.Batches = append(u.Batches, sharestate.Batch{First: b.FirstOffset, Last: b.LastOffset, DeliveryState: b.DeliveryState, DeliveryCount: b.DeliveryCount})
	}
	return u
}

// Delete handles DeleteShareGroupState v0. What is not there counts as deleted.
func (c *Shares) Delete(q *kmsg.DeleteShareGroupStateRequest) Pending[*kmsg.DeleteShareGroupStateResponse] {
	var all []asked
	for _, t := range q.Topics {
		for _, p := range t.Partitions {
			all = append(all, asked{t.TopicID, p.Partition})
		}
	}
	response := q.ResponseKind().(*kmsg.DeleteShareGroupStateResponse)
	if q.GroupID == "" || hasEmpty(q.Topics, func(t kmsg.DeleteShareGroupStateRequestTopic) int { return len(t.Partitions) }) {
		return done(response)
	}
	wait := c.ask(q.GroupID, all, "Unable to delete share group state: ", true, func(int) shareDecision {
		return func(now int64, k sharestate.Key, s *sharestate.State) sharestate.Step { return s.Delete(now, k) }
	})
	return answered(wait, func(answers []answer) *kmsg.DeleteShareGroupStateResponse {
		for _, asked := range q.Topics {
			t := kmsg.NewDeleteShareGroupStateResponseTopic()
			t.TopicID = asked.TopicID
			for _, from := range asked.Partitions {
				p := kmsg.NewDeleteShareGroupStateResponseTopicPartition()
				p.Partition, p.ErrorCode, p.ErrorMessage = from.Partition, answers[0].code, answers[0].text()
				t.Partitions, answers = append(t.Partitions, p), answers[1:]
			}
			response.Topics = append(response.Topics, t)
		}
		return response
	})
}

// ReadSummary handles ReadShareGroupStateSummary v0-v1: it fences nobody. What is not
// initialized has start offset -1.
func (c *Shares) ReadSummary(q *kmsg.ReadShareGroupStateSummaryRequest) Pending[*kmsg.ReadShareGroupStateSummaryResponse] {
	var all []asked
	for _, t := range q.Topics {
		for _, p := range t.Partitions {
			all = append(all, asked{t.TopicID, p.Partition})
		}
	}
	response := q.ResponseKind().(*kmsg.ReadShareGroupStateSummaryResponse)
	if q.GroupID == "" || hasEmpty(q.Topics, func(t kmsg.ReadShareGroupStateSummaryRequestTopic) int { return len(t.Partitions) }) {
		return done(response)
	}
	wait := c.ask(q.GroupID, all, "Unable to read share group state summary: ", true, func(int) shareDecision {
		return func(_ int64, _ sharestate.Key, s *sharestate.State) sharestate.Step {
			return sharestate.Step{Next: s}
		}
	})
	return answered(wait, func(answers []answer) *kmsg.ReadShareGroupStateSummaryResponse {
		for _, asked := range q.Topics {
			t := kmsg.NewReadShareGroupStateSummaryResponseTopic()
			t.TopicID = asked.TopicID
			for _, from := range asked.Partitions {
				t.Partitions, answers = append(t.Partitions, summaryAnswer(from.Partition, answers[0])), answers[1:]
			}
			response.Topics = append(response.Topics, t)
		}
		return response
	})
}

func summaryAnswer(partition int32, a answer) kmsg.ReadShareGroupStateSummaryResponseTopicPartition {
	p := kmsg.NewReadShareGroupStateSummaryResponseTopicPartition()
	p.Partition, p.ErrorCode, p.ErrorMessage = partition, a.code, a.text()
	switch {
	case a.code != 0:
	case a.state == nil:
		p.StartOffset, p.DeliveryCompleteCount = sharestate.None, sharestate.None
	default:
		p.StateEpoch, p.LeaderEpoch = a.state.StateEpoch, a.state.LeaderEpoch
		p.StartOffset, p.DeliveryCompleteCount = a.state.StartOffset, a.state.DeliveryComplete
	}
	return p
}

// hasEmpty tells whether there are no topics or one of them has no partitions: such a
// request is answered with nothing, as Kafka does.
func hasEmpty[T any](topics []T, partitions func(T) int) bool {
	for _, t := range topics {
		if partitions(t) == 0 {
			return true
		}
	}
	return len(topics) == 0
}

// answered makes a response of answers.
func answered[R any](wait Pending[[]answer], respond func([]answer) R) Pending[R] {
	return func(ctx context.Context) (r R, err error) {
		answers, err := wait(ctx)
		if err != nil {
			return r, err
		}
		return respond(answers), nil
	}
}
