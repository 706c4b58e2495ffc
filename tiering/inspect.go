package tiering

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/tiering/objstore"
)

// Inspect audits every partition of a bucket without the metadata store: for each it
// takes the newest root that lies there for the committed one. With several of one seq,
// which attempts that lost leave behind, it takes the one with the fewest findings.
// Every byte of what a root names is read. Objects that no root names are not faults
// here, for intents may.
func Inspect(ctx context.Context, b objstore.Bucket) (Report, error) {
	type found struct {
		partition PartitionID
		cluster   string
		roots     []string
	}
	partitions := map[string]*found{}
	err := b.List(ctx, "", func(o objstore.Object) bool {
		prefix, k, _, err := parseKey(o.Key)
		p, ok := ParsePartition(o.Key)
		if err != nil || !ok {
			return true // not ours
		}
		f := partitions[prefix]
		if f == nil {
			f = &found{partition: p, cluster: strings.Split(prefix, "/")[0]}
			partitions[prefix] = f
		}
		if k == kindRoot {
			f.roots = append(f.roots, o.Key)
		}
		return true
	})
	if err != nil {
		return Report{}, fmt.Errorf("list the bucket: %w", err)
	}
	var all Report
	for _, prefix := range sortedKeys(partitions) {
		f := partitions[prefix]
		r, err := inspectPartition(ctx, b, f.cluster, f.partition, f.roots)
		if err != nil {
			return all, err
		}
		all.Segments, all.Bytes = all.Segments+r.Segments, all.Bytes+r.Bytes
		all.Findings = append(all.Findings, r.Findings...)
	}
	return all, ctx.Err()
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func rootSeq(key string) int64 {
	_, _, n, err := parseKey(key)
	if err != nil {
		return -1
	}
	return n.number
}

// inspectPartition audits a partition by its newest root. A root that cannot be read is a
// finding, and the one before it is taken.
func inspectPartition(ctx context.Context, b objstore.Bucket, cluster string, p PartitionID, roots []string) (Report, error) {
	slices.SortFunc(roots, func(x, y string) int { return cmp.Or(cmp.Compare(rootSeq(y), rootSeq(x)), cmp.Compare(y, x)) })
	broken := auditor{bucket: b, known: map[string]bool{}}
	for i := 0; i < len(roots); {
		seq := rootSeq(roots[i])
		var best *Report
		for ; i < len(roots) && rootSeq(roots[i]) == seq; i++ {
			pointer, err := pointTo(ctx, &broken, p, roots[i])
			if ctx.Err() != nil {
				return broken.report, ctx.Err()
			}
			if err != nil {
				broken.fail(roots[i], err)
				continue
			}
			a := auditor{bucket: b, o: AuditOptions{ClusterID: cluster, Content: true}, known: map[string]bool{}}
			a.partition(ctx, Audited{Partition: p, Pointer: pointer})
			if best == nil || len(a.report.Findings) < len(best.Findings) {
				best = &a.report
			}
		}
		if best != nil {
			best.Findings = append(broken.report.Findings, best.Findings...)
			return *best, ctx.Err()
		}
	}
	return broken.report, ctx.Err()
}

// pointTo makes the pointer that would name a root.
func pointTo(ctx context.Context, a *auditor, p PartitionID, key string) (Pointer, error) {
	o, err := a.bucket.Head(ctx, key)
	if err != nil {
		return Pointer{}, err
	}
	b, err := a.read(ctx, key, o.Size)
	if err != nil {
		return Pointer{}, err
	}
	r, err := decodeRoot(key, p, b)
	if err != nil {
		return Pointer{}, err
	}
	return Pointer{Root: key, RootCRC: crc(b), RootSize: o.Size, Seq: r.seq, Epoch: r.epoch, Start: r.start, End: r.end}, nil
}

// ErrNoObject says that the key is not one of an object of this format.
var ErrNoObject = errors.New("not an object of the tier")

// Document is a part of an object as values, to print: what it is, and its fields.
type Document struct {
	Kind  string `json:"kind"` // root, leaf, node, entry, reference, dead, segment, section, chunk, epoch …
	Value any    `json:"value"`
}

// Describe decodes an object of the bucket by its key and yields its parts. What could be
// decoded is yielded before the error, a *CorruptError; ErrNoObject: the key is none. The log
// part of a segment is not looked at; it begins at position 0, logSize bytes.
func Describe(key string, object io.ReaderAt, size int64, yield func(Document) error) (logSize int64, err error) {
	parts := strings.Split(key, "/")
	if len(parts) < 5 {
		return 0, ErrNoObject
	}
	key = strings.Join(parts[len(parts)-5:], "/")
	_, k, n, err := parseKey(key)
	p, ok := ParsePartition(key)
	if err != nil || !ok {
		return 0, ErrNoObject
	}
	if k == kindSegment {
		return describeSegment(key, object, size, p, n.id, yield)
	}
	if size > maxManifestObject {
		return 0, corrupt(key, "%d bytes", size)
	}
	b := make([]byte, size)
	if got, err := object.ReadAt(b, 0); int64(got) < size {
		return 0, shortRead(key, int64(got), err)
	}
	if k == kindRoot {
		return 0, describeRoot(key, p, b, yield)
	}
	return 0, describeNode(key, p, b, yield)
}

type (
	rootDocument struct {
		Topic       string   `json:"topic_id"`
		Partition   int32    `json:"partition"`
		Seq         int64    `json:"seq"`
		Epoch       int32    `json:"leader_epoch"`
		Incarnation uint32   `json:"incarnation"`
		Compaction  uint32   `json:"compaction_epoch"`
		Start       int64    `json:"start"`
		End         int64    `json:"end"`
		Created     int64    `json:"created"` // ms
		Parent      string   `json:"parent"`
		Origins     []string `json:"origins"`
	}
	nodeDocument struct {
		Topic     string   `json:"topic_id"`
		Partition int32    `json:"partition"`
		Origins   []string `json:"origins"`
	}
	refDocument struct {
		Key      string `json:"key"`
		Base     int64  `json:"base"`
		Next     int64  `json:"next"`
		Segments uint32 `json:"segments"`
		Bytes    int64  `json:"bytes"`
		Size     uint32 `json:"object_size"`
		CRC      uint32 `json:"crc"`
	}
	entryDocument struct {
		Key          string `json:"key"`
		Base         int64  `json:"base"`
		Next         int64  `json:"next"`
		Size         int64  `json:"log_size"`
		ObjectSize   int64  `json:"object_size"`
		MaxTimestamp int64  `json:"max_timestamp"`
		Copied       int64  `json:"copied"` // ms
		Epoch        int32  `json:"leader_epoch"`
		Compaction   uint32 `json:"compaction_epoch"`
		TailCRC      uint32 `json:"tail_crc"`
		LogCRC       uint32 `json:"log_crc"`
		HasAborted   bool   `json:"has_aborted"`
	}
	deadDocument struct {
		Key   string `json:"key"`
		After int64  `json:"delete_after"` // ms
		Seq   int64  `json:"seq"`
	}
	epochDocument struct {
		Epoch int32 `json:"epoch"`
		Start int64 `json:"start_offset"`
	}
	segmentDocument struct {
		ID           uuid.UUID `json:"id"`
		Topic        string    `json:"topic_id"`
		Partition    int32     `json:"partition"`
		Epoch        int32     `json:"leader_epoch"`
		Base         int64     `json:"base"`
		Next         int64     `json:"next"`
		LogSize      int64     `json:"log_size"`
		MaxTimestamp int64     `json:"max_timestamp"`
		Compaction   uint32    `json:"compaction_epoch"`
		LogCRC       uint32    `json:"log_crc"`
		OffsetIndex  int       `json:"offset_index_bytes"`
		TimeIndex    int       `json:"time_index_bytes"`
		Aborted      int       `json:"aborted_transactions"`
		Producers    int       `json:"producers"`
	}
	chunkDocument struct {
		Position     int64  `json:"position"`
		Size         int64  `json:"size"`
		Base         int64  `json:"base"`
		MaxTimestamp int64  `json:"max_timestamp"`
		CRC          uint32 `json:"crc"`
	}
)

// documents yields one after the other and remembers the first error.
type documents struct {
	yield func(Document) error
	err   error
}

func (d *documents) add(kind string, v any) {
	if d.err == nil {
		d.err = d.yield(Document{kind, v})
	}
}

func (d *documents) epochs(list []segment.EpochStart) {
	for _, e := range list {
		d.add("epoch", epochDocument(e))
	}
}

func (d *documents) refs(refs []ref, origins []string) {
	for _, r := range refs {
		d.add("reference", refDocument{r.name().key(origins[r.origin], r.kind), r.base, r.next, r.segments, r.bytes, r.size, r.crc})
	}
}

func (d *documents) entries(entries []entry, origins []string) {
	for _, n := range entries {
		d.add("entry", entryDocument{
			Key: n.name().key(origins[n.origin], kindSegment), Base: n.base, Next: n.next, Size: n.size, ObjectSize: n.objectSize,
			MaxTimestamp: n.maxTimestamp, Copied: n.copied, Epoch: n.epoch, Compaction: n.compaction,
			TailCRC: n.tailCRC, LogCRC: n.logCRC, HasAborted: n.hasAborted(),
		})
	}
}

func describeRoot(key string, p PartitionID, b []byte, yield func(Document) error) error {
	r, err := decodeRoot(key, p, b)
	if err != nil {
		return err
	}
	d := documents{yield: yield}
	d.add("root", rootDocument{p.Topic.String(), p.Partition, r.seq, r.epoch, r.incarnation, r.compaction, r.start, r.end, r.created, r.parent, r.origins})
	d.epochs(r.lineage)
	d.refs(r.refs, r.origins)
	d.entries(r.entries, r.origins)
	for _, x := range r.dead {
		d.add("dead", deadDocument{x.name().key(r.origins[x.origin], x.kind), x.after, x.seq})
	}
	return d.err
}

func describeNode(key string, p PartitionID, b []byte, yield func(Document) error) error {
	n, err := decodeNode(key, p, b)
	if err != nil {
		return err
	}
	d := documents{yield: yield}
	d.add(map[kind]string{kindLeaf: "leaf", kindNode: "node"}[n.kind], nodeDocument{p.Topic.String(), p.Partition, n.origins})
	d.entries(n.entries, n.origins)
	d.refs(n.refs, n.origins)
	return d.err
}

// describeSegment reads the tail of a segment's object. How long it is only the manifest
// knows; the footer says it, too, and the trailer where that is.
func describeSegment(key string, object io.ReaderAt, size int64, p PartitionID, id uuid.UUID, yield func(Document) error) (int64, error) {
	if size < trailerSize {
		return 0, corrupt(key, "%d bytes", size)
	}
	read := func(position, n int64) ([]byte, error) {
		b := make([]byte, n)
		if got, err := object.ReadAt(b, position); int64(got) < n {
			return nil, shortRead(key, position, err)
		}
		return b, nil
	}
	b, err := read(size-trailerSize, trailerSize)
	if err != nil {
		return 0, err
	}
	end, err := decodeTrailer(key, b, size)
	if err != nil {
		return 0, err
	}
	if end.footerSize > maxTailBytes {
		return 0, corrupt(key, "footer of %d bytes", end.footerSize)
	}
	foot, err := read(end.footerPosition, end.footerSize)
	if err != nil {
		return 0, err
	}
	d := decoder{b: foot}
	d.take(16 + 4 + 4 + 8 + 8)
	position := d.i64()
	if position < 0 || position > size || size-position > maxTailBytes {
		return 0, corrupt(key, "log of %d bytes in an object of %d", position, size)
	}
	if b, err = read(position, size-position); err != nil {
		return 0, err
	}
	t, named, err := decodeTail(key, b, position)
	if err != nil {
		return 0, err
	}
	if named != id || t.partition != p {
		return 0, corrupt(key, "it says that it is %s of partition %d of topic %s", named, t.partition.Partition, t.partition.Topic)
	}
	producers, err := segment.ParseSnapshot(t.snapshot)
	if err != nil && len(t.snapshot) > 0 {
		return t.size, corrupt(key, "%v", err)
	}
	out := documents{yield: yield}
	out.add("segment", segmentDocument{
		ID: id, Topic: p.Topic.String(), Partition: p.Partition, Epoch: t.epoch, Base: t.base, Next: t.next, LogSize: t.size,
		MaxTimestamp: t.maxTimestamp, Compaction: t.compaction, LogCRC: t.logCRC,
		OffsetIndex: len(t.offsets), TimeIndex: len(t.times), Aborted: len(t.aborted), Producers: len(producers),
	})
	out.epochs(t.epochs)
	for _, c := range t.chunks {
		out.add("chunk", chunkDocument{c.position, c.size, c.base, c.maxTimestamp, c.crc})
	}
	for _, x := range t.aborted {
		out.add("aborted", x)
	}
	for _, x := range producers {
		out.add("producer", x)
	}
	return t.size, out.err
}
