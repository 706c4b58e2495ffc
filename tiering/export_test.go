package tiering

import "context"

// What external tests check that callers cannot see.

// CheckTree loads a pointer's tree from what get returns and verifies I2; with a parent
// also I3.
func CheckTree(p PartitionID, pointer Pointer, get func(key string) ([]byte, bool)) error {
	l := loader{p, func(_ context.Context, key string, size int64) ([]byte, error) {
		b, ok := get(key)
		if !ok || int64(len(b)) != size {
			return nil, corrupt(key, "missing or of %d bytes, not %d", len(b), size)
		}
		return b, nil
	}}
	v, err := l.load(context.Background(), pointer, nil)
	if err != nil {
		return err
	}
	for run, n := range v.all() {
		b, ok := get(run.key(n))
		if !ok || int64(len(b)) != n.objectSize {
			return corrupt(run.key(n), "missing or of %d bytes, not %d", len(b), n.objectSize)
		}
		if _, err := n.openTail(p, run.key(n), b[n.size:]); err != nil {
			return err
		}
		if crc(b[:n.size]) != n.logCRC {
			return corrupt(run.key(n), "log CRC mismatch")
		}
	}
	if v.root.parent == "" {
		return nil
	}
	b, ok := get(v.root.parent)
	if !ok {
		return corrupt(v.root.parent, "parent is missing at the instant of the commit")
	}
	parent, err := decodeRoot(v.root.parent, p, b)
	if err != nil {
		return err
	}
	return v.root.checkSuccessor(parent)
}
