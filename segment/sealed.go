package segment

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/varvelog/varve/index"
)

// Sealed is a segment that does not change any more.
type Sealed struct {
	Info
	Log      *File
	Offsets  []byte // offset index, Kafka's format
	Times    []byte
	Aborted  []byte
	Snapshot []byte       // producer snapshot at Next (Kafka's .snapshot), nil when there is none
	Epochs   []EpochStart // leader epochs that have records in [Base, Next), the first from Base on
}

// Release gives the log file back.
func (s *Sealed) Release() {
	if s.Log != nil {
		s.Log.Release()
		s.Log = nil
	}
}

// Sealed opens a sealed segment for copying: its log file and its indexes as bytes.
// The caller releases it. It returns ErrOutOfRange where no sealed segment begins at base.
func (l *Log) Sealed(base int64) (_ *Sealed, err error) {
	if err := l.usable(); err != nil {
		return nil, err
	}
	v := l.view()
	i := v.find(base)
	s := v.segments[i]
	if s.base != base || i == len(v.segments)-1 {
		return nil, fmt.Errorf("sealed segment %020d: %w", base, ErrOutOfRange)
	}
	c := &Sealed{Info: v.info(i, s)}
	if c.Log, err = s.file(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.Release()
		}
	}()
	err = s.indexes(func(o, _ index.Offsets, t, _ index.Times) error {
		c.Offsets, c.Times = make([]byte, o.Size), make([]byte, t.Size)
		if n, err := o.R.ReadAt(c.Offsets, 0); n < len(c.Offsets) {
			return orUnexpected(err)
		}
		if n, err := t.R.ReadAt(c.Times, 0); n < len(c.Times) {
			return orUnexpected(err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	txns, err := s.abortedTxns()
	if err != nil {
		return nil, err
	}
	for _, t := range txns {
		c.Aborted = t.Append(c.Aborted)
	}
	c.Snapshot, err = ReadFile(l.fs, filepath.Join(l.dir, fileName(c.Next, snapshotSuffix)))
	if err == nil {
		if _, bad := ParseSnapshot(c.Snapshot); bad != nil {
			c.Snapshot = nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l.pub.Lock()
	c.Epochs = slices.Clone(l.epochs.below(c.Next).from(c.Base))
	l.pub.Unlock()
	return c, nil
}

func orUnexpected(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
