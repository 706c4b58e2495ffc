package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/varvelog/varve/segment/vfs"
)

// ProducerState is one producer's entry in a .snapshot file (KIP-98).
//
//	 0  version             int16   1
//	 2  CRC32C              uint32  of all that follows
//	 6  number of entries   int32
//	10  entries, 46 bytes each:
//	    producer id int64, producer epoch int16, last sequence int32, last offset int64,
//	    offset delta int32, timestamp int64, coordinator epoch int32,
//	    first offset of the open transaction int64
type ProducerState struct {
	ProducerID       int64
	ProducerEpoch    int16
	LastSequence     int32
	LastOffset       int64
	OffsetDelta      int32
	Timestamp        int64 // ms
	CoordinatorEpoch int32
	CurrentTxnFirst  int64 // -1: no open transaction
}

const (
	snapshotVersion = 1
	snapshotCRC     = 2
	snapshotEntries = snapshotCRC + 4
	snapshotHeader  = snapshotEntries + 4
	snapshotEntry   = 8 + 2 + 4 + 8 + 4 + 8 + 4 + 8
)

// EncodeSnapshot returns the bytes of a .snapshot file.
func EncodeSnapshot(producers []ProducerState) []byte {
	p := make([]byte, snapshotHeader, snapshotHeader+len(producers)*snapshotEntry)
	binary.BigEndian.PutUint16(p, snapshotVersion)
	binary.BigEndian.PutUint32(p[snapshotEntries:], uint32(len(producers)))
	for _, s := range producers {
		p = binary.BigEndian.AppendUint64(p, uint64(s.ProducerID))
		p = binary.BigEndian.AppendUint16(p, uint16(s.ProducerEpoch))
		p = binary.BigEndian.AppendUint32(p, uint32(s.LastSequence))
		p = binary.BigEndian.AppendUint64(p, uint64(s.LastOffset))
		p = binary.BigEndian.AppendUint32(p, uint32(s.OffsetDelta))
		p = binary.BigEndian.AppendUint64(p, uint64(s.Timestamp))
		p = binary.BigEndian.AppendUint32(p, uint32(s.CoordinatorEpoch))
		p = binary.BigEndian.AppendUint64(p, uint64(s.CurrentTxnFirst))
	}
	binary.BigEndian.PutUint32(p[snapshotCRC:], crc32.Checksum(p[snapshotEntries:], castagnoli))
	return p
}

// ErrSnapshot says that the bytes are not a producer snapshot.
var ErrSnapshot = errors.New("corrupt producer snapshot")

// ParseSnapshot is the inverse of EncodeSnapshot; it returns ErrSnapshot for bytes
// that are not a whole snapshot of version 1.
func ParseSnapshot(p []byte) ([]ProducerState, error) {
	if len(p) < snapshotHeader {
		return nil, fmt.Errorf("%w: %d bytes", ErrSnapshot, len(p))
	}
	if v := binary.BigEndian.Uint16(p); v != snapshotVersion {
		return nil, fmt.Errorf("%w: version %d", ErrSnapshot, v)
	}
	if binary.BigEndian.Uint32(p[snapshotCRC:]) != crc32.Checksum(p[snapshotEntries:], castagnoli) {
		return nil, fmt.Errorf("%w: CRC mismatch", ErrSnapshot)
	}
	n := int64(int32(binary.BigEndian.Uint32(p[snapshotEntries:])))
	if p = p[snapshotHeader:]; n < 0 || n*snapshotEntry != int64(len(p)) {
		return nil, fmt.Errorf("%w: %d entries in %d bytes", ErrSnapshot, n, len(p))
	}
	producers := make([]ProducerState, n)
	for i := range producers {
		e := p[i*snapshotEntry:]
		producers[i] = ProducerState{
			ProducerID:       int64(binary.BigEndian.Uint64(e)),
			ProducerEpoch:    int16(binary.BigEndian.Uint16(e[8:])),
			LastSequence:     int32(binary.BigEndian.Uint32(e[10:])),
			LastOffset:       int64(binary.BigEndian.Uint64(e[14:])),
			OffsetDelta:      int32(binary.BigEndian.Uint32(e[22:])),
			Timestamp:        int64(binary.BigEndian.Uint64(e[26:])),
			CoordinatorEpoch: int32(binary.BigEndian.Uint32(e[34:])),
			CurrentTxnFirst:  int64(binary.BigEndian.Uint64(e[38:])),
		}
	}
	return producers, nil
}

// WriteSnapshot stores a producer snapshot for the state at offset (<offset>.snapshot).
// It is not synced: a torn one is found by its CRC, and one that is ahead of the
// recovery point is not trusted after a crash. Snapshots at segment borders stay as
// long as the segment that begins there; of the others the two newest stay, for the newest
// may be ahead of the recovery point, and the one before it then is not. It returns
// ErrNoSpace where the disk is full; the log goes on without the snapshot.
func (l *Log) WriteSnapshot(offset int64, producers []ProducerState) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if offset < 0 || offset > l.end {
		return fmt.Errorf("snapshot at %d of a log that ends at %d: %w", offset, l.end, ErrOutOfRange)
	}
	if err := replaceFile(l.fs, l.dir, fileName(offset, snapshotSuffix), EncodeSnapshot(producers), false); err != nil {
		err = fmt.Errorf("write producer snapshot %d: %w", offset, err)
		if vfs.Broken(err) {
			return l.fail(err)
		}
		return l.noSpace(err)
	}
	if i, found := slices.BinarySearch(l.snapshots, offset); !found {
		l.snapshots = slices.Insert(l.snapshots, i, offset)
	}
	borders := l.segments // only the appender changes it, and that is us
	border := func(s int64) bool {
		_, found := slices.BinarySearchFunc(borders, s, func(seg *segment, s int64) int { return compare(seg.base, s) })
		return found
	}
	before := int64(-1) // the newest but this one that is at no border
	for _, s := range l.snapshots {
		if s < offset && !border(s) {
			before = s
		}
	}
	return l.dropSnapshots(func(s int64) bool { return s < before && !border(s) })
}

// dropSnapshots removes the snapshots for which drop holds. Caller holds mu.
func (l *Log) dropSnapshots(drop func(offset int64) bool) error {
	var errs []error
	l.snapshots = slices.DeleteFunc(l.snapshots, func(s int64) bool {
		if !drop(s) {
			return false
		}
		if err := l.remove(s, snapshotSuffix); err != nil {
			errs = append(errs, err)
		}
		return true
	})
	return errors.Join(errs...)
}

// LoadSnapshot returns the newest snapshot at or below offset; found is false where
// there is none. A corrupt snapshot is removed and the one before it is tried.
func (l *Log) LoadSnapshot(atOrBelow int64) (offset int64, producers []ProducerState, found bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return 0, nil, false, err
	}
	for i := len(l.snapshots) - 1; i >= 0; i-- {
		s := l.snapshots[i]
		if s > atOrBelow {
			continue
		}
		p, err := ReadFile(l.fs, filepath.Join(l.dir, fileName(s, snapshotSuffix)))
		if err == nil {
			producers, err = ParseSnapshot(p)
		}
		switch {
		case err == nil:
			return s, producers, true, nil
		case !errors.Is(err, ErrSnapshot) && !errors.Is(err, fs.ErrNotExist):
			return 0, nil, false, fmt.Errorf("load producer snapshot %d: %w", s, err)
		}
		if err := l.dropSnapshots(func(o int64) bool { return o == s }); err != nil {
			return 0, nil, false, err
		}
	}
	return 0, nil, false, nil
}
