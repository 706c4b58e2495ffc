package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func topicListCommand(f *flags) *cobra.Command {
	var internal bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List topics",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return listTopics(c, f, internal) },
	}
	c.Flags().BoolVar(&internal, "internal", false, "list the broker's own topics too")
	return c
}

// listedTopic is what is printed of each topic; text has its name alone.
type listedTopic struct {
	Topic      string `json:"topic"`
	ID         string `json:"topic_id"`
	Partitions int    `json:"partitions"`
	Internal   bool   `json:"internal"`
}

func listTopics(c *cobra.Command, f *flags, internal bool) error {
	return f.admin(c, func(ctx context.Context, a *kadm.Client) error {
		all, err := a.ListTopicsWithInternal(ctx)
		if err != nil {
			return fmt.Errorf("list topics: %w", err)
		}
		var topics []listedTopic
		for _, t := range all.Sorted() {
			if internal || !t.IsInternal {
				topics = append(topics, listedTopic{t.Topic, topicID(t.ID), len(t.Partitions), t.IsInternal})
			}
		}
		p := f.printer(c)
		if p.json {
			return list(p, topics)
		}
		for _, t := range topics {
			fmt.Fprintln(p.out, t.Topic)
		}
		return nil
	})
}
