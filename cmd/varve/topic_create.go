package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// topicSpec is what topic create asks for.
type topicSpec struct {
	partitions  int32 // -1: num.partitions of the broker
	replication int16 // -1: default.replication.factor of the broker
	configs     []string
	ifNotExists bool
}

func topicCreateCommand(f *flags) *cobra.Command {
	var spec topicSpec
	c := &cobra.Command{
		Use:   "create TOPIC…",
		Short: "Create topics",
		Example: `  varve topic create orders --partitions 6 --config retention.ms=604800000
  varve topic create events --config local.retention.bytes=1073741824`,
		Args: someArgs("topic"),
		RunE: func(c *cobra.Command, args []string) error { return createTopics(c, f, args, spec) },
	}
	c.Flags().Int32Var(&spec.partitions, "partitions", -1, "number of partitions; by default the broker's num.partitions")
	c.Flags().Int16Var(&spec.replication, "replication-factor", -1, "replicas of each partition; by default the broker's default.replication.factor")
	c.Flags().StringArrayVar(&spec.configs, "config", nil, "a topic config, as `key=value`; may be repeated")
	c.Flags().BoolVar(&spec.ifNotExists, "if-not-exists", false, "leave topics alone that exist, whatever they are like")
	return c
}

// createdTopic is what is printed of each topic.
type createdTopic struct {
	Topic             string `json:"topic"`
	ID                string `json:"topic_id,omitempty"`
	Created           bool   `json:"created"` // false: it existed
	Partitions        int32  `json:"partitions,omitempty"`
	ReplicationFactor int16  `json:"replication_factor,omitempty"`
}

func createTopics(c *cobra.Command, f *flags, topics []string, spec topicSpec) error {
	pairs, err := parseConfigs(spec.configs)
	if err != nil {
		return err
	}
	if spec.partitions == 0 || spec.partitions < -1 || spec.replication == 0 || spec.replication < -1 {
		return usagef("a topic has at least one partition and one replica")
	}
	configs := make(map[string]*string, len(pairs))
	for key, value := range pairs {
		configs[key] = &value
	}
	return f.admin(c, func(ctx context.Context, a *kadm.Client) error {
		answers, err := a.CreateTopics(ctx, spec.partitions, spec.replication, configs, topics...)
		if err != nil {
			return fmt.Errorf("create topics: %w", err)
		}
		p := f.printer(c)
		var done []createdTopic
		var errs []error
		for _, r := range answers.Sorted() {
			switch {
			case r.Err == nil:
				done = append(done, createdTopic{r.Topic, topicID(r.ID), true, r.NumPartitions, r.ReplicationFactor})
			case spec.ifNotExists && errors.Is(r.Err, kerr.TopicAlreadyExists):
				done = append(done, createdTopic{Topic: r.Topic})
			default:
				errs = append(errs, fmt.Errorf("create topic %s: %w", r.Topic, refusal(r.Err, r.ErrMessage)))
			}
		}
		return errors.Join(append(errs, printCreated(p, done))...)
	})
}

func printCreated(p *printer, done []createdTopic) error {
	if p.json {
		return list(p, done)
	}
	for _, t := range done {
		if t.Created {
			fmt.Fprintf(p.out, "Created topic %s.\n", t.Topic)
		} else {
			fmt.Fprintf(p.out, "Topic %s exists.\n", t.Topic)
		}
	}
	return nil
}
