package main

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func configDescribeTopicCommand(f *flags) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "topic TOPIC",
		Short: "Show the configs of a topic",
		Args:  oneArg("topic"),
		RunE: func(c *cobra.Command, args []string) error {
			return f.admin(c, func(ctx context.Context, a *kadm.Client) error {
				answers, err := a.DescribeTopicConfigs(ctx, args[0])
				r, err := describedOne("topic "+args[0], answers, err)
				if err != nil {
					return err
				}
				return printConfigs(f.printer(c), r, all)
			})
		},
	}
	c.Flags().BoolVar(&all, "all", false, "show defaults too")
	return c
}

func configDescribeBrokerCommand(f *flags) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "broker [ID]",
		Short: "Show the configs of a broker, or those altered for all brokers",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			ids, what, err := brokerArg(args)
			if err != nil {
				return err
			}
			return f.admin(c, func(ctx context.Context, a *kadm.Client) error {
				var answers kadm.ResourceConfigs
				err := knownBrokers(ctx, a, ids)
				if err == nil {
					answers, err = a.DescribeBrokerConfigs(ctx, ids...)
				}
				r, err := describedOne(what, answers, err)
				if err != nil {
					return err
				}
				return printConfigs(f.printer(c), r, all)
			})
		},
	}
	c.Flags().BoolVar(&all, "all", false, "show defaults too")
	return c
}
