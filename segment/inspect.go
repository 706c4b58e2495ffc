package segment

import "time"

// RollsAt returns when segment.ms seals the active segment; zero where it is empty or no
// age is set.
func (l *Log) RollsAt() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rollsAt()
}

// rollsAt is RollsAt for a holder of mu.
func (l *Log) rollsAt() time.Time {
	age := l.config.Load().SegmentAge
	if l.size == 0 || age <= 0 {
		return time.Time{}
	}
	return l.began.Add(age)
}
