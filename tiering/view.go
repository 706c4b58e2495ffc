package tiering

import (
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"slices"
	"sort"

	"github.com/google/uuid"
)

// view is one committed root with everything below it, as readers see it. It never
// changes; the next commit makes the next view, which shares the runs of untouched leaves.
type view struct {
	pointer Pointer
	root    *root
	hash    [sha256.Size]byte   // of the root object
	runs    []run               // in offset order: one a leaf, the inline entries last
	nodes   map[uuid.UUID]*node // read so far, by id
	bytes   int64               // of the logs of all segments that end above start
	count   int                 // of these segments
}

// run is a slice of entries with the origins that they refer to. A leaf that straddles
// start still holds entries that are no longer part of the view.
type run struct {
	id      uuid.UUID // of the leaf; zero: inline
	ref     ref       // of the leaf
	origins []string
	entries []entry
}

// emptyView is the state of a partition that has no pointer.
func emptyView(p PartitionID, prefix string) *view {
	return &view{root: &root{partition: p, origins: []string{prefix}, incarnation: 1}}
}

// exists tells a committed root from the empty view.
func (v *view) exists() bool { return v.pointer.Root != "" }

// newView completes a view whose root and runs are known, and verifies I2 across them.
func newView(v *view) (*view, error) {
	expected := int64(-1)
	for _, r := range v.runs {
		for _, n := range r.entries {
			if n.next <= v.root.start {
				continue
			}
			if expected >= 0 && n.base != expected {
				return nil, corrupt(v.pointer.Root, "entry %d follows one that ends at %d", n.base, expected)
			}
			expected = n.next
			v.bytes += n.size
			v.count++
		}
	}
	if expected >= 0 && expected != v.root.end {
		return nil, corrupt(v.pointer.Root, "entries end at %d, the root at %d", expected, v.root.end)
	}
	return v, nil
}

// all yields the live entries in offset order.
func (v *view) all() iter.Seq2[*run, *entry] { return v.from(v.root.start) }

// from yields the live entries that end above offset, in offset order.
func (v *view) from(offset int64) iter.Seq2[*run, *entry] {
	offset = max(offset, v.root.start)
	return func(yield func(*run, *entry) bool) {
		first := sort.Search(len(v.runs), func(i int) bool {
			entries := v.runs[i].entries
			return entries[len(entries)-1].next > offset
		})
		for i := first; i < len(v.runs); i++ {
			r := &v.runs[i]
			for k := findEntry(r.entries, offset); k < len(r.entries); k++ {
				if !yield(r, &r.entries[k]) {
					return
				}
			}
		}
	}
}

// find returns the live entry that holds offset.
func (v *view) find(offset int64) (*run, *entry, bool) {
	if offset < v.root.start || offset >= v.root.end {
		return nil, nil, false
	}
	for r, n := range v.from(offset) {
		return r, n, n.base <= offset
	}
	return nil, nil, false
}

// names tells whether the view needs an object: the guard before every DELETE (I22).
func (v *view) names(d dead) bool {
	switch d.kind {
	case kindRoot:
		return v.pointer.Root == d.name().key(v.root.origins[d.origin], kindRoot)
	case kindSegment:
		_, n, ok := v.find(max(d.number, v.root.start))
		return ok && n.id == d.id
	default:
		for _, r := range v.root.refs {
			if r.id == d.id {
				return true
			}
			if r.kind == kindNode && slices.ContainsFunc(v.nodes[r.id].refs, func(child ref) bool {
				return child.id == d.id && child.next > v.root.start
			}) {
				return true
			}
		}
		return false
	}
}

// key returns the key of an entry of r.
func (r *run) key(n *entry) string { return n.name().key(r.origins[n.origin], kindSegment) }

// exported describes an entry to callers.
func (r *run) exported(n *entry) Entry {
	return Entry{
		Base: n.base, Next: n.next, Size: n.size, ObjectSize: n.objectSize,
		MaxTimestamp: n.maxTimestamp, Copied: n.copied, Epoch: n.epoch, Key: r.key(n),
	}
}

// loader reads trees from the bucket.
type loader struct {
	partition PartitionID
	get       func(ctx context.Context, key string, size int64) ([]byte, error) // exactly size bytes
}

// load reads the tree of a pointer. Leaves that old has are not read again.
func (l loader) load(ctx context.Context, p Pointer, old *view) (*view, error) {
	if p.RootSize <= 0 || p.RootSize > maxManifestObject {
		return nil, corrupt(p.Root, "pointer says %d bytes", p.RootSize)
	}
	b, err := l.get(ctx, p.Root, p.RootSize)
	if err != nil {
		return nil, fmt.Errorf("read root: %w", err)
	}
	if crc(b) != p.RootCRC {
		return nil, corrupt(p.Root, "it is not the root that the pointer names: CRC %08x, expected %08x", crc(b), p.RootCRC)
	}
	r, err := decodeRoot(p.Root, l.partition, b)
	if err != nil {
		return nil, err
	}
	if r.seq != p.Seq || r.epoch != p.Epoch || r.start != p.Start || r.end != p.End {
		return nil, corrupt(p.Root, "it says seq %d, epoch %d, [%d, %d), the pointer %d, %d, [%d, %d)",
			r.seq, r.epoch, r.start, r.end, p.Seq, p.Epoch, p.Start, p.End)
	}
	v := &view{pointer: p, root: r, hash: sha256.Sum256(b), nodes: map[uuid.UUID]*node{}}
	known := map[uuid.UUID]run{}
	if old != nil {
		for _, r := range old.runs {
			known[r.id] = r
		}
	}
	for _, top := range r.refs {
		if err := l.descend(ctx, v, top, r.origins, known); err != nil {
			return nil, err
		}
	}
	if len(r.entries) > 0 {
		v.runs = append(v.runs, run{origins: r.origins, entries: r.entries})
	}
	return newView(v)
}

// descend adds the runs below a reference.
func (l loader) descend(ctx context.Context, v *view, r ref, origins []string, known map[uuid.UUID]run) error {
	if have, ok := known[r.id]; ok && r.kind == kindLeaf {
		v.runs = append(v.runs, have)
		return nil
	}
	n, err := l.node(ctx, r, origins)
	if err != nil {
		return err
	}
	if r.kind == kindLeaf {
		v.runs = append(v.runs, run{id: r.id, ref: r, origins: n.origins, entries: n.entries})
		return nil
	}
	v.nodes[r.id] = n
	for _, child := range n.refs {
		if child.next <= v.root.start {
			continue
		}
		if err := l.descend(ctx, v, child, n.origins, known); err != nil {
			return err
		}
	}
	return nil
}

// node reads and verifies what a reference names.
func (l loader) node(ctx context.Context, r ref, origins []string) (*node, error) {
	key := r.name().key(origins[r.origin], r.kind)
	b, err := l.get(ctx, key, int64(r.size))
	if err != nil {
		return nil, fmt.Errorf("read leaf: %w", err)
	}
	if crc(b) != r.crc {
		return nil, corrupt(key, "it is not the leaf that the tree names: CRC %08x, expected %08x", crc(b), r.crc)
	}
	n, err := decodeNode(key, l.partition, b)
	if err != nil {
		return nil, err
	}
	if err := n.matches(r); err != nil {
		return nil, corrupt(key, "%v", err)
	}
	return n, nil
}
