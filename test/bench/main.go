package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	run    *regexp.Regexp
	quick  bool
	rounds int
	out    string // directory of the report; "" is the terminal only
	merge  bool   // put the rows into the report that is there
	note   string

	recoverGB int  // 0: as the size of the run says
	clone     bool // the log to recover, however much room there is
	named     bool // -run was given

	compactMiB int // 0: as the size of the run says
}

func parse(args []string) (options, error) {
	var o options
	var pattern string
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	set.StringVar(&pattern, "run", "", "run the scenarios whose names match this `regexp`")
	set.BoolVar(&o.quick, "quick", false, "small sizes and one round: does everything work?")
	set.IntVar(&o.rounds, "rounds", 0, "rounds of each scenario (default 3; 1 with -quick)")
	set.StringVar(&o.out, "out", "", "write benchmarks.md and benchmarks.json to this `directory` (default docs for a whole run, else none)")
	set.BoolVar(&o.merge, "merge", false, "put the rows of this run into the report that -out has, in place of older ones")
	set.Func("set", "a further setting of Varve, as `key=value`; may be repeated", func(s string) error {
		varveSets = append(varveSets, s)
		return nil
	})
	set.StringVar(&against, "against", "", "compare with another Varve, this `binary`, in place of Kafka where both stay up")
	set.IntVar(&o.compactMiB, "compact-mib", 0, "`MiB` of the log to compact, a tenth of it live (default 10,000; 200 with -quick)")
	set.IntVar(&o.recoverGB, "recover-gb", 0, "`GB` of the log to recover (default 100; 2 with -quick); what the disk has no room for is cloned")
	set.BoolVar(&o.clone, "recover-clone", false, "clone the log to recover (XFS reflinks on a loop device, needs root) even where the disk has room")
	set.StringVar(&o.note, "note", "", "a `sentence` for the report")
	if err := set.Parse(args); err != nil {
		return o, err
	}
	o.named = pattern != ""
	if o.merge && o.out == "" {
		return o, errors.New("-merge needs -out: the report to put the rows into")
	}
	if o.out == "" && !o.named && !o.quick {
		o.out = "docs"
	}
	var err error
	o.run, err = regexp.Compile(pattern)
	return o, err
}

func run(args []string) error {
	if len(args) == 2 && args[0] == floorArgument {
		return sendFloor(args[1])
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	o, err := parse(args)
	if err != nil {
		return err
	}
	root, err := os.MkdirTemp("", "varve-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	if err := os.Setenv("TMPDIR", root); err != nil { // whatever else is made lies below
		return err
	}
	debug.SetGCPercent(400) // the generator's collector takes from the broker's processors

	b := &bench{root: root, sizes: o.sizes()}
	defer b.stopHot()
	r := report{Command: strings.Join(append([]string{"go run ./test/bench"}, args...), " "), Note: o.note, Sizes: b.sizes.describe()}
	limits := newEnv(ctx, root)
	err = try(func() {
		r.Machine = describeMachine(limits)
		r.Limits = machineLimits(limits)
	})
	limits.close()
	if err != nil {
		return err
	}
	for i := range scenarios {
		if s := &scenarios[i]; o.runs(s) && ctx.Err() == nil {
			say("%s %s", time.Now().Format(time.TimeOnly), s.name)
			r.Scenarios = append(r.Scenarios, b.run(ctx, s))
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	fmt.Print(r.markdown())
	if o.out == "" {
		return nil
	}
	dir := filepath.Clean(o.out)
	if o.merge {
		old, err := readReport(dir)
		if err != nil {
			return err
		}
		old.merge(&r)
		r = *old
	}
	return r.write(dir)
}

// runs tells whether a scenario is part of the run.
func (o options) runs(s *scenario) bool {
	return o.run.MatchString(s.name) && (o.named || !s.apart)
}

func (o options) sizes() sizes {
	z := fullSizes
	if o.quick {
		z = quickSizes
	}
	if o.rounds > 0 {
		z.rounds = o.rounds
	}
	if o.compactMiB > 0 {
		z.compact, z.keys = o.compactMiB<<10, o.compactMiB<<10/10
	}
	if o.recoverGB > 0 {
		z.recover = int64(o.recoverGB) * gigabyte
	}
	z.clone = o.clone
	return z
}
