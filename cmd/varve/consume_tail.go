package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/segment/batch"
)

// Compaction may leave nothing to hand out between the last record and the end of a
// partition: batches without records, or none. The client passes over them in silence,
// so a reader that is to stop at the end has to look for itself.

// tailPause is how long a reader waits for records before it looks at the tails.
const tailPause = 250 * time.Millisecond

// maxTail bounds what one look at a tail fetches, in bytes; a larger batch comes whole.
const maxTail = 1 << 20

// skipTails strikes off the plan the partitions of which nothing is left to read. next
// holds the offsets up to which they were handed out.
func skipTails(ctx context.Context, client *kgo.Client, topic string, plan *readPlan, next map[int32]int64) error {
	found, err := kadm.NewClient(client).ListTopics(ctx, topic)
	if err != nil {
		return err
	}
	for _, p := range slices.Sorted(maps.Keys(plan.until)) {
		detail := found[topic]
		at, err := readTail(ctx, client, detail, detail.Partitions[p], max(next[p], plan.from[p]), plan.until[p])
		if err != nil {
			return fmt.Errorf("look at the end of %s: %w", partitionName(topic, p), err)
		}
		next[p] = at
		plan.reached(p, at)
	}
	return nil
}

// readTail returns the offset of the first record at or above from, end where there is
// none below it. What it cannot fetch now it leaves for the next look.
func readTail(ctx context.Context, client *kgo.Client, topic kadm.TopicDetail, p kadm.PartitionDetail, from, end int64) (int64, error) {
	for from < end {
		q := kmsg.NewPtrFetchRequest()
		q.MaxBytes, q.MinBytes = maxTail, 0
		t := kmsg.NewFetchRequestTopic()
		t.Topic, t.TopicID = topic.Topic, topic.ID
		part := kmsg.NewFetchRequestTopicPartition()
		part.Partition, part.FetchOffset, part.PartitionMaxBytes = p.Partition, from, maxTail
		t.Partitions = append(t.Partitions, part)
		q.Topics = append(q.Topics, t)
		answer, err := client.Broker(int(p.Leader)).RetriableRequest(ctx, q)
		if err != nil {
			return from, err
		}
		got, ok := answer.(*kmsg.FetchResponse)
		if !ok || len(got.Topics) != 1 || len(got.Topics[0].Partitions) != 1 {
			return from, errors.Join(errors.New("the broker's answer is of something else"), kerr.ErrorForCode(got.ErrorCode))
		}
		one := got.Topics[0].Partitions[0]
		if one.ErrorCode != 0 {
			return from, nil // the consumer sees it as well, and tells it
		}
		at, found := firstRecord(one.RecordBatches, from)
		switch {
		case found:
			return at, nil
		case at == from && one.HighWatermark >= end:
			return end, nil // no batch is left below the end
		case at == from:
			return from, nil
		}
		from = at
	}
	return end, nil
}

// firstRecord looks through whole batches for a record at or above from. Where there is
// none it returns the offset after the last batch, from where there is no batch.
func firstRecord(p []byte, from int64) (at int64, found bool) {
	for at = from; len(p) > 0 && !found; {
		b, rest, err := batch.Next(p)
		if err != nil {
			break // the last one is cut short by the limit
		}
		if p = rest; b.NextOffset() <= at {
			continue
		}
		first := at
		err = batch.Entries(b, maxDumped, func(e *batch.Entry) bool {
			found = e.Offset >= first
			at = max(first, e.Offset)
			return !found
		})
		if err != nil {
			return first, true // the consumer stumbles over it, and says so
		}
		if !found {
			at = b.NextOffset()
		}
	}
	return at, found
}
