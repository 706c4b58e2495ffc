package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func configAlterTopicCommand(f *flags) *cobra.Command {
	var change configChange
	c := &cobra.Command{
		Use:   "topic TOPIC",
		Short: "Change the configs of a topic",
		Example: `  varve config alter topic orders --config retention.ms=86400000
  varve config alter topic orders --delete-config retention.ms`,
		Args: oneArg("topic"),
		RunE: func(c *cobra.Command, args []string) error {
			return alterConfigs(c, f, "topic "+args[0], change, func(ctx context.Context, a *kadm.Client, alter []kadm.AlterConfig) (kadm.AlterConfigsResponses, error) {
				return a.AlterTopicConfigs(ctx, alter, args[0])
			})
		},
	}
	change.register(c)
	return c
}

func configAlterBrokerCommand(f *flags) *cobra.Command {
	var change configChange
	c := &cobra.Command{
		Use:   "broker [ID]",
		Short: "Change the configs of a broker, or of all brokers, while it runs",
		Example: `  varve config alter broker 0 --config max.connections=1000
  varve config alter broker --config log.retention.ms=86400000`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			ids, what, err := brokerArg(args)
			if err != nil {
				return err
			}
			return alterConfigs(c, f, what, change, func(ctx context.Context, a *kadm.Client, alter []kadm.AlterConfig) (kadm.AlterConfigsResponses, error) {
				if err := knownBrokers(ctx, a, ids); err != nil {
					return nil, err
				}
				return a.AlterBrokerConfigs(ctx, alter, ids...)
			})
		},
	}
	change.register(c)
	return c
}

// alterConfigs makes a change of one resource.
func alterConfigs(c *cobra.Command, f *flags, what string, change configChange,
	do func(context.Context, *kadm.Client, []kadm.AlterConfig) (kadm.AlterConfigsResponses, error)) error {
	alter, err := change.parse()
	if err != nil {
		return err
	}
	if len(alter) == 0 {
		return usagef("nothing to alter: give --config or --delete-config")
	}
	return f.admin(c, func(ctx context.Context, a *kadm.Client) error {
		answers, err := do(ctx, a, alter)
		if err := altered(what, answers, err); err != nil {
			return err
		}
		p := f.printer(c)
		if p.json {
			return p.value(map[string]any{"altered": what})
		}
		fmt.Fprintf(p.out, "Altered configs of %s.\n", what)
		return nil
	})
}
