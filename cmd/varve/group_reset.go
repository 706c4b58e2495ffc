package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func groupResetCommand(f *flags) *cobra.Command {
	var o resetFlags
	c := &cobra.Command{
		Use:   "reset-offsets GROUP",
		Short: "Move the offsets of a group that has no members",
		Long: `Move the offsets of a group. Without --execute it only shows what they would become. The
group must not have members: stop its consumers first. An offset outside a partition
becomes its beginning or its end.`,
		Example: `  varve group reset-offsets billing --topic orders --to-earliest
  varve group reset-offsets billing --topic orders:0,1 --shift-by -100 --execute`,
		Args: oneArg("group"),
		RunE: func(c *cobra.Command, args []string) error { return resetGroup(c, f, args[0], o) },
	}
	s := c.Flags()
	s.StringArrayVar(&o.topics, "topic", nil, "`topic` or topic:partition,partition; may be repeated")
	s.BoolVar(&o.allTopics, "all-topics", false, "every partition that the group has an offset of")
	s.BoolVar(&o.earliest, "to-earliest", false, "to the first record")
	s.BoolVar(&o.latest, "to-latest", false, "to the end")
	s.Int64Var(&o.offset, "to-offset", 0, "to this offset")
	s.StringVar(&o.time, "to-datetime", "", "to the first record at or after this `time`")
	s.Int64Var(&o.shift, "shift-by", 0, "by this many records; negative is back")
	s.BoolVar(&o.execute, "execute", false, "do it")
	places := []string{"to-earliest", "to-latest", "to-offset", "to-datetime", "shift-by"}
	c.MarkFlagsMutuallyExclusive(places...)
	c.MarkFlagsOneRequired(places...)
	c.MarkFlagsMutuallyExclusive("topic", "all-topics")
	c.MarkFlagsOneRequired("topic", "all-topics")
	return c
}

// resetFlags are the flags as they were written.
type resetFlags struct {
	topics                               []string
	allTopics, earliest, latest, execute bool
	offset, shift                        int64
	time                                 string
}

// place reads which of the flags was given.
func (o *resetFlags) place(changed func(flag string) bool) (place, error) {
	switch {
	case o.earliest:
		return place{kind: atEarliest}, nil
	case o.latest:
		return place{kind: atLatest}, nil
	case changed("to-offset"):
		if o.offset < 0 {
			return place{}, usagef("--to-offset %d is not an offset", o.offset)
		}
		return place{atOffset, o.offset}, nil
	case o.time != "":
		ms, err := parseTime(o.time)
		return place{atTime, ms}, err
	case changed("shift-by"):
		return place{atShift, o.shift}, nil
	}
	return place{}, usagef("give one of --to-earliest, --to-latest, --to-offset, --to-datetime, --shift-by")
}

// resetPartition is one line of the result.
type resetPartition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Old       int64  `json:"old_offset"` // -1: none
	New       int64  `json:"new_offset"`
	Adjusted  bool   `json:"adjusted"` // what was asked for is not in the partition
}

func resetGroup(c *cobra.Command, f *flags, group string, o resetFlags) error {
	to, err := o.place(c.Flags().Changed)
	if err != nil {
		return err
	}
	var topics []topicPartitions
	for _, s := range o.topics {
		t, err := parseTopicPartitions(s)
		if err != nil {
			return err
		}
		topics = append(topics, t)
	}
	return f.admin(c, func(ctx context.Context, a *kadm.Client) error {
		committed, err := resettable(ctx, a, group)
		if err != nil {
			return err
		}
		if o.allTopics {
			topics = topicsOf(committed)
		}
		moves, err := planReset(ctx, a, to, topics, committed)
		if err != nil {
			return err
		}
		if o.execute {
			if err := commitReset(ctx, a, group, moves); err != nil {
				return err
			}
		}
		return printReset(f.printer(c), moves, o.execute)
	})
}

// resettable makes sure that nobody would overwrite the offsets, and returns them. A
// group that there is not yet may be given offsets to begin with.
func resettable(ctx context.Context, a *kadm.Client, group string) (kadm.OffsetResponses, error) {
	all, err := a.DescribeGroups(ctx, group)
	if err != nil {
		return nil, fmt.Errorf("describe group %s: %w", group, err)
	}
	if g := all[group]; g.Err == nil && g.State != emptyState && g.State != deadState && g.State != "" {
		return nil, fmt.Errorf("group %s has %d members (state %s): stop its consumers first", group, len(g.Members), g.State)
	}
	return committedOffsets(ctx, a, group)
}

// topicsOf lists what a group has offsets of.
func topicsOf(committed kadm.OffsetResponses) []topicPartitions {
	var topics []topicPartitions
	for _, name := range slices.Sorted(maps.Keys(committed)) {
		topics = append(topics, topicPartitions{name, slices.Sorted(maps.Keys(committed[name]))})
	}
	return topics
}

// planReset looks up the place in every partition.
func planReset(ctx context.Context, a *kadm.Client, to place, topics []topicPartitions, committed kadm.OffsetResponses) ([]resetPartition, error) {
	moves := []resetPartition{}
	for _, t := range topics {
		found, err := findTopics(ctx, a, []string{t.topic})
		if err != nil {
			return nil, err
		}
		partitions, err := chosen(found[0], t.partitions)
		if err != nil {
			return nil, err
		}
		all, err := boundsOf(ctx, t.topic, partitions, listsFor(a, to, a.ListEndOffsets))
		if err != nil {
			return nil, err
		}
		for _, p := range partitions {
			b := all[p]
			if o, ok := committed.Lookup(t.topic, p); ok && o.Err == nil {
				b.present = o.At
			}
			at, ok := to.in(b)
			if to.kind == atShift && b.present < 0 {
				return nil, fmt.Errorf("group has no offset of %s to shift", partitionName(t.topic, p))
			}
			moves = append(moves, resetPartition{t.topic, p, b.present, at, !ok})
		}
	}
	return moves, nil
}

func commitReset(ctx context.Context, a *kadm.Client, group string, moves []resetPartition) error {
	offsets := kadm.Offsets{}
	for _, m := range moves {
		offsets.AddOffset(m.Topic, m.Partition, m.New, -1)
	}
	answers, err := a.CommitOffsets(ctx, group, offsets)
	if err = errors.Join(err, answers.Error()); err != nil {
		return fmt.Errorf("commit offsets of group %s: %w", group, err)
	}
	return nil
}

func printReset(p *printer, moves []resetPartition, executed bool) error {
	if p.json {
		return p.value(map[string]any{"executed": executed, "partitions": moves})
	}
	rows := make([][]string, len(moves))
	for i, m := range moves {
		rows[i] = []string{m.Topic, fmt.Sprint(m.Partition), number(m.Old), fmt.Sprint(m.New)}
	}
	if err := p.table([]string{"TOPIC", "PARTITION", "OLD-OFFSET", "NEW-OFFSET"}, rows); err != nil {
		return err
	}
	if !executed {
		p.note("nothing was changed: give --execute to do it")
	}
	return nil
}
