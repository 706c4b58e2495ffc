package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

func topicDeleteCommand(f *flags) *cobra.Command {
	var yes, ifExists bool
	c := &cobra.Command{
		Use:   "delete TOPIC…",
		Short: "Delete topics, from disk and from the bucket",
		Args:  someArgs("topic"),
		RunE: func(c *cobra.Command, args []string) error {
			if !yes {
				if err := confirm(c, "Delete "+strings.Join(args, ", ")+" with all records?"); err != nil {
					return err
				}
			}
			return deleteTopics(c, f, args, ifExists)
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&ifExists, "if-exists", false, "do not mind topics that are not there")
	return c
}

// confirm asks a question on the terminal. Without a terminal, and unless the answer is
// yes, it is an error.
func confirm(c *cobra.Command, question string) error {
	if !terminal(c.InOrStdin()) {
		return usagef("nobody is there to confirm: give --yes")
	}
	fmt.Fprintf(c.ErrOrStderr(), "%s [y/N] ", question)
	answer, err := bufio.NewReader(c.InOrStdin()).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	if err != nil {
		fmt.Fprintln(c.ErrOrStderr())
	}
	return errors.New("nothing was deleted")
}

func deleteTopics(c *cobra.Command, f *flags, topics []string, ifExists bool) error {
	return f.admin(c, func(ctx context.Context, a *kadm.Client) error {
		answers, err := a.DeleteTopics(ctx, topics...)
		if err != nil {
			return fmt.Errorf("delete topics: %w", err)
		}
		var deleted []string
		var errs []error
		for _, r := range answers.Sorted() {
			switch {
			case r.Err == nil:
				deleted = append(deleted, r.Topic)
			case ifExists && errors.Is(r.Err, kerr.UnknownTopicOrPartition):
			default:
				errs = append(errs, fmt.Errorf("delete topic %s: %w", r.Topic, refusal(r.Err, r.ErrMessage)))
			}
		}
		return errors.Join(append(errs, printDeleted(f.printer(c), "topic", deleted))...)
	})
}

// printDeleted names what was deleted of a kind.
func printDeleted(p *printer, kind string, names []string) error {
	names = sortedNames(names)
	if p.json {
		return p.value(map[string][]string{"deleted": append([]string{}, names...)})
	}
	for _, name := range names {
		fmt.Fprintf(p.out, "Deleted %s %s.\n", kind, name)
	}
	return nil
}
