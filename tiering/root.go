package tiering

import (
	"crypto/sha256"

	"github.com/google/uuid"

	"github.com/varvelog/varve/segment"
)

// root is the manifest of one partition: the newest entries, references to leaves with
// the older ones, and what may be deleted.
//
//	 0  magic              8  "VARVROOT"
//	 8  version            4  uint32  1
//	12  topic id          16
//	28  partition          4
//	32  seq                8  grows by one a commit
//	40  leader epoch       4  of the commit
//	44  incarnation        4  grows by one when all is withdrawn
//	48  compaction epoch   4  grows by one a compaction
//	52  start              8  log start offset
//	60  end                8  tiered end
//	68  created            8  ms
//	76  parent key         2 + n  empty: none
//	    parent SHA-256    32
//	    origins            2 + (2 + n) each
//	    lineage            4 + 12 each
//	    references         4 + refSize each   nodes first, then leaves
//	    entries            4 + entrySize each
//	    dead list          4 + deadSize each
//	    CRC32C             4  of all before
//
// Invariant (I2): what ends above start is contiguous; its first base <= start <= end,
// its last next == end, and where there is nothing start == end.
type root struct {
	partition   PartitionID
	seq         int64
	epoch       int32
	incarnation uint32
	compaction  uint32
	start, end  int64
	created     int64
	parent      string
	parentHash  [sha256.Size]byte
	origins     []string
	lineage     []segment.EpochStart
	refs        []ref
	entries     []entry
	dead        []dead
}

const (
	rootMagic   = "VARVROOT"
	rootVersion = 1
)

// dead is an object that no root from seq on names any more. It is deleted once after
// has passed, and leaves the list when the store has said that it is gone. A dead leaf or
// node takes along what it names.
type dead struct {
	kind   kind
	origin uint16
	number int64 // see name
	epoch  int32
	id     uuid.UUID
	after  int64 // ms
	seq    int64 // of the root that put it here
}

const deadSize = 1 + 2 + 8 + 4 + 16 + 8 + 8

func (d dead) name() name { return name{d.number, d.epoch, d.id} }

func (e *encoder) dead(list []dead) {
	e.u32(uint32(len(list)))
	for _, d := range list {
		e.u8(uint8(d.kind))
		e.u16(d.origin)
		e.i64(d.number)
		e.i32(d.epoch)
		e.bytes(d.id[:])
		e.i64(d.after)
		e.i64(d.seq)
	}
}

func (d *decoder) dead() []dead {
	n := d.count(deadSize)
	if n == 0 {
		return nil
	}
	list := make([]dead, n)
	for i := range list {
		list[i] = dead{
			kind: kind(d.u8()), origin: d.u16(), number: d.i64(), epoch: d.i32(), id: d.uuid(),
			after: d.i64(), seq: d.i64(),
		}
	}
	return list
}

func encodeRoot(r *root) []byte {
	var e encoder
	e.bytes([]byte(rootMagic))
	e.u32(rootVersion)
	e.bytes(r.partition.Topic[:])
	e.i32(r.partition.Partition)
	e.i64(r.seq)
	e.i32(r.epoch)
	e.u32(r.incarnation)
	e.u32(r.compaction)
	e.i64(r.start)
	e.i64(r.end)
	e.i64(r.created)
	e.str(r.parent)
	e.bytes(r.parentHash[:])
	e.origins(r.origins)
	e.epochs(r.lineage)
	e.refs(r.refs)
	e.entries(r.entries)
	e.dead(r.dead)
	e.u32(crc(e.b))
	return e.b
}

// decodeRoot reads what encodeRoot wrote and checks what can be checked without its leaves.
func decodeRoot(key string, p PartitionID, b []byte) (*root, error) {
	d, err := openManifest(key, rootMagic, rootVersion, p, b)
	if err != nil {
		return nil, err
	}
	r := &root{partition: p}
	r.seq = d.i64()
	r.epoch = d.i32()
	r.incarnation = d.u32()
	r.compaction = d.u32()
	r.start = d.i64()
	r.end = d.i64()
	r.created = d.i64()
	r.parent = d.str()
	copy(r.parentHash[:], d.take(len(r.parentHash)))
	r.origins = d.origins()
	r.lineage = d.epochs()
	r.refs = d.refs()
	r.entries = d.entries()
	r.dead = d.dead()
	if err := d.finish(nil); err != nil {
		return nil, corrupt(key, "%v", err)
	}
	if err := r.check(); err != nil {
		return nil, corrupt(key, "%v", err)
	}
	return r, nil
}

// check verifies the root by itself: I2 as far as it can be seen without the leaves.
func (r *root) check() error {
	switch {
	case r.seq < 1:
		return ruleError("seq %d", r.seq)
	case r.start < 0 || r.start > r.end:
		return ruleError("start %d, end %d", r.start, r.end)
	case len(r.origins) == 0:
		return ruleError("no origin")
	}
	if err := checkRefs(r.refs, len(r.origins), true); err != nil {
		return err
	}
	if err := checkContiguous(r.entries, len(r.origins)); err != nil {
		return err
	}
	for _, d := range r.dead {
		if d.kind < kindSegment || d.kind > kindOrphan || int(d.origin) >= len(r.origins) {
			return ruleError("dead object of kind %d, origin %d", d.kind, d.origin)
		}
	}
	first, last := r.end, r.start
	if n := len(r.entries); n > 0 {
		first, last = r.entries[0].base, r.entries[n-1].next
		if r.entries[0].next <= r.start {
			return ruleError("entry %d ends below start %d", first, r.start)
		}
	}
	if n := len(r.refs); n > 0 {
		if len(r.entries) > 0 && r.refs[n-1].next != first {
			return ruleError("entry %d follows a reference that ends at %d", first, r.refs[n-1].next)
		}
		if len(r.entries) == 0 {
			last = r.refs[n-1].next
		}
		if r.refs[0].next <= r.start {
			return ruleError("reference %d ends below start %d", r.refs[0].base, r.start)
		}
		first = r.refs[0].base
	}
	if first > r.start || last != r.end {
		return ruleError("entries hold [%d, %d), the root says start %d, end %d", first, last, r.start, r.end)
	}
	return nil
}

// checkSuccessor verifies I3: what may never go back did not, but for the end of what was
// withdrawn.
func (r *root) checkSuccessor(parent *root) error {
	withdrawn := r.incarnation == parent.incarnation+1 && r.start == r.end
	switch {
	case r.seq != parent.seq+1:
		return ruleError("seq %d after %d", r.seq, parent.seq)
	case r.epoch < parent.epoch:
		return ruleError("epoch %d after %d", r.epoch, parent.epoch)
	case r.start < parent.start:
		return ruleError("start %d after %d", r.start, parent.start)
	case r.end < parent.end && !withdrawn:
		return ruleError("end %d after %d", r.end, parent.end)
	case r.incarnation != parent.incarnation && !withdrawn:
		return ruleError("incarnation %d after %d", r.incarnation, parent.incarnation)
	case r.compaction < parent.compaction:
		return ruleError("compaction epoch %d after %d", r.compaction, parent.compaction)
	}
	return nil
}
