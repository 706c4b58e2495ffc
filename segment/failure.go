package segment

import (
	"fmt"
	"path/filepath"

	"github.com/varvelog/varve/segment/vfs"
)

// What an error of the disk means:
//
//	no room           the operation is refused with ErrNoSpace and has changed nothing;
//	                  reads go on, and so do appends once there is room
//	a failed sync,    the log directory is offline: every log of it refuses everything
//	EIO and the like  with ErrFailed until the process is started again (as in Kafka);
//	                  reads that fail hurt nothing but themselves
//	anything else     that log has failed
//
// No sync is tried a second time. What a failed one has left in the system's cache
// looks written and is not: recovery writes it again before it is relied on.

// noSpace makes the error of a full disk an ErrNoSpace; others stay as they are.
func (l *Log) noSpace(err error) error {
	if !vfs.Full(err) {
		return err
	}
	return fmt.Errorf("%s: %w: %w", filepath.Base(l.dir), ErrNoSpace, err)
}

// refuse answers for an operation that has changed nothing: where the disk is full the
// log goes on, otherwise it fails.
func (l *Log) refuse(cause error) error {
	if vfs.Full(cause) {
		return l.noSpace(cause)
	}
	return l.fail(cause)
}

// fail makes the log refuse everything from now on, and its directory where the disk
// is to blame, and returns cause as an ErrFailed.
func (l *Log) fail(cause error) error {
	err := l.failAlone(cause)
	if l.home != nil && vfs.Broken(cause) && !mutant("let the other logs of a broken disk go on") {
		l.home.breakDown(cause)
	}
	return err
}

func (l *Log) failAlone(cause error) error {
	l.pub.Lock()
	defer l.pub.Unlock()
	if mutant("go on after a failed write") {
		return fmt.Errorf("%w: %w", ErrFailed, cause)
	}
	if l.err == nil {
		l.err = fmt.Errorf("%s: %w: %w", filepath.Base(l.dir), ErrFailed, cause)
		l.signal()
	}
	return l.err
}

// Err returns why the log has failed, nil while it has not.
func (l *Log) Err() error {
	l.pub.Lock()
	defer l.pub.Unlock()
	return l.err
}

// breakDown takes the directory offline, and all of its logs.
func (d *Dir) breakDown(cause error) {
	err := fmt.Errorf("log directory %s is offline: %w", d.o.Path, cause)
	d.mu.Lock()
	first := d.err == nil
	if first {
		d.err = fmt.Errorf("%w: %w", ErrFailed, err)
		close(d.offline)
	}
	d.mu.Unlock()
	if first {
		for _, l := range d.logs() {
			_ = l.failAlone(err) // each says its own later
		}
	}
}

// blame takes the directory offline where the disk is to blame for err, and returns err.
func (d *Dir) blame(err error) error {
	if vfs.Broken(err) {
		d.breakDown(err)
	}
	return err
}

// Err returns why the directory is offline, nil while it is not.
func (d *Dir) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// Offline is closed when the directory goes offline.
func (d *Dir) Offline() <-chan struct{} { return d.offline }
