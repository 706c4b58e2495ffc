package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func groupListCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List groups",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return listGroups(c, f) },
	}
}

type listedGroup struct {
	Group    string `json:"group"`
	State    string `json:"state"`
	Protocol string `json:"protocol_type"`
}

func listGroups(c *cobra.Command, f *flags) error {
	return f.admin(c, func(ctx context.Context, a *kadm.Client) error {
		all, err := a.ListGroups(ctx)
		if err != nil {
			return fmt.Errorf("list groups: %w", err)
		}
		var groups []listedGroup
		var rows [][]string
		for _, g := range all.Sorted() {
			groups = append(groups, listedGroup{g.Group, g.State, g.ProtocolType})
			rows = append(rows, []string{g.Group, dash(g.State), dash(g.ProtocolType)})
		}
		p := f.printer(c)
		if p.json {
			return list(p, groups)
		}
		return p.table([]string{"GROUP", "STATE", "PROTOCOL"}, rows)
	})
}
