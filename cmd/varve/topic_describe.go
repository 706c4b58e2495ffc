package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func topicDescribeCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "describe [TOPIC…]",
		Short: "Describe topics: partitions, replicas, configs that were set, and offsets on disk and in the bucket",
		Long: `Describe topics, all but the broker's own if none is named. The first columns are those
of kafka-topics.sh. Offsets follow: Earliest is the first record that can be read,
EarliestLocal the first on the leader's disk, LatestTiered the last in the bucket, and
Latest the next to be written.`,
		RunE: func(c *cobra.Command, args []string) error { return describeTopics(c, f, args) },
	}
}

// topicDescription is what is printed of a topic.
type topicDescription struct {
	Topic             string                 `json:"topic"`
	ID                string                 `json:"topic_id"`
	ReplicationFactor int                    `json:"replication_factor"`
	Configs           map[string]string      `json:"configs"` // set on the topic
	Partitions        []partitionDescription `json:"partitions"`
}

type partitionDescription struct {
	Partition     int32   `json:"partition"`
	Leader        int32   `json:"leader"` // -1: none
	LeaderEpoch   int32   `json:"leader_epoch"`
	Replicas      []int32 `json:"replicas"`
	ISR           []int32 `json:"isr"`
	Earliest      int64   `json:"earliest"` // -1 of these: none, or not known
	EarliestLocal int64   `json:"earliest_local"`
	LatestTiered  int64   `json:"latest_tiered"`
	Latest        int64   `json:"latest"`
}

func describeTopics(c *cobra.Command, f *flags, names []string) error {
	return f.admin(c, func(ctx context.Context, a *kadm.Client) error {
		topics, err := findTopics(ctx, a, names)
		var described []topicDescription
		if len(topics) > 0 {
			var derr error
			described, derr = describe(ctx, a, topics)
			err = errors.Join(err, derr)
		}
		return errors.Join(err, printTopics(f.printer(c), described))
	})
}

// findTopics returns the metadata of topics, of all but internal ones where none is
// named, and an error for each that could not be described.
func findTopics(ctx context.Context, a *kadm.Client, names []string) ([]kadm.TopicDetail, error) {
	all, err := a.ListTopics(ctx, names...) // includes internal ones that are named
	if err != nil {
		return nil, fmt.Errorf("describe topics: %w", err)
	}
	var found []kadm.TopicDetail
	var errs []error
	for _, t := range all.Sorted() {
		if t.Err != nil {
			errs = append(errs, fmt.Errorf("topic %s: %w", t.Topic, t.Err))
			continue
		}
		found = append(found, t)
	}
	return found, errors.Join(errs...)
}

// describe asks for what metadata does not say: configs and offsets.
func describe(ctx context.Context, a *kadm.Client, topics []kadm.TopicDetail) ([]topicDescription, error) {
	var names []string
	for _, t := range topics {
		names = append(names, t.Topic)
	}
	configs, err := a.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("describe configs: %w", err)
	}
	offsets, err := listOffsets(ctx, names, a.ListStartOffsets, a.ListLocalLogStartOffsets, a.ListLatestRemoteOffsets, a.ListEndOffsets)
	if err != nil {
		return nil, err
	}
	described := make([]topicDescription, len(topics))
	for i, t := range topics {
		d := &described[i]
		*d = topicDescription{Topic: t.Topic, ID: topicID(t.ID), Configs: setConfigs(configs, t.Topic), Partitions: []partitionDescription{}}
		for _, p := range t.Partitions.Sorted() {
			d.ReplicationFactor = max(d.ReplicationFactor, len(p.Replicas))
			d.Partitions = append(d.Partitions, partitionDescription{
				Partition: p.Partition, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, Replicas: p.Replicas, ISR: p.ISR,
				Earliest: offsetOf(offsets[0], p), EarliestLocal: offsetOf(offsets[1], p),
				LatestTiered: offsetOf(offsets[2], p), Latest: offsetOf(offsets[3], p),
			})
		}
	}
	return described, nil
}

// setConfigs returns the configs that were set on a topic itself.
func setConfigs(all kadm.ResourceConfigs, topic string) map[string]string {
	set := map[string]string{}
	for _, r := range all {
		for _, c := range r.Configs {
			if r.Name == topic && c.Source == kmsg.ConfigSourceDynamicTopicConfig {
				set[c.Key] = c.MaybeValue()
			}
		}
	}
	return set
}

func printTopics(p *printer, topics []topicDescription) error {
	if p.json {
		return list(p, topics)
	}
	for _, t := range topics {
		var configs []string
		for key, value := range t.Configs {
			configs = append(configs, key+"="+value)
		}
		slices.Sort(configs)
		fmt.Fprintf(p.out, "Topic: %s\tTopicId: %s\tPartitionCount: %d\tReplicationFactor: %d\tConfigs: %s\n",
			t.Topic, t.ID, len(t.Partitions), t.ReplicationFactor, strings.Join(configs, ","))
		for _, d := range t.Partitions {
			leader := "none"
			if d.Leader >= 0 {
				leader = fmt.Sprint(d.Leader)
			}
			fmt.Fprintf(p.out, "\tTopic: %s\tPartition: %d\tLeader: %s\tReplicas: %s\tIsr: %s\tEarliest: %s\tEarliestLocal: %s\tLatestTiered: %s\tLatest: %s\n",
				t.Topic, d.Partition, leader, numbers(d.Replicas), numbers(d.ISR),
				number(d.Earliest), number(d.EarliestLocal), number(d.LatestTiered), number(d.Latest))
		}
	}
	return nil
}
