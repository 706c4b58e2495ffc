package config

import (
	"net/netip"
	"strconv"
	"strings"
)

// threadKeys are the numbers of threads that Kafka lets be altered while it runs, most of
// which are none here.
var threadKeys = []string{
	"background.threads", "num.io.threads", "num.network.threads", "num.recovery.threads.per.data.dir", "num.replica.fetchers",
	"remote.log.manager.copier.thread.pool.size", "remote.log.manager.expiration.thread.pool.size",
	"remote.log.manager.follower.thread.pool.size", "remote.log.reader.threads",
}

// CheckReconfiguration is Kafka's rule for settings next of a broker that runs with those
// of b: a number of threads is at most doubled and at least halved at a time, so that no
// slip of a finger starts a million. The error is an *Error with every fault.
func (b *Broker) CheckReconfiguration(next *Broker) error {
	var f faults
	changed := func(name string) (from, to int64, changed bool) {
		for _, c := range []struct {
			b *Broker
			n *int64
		}{{b, &from}, {next, &to}} {
			value, _ := c.b.values.get(name)
			*c.n, _ = strconv.ParseInt(value, 10, 64) // parse has accepted it
		}
		return from, to, from != to
	}
	for _, name := range threadKeys {
		switch from, to, changed := changed(name); {
		case !changed:
		case to < from/2:
			f.add(name, "", "Dynamic thread count update validation failed for %s=%d, value should be at least half the current value %d", name, to, from)
		case to > from*2:
			f.add(name, "", "Dynamic thread count update validation failed for %s=%d, value should not be greater than double the current value %d", name, to, from)
		}
	}
	const cleaners = "log.cleaner.threads"
	switch from, to, changed := changed(cleaners); {
	case !changed:
	case to < from/2:
		f.add(cleaners, "", "Log cleaner threads cannot be reduced to less than half the current value %d", from)
	case to > from*2:
		f.add(cleaners, "", "Log cleaner threads cannot be increased to more than double the current value %d", from)
	}
	return f.err()
}

// connectionOverrides reads max.connections.per.ip.overrides. reason is what is wrong with
// it, or "".
func connectionOverrides(value string) (all map[netip.Addr]int, reason string) {
	for _, one := range splitList(value) {
		at := strings.LastIndex(one, ":")
		if at < 0 {
			return nil, one + " is not of the form address:number"
		}
		ip, err := netip.ParseAddr(strings.Trim(strings.TrimSpace(one[:at]), "[]"))
		if err != nil {
			return nil, "it contains invalid addresses: " + one[:at] + "; names are not looked up"
		}
		n, err := strconv.ParseInt(strings.TrimSpace(one[at+1:]), 10, 32)
		if err != nil || n < 0 {
			return nil, one[at+1:] + " is no number of connections"
		}
		if all == nil {
			all = map[netip.Addr]int{}
		}
		all[ip.Unmap()] = int(n)
	}
	return all, ""
}

func checkConnectionOverrides(value string) string {
	_, reason := connectionOverrides(value)
	return reason
}
