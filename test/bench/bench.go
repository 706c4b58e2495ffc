package main

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

// bench runs scenarios. Two brokers, one of each system, stay up over all scenarios that
// need nothing special of them, so that the JVM has its code compiled.
type bench struct {
	root  string
	sizes sizes
	env   *env // of the scenario that runs

	remark string // added to the scenario's sentence: how this run of it differs

	hotEnv *env
	hot    []system // nil: not running
}

// outcome is what was found of one scenario.
type outcome struct {
	Name  string    `json:"name"`
	What  string    `json:"what"`
	Error string    `json:"error,omitempty"`
	Sides []side    `json:"sides"`
	Shown []metric  `json:"shown"`
	Run   *laterRun `json:"run,omitempty"` // nil: that of the report
	of    *scenario
}

// side is one contestant's part: all figures, round by round.
type side struct {
	Name   string    `json:"name"`
	Rounds []figures `json:"rounds"`
}

// median returns the median of one figure over the rounds.
func (s side) median(m metric) (float64, bool) {
	var all []float64
	for _, f := range s.Rounds {
		if v, ok := f[m]; ok {
			all = append(all, v)
		}
	}
	return median(all), len(all) > 0
}

// scenarioLimit bounds one scenario with all its rounds, where it names no other limit.
const scenarioLimit = 20 * time.Minute

// run measures one scenario: its contestants in turn, round after round.
func (b *bench) run(ctx context.Context, s *scenario) outcome {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(s.limit, scenarioLimit))
	defer cancel()
	b.env, b.remark = newEnv(ctx, b.root), ""
	o := outcome{Name: s.name, What: s.what, Shown: s.shown, of: s}
	err := try(func() {
		contestants := s.prepare(b)
		for _, c := range contestants {
			o.Sides = append(o.Sides, side{Name: c.name})
		}
		for range b.sizes.rounds {
			for i, c := range contestants {
				f := c.measure()
				o.Sides[i].Rounds = append(o.Sides[i].Rounds, f)
				say("  %-10s %s", c.name, f.line(s.shown))
			}
		}
	})
	o.What += b.remark
	if cleanup := try(b.env.close); err == nil {
		err = cleanup
	}
	if err != nil {
		o.Error = err.Error()
		say("  failed: %v", err)
		for _, s := range b.hot {
			say("  %s, running: %v\n%s", s.Name(), s.Process().Running(), lastBytes(s.Process().Output(), 4<<10))
		}
		b.stopHot() // whoever it was must not spoil what follows
	}
	return o
}

// line shows figures in the order of metrics.
func (f figures) line(shown []metric) string {
	line := ""
	for _, m := range append(shown[:len(shown):len(shown)], clientShare, foreignCores) {
		if v, ok := f[m]; ok {
			line += fmt.Sprintf("%s %s  ", format(v), m.label())
		}
	}
	return line
}

// hotBrokers returns Varve and Kafka, started and warm. Neither tiers here.
func (b *bench) hotBrokers() []system {
	if b.hot == nil {
		b.hotEnv = newEnv(context.WithoutCancel(b.env.ctx), b.root)
		const untiered = "varve.tiering.default=false"
		systems := []system{newVarve(b.hotEnv, untiered), nil}
		if against != "" {
			other := newVarve(b.hotEnv, untiered)
			other.binary = against
			systems[1] = other
		} else {
			systems[1] = newKafka(b.hotEnv)
		}
		for _, s := range systems {
			b.startWarm(s)
		}
		b.hot = systems
	}
	return b.hot
}

// stopHot ends the two brokers.
func (b *bench) stopHot() {
	if b.hotEnv == nil {
		return
	}
	if err := try(b.hotEnv.close); err != nil {
		say("stop brokers: %v", err)
	}
	b.hotEnv, b.hot = nil, nil
}

// startWarm starts a broker and lets it produce and fetch for a while: a JVM compiles
// what is used.
func (b *bench) startWarm(s system) {
	s.Start()
	for _, t := range []topic{{name: "warm-1", partitions: 1}, {name: "warm-16", partitions: 16}} {
		createTopic(b.env, s, t)
		for _, size := range []int{100, 1024} {
			b.fill(s, t, size, b.sizes.warmup)
		}
		kgoReplay(b, s, t, b.sizes.warmup)
		deleteTopic(b.env, s, t.name)
	}
}

func lastBytes(s string, n int) string { return s[max(0, len(s)-n):] }
