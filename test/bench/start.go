package main

import (
	"time"
)

// settle is how long a started broker is left alone before its memory is read.
const settle = 2 * time.Second

// fresh makes contestants that start a broker of their own in an empty directory for
// each measurement. sets are further settings of Varve.
func (b *bench) fresh(measure func(system) figures, sets ...string) []contestant {
	b.stopHot()
	makers := []struct {
		name string
		make func(*env) system
	}{
		{"Varve", func(e *env) system { return newVarve(e, sets...) }},
		{"Kafka", func(e *env) system { return newKafka(e, sets...) }}, // passes over what it does not know
	}
	var c []contestant
	for _, m := range makers {
		c = append(c, contestant{m.name, func() figures {
			e := newEnv(b.env.ctx, b.env.root)
			defer e.close()
			return measure(m.make(e))
		}})
	}
	return c
}

func (b *bench) resident(s system) float64 {
	bytes, _ := s.Process().Memory(b.env)
	return float64(bytes) / (1 << 20)
}

// startEmpty measures a first start.
func startEmpty(b *bench) []contestant {
	return b.fresh(func(s system) figures {
		f := figures{readyTime: s.Start().Seconds()}
		time.Sleep(settle)
		f[residentMiB] = b.resident(s)
		s.Stop()
		return f
	})
}

// startThousand measures a later start, with a topic of 1,000 partitions.
func startThousand(b *bench) []contestant {
	return b.fresh(func(s system) figures {
		s.Start()
		t := topic{name: "thousand", partitions: 1000}
		createTopic(b.env, s, t)
		s.Stop()
		begin := time.Now()
		s.Start()
		b.env.check(awaitAnswer(b.env.ctx, s.Address(), t.name))
		f := figures{readyTime: time.Since(begin).Seconds()}
		time.Sleep(settle)
		f[residentMiB] = b.resident(s)
		s.Stop()
		return f
	})
}

// loaded measures the memory of a broker after work.
func loaded(b *bench) []contestant {
	return b.fresh(func(s system) figures {
		s.Start()
		t := topic{name: "loaded", partitions: 16}
		createTopic(b.env, s, t)
		n := b.sizes.large
		b.fill(s, t, 1024, n)
		kgoReplay(b, s, t, n)
		f := figures{residentMiB: b.resident(s)}
		s.Stop()
		return f
	})
}
