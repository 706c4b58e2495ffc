package auth

import (
	"crypto/sha256"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Options are the windows that use is measured over.
type Options struct {
	Windows         int           // quota.window.num
	Window          time.Duration // quota.window.size.seconds
	MutationWindows int           // controller.quota.window.num
	MutationWindow  time.Duration // controller.quota.window.size.seconds
}

// maxSensors bounds how many clients a Limiter tells apart. Those beyond share one sensor
// of their kind, until others have been idle for the length of their windows: a client
// that calls itself something else each time gains nothing by it.
const maxSensors = 1 << 16

// Limiter remembers what clients have used lately and says how long they have to wait.
// It is safe for concurrent use.
type Limiter struct {
	options Options
	quotas  atomic.Pointer[Quotas]
	waits   [kinds]waitCount

	mu      sync.Mutex
	sensors map[sensorKey]*sensor
	swept   time.Time // when idle sensors were last looked for
	most    int       // maxSensors; tests have fewer
}

// WaitStats count the answers of a kind that were not "now", and the time in them.
type WaitStats struct {
	Count int64
	Total time.Duration
}

type waitCount struct{ count, nanos atomic.Int64 }

// sensorKey names who shares a sensor. The zero Entity: everybody beyond maxSensors.
type sensorKey struct {
	kind   Kind
	entity Entity
}

// sensor is what was used of a quota. ControllerMutations have a bucket, the others a
// window.
type sensor struct {
	window *window
	bucket bucket
	used   time.Time
}

// NewLimiter makes a Limiter without quotas.
func NewLimiter(o Options) *Limiter {
	l := &Limiter{options: o, sensors: make(map[sensorKey]*sensor), most: maxSensors}
	l.quotas.Store(new(Quotas))
	return l
}

// SetQuotas replaces the quotas. What clients have used counts against the new ones.
func (l *Limiter) SetQuotas(q *Quotas) { l.quotas.Store(q) }

// Limits tells whether there is any quota of a kind.
func (l *Limiter) Limits(k Kind) bool { return len(l.quotas.Load().limits[k]) > 0 }

// Waits returns how often, and how long, clients had to wait for a kind of quota.
func (l *Limiter) Waits(k Kind) WaitStats {
	return WaitStats{l.waits[k].count.Load(), time.Duration(l.waits[k].nanos.Load())}
}

// Record counts what a client has used and returns how long it has to wait before it may
// use more: until what it used in the windows is what the quota grants for that time.
//
// What a produce request brings is recorded once it has been appended, so each connection
// of a client may exceed the quota by one request before it is held up. Kafka does the
// same, in the callback that answers the request: the bytes have come already, and
// refusing them would cost the client's link a second time.
func (l *Limiter) Record(k Kind, user, client string, value float64, now time.Time) time.Duration {
	q, ok := l.quotas.Load().ofClient(k, user, client)
	if !ok {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.window(k, q.shared, now)
	w.add(value)
	wait := w.wait(0, q.rate, now)
	if k == RequestPercentage {
		wait = min(wait, l.options.Window) // time was spent, and no buffer is full: as Kafka bounds it
	}
	return l.waits[k].counted(wait)
}

// Admit counts what a client wants to use if the quota grants it now, and otherwise
// nothing: then it returns how long to wait before asking again. What is more than all
// windows grant is admitted by itself, or it never would be.
func (l *Limiter) Admit(k Kind, user, client string, value float64, now time.Time) time.Duration {
	q, ok := l.quotas.Load().ofClient(k, user, client)
	if !ok {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waits[k].counted(l.window(k, q.shared, now).admit(value, q.rate, now))
}

// AdmitConnection is Admit for a new connection of an address. Nobody waits for longer than
// one window.
func (l *Limiter) AdmitConnection(ip string, now time.Time) time.Duration {
	q, ok := l.quotas.Load().ofAddress(ConnectionCreation, ip)
	if !ok {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	wait := l.window(ConnectionCreation, q.shared, now).admit(1, q.rate, now)
	return l.waits[ConnectionCreation].counted(min(wait, l.options.Window))
}

func (w *window) admit(value, rate float64, now time.Time) time.Duration {
	wait := w.wait(value, rate, now)
	if wait > 0 && !w.idle() {
		return wait
	}
	w.add(value)
	return 0
}

// Grant is the most that Admit grants a client at once, whatever it has used.
func (l *Limiter) Grant(k Kind, user, client string) float64 {
	q, ok := l.quotas.Load().ofClient(k, user, client)
	if !ok {
		return math.Inf(1)
	}
	return q.rate * float64(max(1, l.options.Windows-1)) * l.options.Window.Seconds()
}

// Mutate takes tokens for partitions that a client wants created or deleted. Whoever owes
// some has to wait for as long as is returned. If strict, nothing is taken then, and
// refused is set; a client that is not told so is let through and owes more.
func (l *Limiter) Mutate(user, client string, partitions int, strict bool, now time.Time) (wait time.Duration, refused bool) {
	q, ok := l.quotas.Load().ofClient(ControllerMutations, user, client)
	if !ok {
		return 0, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := &l.sensor(ControllerMutations, q.shared, now).bucket
	b.fill(q.rate, q.rate*float64(l.options.MutationWindows)*l.options.MutationWindow.Seconds(), now)
	if strict && b.tokens < 0 {
		return l.waits[ControllerMutations].counted(b.wait(q.rate)), true
	}
	b.tokens -= float64(partitions)
	if strict {
		return 0, false
	}
	return l.waits[ControllerMutations].counted(b.wait(q.rate)), false
}

func (c *waitCount) counted(wait time.Duration) time.Duration {
	if wait > 0 {
		c.count.Add(1)
		c.nanos.Add(int64(wait))
	}
	return wait
}

// window is the window of those who share a quota, as of now. l.mu is held.
func (l *Limiter) window(k Kind, shared Entity, now time.Time) *window {
	w := l.sensor(k, shared, now).window
	w.advance(now)
	return w
}

// sensor finds or makes the sensor of those who share a quota. l.mu is held.
func (l *Limiter) sensor(k Kind, shared Entity, now time.Time) *sensor {
	key := sensorKey{k, Entity{User: short(shared.User), ClientID: short(shared.ClientID), IP: shared.IP}}
	s, ok := l.sensors[key]
	if !ok {
		l.sweep(now)
		if len(l.sensors) >= l.most {
			key.entity = Entity{}
			s, ok = l.sensors[key]
		}
	}
	if !ok {
		s = new(sensor)
		if k != ControllerMutations {
			s.window = newWindow(l.options.Windows, l.options.Window)
		}
		l.sensors[key] = s
	}
	s.used = now
	return s
}

// maxSensorName is the longest name, in bytes, that a sensor is known by: clients call
// themselves what they like, in up to 32 KiB, and maxSensors of them would be 2 GiB.
const maxSensorName = 256

// short is a part by which a sensor may be known: a long name by its hash.
func short(p Part) Part {
	if len(p.name) > maxSensorName {
		sum := sha256.Sum256([]byte(p.name))
		p.name = string(sum[:])
	}
	return p
}

// sweep forgets sensors that say nothing any more, at most once a window. l.mu is held.
func (l *Limiter) sweep(now time.Time) {
	if d := now.Sub(l.swept); d >= 0 && d < l.options.Window {
		return
	}
	l.swept = now
	for key, s := range l.sensors {
		if l.spent(key.kind, s, now) {
			delete(l.sensors, key)
		}
	}
}

// spent tells whether a sensor is as good as a new one: its window is empty by now, or its
// bucket was full. What a bucket owes may take longer than that; see forever.
func (l *Limiter) spent(k Kind, s *sensor, now time.Time) bool {
	idle := now.Sub(s.used)
	if k != ControllerMutations {
		return idle >= time.Duration(l.options.Windows)*l.options.Window
	}
	return idle >= time.Duration(l.options.MutationWindows)*l.options.MutationWindow && (s.bucket.tokens >= 0 || idle >= forever)
}
