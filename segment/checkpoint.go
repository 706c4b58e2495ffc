package segment

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/varvelog/varve/segment/vfs"
)

// A checkpoint file is text: a version (0), the number of entries, one entry a line.

var errCheckpoint = errors.New("corrupt checkpoint file")

func encodeCheckpoint(lines []string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "0\n%d\n", len(lines))
	for _, line := range lines {
		b.WriteString(line)
		b.WriteByte('\n')
	}
	return []byte(b.String())
}

func parseCheckpoint(p []byte) ([]string, error) {
	text, whole := strings.CutSuffix(string(p), "\n")
	lines := strings.Split(text, "\n")
	if !whole || len(lines) < 2 {
		return nil, fmt.Errorf("%w: cut short", errCheckpoint)
	}
	if lines[0] != "0" {
		return nil, fmt.Errorf("%w: unknown version %.20q", errCheckpoint, lines[0])
	}
	if n, err := strconv.Atoi(lines[1]); err != nil || n != len(lines)-2 {
		return nil, fmt.Errorf("%w: %.20q entries announced, %d found", errCheckpoint, lines[1], len(lines)-2)
	}
	return lines[2:], nil
}

// partitionKey names a partition as its directory does: <topic>-<partition>.
func partitionKey(topic string, partition int32) string {
	return topic + "-" + strconv.Itoa(int(partition))
}

// parsePartitionKey is its inverse; ok is false for other names.
func parsePartitionKey(key string) (topic string, partition int32, ok bool) {
	i := strings.LastIndexByte(key, '-')
	if i <= 0 {
		return "", 0, false
	}
	n, err := strconv.ParseInt(key[i+1:], 10, 32)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != key[i+1:] {
		return "", 0, false
	}
	return key[:i], int32(n), true
}

func encodeOffsets(offsets map[string]int64) []byte {
	lines := make([]string, 0, len(offsets))
	for key, offset := range offsets {
		topic, partition, _ := parsePartitionKey(key)
		lines = append(lines, fmt.Sprintf("%s %d %d", topic, partition, offset))
	}
	slices.Sort(lines)
	return encodeCheckpoint(lines)
}

func parseOffsets(p []byte) (map[string]int64, error) {
	lines, err := parseCheckpoint(p)
	if err != nil {
		return nil, err
	}
	offsets := make(map[string]int64, len(lines))
	for _, line := range lines {
		fields := strings.Split(line, " ")
		if len(fields) != 3 {
			return nil, fmt.Errorf("%w: malformed line %.100q", errCheckpoint, line)
		}
		partition, err1 := strconv.ParseInt(fields[1], 10, 32)
		offset, err2 := strconv.ParseInt(fields[2], 10, 64)
		if err1 != nil || err2 != nil || partition < 0 || offset < 0 || fields[0] == "" {
			return nil, fmt.Errorf("%w: malformed line %.100q", errCheckpoint, line)
		}
		offsets[partitionKey(fields[0], int32(partition))] = offset
	}
	return offsets, nil
}

// maxSmallFile bounds what ReadFile takes into memory: 100,000 partitions with the
// longest names make a checkpoint of 28 MB.
const maxSmallFile = 64 << 20

// ReadFile reads a whole small file, of at most 64 MiB: a larger one is a *CorruptError.
func ReadFile(fsys vfs.FS, path string) (p []byte, err error) {
	f, err := fsys.Open(path, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > maxSmallFile {
		return nil, &CorruptError{path, -1, fmt.Sprintf("file has %d bytes", size)}
	}
	p = make([]byte, size)
	if n, err := f.ReadAt(p, 0); n < len(p) && !errors.Is(err, io.EOF) {
		return nil, err
	} else {
		return p[:n], nil
	}
}

// writeTemporary writes p under name's temporary name, in place of what a crash left.
func writeTemporary(fsys vfs.FS, dir, name string, p []byte) error {
	return writeNew(fsys, filepath.Join(dir, name)+tmpSuffix, p, false)
}

func writeNew(fsys vfs.FS, path string, p []byte, synced bool) error {
	f, err := fsys.Create(path)
	if errors.Is(err, fs.ErrExist) {
		if err = fsys.Remove(path); err == nil {
			f, err = fsys.Create(path)
		}
	}
	if err != nil {
		return err
	}
	_, err = f.WriteAt(p, 0)
	if err == nil && synced {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, fsys.Remove(path))
	}
	return nil
}

// replaceFile writes a file under a temporary name and renames it. Its bytes are
// durable where synced says so; its new name is not before a SyncDir.
func replaceFile(fsys vfs.FS, dir, name string, p []byte, synced bool) error {
	path := filepath.Join(dir, name)
	if err := writeNew(fsys, path+tmpSuffix, p, synced); err != nil {
		return err
	}
	return fsys.Rename(path+tmpSuffix, path)
}

// WriteFile replaces a file durably, so that a crash at any time leaves the old or the new.
func WriteFile(fsys vfs.FS, dir, name string, p []byte) error {
	if err := replaceFile(fsys, dir, name, p, true); err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}
