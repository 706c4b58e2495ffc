package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func groupDescribeCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "describe GROUP…",
		Short: "Show a group's members, partitions, offsets and lag",
		Args:  someArgs("group"),
		RunE: func(c *cobra.Command, args []string) error {
			return f.admin(c, func(ctx context.Context, a *kadm.Client) error {
				var groups []groupDescription
				var errs []error
				for _, name := range sortedNames(args) {
					g, err := describeGroup(ctx, a, name)
					if err != nil {
						errs = append(errs, err)
						continue
					}
					groups = append(groups, g)
				}
				return errors.Join(append(errs, printGroups(f.printer(c), groups))...)
			})
		},
	}
}

// groupDescription is what is printed of a group.
type groupDescription struct {
	Group       string             `json:"group"`
	State       string             `json:"state"`
	Protocol    string             `json:"protocol"`
	Coordinator int32              `json:"coordinator"`
	Members     []groupMember      `json:"members"`
	Partitions  []groupedPartition `json:"partitions"`
}

type groupMember struct {
	ID         string `json:"member_id"`
	InstanceID string `json:"instance_id,omitempty"`
	ClientID   string `json:"client_id"`
	Host       string `json:"host"`
	Partitions int    `json:"partitions"` // that it is assigned
}

type groupedPartition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Current   int64  `json:"current_offset"` // -1 of these: none, or not known
	End       int64  `json:"end_offset"`
	Lag       int64  `json:"lag"`
	Member    string `json:"member_id,omitempty"`
	Host      string `json:"host,omitempty"`
	ClientID  string `json:"client_id,omitempty"`
}

func describeGroup(ctx context.Context, a *kadm.Client, name string) (groupDescription, error) {
	g, err := findGroup(ctx, a, name)
	if err != nil {
		return groupDescription{}, err
	}
	committed, err := committedOffsets(ctx, a, name)
	if err != nil {
		return groupDescription{}, err
	}
	topics := committed.Offsets().TopicsSet()
	topics.Merge(g.AssignedPartitions())
	var ends kadm.ListedOffsets
	if names := topics.Topics(); len(names) > 0 {
		// A topic that is gone has no end; its offsets are shown all the same.
		if ends, err = a.ListEndOffsets(ctx, names...); err != nil && ctx.Err() != nil {
			return groupDescription{}, fmt.Errorf("list end offsets: %w", err)
		}
	}
	return groupOf(g, committed, ends), nil
}

// groupOf puts the answers together.
func groupOf(g kadm.DescribedGroup, committed kadm.OffsetResponses, ends kadm.ListedOffsets) groupDescription {
	d := groupDescription{
		Group: g.Group, State: g.State, Protocol: g.Protocol, Coordinator: g.Coordinator.NodeID,
		Members: []groupMember{}, Partitions: []groupedPartition{},
	}
	add := func(topic string, partition int32, m *groupMember) {
		p := groupedPartition{Topic: topic, Partition: partition, Current: -1, End: -1, Lag: -1}
		if o, ok := committed.Lookup(topic, partition); ok && o.Err == nil {
			p.Current = o.At
		}
		if o, ok := ends.Lookup(topic, partition); ok && o.Err == nil {
			p.End = o.Offset
		}
		if p.Current >= 0 && p.End >= 0 {
			p.Lag = max(0, p.End-p.Current)
		}
		if m != nil {
			p.Member, p.Host, p.ClientID = m.ID, m.Host, m.ClientID
		}
		d.Partitions = append(d.Partitions, p)
	}
	assigned := kadm.TopicsSet{}
	for _, member := range g.Members {
		m := groupMember{ID: member.MemberID, ClientID: member.ClientID, Host: member.ClientHost}
		if member.InstanceID != nil {
			m.InstanceID = *member.InstanceID
		}
		if a, ok := member.Assigned.AsConsumer(); ok {
			for _, t := range a.Topics {
				for _, p := range t.Partitions {
					m.Partitions++
					assigned.Add(t.Topic, p)
					add(t.Topic, p, &m)
				}
			}
		}
		d.Members = append(d.Members, m)
	}
	committed.Each(func(o kadm.OffsetResponse) {
		if !assigned.Lookup(o.Topic, o.Partition) && o.At >= 0 {
			add(o.Topic, o.Partition, nil)
		}
	})
	slices.SortFunc(d.Partitions, func(x, y groupedPartition) int {
		return cmp.Or(cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition))
	})
	return d
}

func printGroups(p *printer, groups []groupDescription) error {
	if p.json {
		return list(p, groups)
	}
	for i, g := range groups {
		if i > 0 {
			fmt.Fprintln(p.out)
		}
		fmt.Fprintf(p.out, "Group: %s  State: %s  Protocol: %s  Coordinator: %d  Members: %d\n", g.Group, g.State, dash(g.Protocol), g.Coordinator, len(g.Members))
		if err := p.table(partitionHeading, partitionRows(g)); err != nil {
			return err
		}
	}
	return nil
}

// partitionHeading has the columns of kafka-consumer-groups.sh.
var partitionHeading = []string{"TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "CONSUMER-ID", "HOST", "CLIENT-ID"}

// partitionRows has a line for every partition, and one for every member without any.
func partitionRows(g groupDescription) [][]string {
	var rows [][]string
	for _, p := range g.Partitions {
		rows = append(rows, []string{p.Topic, fmt.Sprint(p.Partition), number(p.Current), number(p.End), number(p.Lag), dash(p.Member), dash(p.Host), dash(p.ClientID)})
	}
	for _, m := range g.Members {
		if m.Partitions == 0 {
			rows = append(rows, []string{"-", "-", "-", "-", "-", m.ID, dash(m.Host), dash(m.ClientID)})
		}
	}
	return rows
}
