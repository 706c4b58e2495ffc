package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func topicAlterCommand(f *flags) *cobra.Command {
	var partitions int32
	var change configChange
	var dry bool
	var at string
	c := &cobra.Command{
		Use:   "alter TOPIC",
		Short: "Add partitions to a topic, or change its configs",
		Long: `Add partitions to a topic, or change its configs. With --dry-run nothing is changed: the
broker runs the plans of its background work under the new configs and lists every
segment that the change would touch at once, with bytes and requests to the bucket.`,
		Example: `  varve topic alter orders --config retention.ms=86400000 --dry-run`,
		Args:    oneArg("topic"),
		RunE: func(c *cobra.Command, args []string) error {
			if dry {
				return rehearseTopic(c, f, at, args[0], partitions, change)
			}
			return alterTopic(c, f, args[0], partitions, change)
		},
	}
	c.Flags().BoolVar(&dry, "dry-run", false, "change nothing; list what the change of configs would touch")
	c.Flags().StringVar(&at, "http", "", "with --dry-run: `host:port` of the broker's HTTP listener, as of tier status")
	c.Flags().Int32Var(&partitions, "partitions", 0, "number of partitions to have; there are never fewer than before")
	change.register(c)
	return c
}

func alterTopic(c *cobra.Command, f *flags, topic string, partitions int32, change configChange) error {
	alter, err := change.parse()
	if err != nil {
		return err
	}
	switch {
	case partitions < 0:
		return usagef("--partitions %d is not a number of partitions", partitions)
	case partitions == 0 && len(alter) == 0:
		return usagef("nothing to alter: give --partitions, --config or --delete-config")
	}
	return f.admin(c, func(ctx context.Context, a *kadm.Client) error {
		if len(alter) > 0 {
			if err := alterTopicConfigs(ctx, a, topic, alter); err != nil {
				return err
			}
		}
		if partitions > 0 {
			if err := addPartitions(ctx, a, topic, partitions); err != nil {
				return err
			}
		}
		p := f.printer(c)
		if p.json {
			return p.value(map[string]any{"topic": topic, "altered": true})
		}
		fmt.Fprintf(p.out, "Altered topic %s.\n", topic)
		return nil
	})
}

func addPartitions(ctx context.Context, a *kadm.Client, topic string, partitions int32) error {
	answers, err := a.UpdatePartitions(ctx, int(partitions), topic)
	var errs []error
	for _, r := range answers {
		errs = append(errs, refusal(r.Err, r.ErrMessage))
	}
	if err := errors.Join(append(errs, err)...); err != nil {
		return fmt.Errorf("add partitions to %s: %w", topic, err)
	}
	return nil
}
