package broker

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"go.uber.org/zap"

	"github.com/varvelog/varve/broker/api"
	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/vfs"
	"github.com/varvelog/varve/tiering"
)

// A log directory is online, or offline with all its partitions: because it could not be
// opened at the start, or because its disk has failed since. It stays so until the next
// start. The broker goes on while one is online.

// errDirOffline says that a partition lies, or may lie, in a directory that is offline.
var errDirOffline = errors.New("log directory is offline")

// unopened is a directory of log.dirs that could not be opened at the start.
type unopened struct {
	path string
	err  error
}

// placement says which directory a partition's log lies in, or is to be made in. One is
// chosen at a time, with all choices before it counted.
type placement struct {
	mu sync.Mutex
	// missing are the partitions of a start that no directory had while one could not be
	// opened: they are taken to lie there, and not made anew.
	missing map[tiering.PartitionID]bool
}

// openDirs locks and reads the log directories, and starts their committers: opening a
// log may already have to flush. A directory whose disk does not answer is offline; one
// that belongs to somebody else stops the start.
func (b *Broker) openDirs(context.Context) error {
	for _, path := range b.config().LogDirs {
		d, err := segment.OpenDir(segment.DirOptions{FS: b.FS, Path: path, NodeID: b.config().NodeID, Now: b.Now})
		var corrupt *segment.CorruptError
		if errors.Is(err, vfs.ErrLocked) || errors.Is(err, segment.ErrForeign) || errors.As(err, &corrupt) {
			return err
		}
		if err != nil {
			b.unopened = append(b.unopened, unopened{path, err})
			continue
		}
		b.dirs = append(b.dirs, d)
		if first := b.dirs[0].ClusterID(); d.ClusterID() != "" && first != "" && d.ClusterID() != first {
			return fmt.Errorf("%s belongs to cluster %s and %s to cluster %s: %w", b.dirs[0].Path(), first, d.Path(), d.ClusterID(), segment.ErrForeign)
		}
	}
	var errs []error
	for _, u := range b.unopened {
		errs = append(errs, u.err)
		b.Log.Error("a log directory could not be opened; its partitions are offline until it can and the broker is started again", zap.String("dir", u.path), zap.Error(u.err))
	}
	if len(b.dirs) == 0 {
		return fmt.Errorf("no directory of log.dirs can be used: %w", errors.Join(errs...))
	}
	for _, d := range b.dirs {
		for _, fault := range d.Faults() {
			b.Log.Warn("a file of a log directory is damaged and is done without", zap.String("dir", d.Path()), zap.Error(fault))
		}
	}
	b.startCommitters()
	return nil
}

// noteMissing takes up what of an image lies in directories that could not be opened.
func (b *Broker) noteMissing(image *cluster.Image) {
	if len(b.unopened) == 0 {
		return
	}
	b.places.mu.Lock()
	defer b.places.mu.Unlock()
	b.places.missing = map[tiering.PartitionID]bool{}
	for _, t := range image.Topics() {
		for i := range t.Partitions {
			has := func(d *segment.Dir) bool { return d.Has(t.Name, int32(i), t.ID) }
			if slices.Contains(t.Partitions[i].Replicas, b.config().NodeID) && !slices.ContainsFunc(b.dirs, has) {
				b.places.missing[tiering.PartitionID{Topic: t.ID, Partition: int32(i)}] = true
			}
		}
	}
	b.Log.Error("partitions are offline with the log directories that could not be opened", zap.Int("partitions", len(b.places.missing)))
}

// place returns the directory that has a partition, else the one that is online with the
// fewest. made is called once the log is open, or could not be opened.
func (b *Broker) place(topic string, id tiering.PartitionID) (dir *segment.Dir, made func(), err error) {
	for _, d := range b.dirs {
		if d.Has(topic, id.Partition, id.Topic) {
			return d, func() {}, offline(d)
		}
	}
	p := &b.places
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.missing[id] {
		return nil, nil, fmt.Errorf("%w: it is in none of those that could be opened", errDirOffline)
	}
	for _, d := range b.dirs {
		if d.Err() == nil && (dir == nil || d.Logs() < dir.Logs()) {
			dir = d
		}
	}
	if dir == nil {
		return nil, nil, fmt.Errorf("%w: all of them are", errDirOffline)
	}
	return dir, dir.Expect(topic, id.Partition), nil
}

// offline is why nothing can be done with a directory, nil where it is online.
func offline(d *segment.Dir) error {
	if err := d.Err(); err != nil {
		return fmt.Errorf("%w: %w", errDirOffline, err)
	}
	return nil
}

// watchDirs tells of directories that go offline, and ends when none is left: a broker
// without a disk serves nobody, and its partitions are better led elsewhere.
func (b *Broker) watchDirs(ctx context.Context) error {
	var watching sync.WaitGroup
	for _, d := range b.dirs {
		watching.Go(func() {
			select {
			case <-d.Offline():
				b.Log.Error("a log directory is offline, and its partitions are, until its disk is mended and the broker started again", zap.String("dir", d.Path()), zap.Error(d.Err()))
			case <-ctx.Done():
			}
		})
	}
	watching.Wait()
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the broker stops, which is no fault of a disk
	}
	return errors.New("all log directories are offline")
}

// LogDirs implements api.Partitions: the directories of log.dirs, then the bucket. Of
// one that is offline only that is told, as Kafka does.
func (b *Broker) LogDirs() []api.LogDir {
	dirs := make([]api.LogDir, 0, len(b.dirs)+len(b.unopened)+1)
	at := make(map[*segment.Dir]int, len(b.dirs))
	for _, d := range b.dirs {
		if err := d.Err(); err != nil {
			dirs = append(dirs, offlineDir(d.Path(), err))
			continue
		}
		at[d] = len(dirs)
		free, err := b.FS.Free(d.Path())
		dirs = append(dirs, api.LogDir{Path: absolute(d.Path()), Err: err, Total: -1, Usable: free})
	}
	for _, u := range b.unopened {
		dirs = append(dirs, offlineDir(u.path, u.err))
	}
	bucket := api.LogDir{Path: "remote://" + b.bucket.Name(), Total: -1, Usable: -1}
	for id, r := range b.replicas.all() {
		local, remote := r.Size()
		if i, online := at[r.dir]; online {
			dirs[i].Logs = append(dirs[i].Logs, api.LogDirEntry{Topic: r.Topic(), Partition: id.Partition, Size: local})
		}
		if remote > 0 {
			bucket.Logs = append(bucket.Logs, api.LogDirEntry{Topic: r.Topic(), Partition: id.Partition, Size: remote})
		}
	}
	if len(bucket.Logs) > 0 {
		dirs = append(dirs, bucket)
	}
	return dirs
}

func offlineDir(path string, err error) api.LogDir {
	return api.LogDir{Path: absolute(path), Err: err, Total: -1, Usable: -1}
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// offlineDirs counts the directories that are offline.
func (b *Broker) offlineDirs() int {
	n := len(b.unopened)
	for _, d := range b.dirs {
		if d.Err() != nil {
			n++
		}
	}
	return n
}
