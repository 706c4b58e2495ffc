package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func healthCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "health",
		Short: "Tell by the exit code whether a broker answers; containers are probed with it",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := f.connect(c.Context())
			if err != nil {
				return err
			}
			client.Close()
			p := f.printer(c)
			if p.json {
				return p.value(map[string]bool{"healthy": true})
			}
			fmt.Fprintln(p.out, "healthy")
			return nil
		},
	}
}
