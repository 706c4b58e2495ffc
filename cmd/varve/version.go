package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

func versionCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			p := f.printer(c)
			if p.json {
				return p.value(map[string]string{"version": version, "go": runtime.Version()})
			}
			fmt.Fprintln(p.out, "varve", version)
			return nil
		},
	}
}
