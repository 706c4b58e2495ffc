package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// Files of removed segments, and directories of deleted logs, stay under another name
// for file.delete.delay.ms, as in Kafka, and are unlinked by RemoveDeleted; what is
// there at a stop is removed by the next start. Readers do not depend on it, since they
// hold the files open: it is for people, who may still want the bytes.

// errRetired says that a segment was removed or replaced: a newer view has not got it.
var errRetired = fmt.Errorf("segment is no longer there: %w", fs.ErrNotExist)

// condemned is a file or directory that is unlinked when its time has come.
type condemned struct {
	path string
	due  time.Time
}

// condemn removes the files of a segment that nobody opens any more, or renames them
// until the log's delete delay is over, in the order given; a missing one is as good as
// removed.
func (l *Log) condemn(s *segment, suffixes ...string) error {
	delay := l.config.Load().DeleteDelay
	for _, suffix := range suffixes {
		path := s.path(suffix)
		var err error
		if delay > 0 {
			err = l.fs.Rename(path, path+deletedSuffix)
		} else {
			err = l.fs.Remove(path)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return err
		case delay > 0:
			l.pub.Lock()
			l.condemned = append(l.condemned, condemned{path + deletedSuffix, l.now().Add(delay)})
			l.pub.Unlock()
		}
	}
	s.closeFiles()
	return nil
}

// RemoveDeleted unlinks the files of removed segments, and the directories of deleted
// logs, whose delay is over. It is one step of a loop above.
func (d *Dir) RemoveDeleted(now time.Time) error {
	var errs []error
	for _, l := range d.logs() {
		for _, c := range l.dueForRemoval(now) {
			if err := d.o.FS.Remove(c.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, fmt.Errorf("remove a deleted segment: %w", err))
			}
		}
	}
	d.mu.Lock()
	var due []condemned
	due, d.condemned = split(d.condemned, now)
	d.mu.Unlock()
	for _, c := range due {
		if err := d.o.FS.RemoveAll(c.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove a deleted log: %w", err))
		}
	}
	return errors.Join(errs...)
}

// dueForRemoval takes out the files whose delay is over. Those of a closed log are none
// of it: they go with its directory, or when it is opened.
func (l *Log) dueForRemoval(now time.Time) (due []condemned) {
	l.pub.Lock()
	defer l.pub.Unlock()
	if l.closed {
		l.condemned = nil
	}
	due, l.condemned = split(l.condemned, now)
	return due
}

// split parts what is due now from what comes later.
func split(all []condemned, now time.Time) (due, later []condemned) {
	for _, c := range all {
		if c.due.After(now) {
			later = append(later, c)
		} else {
			due = append(due, c)
		}
	}
	return due, later
}

func (d *Dir) condemn(c condemned) {
	d.mu.Lock()
	d.condemned = append(d.condemned, c)
	d.mu.Unlock()
}

// untilKept calls look again as long as it meets a segment that was removed or replaced
// after it had taken its view. The next view has not got that segment, so this ends.
func (l *Log) untilKept(look func() error) error {
	for {
		if err := l.usable(); err != nil {
			return err
		}
		if err := look(); !errors.Is(err, errRetired) {
			return err
		}
	}
}

// stat tells whether the log file is there.
func (s *segment) stat() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.l.fs.Stat(s.path(logSuffix))
	return err
}
