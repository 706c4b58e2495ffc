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
	sets   []string
	broker *harness.Broker
}

// varveSets are further settings, from the command line.
var varveSets []string

func newVarve(e *env, sets ...string) *varve {
	return &varve{env: e, sets: append([]string{
		"group.initial.rebalance.delay.ms=0",
		"log.segment.delete.delay.ms=1000",
		"varve.bucket.delete.delay.ms=1000",
		"varve.bucket.sweep.interval.ms=1000",
	}, append(sets, varveSets...)...)}
}

func (v *varve) Name() string              { return "Varve" }
func (v *varve) Address() string           { return v.broker.Address }
func (v *varve) Process() *harness.Process { return v.broker.Process }

func (v *varve) Start() time.Duration {
	if v.broker == nil {
		v.broker = harness.StartBroker(v.env, v.sets...)
	} else {
		v.broker.Start()
	}
	begin := time.Now()
	v.env.check(awaitAnswer(v.env.ctx, v.broker.Address))
	return v.broker.Started + time.Since(begin)
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
