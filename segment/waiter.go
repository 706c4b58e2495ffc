package segment

import "slices"

// Waiter waits for news of several logs at once.
type Waiter struct{ c chan struct{} }

// NewWaiter returns a waiter that has not been signalled.
func NewWaiter() *Waiter { return &Waiter{make(chan struct{}, 1)} }

// C receives after a signal; signals that meet an unread one fall together.
func (w *Waiter) C() <-chan struct{} { return w.c }

// Signal wakes the waiter; it never blocks.
func (w *Waiter) Signal() {
	select {
	case w.c <- struct{}{}:
	default:
	}
}

// Watch registers a waiter that is signalled whenever AckEnd or LogStart moves or the
// log fails or closes.
func (l *Log) Watch(w *Waiter) {
	l.pub.Lock()
	l.waiters = append(l.waiters, w)
	l.pub.Unlock()
}

// Unwatch removes the waiter.
func (l *Log) Unwatch(w *Waiter) {
	l.pub.Lock()
	if i := slices.Index(l.waiters, w); i >= 0 {
		l.waiters = slices.Delete(l.waiters, i, i+1)
	}
	l.pub.Unlock()
}

// Notify signals by hand (the high watermark moved for another reason).
func (l *Log) Notify() {
	l.pub.Lock()
	l.signal()
	l.pub.Unlock()
}

// signal wakes every waiter. Caller holds pub.
func (l *Log) signal() {
	for _, w := range l.waiters {
		w.Signal()
	}
}
