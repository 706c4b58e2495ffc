package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// extraMiB is the memory of its own that a broker takes on top of what it had before, at
// most.
const extraMiB metric = "extra MiB at most"

// compactRow is the size of a record's value in the rows of compaction, in bytes.
const compactRow = 1024

// compacted is what compaction is measured with, the same for both systems.
func compacted() topic {
	return topic{name: "compact", partitions: 1, configs: map[string]string{
		"cleanup.policy": "delete", "retention.ms": "-1", "segment.bytes": strconv.Itoa(64 << 20),
	}}
}

// cleaning makes a cleaner start soon after it is let.
const cleaning = "log.cleaner.backoff.ms=100"

// onDisk is a system that says where its logs lie.
type onDisk interface {
	system
	LogDir() string
}

// LogDir is the directory of the logs.
func (v *varve) LogDir() string { return v.broker.Dir }

// LogDir is the directory of the logs.
func (k *kafka) LogDir() string { return filepath.Join(k.dir, "logs") }

// compaction measures how fast a log of updates to live keys becomes one record a key:
// from the moment in which the topic's policy changes to that in which the cleaner has
// written down that it has come to the active segment.
func compaction(b *bench) []contestant {
	var c []contestant
	for _, s := range []onDisk{newCompactor(b.env), newPeer(b.env)} {
		s.Start()
		c = append(c, contestant{s.Name(), func() figures { return b.compact(s) }})
	}
	return c
}

// newCompactor is a Varve that compacts soon and tiers nothing.
func newCompactor(e *env) *varve { return newVarve(e, "varve.tiering.default=false", cleaning) }

// newPeer is what compaction is compared with: Kafka, or the other Varve of the command line.
func newPeer(e *env) onDisk {
	if against == "" {
		return newKafka(e, cleaning)
	}
	other := newCompactor(e)
	other.binary = against
	return other
}

func (b *bench) compact(s onDisk) figures {
	t := compacted()
	createTopic(b.env, s, t)
	defer deleteTopic(b.env, s, t.name)
	b.fillKeys(s, t)
	dirty, active := sealed(b.env, s, t)
	if active == 0 {
		b.env.Fatalf("%d records do not fill a segment", b.sizes.compact)
	}
	_, before := s.Process().Memory(b.env)
	m := startMeter(b.env, 0, s.Process().Pid())
	alterTopic(b.env, s, t.name, map[string]string{"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.0001"})
	most := before
	for cleanedTo(b.env, s, t) < active {
		_, own := s.Process().Memory(b.env)
		most = max(most, own)
		select {
		case <-b.env.ctx.Done():
			b.env.check(b.env.ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
	f := m.stop(int(dirty/compactRow), dirty)
	f[extraMiB] = float64(most-before) / (1 << 20)
	b.oneRecordAKey(s, t, active)
	return f
}

// fillKeys produces updates of random keys.
func (b *bench) fillKeys(s system, t topic) {
	c, err := newProducer(s.Address(), t.name, linger, kgo.MaxBufferedBytes(64<<20), kgo.MaxBufferedRecords(1<<16))
	b.env.check(err)
	defer c.Close()
	r := rand.New(rand.NewPCG(3, 4))
	var failed atomic.Pointer[error]
	for i := range b.sizes.compact {
		key := r.IntN(b.sizes.keys)
		if i < b.sizes.keys {
			key = i // each at least once
		}
		c.Produce(b.env.ctx, &kgo.Record{Key: fmt.Appendf(nil, "%016d", key), Value: value(i, compactRow)}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
	}
	b.env.check(c.Flush(b.env.ctx))
	if err := failed.Load(); err != nil {
		b.env.check(*err)
	}
}

// sealed returns the bytes of the sealed segments of a topic's only partition, and the
// base offset of the active one.
func sealed(e *env, s onDisk, t topic) (size, active int64) {
	names, err := filepath.Glob(filepath.Join(s.LogDir(), t.name+"-0", "*.log"))
	e.check(err)
	slices.Sort(names)
	for i, name := range names {
		if i == len(names)-1 {
			active, err = strconv.ParseInt(strings.TrimSuffix(filepath.Base(name), ".log"), 10, 64)
			e.check(err)
			break
		}
		info, err := os.Stat(name)
		e.check(err)
		size += info.Size()
	}
	return size, active
}

// cleanedTo is what the cleaner has written down, in the file that both systems have.
func cleanedTo(e *env, s onDisk, t topic) int64 {
	p, err := os.ReadFile(filepath.Join(s.LogDir(), "cleaner-offset-checkpoint"))
	if os.IsNotExist(err) {
		return -1
	}
	e.check(err)
	for line := range strings.Lines(string(p)) {
		if offset, found := strings.CutPrefix(strings.TrimSpace(line), t.name+" 0 "); found {
			n, err := strconv.ParseInt(offset, 10, 64)
			e.check(err)
			return n
		}
	}
	return -1
}

// oneRecordAKey reads what was compacted.
func (b *bench) oneRecordAKey(s system, t topic, active int64) {
	c, err := newConsumer(s.Address(), t.name, 1)
	b.env.check(err)
	defer c.Close()
	seen := make(map[string]bool, b.sizes.keys)
	for {
		f := c.PollFetches(b.env.ctx)
		b.env.check(f.Err())
		for i := f.RecordIter(); !i.Done(); {
			r := i.Next()
			if r.Offset >= active {
				if len(seen) != b.sizes.keys {
					b.env.Fatalf("%s: %d keys of %d are left", s.Name(), len(seen), b.sizes.keys)
				}
				return
			}
			if seen[string(r.Key)] {
				b.env.Fatalf("%s: key %s is there twice", s.Name(), r.Key)
			}
			seen[string(r.Key)] = true
		}
	}
}

func alterTopic(e *env, s system, name string, configs map[string]string) {
	c, err := kgo.NewClient(kgo.SeedBrokers(s.Address()))
	e.check(err)
	defer c.Close()
	var changes []kadm.AlterConfig
	for k, v := range configs {
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: k, Value: &v})
	}
	r, err := kadm.NewClient(c).AlterTopicConfigs(e.ctx, changes, name)
	e.check(err)
	for i := range r {
		e.check(r[i].Err)
	}
}

// compactBeside measures a paced load with a consumer beside a topic that is updated at
// 2 MB/s: first while that is compacted, again whenever a segment of 2 MiB is full, then
// while it is not, or while the other Varve of the command line compacts it.
func compactBeside(b *bench) []contestant {
	s := newCompactor(b.env)
	s.Start()
	c := []contestant{{"compacting", func() figures { return b.beside(s, "compact") }}}
	if against == "" {
		return append(c, contestant{"not", func() figures { return b.beside(s, "delete") }})
	}
	other := newPeer(b.env)
	other.Start()
	return append(c, contestant{"other", func() figures { return b.beside(other, "compact") }})
}

// beside measures the load beside a topic with that policy.
func (b *bench) beside(s system, policy string) figures {
	load := pace{producers: 4, partitions: 4, rate: 2000, size: 1024, linger: linger, length: b.sizes.paced, warmup: b.sizes.pacedFor}
	updated := compacted()
	updated.configs["segment.bytes"] = strconv.Itoa(2 << 20)
	createTopic(b.env, s, updated)
	defer deleteTopic(b.env, s, updated.name)
	b.fillKeys(s, updated)
	alterTopic(b.env, s, updated.name, map[string]string{"cleanup.policy": policy, "min.cleanable.dirty.ratio": "0"})
	t := topic{name: "paced", partitions: load.partitions}
	createTopic(b.env, s, t)
	defer deleteTopic(b.env, s, t.name)
	stop := make(chan struct{})
	done := make(chan error)
	go func() { done <- b.keepDirty(s, updated, stop) }()
	f := b.atRate(s, t, load, true)
	close(stop)
	b.env.check(<-done)
	return f
}

// keepDirty updates keys at 2 MB/s until stop.
func (b *bench) keepDirty(s system, t topic, stop <-chan struct{}) error {
	const size, every = 20 << 10, 10 * time.Millisecond
	c, err := newProducer(s.Address(), t.name, linger)
	if err != nil {
		return err
	}
	defer c.Close()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for i := 0; ; i++ {
		select {
		case <-stop:
			return c.Flush(b.env.ctx)
		case <-ticker.C:
		}
		r := &kgo.Record{Key: fmt.Appendf(nil, "%016d", i%b.sizes.keys), Value: value(i, size)}
		c.Produce(b.env.ctx, r, nil)
	}
}
