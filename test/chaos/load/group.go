package load

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/test/verify"
)

// The numbers of W8. Offsets that a group commits go into the history as C9's register;
// the group has number 0.
const (
	memberStay  = 5 * time.Second // how long a member stays on average
	commitLimit = 5 * time.Second
	watchEvery  = 200 * time.Millisecond
)

func (l *Load) group() string { return l.name + "-group" }

// join is one member after the other, each for a while.
func (l *Load) join(ctx context.Context) {
	for ctx.Err() == nil {
		stay, cancel := context.WithTimeout(ctx, memberStay/2+rand.N(memberStay))
		l.member(stay)
		cancel()
	}
}

// member joins the group, reads, commits what it has read, and leaves.
func (l *Load) member(ctx context.Context) {
	var topics []string
	for topic := range l.topics {
		topics = append(topics, topic)
	}
	c := l.client(kgo.ConsumerGroup(l.group()), kgo.ConsumeTopics(topics...), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond))
	defer c.CloseAllowingRebalance()
	for ctx.Err() == nil {
		f := c.PollRecords(ctx, 500)
		next := map[string]map[int32]kgo.EpochOffset{}
		f.EachRecord(func(k *kgo.Record) {
			if _, err := number(k); err != nil {
				l.wrong("member, %s-%d, offset %d: %w", k.Topic, k.Partition, k.Offset, err)
			}
			if next[k.Topic] == nil {
				next[k.Topic] = map[int32]kgo.EpochOffset{}
			}
			next[k.Topic][k.Partition] = kgo.EpochOffset{Epoch: k.LeaderEpoch, Offset: k.Offset + 1}
		})
		l.commit(c, next)
		c.AllowRebalance()
	}
}

// commit commits offsets and logs each with its outcome.
func (l *Load) commit(c *kgo.Client, next map[string]map[int32]kgo.EpochOffset) {
	if len(next) == 0 {
		return
	}
	first, begun := 0, l.Recorder.Now()
	l.Recorder.Log(func(h *verify.History, _ int64) {
		first = len(h.Commits)
		for topic, partitions := range next {
			for p, o := range partitions {
				h.Commits = append(h.Commits, verify.OffsetCommit{Partition: l.partition(topic, p), Offset: o.Offset, Begun: begun})
			}
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), commitLimit)
	defer cancel()
	done := map[int32]bool{}
	c.CommitOffsetsSync(ctx, next, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, r *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			return
		}
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				// The client sends a commit again when an answer is lost: a refusal
				// proves nothing of the first one.
				done[l.partition(t.Topic, p.Partition)] = p.ErrorCode == 0
			}
		}
	})
	l.Recorder.Log(func(h *verify.History, at int64) {
		for i := first; i < len(h.Commits) && h.Commits[i].Begun == begun; i++ {
			if k := &h.Commits[i]; done[k.Partition] {
				k.Outcome, k.Ended = verify.OK, at
			}
		}
	})
}

// watch asks for the group's offsets, as one who is no member.
func (l *Load) watch(ctx context.Context) {
	c := l.client()
	defer c.Close()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		begun := l.Recorder.Now()
		list, err := kadm.NewClient(c).FetchOffsets(ctx, l.group())
		if err != nil {
			continue
		}
		l.Recorder.Log(func(h *verify.History, at int64) {
			list.Each(func(o kadm.OffsetResponse) {
				if o.Err == nil {
					h.Committed = append(h.Committed, verify.Committed{Partition: l.partition(o.Topic, o.Partition), Offset: o.At, Begun: begun, Ended: at})
				}
			})
		})
	}
}
