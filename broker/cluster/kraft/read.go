package kraft

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
)

// Directory is where KRaft keeps its log, below a log directory.
const Directory = "__cluster_metadata-0"

// maxBatch bounds one batch of metadata: KRaft's own are at most 8 MiB.
const maxBatch = 64 << 20

// Read reads the directory of KRaft's log: the newest snapshot, then what follows it.
// The last record is taken for committed, as it is where one controller has the log to
// itself. It changes nothing.
func Read(fsys vfs.FS, dir string) (*Metadata, error) {
	entries, err := fsys.List(dir)
	if err != nil {
		return nil, err
	}
	var logs []int64
	snapshot, from := "", int64(0)
	for _, e := range entries {
		name := e.Name()
		if base, ok := strings.CutSuffix(name, ".log"); ok {
			if n, err := strconv.ParseInt(base, 10, 64); err == nil {
				logs = append(logs, n)
			}
		}
		if base, ok := strings.CutSuffix(name, ".checkpoint"); ok {
			offset, _, _ := strings.Cut(base, "-")
			if n, err := strconv.ParseInt(offset, 10, 64); err == nil && n >= from {
				snapshot, from = name, n
			}
		}
	}
	slices.Sort(logs)
	m := New()
	if snapshot != "" {
		if _, err := m.file(fsys, filepath.Join(dir, snapshot), 0); err != nil {
			return nil, err
		}
	}
	if len(logs) == 0 || logs[0] > from {
		return nil, fmt.Errorf("%w: %s: neither log nor snapshot holds its beginning", ErrMetadata, dir)
	}
	next := logs[0]
	for _, base := range logs {
		if base != next && base > from {
			return nil, fmt.Errorf("%w: %s: records [%d, %d) are missing", ErrMetadata, dir, next, base)
		}
		if next, err = m.file(fsys, filepath.Join(dir, fmt.Sprintf("%020d.log", base)), from); err != nil {
			return nil, err
		}
		next = max(next, base)
	}
	if next < from {
		return nil, fmt.Errorf("%w: %s: the log ends at %d, below its snapshot", ErrMetadata, dir, next)
	}
	return m, nil
}

// file applies the records of a file from an offset on; it returns the end offset.
func (m *Metadata) file(fsys vfs.FS, path string, from int64) (end int64, err error) {
	f, err := fsys.Open(path, true)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	for position := int64(0); position < size; {
		b, err := readBatch(f, position, size)
		if err == io.EOF { //nolint:errorlint // readBatch returns it unwrapped
			break // zeros of a preallocated file
		}
		if err != nil {
			return 0, fmt.Errorf("%w: %s at position %d: %w", ErrMetadata, path, position, err)
		}
		position, end = position+int64(b.Size()), b.NextOffset()
		if b.Control() {
			continue
		}
		var failed error
		err = batch.Records(b, maxBatch, func(r *batch.Record) bool {
			if r.Offset >= from {
				failed = m.Apply(r.Value)
			}
			return failed == nil
		})
		if err = errors.Join(failed, err); err != nil {
			return 0, fmt.Errorf("%s, batch at offset %d: %w", path, b.BaseOffset(), err)
		}
	}
	return end, nil
}

func readBatch(f vfs.File, position, size int64) (batch.Batch, error) {
	head := make([]byte, min(batch.HeaderSize, size-position))
	if _, err := f.ReadAt(head, position); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if !slices.ContainsFunc(head, func(b byte) bool { return b != 0 }) {
		return nil, io.EOF
	}
	n, err := batch.PeekSize(head)
	if err != nil {
		return nil, err
	}
	if n > maxBatch || n > size-position {
		return nil, fmt.Errorf("%w: %d bytes, %d are there", batch.ErrTruncated, n, size-position)
	}
	p := make([]byte, n)
	if _, err := f.ReadAt(p, position); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return batch.Batch(p), batch.Batch(p).CheckCRC()
}
