package vfs

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
)

// Fault is a rule by which operations of a Mem fail, lie or wait.
type Fault struct {
	Op   Op     // "": every one
	Path string // a directory, or a pattern of filepath.Match for the whole path or its last name; "": every one
	// Skip operations that match pass unhurt, then Times are hit; 0: all that follow.
	Skip, Times int

	Err  error  // the operation fails; of the bytes of a write half are written
	Lie  bool   // a sync reports success and makes nothing durable
	Wait func() // called before the operation, outside any lock: a slow disk
}

// rule is a Fault and how often it has matched.
type rule struct {
	Fault
	seen int
}

// errLie is a step's answer for a sync that is to do nothing.
var errLie = errors.New("lie")

// unlessLie is the error of a step that may have been a lie.
func unlessLie(err error) error {
	if errors.Is(err, errLie) {
		return nil
	}
	return err
}

// Inject adds a fault and returns what takes it away again. Of several that hit one
// operation the first with an error decides; each of them waits.
func (m *Mem) Inject(f Fault) (heal func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := &rule{Fault: f}
	m.rules = append(slices.Clone(m.rules), r)
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.rules = slices.DeleteFunc(slices.Clone(m.rules), func(o *rule) bool { return o == r })
	}
}

// hits returns the faults that an operation meets, and counts it. Caller holds mu.
func (m *Mem) hits(op Op, path string) (hit []Fault) {
	for _, r := range m.rules {
		if !r.matches(op, path) {
			continue
		}
		r.seen++
		if r.seen > r.Skip && (r.Times == 0 || r.seen <= r.Skip+r.Times) {
			hit = append(hit, r.Fault)
		}
	}
	return hit
}

func (f *Fault) matches(op Op, path string) bool {
	switch {
	case f.Op != "" && f.Op != op, f.Lie && op != OpSync && op != OpSyncDir && op != OpSyncAll:
		return false
	case f.Path == "" || path == f.Path || strings.HasPrefix(path, strings.TrimSuffix(f.Path, "/")+"/"):
		return true
	}
	whole, _ := filepath.Match(f.Path, path) // a malformed pattern matches nothing
	name, _ := filepath.Match(f.Path, filepath.Base(path))
	return whole || name
}
