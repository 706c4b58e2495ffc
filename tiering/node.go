package tiering

import (
	"fmt"
	"sort"

	"github.com/google/uuid"
)

// Sizes of the tree. A root holds at most inlineEntries entries and leafRefs references
// to leaves, 21 + 34 KB, so that with lineage and dead list it stays near 64 KiB: what a
// commit writes, however long the partition is. 256 entries a leaf make one more PUT for
// 256 commits; leafRefs and nodeRefs let 65,000 segments stand before a second level
// is needed, and millions with it.
const (
	inlineEntries = 256
	leafEntries   = 256
	leafRefs      = 512
	nodeRefs      = 256
)

// maxManifestObject bounds what is read as a root or leaf: 16 times what we write.
const maxManifestObject = 1 << 20

// entry is one committed segment in the manifest. Its key follows from origin, base,
// epoch and id.
//
//	 0  base offset        8
//	 8  next offset        8
//	16  log size           8  bytes
//	24  object size        8  bytes
//	32  max timestamp      8  ms, -1: none
//	40  copied             8  ms
//	48  leader epoch       4  of the copy
//	52  compaction epoch   4
//	56  tail CRC32C        4  of the object from log size to its end
//	60  log CRC32C         4
//	64  flags              2  bit 0: has aborted transactions
//	66  origin             2  index into the origins of root or leaf
//	68  id                16
type entry struct {
	base, next   int64
	size         int64
	objectSize   int64
	maxTimestamp int64
	copied       int64
	epoch        int32
	compaction   uint32
	tailCRC      uint32
	logCRC       uint32
	flags        uint16
	origin       uint16
	id           uuid.UUID
}

const (
	entrySize      = 6*8 + 4*4 + 2*2 + 16
	flagHasAborted = 1
)

func (n entry) name() name       { return name{n.base, n.epoch, n.id} }
func (n entry) hasAborted() bool { return n.flags&flagHasAborted != 0 }

func (e *encoder) entries(entries []entry) {
	e.u32(uint32(len(entries)))
	for _, n := range entries {
		e.i64(n.base)
		e.i64(n.next)
		e.i64(n.size)
		e.i64(n.objectSize)
		e.i64(n.maxTimestamp)
		e.i64(n.copied)
		e.i32(n.epoch)
		e.u32(n.compaction)
		e.u32(n.tailCRC)
		e.u32(n.logCRC)
		e.u16(n.flags)
		e.u16(n.origin)
		e.bytes(n.id[:])
	}
}

func (d *decoder) entries() []entry {
	n := d.count(entrySize)
	if n == 0 {
		return nil
	}
	entries := make([]entry, n)
	for i := range entries {
		entries[i] = entry{
			base: d.i64(), next: d.i64(), size: d.i64(), objectSize: d.i64(), maxTimestamp: d.i64(), copied: d.i64(),
			epoch: d.i32(), compaction: d.u32(), tailCRC: d.u32(), logCRC: d.u32(),
			flags: d.u16(), origin: d.u16(), id: d.uuid(),
		}
	}
	return entries
}

// check verifies one entry by itself.
func (n entry) check(origins int) error {
	const smallest = footerHeaderSize + trailerSize
	switch {
	case n.base < 0 || n.next <= n.base:
		return ruleError("entry holds offsets [%d, %d)", n.base, n.next)
	case n.size <= 0 || n.objectSize-n.size < smallest || n.objectSize < n.size:
		return ruleError("entry %d has %d bytes of log in an object of %d", n.base, n.size, n.objectSize)
	case int(n.origin) >= origins:
		return ruleError("entry %d has origin %d of %d", n.base, n.origin, origins)
	case n.maxTimestamp < -1:
		return ruleError("entry %d has max timestamp %d", n.base, n.maxTimestamp)
	}
	return nil
}

// checkContiguous verifies I2 within one list: each entry begins where the last ended.
func checkContiguous(entries []entry, origins int) error {
	for i, n := range entries {
		if err := n.check(origins); err != nil {
			return err
		}
		if i > 0 && n.base != entries[i-1].next {
			return ruleError("entry %d follows one that ends at %d", n.base, entries[i-1].next)
		}
	}
	return nil
}

// ref names a leaf (of entries) or a node (of references to leaves).
//
//	 0  kind               1  2: leaf, 3: node
//	 1  origin             2
//	 3  writer's epoch     4
//	 7  id                16
//	23  base offset        8  of its first entry
//	31  next offset        8  of its last entry
//	39  segments           4  below it
//	43  log bytes          8  below it
//	51  max timestamp      8  below it
//	59  object size        4
//	63  object CRC32C      4
type ref struct {
	kind         kind
	origin       uint16
	epoch        int32
	id           uuid.UUID
	base, next   int64
	segments     uint32
	bytes        int64
	maxTimestamp int64
	size         uint32
	crc          uint32
}

const refSize = 1 + 2 + 4 + 16 + 8 + 8 + 4 + 8 + 8 + 4 + 4

func (r ref) name() name { return name{r.base, r.epoch, r.id} }

func (e *encoder) refs(refs []ref) {
	e.u32(uint32(len(refs)))
	for _, r := range refs {
		e.u8(uint8(r.kind))
		e.u16(r.origin)
		e.i32(r.epoch)
		e.bytes(r.id[:])
		e.i64(r.base)
		e.i64(r.next)
		e.u32(r.segments)
		e.i64(r.bytes)
		e.i64(r.maxTimestamp)
		e.u32(r.size)
		e.u32(r.crc)
	}
}

func (d *decoder) refs() []ref {
	n := d.count(refSize)
	if n == 0 {
		return nil
	}
	refs := make([]ref, n)
	for i := range refs {
		refs[i] = ref{
			kind: kind(d.u8()), origin: d.u16(), epoch: d.i32(), id: d.uuid(), base: d.i64(), next: d.i64(),
			segments: d.u32(), bytes: d.i64(), maxTimestamp: d.i64(), size: d.u32(), crc: d.u32(),
		}
	}
	return refs
}

// checkRefs verifies that references are contiguous, nodes before leaves.
func checkRefs(refs []ref, origins int, nodes bool) error {
	for i, r := range refs {
		switch {
		case r.kind != kindLeaf && (r.kind != kindNode || !nodes):
			return ruleError("reference %d is of kind %d", r.base, r.kind)
		case r.base < 0 || r.next <= r.base || r.segments == 0 || r.bytes <= 0:
			return ruleError("reference holds offsets [%d, %d), %d segments, %d bytes", r.base, r.next, r.segments, r.bytes)
		case int(r.origin) >= origins:
			return ruleError("reference %d has origin %d of %d", r.base, r.origin, origins)
		case r.size == 0 || r.size > maxManifestObject:
			return ruleError("reference %d names an object of %d bytes", r.base, r.size)
		case i > 0 && r.base != refs[i-1].next:
			return ruleError("reference %d follows one that ends at %d", r.base, refs[i-1].next)
		case i > 0 && r.kind == kindNode && refs[i-1].kind == kindLeaf:
			return ruleError("node %d follows a leaf", r.base)
		}
	}
	return nil
}

// node is a leaf object, which holds entries, or a node object, which holds references
// to leaves:
//
//	 0  magic              8  "VARVLEAF"
//	 8  version            4  uint32  1
//	12  topic id          16
//	28  partition          4
//	32  kind               1  2: entries, 3: references
//	33  origins            2 + (2 + n) each
//	    items              4 + entrySize or refSize each
//	    CRC32C             4  of all before
type node struct {
	kind    kind
	origins []string
	entries []entry // of a leaf
	refs    []ref   // of a node
}

const (
	nodeMagic   = "VARVLEAF"
	nodeVersion = 1
)

func encodeNode(p PartitionID, n *node) []byte {
	var e encoder
	e.bytes([]byte(nodeMagic))
	e.u32(nodeVersion)
	e.bytes(p.Topic[:])
	e.i32(p.Partition)
	e.u8(uint8(n.kind))
	e.origins(n.origins)
	if n.kind == kindLeaf {
		e.entries(n.entries)
	} else {
		e.refs(n.refs)
	}
	e.u32(crc(e.b))
	return e.b
}

// decodeNode reads what encodeNode wrote and checks it by itself.
func decodeNode(key string, p PartitionID, b []byte) (*node, error) {
	d, err := openManifest(key, nodeMagic, nodeVersion, p, b)
	if err != nil {
		return nil, err
	}
	n := &node{kind: kind(d.u8()), origins: d.origins()}
	switch n.kind {
	case kindLeaf:
		n.entries = d.entries()
		err = checkContiguous(n.entries, len(n.origins))
	case kindNode:
		n.refs = d.refs()
		err = checkRefs(n.refs, len(n.origins), false)
	default:
		err = ruleError("kind %d", n.kind)
	}
	if err := d.finish(err); err != nil {
		return nil, corrupt(key, "%v", err)
	}
	if len(n.entries)+len(n.refs) == 0 {
		return nil, corrupt(key, "it is empty")
	}
	return n, nil
}

// summary is the reference that names n, but for the object itself.
func (n *node) summary() ref {
	r := ref{kind: n.kind, maxTimestamp: -1}
	for _, s := range n.entries {
		r.segments++
		r.bytes += s.size
		r.maxTimestamp = max(r.maxTimestamp, s.maxTimestamp)
	}
	for _, s := range n.refs {
		r.segments += s.segments
		r.bytes += s.bytes
		r.maxTimestamp = max(r.maxTimestamp, s.maxTimestamp)
	}
	if k := len(n.entries); k > 0 {
		r.base, r.next = n.entries[0].base, n.entries[k-1].next
	}
	if k := len(n.refs); k > 0 {
		r.base, r.next = n.refs[0].base, n.refs[k-1].next
	}
	return r
}

// matches verifies that n is what r promises.
func (n *node) matches(r ref) error {
	s := n.summary()
	if s.kind != r.kind || s.base != r.base || s.next != r.next || s.segments != r.segments ||
		s.bytes != r.bytes || s.maxTimestamp != r.maxTimestamp {
		return fmt.Errorf("it holds [%d, %d), %d segments, the reference says [%d, %d), %d segments",
			s.base, s.next, s.segments, r.base, r.next, r.segments)
	}
	return nil
}

// Origins are the prefixes under which a partition's objects lie. The first is its own;
// others are of clusters it was restored from.
func (e *encoder) origins(origins []string) {
	e.u16(uint16(len(origins)))
	for _, o := range origins {
		e.str(o)
	}
}

func (d *decoder) origins() []string {
	n := int(d.u16())
	var origins []string
	for range n {
		if d.err != nil {
			return nil
		}
		origins = append(origins, d.str())
	}
	return origins
}

// openManifest checks magic, CRC, version and identity of a root or leaf and returns
// what follows them.
func openManifest(key, magic string, version uint32, p PartitionID, b []byte) (*decoder, error) {
	const crcSize = 4
	if len(b) < len(magic)+crcSize || len(b) > maxManifestObject {
		return nil, corrupt(key, "%d bytes", len(b))
	}
	if string(b[:len(magic)]) != magic {
		return nil, corrupt(key, "no magic")
	}
	rest := &decoder{b: b[len(b)-crcSize:]}
	if sum := rest.u32(); crc(b[:len(b)-crcSize]) != sum {
		return nil, corrupt(key, "CRC mismatch")
	}
	d := &decoder{b: b[len(magic) : len(b)-crcSize]}
	if v := d.u32(); v != version {
		return nil, corrupt(key, "version %d, this broker reads %d", v, version)
	}
	if topic, partition := d.topic(), d.i32(); topic != p.Topic || partition != p.Partition {
		return nil, corrupt(key, "it belongs to partition %d of topic %s", partition, uuid.UUID(topic))
	}
	return d, nil
}

// finish returns err, or the decoder's, or that something is left over.
func (d *decoder) finish(err error) error {
	switch {
	case d.err != nil:
		return d.err
	case err != nil:
		return err
	case len(d.b) > 0:
		return ruleError("%d bytes too many", len(d.b))
	}
	return nil
}

// findEntry returns the index of the first entry that ends above offset.
func findEntry(entries []entry, offset int64) int {
	return sort.Search(len(entries), func(i int) bool { return entries[i].next > offset })
}
