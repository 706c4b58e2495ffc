// Command varve is the broker and its command line: server, topics, produce, consume,
// groups, configs, the tier, and a look into log files.
//
// It exits with 0 when the work is done, with 1 when it could not be done, and with 2
// when the command line is wrong. Results go to standard output, everything else to
// standard error; with --output json a result is JSON with names in snake case.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker (make build).
var version = "dev"

// Exit codes: scripts tell a refusal from a failure.
const (
	exitDone   = 0
	exitFailed = 1 // the work could not be done
	exitUsage  = 2 // the command line is wrong
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main as a function: it returns the exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	c := root()
	c.SetArgs(args)
	c.SetIn(in)
	c.SetOut(out)
	c.SetErr(errs)
	err := c.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(errs, "varve:", err)
	}
	return exitCode(err)
}

// usageError is a mistake in the command line that a command has found itself.
type usageError struct{ error }

// usagef words a usageError.
func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// failure is an error of the work, as opposed to those by which cobra refuses a command
// line.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// exitCode tells the mistakes of a command line from failures of the work.
func exitCode(err error) int {
	if err == nil {
		return exitDone
	}
	var f failure
	if errors.As(err, &f) {
		return exitFailed
	}
	return exitUsage
}

// markFailures makes the errors of every command below c failures, unless they are
// about the command line.
func markFailures(c *cobra.Command) {
	if do := c.RunE; do != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			err := do(c, args)
			var u usageError
			if err == nil || errors.As(err, &u) {
				return err
			}
			return failure{err}
		}
	}
	for _, sub := range c.Commands() {
		markFailures(sub)
	}
}

func root() *cobra.Command {
	f := &flags{}
	c := family("varve", "An event log that speaks Kafka: hot partitions on local disk, history in object storage",
		serverCommand(), topicCommand(f), produceCommand(f), consumeCommand(f), groupCommand(f), configCommand(f),
		tierCommand(f), logCommand(f), healthCommand(f), versionCommand(f))
	c.Long = c.Short + ".\n\nExit codes: 0 done, 1 the work could not be done, 2 the command line is wrong."
	c.SilenceErrors = true
	c.SilenceUsage = true
	f.register(c.PersistentFlags())
	markFailures(c)
	return c
}

// family makes a command that only holds others. Without one of them it prints its
// usage, and that is a mistake.
func family(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short}
	c.AddCommand(commands...)
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usagef("there is no command %q; see `%s --help`", args[0], c.CommandPath())
		}
		c.SetOut(c.ErrOrStderr())
		_ = c.Usage() // to a terminal that may be gone
		return usagef("name a command")
	}
	c.Args = cobra.ArbitraryArgs
	return c
}
