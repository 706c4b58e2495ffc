// Command clocked is varve's server with a clock that tests set: the file that
// CLOCK_OFFSET_FILE names holds how far it is from the machine's, as in "-1h". It knows
// only `server` and `--set key=value`. Everything else is the broker's own.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/varvelog/varve/broker"
	"github.com/varvelog/varve/broker/config"
)

// offsetVariable names the file of the offset.
const offsetVariable = "CLOCK_OFFSET_FILE"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "clocked:", err)
		os.Exit(1) //nolint:gocritic // stop only undoes what the end of the process does
	}
}

func serve(ctx context.Context, args []string) (err error) {
	sets, err := settings(args)
	if err != nil {
		return err
	}
	cfg, _, err := config.Load(config.Sources{Sets: sets})
	if err != nil {
		return err
	}
	c := clock{file: os.Getenv(offsetVariable)}
	if err := c.read(); err != nil {
		return err
	}
	go c.watch(ctx)
	b, err := broker.Open(ctx, broker.Options{Config: cfg, Log: zap.NewNop(), Version: "clocked", Now: c.now})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	err = b.Run(ctx, func() { fmt.Println("varve is ready:", b.ClusterID()) })
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// settings are the values of --set.
func settings(args []string) ([]string, error) {
	if len(args)%2 != 1 || args[0] != "server" {
		return nil, fmt.Errorf("usage: clocked server [--set key=value]..., not %s", strings.Join(args, " "))
	}
	var sets []string
	for i := 1; i < len(args); i += 2 {
		if args[i] != "--set" {
			return nil, fmt.Errorf("%s is not --set", args[i])
		}
		sets = append(sets, args[i+1])
	}
	return sets, nil
}

// clock is the machine's with an offset.
type clock struct {
	file   string
	offset atomic.Int64 // nanoseconds
}

// now is the broker's clock. Its monotonic part jumps as well, which is the worst that a
// clock can do.
func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.offset.Load())) }

func (c *clock) read() error {
	b, err := os.ReadFile(c.file)
	if err != nil {
		return err
	}
	d, err := time.ParseDuration(strings.TrimSpace(string(b)))
	if err != nil {
		return fmt.Errorf("%s: %w", c.file, err)
	}
	c.offset.Store(int64(d))
	return nil
}

// watchEvery is how soon a new offset counts.
const watchEvery = 20 * time.Millisecond

// watch follows the file. What cannot be read is being written.
func (c *clock) watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = c.read()
		case <-ctx.Done():
			return
		}
	}
}
