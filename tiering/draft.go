package tiering

import (
	"crypto/sha256"
	"maps"
	"slices"

	"github.com/google/uuid"

	"github.com/varvelog/varve/segment"
)

// change is what one commit does to a view. The zero value changes nothing.
type change struct {
	add    []entry              // contiguous, from the tiered end on
	epochs []segment.EpochStart // of the records in add
	start  int64                // log start offset; below the current one: as it is
	bury   []dead               // objects that no root ever named: what stale intents announced
	swept  map[uuid.UUID]bool   // dead objects that the store has acknowledged as deleted
	// withdraw empties the tree: a new incarnation begins and ends at start.
	withdraw bool
}

// writer is who commits, when, and how it names what it writes.
type writer struct {
	epoch int32
	now   int64 // ms
	delay int64 // ms from the dead list to DELETE
	newID func() uuid.UUID
}

// object is a root, leaf or node that has to be written before the commit.
type object struct {
	id    uuid.UUID
	key   string
	bytes []byte
}

// draft is the next view with all the objects that must be in the bucket before it counts.
type draft struct {
	view    *view
	objects []object // leaves and nodes, the root last
}

// next applies a change. It decides everything and does nothing: what is returned is what
// will be written. It fails where the change would break an invariant.
func (v *view) next(c change, w writer) (*draft, error) {
	old := v.root
	r := &root{
		partition: old.partition, seq: old.seq + 1, epoch: w.epoch, incarnation: old.incarnation,
		compaction: old.compaction, start: old.start, end: old.end, created: w.now,
		parent: v.pointer.Root, parentHash: v.hash, origins: old.origins,
		lineage: old.lineage, refs: old.refs, entries: old.entries,
	}
	d := &draft{view: &view{root: r, nodes: v.nodes}}
	r.dead = slices.DeleteFunc(slices.Clone(old.dead), func(o dead) bool { return c.swept[o.id] })

	v.append(r, c)
	if c.withdraw {
		v.withdraw(r, c.start, w)
	} else {
		v.expire(r, c.start, w)
	}
	if err := d.spill(v, w); err != nil {
		return nil, err
	}
	r.lineage = lineageFrom(r.lineage, r.start)
	for _, o := range c.bury {
		r.bury(o, w)
	}
	if prefix, kind, n, err := parseKey(v.pointer.Root); err == nil && kind == kindRoot && prefix == r.origins[0] {
		r.bury(dead{kind: kindRoot, number: n.number, epoch: n.epoch, id: n.id}, w)
	}
	return d.seal(v, w)
}

// append adds entries and their epochs. The first entry of all says where the log begins.
func (v *view) append(r *root, c change) {
	if len(c.add) == 0 {
		return
	}
	if !v.exists() {
		r.start = c.add[0].base
	}
	r.entries = append(r.entries[:len(r.entries):len(r.entries)], c.add...)
	r.end = c.add[len(c.add)-1].next
	r.lineage = slices.Clip(r.lineage)
	for _, e := range c.epochs {
		if n := len(r.lineage); n == 0 || r.lineage[n-1].Epoch < e.Epoch {
			r.lineage = append(r.lineage, e)
		}
	}
}

// expire raises the start. What ends at or below it goes to the dead list: whole subtrees
// as one, of a straddling leaf the single segments. Above the tiered end the list is
// empty afterwards and the end is the start (I29).
func (v *view) expire(r *root, start int64, w writer) {
	if start <= r.start {
		return
	}
	before := r.start
	r.start, r.end = start, max(r.end, start)

	gone := findRef(r.refs, start)
	for _, x := range r.refs[:gone] {
		r.bury(x.dead(x.origin), w)
	}
	r.refs = r.refs[gone:]
	if len(r.refs) > 0 && r.refs[0].kind == kindNode {
		n := v.nodes[r.refs[0].id]
		for _, x := range n.refs {
			if x.next > before && x.next <= start {
				r.bury(x.dead(r.origin(n.origins[x.origin])), w)
			}
		}
	}
	for i := range v.runs {
		run := &v.runs[i]
		if run.ref.next <= start || run.ref.base >= start { // not a leaf that straddles start
			continue
		}
		for _, n := range run.entries[findEntry(run.entries, before):findEntry(run.entries, start)] {
			r.bury(n.dead(r.origin(run.origins[n.origin])), w)
		}
	}
	gone = findEntry(r.entries, start)
	for _, n := range r.entries[:gone] {
		r.bury(n.dead(n.origin), w)
	}
	r.entries = r.entries[gone:]
}

// withdraw puts all that there is on the dead list and begins an incarnation that has
// nothing yet: its end may lie below the old one, and what it copies has been copied before.
func (v *view) withdraw(r *root, start int64, w writer) {
	start = max(start, r.start)
	v.expire(r, r.end, w)
	r.incarnation++
	r.start, r.end = start, start
	i := slices.IndexFunc(r.lineage, func(e segment.EpochStart) bool { return e.Start > start })
	if i > 0 {
		r.lineage = slices.Clip(r.lineage[:i])
	}
}

func (n entry) dead(origin uint16) dead {
	return dead{kind: kindSegment, origin: origin, number: n.base, epoch: n.epoch, id: n.id}
}

func (x ref) dead(origin uint16) dead {
	return dead{kind: x.kind, origin: origin, number: x.base, epoch: x.epoch, id: x.id}
}

// origin returns the root's index of an origin that a leaf or node names.
func (r *root) origin(prefix string) uint16 {
	i := slices.Index(r.origins, prefix)
	if i < 0 {
		i = len(r.origins)
		r.origins = append(slices.Clip(r.origins), prefix)
	}
	return uint16(i)
}

// bury puts an object on the dead list, once.
func (r *root) bury(d dead, w writer) {
	d.after, d.seq = w.now+w.delay, r.seq
	if !slices.ContainsFunc(r.dead, func(o dead) bool { return o.id == d.id }) {
		r.dead = append(r.dead, d)
	}
}

// spill moves the oldest inline entries to a new leaf when there are too many, and the
// oldest leaves to a new node.
func (d *draft) spill(v *view, w writer) error {
	r := d.view.root
	leaves := map[uuid.UUID]run{}
	for _, x := range v.runs {
		leaves[x.id] = x
	}
	for len(r.entries) > inlineEntries {
		n := &node{kind: kindLeaf, origins: r.origins, entries: r.entries[:leafEntries]}
		x := d.write(n, w)
		leaves[x.id] = run{id: x.id, ref: x, origins: n.origins, entries: n.entries}
		r.entries = r.entries[leafEntries:]
		r.refs = append(r.refs[:len(r.refs):len(r.refs)], x)
	}
	nodes := 0
	for nodes < len(r.refs) && r.refs[nodes].kind == kindNode {
		nodes++
	}
	if len(r.refs)-nodes > leafRefs {
		n := &node{kind: kindNode, origins: r.origins, refs: r.refs[nodes : nodes+nodeRefs]}
		x := d.write(n, w)
		d.view.nodes = maps.Clone(d.view.nodes)
		if d.view.nodes == nil {
			d.view.nodes = map[uuid.UUID]*node{}
		}
		d.view.nodes[x.id] = n
		refs := append(slices.Clone(r.refs[:nodes]), x)
		r.refs = append(refs, r.refs[nodes+nodeRefs:]...)
	}
	for _, x := range r.refs {
		children := []ref{x}
		if x.kind == kindNode {
			children = d.view.nodes[x.id].refs
		}
		for _, child := range children {
			if child.next <= r.start {
				continue
			}
			leaf, ok := leaves[child.id]
			if !ok {
				return corrupt(v.pointer.Root, "leaf %d is named and not loaded", child.base)
			}
			d.view.runs = append(d.view.runs, leaf)
		}
	}
	if len(r.entries) > 0 {
		d.view.runs = append(d.view.runs, run{origins: r.origins, entries: r.entries})
	}
	return nil
}

// write plans a leaf or node and returns the reference to it.
func (d *draft) write(n *node, w writer) ref {
	r := d.view.root
	b := encodeNode(r.partition, n)
	x := n.summary()
	x.epoch, x.id, x.size, x.crc = w.epoch, w.newID(), uint32(len(b)), crc(b)
	d.objects = append(d.objects, object{id: x.id, key: x.name().key(r.origins[0], n.kind), bytes: b})
	return x
}

// seal encodes the root and checks every rule that a reader will check.
func (d *draft) seal(v *view, w writer) (*draft, error) {
	r := d.view.root
	id := w.newID()
	key := name{r.seq, r.epoch, id}.key(r.origins[0], kindRoot)
	b := encodeRoot(r)
	if len(b) > maxManifestObject {
		return nil, corrupt(key, "it would have %d bytes", len(b))
	}
	if err := r.check(); err != nil {
		return nil, corrupt(key, "%v", err)
	}
	if v.exists() {
		if err := r.checkSuccessor(v.root); err != nil {
			return nil, corrupt(key, "%v", err)
		}
	}
	d.objects = append(d.objects, object{id: id, key: key, bytes: b})
	d.view.hash = sha256.Sum256(b)
	d.view.pointer = Pointer{
		Root: key, RootCRC: crc(b), RootSize: int64(len(b)), Seq: r.seq, Epoch: r.epoch, Start: r.start, End: r.end,
	}
	_, err := newView(d.view)
	return d, err
}

// findRef returns the index of the first reference that ends above offset.
func findRef(refs []ref, offset int64) int {
	i, _ := slices.BinarySearchFunc(refs, offset, func(r ref, offset int64) int {
		if r.next <= offset {
			return -1
		}
		return 1
	})
	return i
}

// lineageFrom drops the epochs that ended at or below start.
func lineageFrom(lineage []segment.EpochStart, start int64) []segment.EpochStart {
	for len(lineage) > 1 && lineage[1].Start <= start {
		lineage = lineage[1:]
	}
	return lineage
}
