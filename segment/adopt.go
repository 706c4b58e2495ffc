package segment

import (
	"io"

	"github.com/varvelog/varve/segment/vfs"
)

// Adopted says what a directory that was put together elsewhere holds.
type Adopted struct {
	ClusterID string
	NodeID    int32
	Ends      map[string]int64 // log end offsets, by <topic>-<partition>; everything below is durable
	Starts    map[string]int64 // log start offsets that are not a segment's base
	Random    io.Reader        // of the directory's id
}

// WriteAdopted makes a directory of whole logs one that OpenDir takes for cleanly stopped:
// checkpoints, meta.properties, and the mark of the clean stop as the last. What it rests
// on must be durable.
func WriteAdopted(fsys vfs.FS, path string, a Adopted) error {
	d := &Dir{o: DirOptions{FS: fsys, Path: path, NodeID: a.NodeID, Random: a.Random}}
	if err := WriteFile(fsys, path, recoveryName, encodeOffsets(a.Ends)); err != nil {
		return err
	}
	if err := WriteFile(fsys, path, startName, encodeOffsets(a.Starts)); err != nil {
		return err
	}
	if err := d.writeProperties(a.ClusterID); err != nil {
		return err
	}
	return WriteFile(fsys, path, cleanName, []byte(cleanMark))
}

// ParsePartitionName splits the name of a log's directory; ok is false for other names.
func ParsePartitionName(name string) (topic string, partition int32, ok bool) {
	return parsePartitionKey(name)
}
