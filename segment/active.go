package segment

// ActiveBase returns the base offset of the active segment: whoever sees it change
// knows that the log has rolled. It takes no lock.
func (l *Log) ActiveBase() int64 { return l.active.Load().base }
