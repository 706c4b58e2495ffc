package wire

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// connectionLimits counts open connections, in total and by address (B33).
type connectionLimits struct {
	mu           sync.Mutex // guards what follows
	total, perIP int
	overrides    map[netip.Addr]int // in place of perIP, by what counts
	open         int
	byIP         map[netip.Addr]int
}

// set changes the limits. Connections beyond them stay; no more come before those are
// fewer.
func (l *connectionLimits) set(total, perIP int, overrides map[netip.Addr]int) {
	counted := make(map[netip.Addr]int, len(overrides))
	for ip, n := range overrides {
		counted[countedAs(ip)] = n
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total, l.perIP, l.overrides = total, perIP, counted
}

// admit counts a connection, or says which limit refuses it.
func (l *connectionLimits) admit(ip netip.Addr) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.total {
		return errTooMany
	}
	most, own := l.overrides[ip]
	if !own {
		most = l.perIP
	}
	if l.byIP[ip] >= most {
		return errTooManyPerIP
	}
	if l.byIP == nil {
		l.byIP = make(map[netip.Addr]int)
	}
	l.open++
	l.byIP[ip]++
	return nil
}

func (l *connectionLimits) leave(ip netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.byIP[ip]--; l.byIP[ip] <= 0 {
		delete(l.byIP, ip)
	}
}

// peerAddress is what a peer is counted by: its IPv4 address, or the /64 of its IPv6
// address, which one host has for itself. The zero Addr stands for what has none.
func peerAddress(a net.Addr) netip.Addr {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip, _ := netip.AddrFromSlice(t.IP)
	return countedAs(ip)
}

func countedAs(ip netip.Addr) netip.Addr {
	ip = ip.Unmap().WithZone("")
	if ip.Is6() && !ip.IsLoopback() {
		if prefix, err := ip.Prefix(64); err == nil {
			return prefix.Addr()
		}
	}
	return ip
}

// rateLimit is a bucket of a second's connections that fills evenly.
type rateLimit struct {
	mu        sync.Mutex // guards what follows
	perSecond float64
	tokens    float64
	filled    time.Time
}

// set changes the rate. A fuller bucket is what connections have not used yet.
func (l *rateLimit) set(perSecond float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.perSecond = perSecond
}

// take takes a token and returns how long to wait before using it.
func (l *rateLimit) take(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.filled.IsZero() {
		l.tokens, l.filled = l.perSecond, now
	}
	l.tokens = min(l.perSecond, l.tokens+now.Sub(l.filled).Seconds()*l.perSecond)
	l.filled = now
	l.tokens--
	if l.tokens >= 0 {
		return 0
	}
	return time.Duration(-l.tokens / l.perSecond * float64(time.Second))
}

// oncePerMinute says for a key whether a minute has passed since it last said so, for log
// lines that a peer can cause. It knows 1,024 keys and forgets all of them together.
type oncePerMinute struct {
	mu   sync.Mutex
	last map[logKey]time.Time
}

type logKey struct {
	ip     netip.Addr
	reason int
}

func (o *oncePerMinute) now(key logKey, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if now.Sub(o.last[key]) < time.Minute {
		return false
	}
	if o.last == nil || len(o.last) >= 1024 {
		o.last = make(map[logKey]time.Time)
	}
	o.last[key] = now
	return true
}
