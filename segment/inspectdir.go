package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/varvelog/varve/segment/vfs"
)

// InspectDir reads a log directory and every log in it and yields each fault, as
// InspectLog does. It changes nothing and takes no lock: the caller sees to it that no
// broker writes there. each is called after every log, with its directory's name; nil: not.
func InspectDir(fsys vfs.FS, path string, maxBatch int64, yield func(Fault), each func(log string, found Inspection)) error {
	path = filepath.Clean(path)
	entries, err := fsys.List(path)
	if err != nil {
		return err
	}
	d := inspectedDir{fs: fsys, path: path, yield: yield}
	d.properties()
	recovery, starts := d.offsets(recoveryName), d.offsets(startName)
	d.offsets(replicationName)
	compacted := d.offsets(cleanedName)
	logs := map[string]bool{}
	for _, e := range entries {
		key := e.Name()
		if _, _, ok := parsePartitionKey(key); !ok {
			continue
		}
		if !e.IsDir() {
			d.fault(FaultNotRegular, key, -1, "it is not a directory")
			continue
		}
		logs[key] = true
		_, cleaned := compacted[key]
		found, err := InspectLog(fsys, filepath.Join(path, key), InspectOptions{Compacted: cleaned, MaxBatch: maxBatch}, yield)
		if err != nil {
			d.fault(FaultUnreadable, key, -1, "%v", missing(err))
			continue
		}
		if point, ok := recovery[key]; ok && point > found.End {
			d.fault(FaultRecovery, key, found.End, "the log ends at offset %d, and was flushed to %d", found.End, point)
		}
		if start, ok := starts[key]; ok && start > found.End {
			d.fault(FaultLogStart, key, start, "the log starts at offset %d, and ends at %d", start, found.End)
		}
		if each != nil {
			each(key, found)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(recovery)) {
		if !logs[key] {
			d.fault(FaultMissing, key, -1, "%s names it, and it is not there", recoveryName)
		}
	}
	return nil
}

const (
	replicationName = "replication-offset-checkpoint"
)

type inspectedDir struct {
	fs    vfs.FS
	path  string
	yield func(Fault)
}

func (d *inspectedDir) fault(kind FaultKind, name string, offset int64, format string, args ...any) {
	d.yield(Fault{kind, filepath.Join(d.path, name), offset, -1, fmt.Sprintf(format, args...)})
}

func (d *inspectedDir) properties() {
	p, err := ReadFile(d.fs, filepath.Join(d.path, propertiesName))
	var m properties
	if err == nil {
		m, err = parseProperties(p)
	}
	switch {
	case err != nil:
		d.fault(FaultProperties, propertiesName, -1, "%v", missing(err))
	case m["cluster.id"] == "" || m["node.id"] == "" && m["broker.id"] == "":
		d.fault(FaultProperties, propertiesName, -1, "it names no cluster or no node")
	}
}

// offsets reads a checkpoint; one that is not there says nothing.
func (d *inspectedDir) offsets(name string) map[string]int64 {
	p, err := ReadFile(d.fs, filepath.Join(d.path, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var offsets map[string]int64
	if err == nil {
		offsets, err = parseOffsets(p)
	}
	if err != nil {
		d.fault(FaultCheckpoint, name, -1, "%v", missing(err))
	}
	return offsets
}

// ParseProperties reads meta.properties: key=value lines. ParseMetadata reads
// partition.metadata and returns the topic id.
func ParseProperties(p []byte) (map[string]string, error) { return parseProperties(p) }

// ParseMetadata reads partition.metadata and returns the topic id.
func ParseMetadata(p []byte) (TopicID, error) { return parseMetadata(p) }
