package main

import (
	"syscall"
	"time"
)

// metric names one figure of a measurement.
type metric string

const (
	recordRate   metric = "records/s"
	byteRate     metric = "MiB/s"
	brokerCPU    metric = "broker CPU s/GB"
	clientCPU    metric = "client CPU s/GB"
	clientShare  metric = "client's share of CPU"
	foreignCores metric = "foreign cores"
	ack          metric = "ack" // with percentiles
	endToEnd     metric = "end to end"
	commitTime   metric = "transaction" // from its begin to its committed end
	firstRecord  metric = "first record ms"
	replayRate   metric = "replay MiB/s"
	readyTime    metric = "ready s"
	residentMiB  metric = "resident MiB"
)

// figures are what one measurement found.
type figures map[metric]float64

// gigabyte is the GB of CPU seconds per GB: of record values, for all systems alike.
const gigabyte = 1e9

// meter takes processor time and wall time around a piece of work.
type meter struct {
	env    *env
	pids   []int // of brokers
	helper []int // of processes that belong to the run and are no broker
	begin  time.Time
	broker cpuTime
	client time.Duration // all of this process
	user   time.Duration // in user code, of this process and the helpers
	all    time.Duration // anybody's user code and what was stolen
}

// startMeter begins a measurement of the given processes' work, which will put so many
// bytes into the page cache. What earlier work has left dirty is written back first, so
// that each system pays for its own.
func startMeter(e *env, cached int64, pids ...int) *meter {
	syscall.Sync()
	touchMemory(e, cached+cached/4)
	m := &meter{env: e, pids: pids, helper: e.helpers}
	m.broker, m.client, m.user, m.all = m.clocks()
	m.begin = time.Now()
	return m
}

func (m *meter) clocks() (broker cpuTime, client, user, all time.Duration) {
	for _, pid := range m.pids {
		c, err := processCPU(pid)
		m.env.check(err)
		broker = broker.plus(c)
	}
	var self syscall.Rusage
	m.env.check(syscall.Getrusage(syscall.RUSAGE_SELF, &self))
	user = time.Duration(self.Utime.Nano())
	client = user + time.Duration(self.Stime.Nano())
	for _, pid := range m.helper {
		c, err := processCPU(pid)
		m.env.check(err)
		user += c.user
	}
	machine, stolen, err := machineUser()
	m.env.check(err)
	return broker, client, user, machine + stolen
}

// stop ends the measurement: so many records of so many bytes of values were moved.
func (m *meter) stop(records int, bytes int64) figures {
	wall := time.Since(m.begin).Seconds()
	broker, client, user, all := m.clocks()
	broker, client, user, all = broker.minus(m.broker), client-m.client, user-m.user, all-m.all
	gb := float64(bytes) / gigabyte
	return figures{
		recordRate:   float64(records) / wall,
		byteRate:     float64(bytes) / (1 << 20) / wall,
		brokerCPU:    broker.total().Seconds() / gb,
		clientCPU:    client.Seconds() / gb,
		clientShare:  client.Seconds() / (client + broker.total()).Seconds(),
		foreignCores: max(0, (all-user-broker.user).Seconds()/wall),
	}
}
