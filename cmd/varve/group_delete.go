package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func groupDeleteCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "delete GROUP…",
		Short: "Forget groups that have no members, with their offsets",
		Args:  someArgs("group"),
		RunE: func(c *cobra.Command, args []string) error {
			return f.admin(c, func(ctx context.Context, a *kadm.Client) error {
				answers, err := a.DeleteGroups(ctx, args...)
				if err != nil {
					return fmt.Errorf("delete groups: %w", err)
				}
				var deleted []string
				var errs []error
				for _, r := range answers.Sorted() {
					if r.Err != nil {
						errs = append(errs, fmt.Errorf("delete group %s: %w", r.Group, refusal(r.Err, r.ErrMessage)))
						continue
					}
					deleted = append(deleted, r.Group)
				}
				return errors.Join(append(errs, printDeleted(f.printer(c), "group", deleted))...)
			})
		},
	}
}
