package main

import (
	"slices"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/varvelog/varve/segment"
)

func topicCommand(f *flags) *cobra.Command {
	return family("topic", "Create, list, describe, alter and delete topics",
		topicCreateCommand(f), topicListCommand(f), topicDescribeCommand(f), topicAlterCommand(f), topicDeleteCommand(f))
}

// someArgs wants at least one argument of a kind.
func someArgs(kind string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) > 0 && !slices.Contains(args, "") {
			return nil
		}
		c.SetOut(c.ErrOrStderr())
		_ = c.Usage() // to a terminal that may be gone
		return usagef("name a %s", kind)
	}
}

// oneArg wants exactly one.
func oneArg(kind string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usagef("name one %s, not %d", kind, len(args))
		}
		return someArgs(kind)(c, args)
	}
}

// topicID writes an id as Kafka does.
func topicID(id kadm.TopicID) string { return segment.TopicID(id).String() }
