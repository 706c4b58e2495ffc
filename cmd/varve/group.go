package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

func groupCommand(f *flags) *cobra.Command {
	return family("group", "List, describe, reset and delete consumer groups",
		groupListCommand(f), groupDescribeCommand(f), groupResetCommand(f), groupDeleteCommand(f))
}

// deadState is the state in which a broker describes a group that it does not know.
const deadState = "Dead"

// emptyState is that of a group that has offsets and no members.
const emptyState = "Empty"

// findGroup returns the description of a group, or an error for one that there is not.
func findGroup(ctx context.Context, a *kadm.Client, name string) (kadm.DescribedGroup, error) {
	all, err := a.DescribeGroups(ctx, name)
	g, ok := all[name]
	switch {
	case err != nil:
		return g, fmt.Errorf("describe group %s: %w", name, err)
	case !ok || errors.Is(g.Err, kerr.GroupIDNotFound) || g.Err == nil && g.State == deadState:
		return g, fmt.Errorf("group %s: %w", name, kerr.GroupIDNotFound)
	case g.Err != nil:
		return g, fmt.Errorf("describe group %s: %w", name, refusal(g.Err, g.ErrMessage))
	}
	return g, nil
}

// committedOffsets returns what a group has committed.
func committedOffsets(ctx context.Context, a *kadm.Client, group string) (kadm.OffsetResponses, error) {
	committed, err := a.FetchOffsets(ctx, group)
	if err != nil {
		return nil, fmt.Errorf("offsets of group %s: %w", group, err)
	}
	return committed, nil
}

// sortedNames returns names in order, each once.
func sortedNames(names []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(names)))
}
