package tiering

import "fmt"

// CorruptError tells what is wrong with which object of the bucket, or with which
// segment that was about to become one.
type CorruptError struct {
	Key      string // of the object, or a name of the segment
	Position int64  // bytes, -1: the object as a whole
	Reason   string
}

// Error implements error.
func (e *CorruptError) Error() string {
	if e.Position < 0 {
		return fmt.Sprintf("%s is corrupt: %s", e.Key, e.Reason)
	}
	return fmt.Sprintf("%s is corrupt at position %d: %s", e.Key, e.Position, e.Reason)
}

// corrupt returns a CorruptError about an object as a whole.
func corrupt(key, format string, args ...any) error {
	return &CorruptError{Key: key, Position: -1, Reason: fmt.Sprintf(format, args...)}
}

// corruptAt returns a CorruptError about one position.
func corruptAt(key string, position int64, format string, args ...any) error {
	return &CorruptError{Key: key, Position: position, Reason: fmt.Sprintf(format, args...)}
}

// ruleError is the broken rule itself; the caller adds which object breaks it.
func ruleError(format string, args ...any) error { return fmt.Errorf(format, args...) }
