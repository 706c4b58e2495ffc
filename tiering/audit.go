package tiering

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/tiering/objstore"
)

// Finding is one fault of a bucket.
type Finding struct {
	Kind   FindingKind
	Key    string
	Detail string
}

// FindingKind says what is wrong.
type FindingKind string

// The kinds of findings. An orphan is an object that no root names, no dead list and no
// intent: it costs money and harms nobody.
const (
	FindingMissing FindingKind = "missing"
	FindingSize    FindingKind = "size"
	FindingCorrupt FindingKind = "corrupt"
	FindingOrphan  FindingKind = "orphan"
	FindingStore   FindingKind = "store"
)

// String implements fmt.Stringer.
func (f Finding) String() string { return fmt.Sprintf("%s: %s: %s", f.Kind, f.Key, f.Detail) }

// Audited is one partition as the metadata store knows it.
type Audited struct {
	Partition PartitionID
	Pointer   Pointer
	Intents   []Intent
}

// AuditOptions say how deep an audit looks.
type AuditOptions struct {
	ClusterID string
	Partition []Audited
	// Content reads every byte of every object: each chunk, each batch, the offsets.
	// Without it trees, sizes and tails are checked.
	Content bool
}

// Report is what an audit found.
type Report struct {
	Segments int
	Bytes    int64 // of logs
	Findings []Finding
}

// Audit checks a bucket against the format and the pointers, and nothing else: it shares
// no state with the code that wrote it. It changes nothing. Findings are in the report;
// the error says that the audit itself could not be completed.
//
// Pointers and intents must be read before it begins, and a partition that commits
// meanwhile may show as findings what is only in motion.
func Audit(ctx context.Context, b objstore.Bucket, o AuditOptions) (Report, error) {
	a := auditor{bucket: b, o: o, known: map[string]bool{}}
	for _, p := range o.Partition {
		a.partition(ctx, p)
	}
	err := b.List(ctx, o.ClusterID+"/", func(x objstore.Object) bool {
		if !a.known[x.Key] && a.audits(x.Key) {
			a.find(FindingOrphan, x.Key, "%d bytes that nothing names", x.Size)
		}
		return true
	})
	if err != nil {
		return a.report, fmt.Errorf("list the bucket: %w", err)
	}
	return a.report, ctx.Err()
}

type auditor struct {
	bucket objstore.Bucket
	o      AuditOptions
	report Report
	known  map[string]bool // keys that something names
}

func (a *auditor) find(kind FindingKind, key, format string, args ...any) {
	a.report.Findings = append(a.report.Findings, Finding{kind, key, fmt.Sprintf(format, args...)})
}

// fail files an error under its kind.
func (a *auditor) fail(key string, err error) {
	var c *CorruptError
	switch {
	case errors.As(err, &c):
		a.find(FindingCorrupt, c.Key, "%v", err)
	case errors.Is(err, objstore.ErrNotFound):
		a.find(FindingMissing, key, "%v", err)
	case errors.Is(err, objstore.ErrRange) || errors.Is(err, io.ErrUnexpectedEOF):
		a.find(FindingSize, key, "%v", err)
	default:
		a.find(FindingStore, key, "%v", err)
	}
}

// audits tells whether a key is of one of the partitions that are audited. Objects of
// others are not called orphans.
func (a *auditor) audits(key string) bool {
	return slices.ContainsFunc(a.o.Partition, func(p Audited) bool {
		return strings.HasPrefix(key, partitionPrefix(a.o.ClusterID, p.Partition)+"/")
	})
}

func (a *auditor) partition(ctx context.Context, p Audited) {
	for _, in := range p.Intents {
		a.known[in.Key] = true
	}
	if p.Pointer.Root == "" {
		return
	}
	a.known[p.Pointer.Root] = true
	v, err := loader{p.Partition, a.read}.load(ctx, p.Pointer, nil)
	if err != nil {
		a.fail(p.Pointer.Root, err)
		return
	}
	a.parent(ctx, p.Partition, v)
	for _, d := range v.root.dead {
		a.known[d.name().key(v.root.origins[d.origin], d.kind)] = true
		if v.names(d) {
			a.find(FindingCorrupt, p.Pointer.Root, "%s is on the dead list and in use", d.id)
		}
		if d.kind == kindLeaf || d.kind == kindNode {
			a.deadSubtree(ctx, p.Partition, d.name().key(v.root.origins[d.origin], d.kind))
		}
	}
	for _, r := range v.root.refs {
		a.known[r.name().key(v.root.origins[r.origin], r.kind)] = true
	}
	for _, n := range v.nodes {
		for _, r := range n.refs {
			a.known[r.name().key(n.origins[r.origin], r.kind)] = true
		}
	}
	for run, n := range v.all() {
		key := run.key(n)
		a.known[key] = true
		a.report.Segments++
		a.report.Bytes += n.size
		if err := a.segment(ctx, p.Partition, key, n); err != nil {
			a.fail(key, err)
		}
	}
}

// parent checks the hash of the root before this one, where it is still there, and I3.
func (a *auditor) parent(ctx context.Context, p PartitionID, v *view) {
	key := v.root.parent
	if key == "" {
		return
	}
	o, err := a.bucket.Head(ctx, key)
	if errors.Is(err, objstore.ErrNotFound) {
		return // superseded and swept
	}
	if err != nil {
		a.fail(key, err)
		return
	}
	b, err := a.read(ctx, key, o.Size)
	if err != nil {
		a.fail(key, err)
		return
	}
	if sha256.Sum256(b) != v.root.parentHash {
		a.find(FindingCorrupt, key, "it is not the parent that %s means", v.pointer.Root)
	}
	r, err := decodeRoot(key, p, b)
	if err == nil {
		err = v.root.checkSuccessor(r)
	}
	if err != nil {
		a.find(FindingCorrupt, key, "%v", err)
	}
}

// deadSubtree remembers what a dead leaf or node names; it may be gone in part.
func (a *auditor) deadSubtree(ctx context.Context, p PartitionID, key string) {
	a.known[key] = true
	o, err := a.bucket.Head(ctx, key)
	if errors.Is(err, objstore.ErrNotFound) {
		return
	}
	var n *node
	if err == nil {
		var b []byte
		if b, err = a.read(ctx, key, o.Size); err == nil {
			n, err = decodeNode(key, p, b)
		}
	}
	if err != nil {
		a.fail(key, err)
		return
	}
	for _, s := range n.entries {
		a.known[s.name().key(n.origins[s.origin], kindSegment)] = true
	}
	for _, r := range n.refs {
		a.deadSubtree(ctx, p, r.name().key(n.origins[r.origin], r.kind))
	}
}

// read reads an object of which the size is known.
func (a *auditor) read(ctx context.Context, key string, size int64) ([]byte, error) {
	if size < 0 || size > maxTailBytes {
		return nil, corrupt(key, "%d bytes", size)
	}
	return a.readRange(ctx, key, 0, size)
}

func (a *auditor) readRange(ctx context.Context, key string, position, size int64) (p []byte, err error) {
	stream, err := a.bucket.Get(ctx, key, position, size)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	p = make([]byte, size)
	if _, err := io.ReadFull(stream, p); err != nil {
		return nil, shortRead(key, position, err)
	}
	return p, nil
}

// segment checks one object against its entry (I12).
func (a *auditor) segment(ctx context.Context, p PartitionID, key string, n *entry) error {
	o, err := a.bucket.Head(ctx, key)
	if err != nil {
		return err
	}
	if o.Size != n.objectSize {
		a.find(FindingSize, key, "%d bytes, the manifest says %d", o.Size, n.objectSize)
		return nil
	}
	if n.objectSize-n.size > maxTailBytes {
		return corrupt(key, "tail of %d bytes", n.objectSize-n.size)
	}
	b, err := a.readRange(ctx, key, n.size, n.objectSize-n.size)
	if err != nil {
		return err
	}
	t, err := n.openTail(p, key, b)
	if err != nil || !a.o.Content {
		return err
	}
	again, err := scan(ctx, key, &remoteLog{ctx: ctx, a: a, key: key}, n.size, n.base, n.next, largestChunk(t))
	if err != nil {
		return err
	}
	if again.maxTimestamp != n.maxTimestamp || again.logCRC != n.logCRC || !slices.Equal(again.epochs, t.epochs) {
		return corrupt(key, "max timestamp %d, CRC %08x, epochs %v; the manifest says %d, %08x, %v",
			again.maxTimestamp, again.logCRC, again.epochs, n.maxTimestamp, n.logCRC, t.epochs)
	}
	return a.chunks(ctx, key, t)
}

// chunks reads every chunk as a fetch would.
func (a *auditor) chunks(ctx context.Context, key string, t *tail) error {
	for _, c := range t.chunks {
		b, err := a.readRange(ctx, key, c.position, c.size)
		if err != nil {
			return err
		}
		if crc32.Checksum(b, castagnoli) != c.crc {
			return corruptAt(key, c.position, "chunk CRC mismatch")
		}
	}
	return nil
}

func largestChunk(t *tail) int64 {
	size := int64(1)
	for _, c := range t.chunks {
		size = max(size, c.size)
	}
	return size
}

// remoteLog reads an object's log for scan.
type remoteLog struct {
	ctx context.Context // of the audit
	a   *auditor
	key string
}

// ReadAt implements io.ReaderAt.
func (l *remoteLog) ReadAt(p []byte, position int64) (int, error) {
	b, err := l.a.readRange(l.ctx, l.key, position, int64(len(p)))
	return copy(p, b), err
}

// AuditPartition audits one partition of a tier, with what the metadata store says now.
func (t *Tier) AuditPartition(ctx context.Context, p PartitionID, content bool) (Report, error) {
	pointer, err := t.o.Metadata.Pointer(ctx, p)
	if err != nil {
		return Report{}, fmt.Errorf("read tier pointer: %w", err)
	}
	intents, err := t.o.Metadata.Intents(ctx, p)
	if err != nil {
		return Report{}, fmt.Errorf("read intents: %w", err)
	}
	return Audit(ctx, t.o.Bucket, AuditOptions{
		ClusterID: t.o.ClusterID, Content: content, Partition: []Audited{{p, pointer, intents}},
	})
}

// ParsePartition returns which partition an object's key belongs to, in any cluster.
func ParsePartition(key string) (PartitionID, bool) {
	prefix, _, _, err := parseKey(key)
	if err != nil {
		return PartitionID{}, false
	}
	parts := strings.Split(prefix, "/")
	topic, err := uuid.Parse(parts[1])
	var partition int32
	if _, scanErr := fmt.Sscanf(parts[2], "%05d", &partition); err != nil || scanErr != nil {
		return PartitionID{}, false
	}
	return PartitionID{segment.TopicID(topic), partition}, true
}
