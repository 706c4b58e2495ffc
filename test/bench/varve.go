package main

import (
	"os"
	"path/filepath"
	"time"

	"github.com/varvelog/varve/test/harness"
)

// varve is a Varve broker.
type varve struct {
	env    *env
	binary string // "": built from the working tree, or VARVE_BINARY
	sets   []string
	broker *harness.Broker
}

// varveSets are further settings, from the command line; against is the binary of another
// Varve to compare with in place of Kafka.
var (
	varveSets []string
	against   string
)

func newVarve(e *env, sets ...string) *varve {
	return &varve{env: e, sets: append([]string{
		"group.initial.rebalance.delay.ms=0",
		"log.segment.delete.delay.ms=1000",
		"varve.bucket.delete.delay.ms=1000",
		"varve.bucket.sweep.interval.ms=1000",
	}, append(sets, varveSets...)...)}
}

func (v *varve) Name() string {
	if v.binary != "" {
		return "other"
	}
	return "Varve"
}
func (v *varve) Address() string           { return v.broker.Address }
func (v *varve) Process() *harness.Process { return v.broker.Process }

func (v *varve) Start() time.Duration {
	if v.broker == nil {
		defer v.choose()()
		v.broker = harness.StartBroker(v.env, v.sets...)
	} else {
		v.broker.Start()
	}
	begin := time.Now()
	v.env.check(awaitAnswer(v.env.ctx, v.broker.Address))
	return v.broker.Started + time.Since(begin)
}

// choose names the binary to start, until what it returns is called.
func (v *varve) choose() (restore func()) {
	const key = "VARVE_BINARY" // what the harness asks for
	if v.binary == "" {
		return func() {}
	}
	before := os.Getenv(key)
	v.env.check(os.Setenv(key, v.binary))
	return func() { v.env.check(os.Setenv(key, before)) }
}

func (v *varve) Stop() {
	v.env.check(v.broker.Stop(stopLimit))
}

// EmptyCaches restarts the broker without its chunk cache.
func (v *varve) EmptyCaches() {
	v.Stop()
	v.env.check(os.RemoveAll(filepath.Join(v.broker.Dir, "cache")))
	v.Start()
}

// stopLimit is how long a clean stop may take.
const stopLimit = time.Minute
