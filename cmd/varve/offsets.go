package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
)

// lister is one of kadm's List…Offsets.
type lister func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error)

// listOffsets calls several of kadm's List…Offsets for the same topics. What a
// partition or an older broker refuses is left to offsetOf.
func listOffsets(ctx context.Context, topics []string, lists ...lister) ([]kadm.ListedOffsets, error) {
	all := make([]kadm.ListedOffsets, len(lists))
	for i, l := range lists {
		var err error
		if all[i], err = l(ctx, topics...); err != nil && ctx.Err() != nil {
			return nil, fmt.Errorf("list offsets: %w", err)
		}
	}
	return all, nil
}

// offsetOf returns a partition's listed offset, -1 where there is none.
func offsetOf(listed kadm.ListedOffsets, p kadm.PartitionDetail) int64 {
	if o, ok := listed.Lookup(p.Topic, p.Partition); ok && o.Err == nil {
		return o.Offset
	}
	return -1
}

// listsFor are the lists that boundsOf needs to look up a place.
func listsFor(a *kadm.Client, p place, latest lister) []lister {
	lists := []lister{a.ListStartOffsets, latest}
	if p.kind == atTime {
		lists = append(lists, func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
			return a.ListOffsetsAfterMilli(ctx, p.n, topics...)
		})
	}
	return lists
}

// chosen returns the partitions of a topic that were asked for, all if none was.
func chosen(t kadm.TopicDetail, asked []int32) ([]int32, error) {
	if len(asked) == 0 {
		return slices.Sorted(maps.Keys(t.Partitions)), nil
	}
	for _, p := range asked {
		if _, ok := t.Partitions[p]; !ok {
			return nil, fmt.Errorf("topic %s has no partition %d: it has %d", t.Topic, p, len(t.Partitions))
		}
	}
	return asked, nil
}

// boundsOf asks for offsets: the earliest, the latest and, if there is a third list,
// those by time.
func boundsOf(ctx context.Context, topic string, partitions []int32, lists []lister) (map[int32]bounds, error) {
	listed := make([]kadm.ListedOffsets, len(lists))
	for i, l := range lists {
		var err error
		if listed[i], err = l(ctx, topic); err != nil {
			return nil, fmt.Errorf("list offsets of %s: %w", topic, err)
		}
	}
	all := make(map[int32]bounds, len(partitions))
	for _, p := range partitions {
		b := bounds{present: -1, byTime: -1}
		for i, to := range []*int64{&b.earliest, &b.latest, &b.byTime}[:len(lists)] {
			o, ok := listed[i].Lookup(topic, p)
			if !ok {
				return nil, fmt.Errorf("list offsets of %s: the broker left it out", partitionName(topic, p))
			}
			if o.Err != nil {
				return nil, fmt.Errorf("list offsets of %s: %w", partitionName(topic, p), o.Err)
			}
			*to = o.Offset
		}
		all[p] = b
	}
	return all, nil
}
