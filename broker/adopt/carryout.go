package adopt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/vfs"
)

// Metadata is where topics are made known: a *cluster.Store.
type Metadata interface {
	AdoptTopic(ctx context.Context, t cluster.AdoptedTopic) error
	AdoptSettings(ctx context.Context, a cluster.AdoptedSettings) error
	SkipProducerIDs(ctx context.Context, next int64) error
	Close() error
}

// Target says where a plan is carried out.
type Target struct {
	FS  vfs.FS
	Dir string // the new log directory: not there yet, or empty
	// CopyAll: copy sealed log files, too, where they would be hard-linked.
	CopyAll bool
	// Open opens the metadata, whose directory lies below dir where it lies below Dir.
	Open   func(ctx context.Context, dir string) (Metadata, error)
	Random io.Reader // of the directory's id
	// Progress is told of each log that is in place; nil: nobody.
	Progress func(log string, bytes int64)
}

// Done is what was done.
type Done struct {
	Linked, Copied int64 // bytes of log files
	Logs           int
}

// ErrInTheWay says that the target is no place for a new directory.
var ErrInTheWay = errors.New("the target is in the way")

const (
	workSuffix = ".adopting"
	partSuffix = ".part"
	claimName  = "adoption.json"
)

// CarryOut does what a plan without refusals says. It may be called again after it was
// cut off at any point, with a plan of the same sources.
func CarryOut(ctx context.Context, p Plan, t Target) (Done, error) {
	c := carrier{Target: t, plan: p, work: filepath.Clean(t.Dir) + workSuffix}
	if len(p.Refusals) > 0 {
		return c.done, fmt.Errorf("refused: %s", strings.Join(p.Refusals, "; "))
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"claim the target", c.claim}, {"adopt logs", c.logs}, {"adopt metadata", c.metadata},
		{"finish the directory", c.finish},
	} {
		if err := step.do(ctx); err != nil {
			return c.done, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return c.done, nil
}

type carrier struct {
	Target
	plan Plan
	work string
	done Done
}

// claim makes the directory in which the work is done, or takes that of an attempt that
// was cut off.
func (c *carrier) claim(context.Context) error {
	entries, err := c.FS.List(c.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%w: %s is not empty; choose another directory (log.dirs)", ErrInTheWay, c.Dir)
	}
	claim, err := json.MarshalIndent(struct {
		ClusterID string   `json:"cluster_id"`
		NodeID    int32    `json:"node_id"`
		Sources   []string `json:"sources"`
	}{c.plan.ClusterID, c.plan.NodeID, c.plan.Sources}, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(c.work, claimName)
	there, err := segment.ReadFile(c.FS, path)
	switch {
	case err == nil && !bytes.Equal(there, claim):
		return fmt.Errorf("%w: %s is of an adoption from elsewhere; remove it if that is not to go on", ErrInTheWay, c.work)
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := c.FS.MkdirAll(c.work); err != nil {
		return err
	}
	if err := c.FS.SyncDir(filepath.Dir(c.work)); err != nil {
		return err
	}
	return segment.WriteFile(c.FS, c.work, claimName, claim)
}

func (c *carrier) logs(ctx context.Context) error {
	for _, t := range c.plan.Topics {
		for i, l := range t.Logs {
			if err := ctx.Err(); err != nil {
				return err
			}
			name := logName(t.Name, int32(i))
			if err := c.log(ctx, name, l); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			c.done.Logs++
			if c.Progress != nil {
				c.Progress(name, l.Bytes)
			}
		}
	}
	return nil
}

// log makes one log under a name that is no log's, and gives it its own when it is durable.
func (c *carrier) log(ctx context.Context, name string, l Log) error {
	final := filepath.Join(c.work, name)
	if _, err := c.FS.Stat(final); err == nil {
		return nil // of an attempt that was cut off later
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	part := final + partSuffix
	if err := c.FS.RemoveAll(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := c.FS.MkdirAll(part); err != nil {
		return err
	}
	entries, err := c.FS.List(l.Path)
	if err != nil {
		return err
	}
	var names []string
	last := ""
	for _, e := range entries {
		if n := e.Name(); adopts(n, l.rebuild) {
			names = append(names, n)
			if filepath.Ext(n) == ".log" {
				last = max(last, n)
			}
		}
	}
	for _, n := range names {
		from, to := filepath.Join(l.Path, n), filepath.Join(part, n)
		if err := c.file(ctx, from, to, filepath.Ext(n) == ".log", n != last); err != nil {
			return err
		}
	}
	if err := c.FS.SyncDir(part); err != nil {
		return err
	}
	if err := c.FS.Rename(part, final); err != nil {
		return err
	}
	return c.FS.SyncDir(c.work)
}

// adopts tells which files of a log's directory are adopted.
func adopts(name string, rebuild bool) bool {
	switch filepath.Ext(name) {
	case ".log", ".txnindex", ".snapshot":
		return true
	case ".index", ".timeindex":
		return !rebuild
	}
	return name == "leader-epoch-checkpoint" || name == "partition.metadata"
}

// file links a sealed log file, and copies the others.
func (c *carrier) file(ctx context.Context, from, to string, log, sealed bool) error {
	linker, can := c.FS.(interface {
		Link(oldName, newName string) error
	})
	if log && sealed && can && !c.CopyAll {
		if err := linker.Link(from, to); err == nil {
			size, err := c.size(to)
			c.done.Linked += size
			return err
		}
		// Another file system, or one without links: a copy does as well.
	}
	n, err := c.copy(ctx, from, to)
	if log {
		c.done.Copied += n
	}
	return err
}

func (c *carrier) size(path string) (int64, error) {
	i, err := c.FS.Stat(path)
	if err != nil {
		return 0, err
	}
	return i.Size(), nil
}

// copyBuffer is what is read at once, in bytes.
const copyBuffer = 1 << 20

func (c *carrier) copy(ctx context.Context, from, to string) (n int64, err error) {
	in, err := c.FS.Open(from, true)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	size, err := in.Size()
	if err != nil {
		return 0, err
	}
	out, err := c.FS.Create(to)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	buf := make([]byte, min(copyBuffer, size))
	for n < size {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		p := buf[:min(int64(len(buf)), size-n)]
		if m, err := in.ReadAt(p, n); m < len(p) {
			return n, fmt.Errorf("read %s: %w", from, errors.Join(io.ErrUnexpectedEOF, err))
		}
		if _, err := out.WriteAt(p, n); err != nil {
			return n, err
		}
		n += int64(len(p))
	}
	return n, out.Sync()
}

// metadata makes the topics known. It is repeated as a whole after a crash.
func (c *carrier) metadata(ctx context.Context) (err error) {
	m, err := c.Open(ctx, c.work)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if err := m.SkipProducerIDs(ctx, c.plan.NextProducerID); err != nil {
		return err
	}
	for _, t := range c.plan.Topics {
		a := cluster.AdoptedTopic{Name: t.Name, ID: t.id, Configs: t.Configs}
		for _, l := range t.Logs {
			a.Replicas = append(a.Replicas, []int32{c.plan.NodeID})
			a.Epochs = append(a.Epochs, l.Epoch)
		}
		if err := m.AdoptTopic(ctx, a); err != nil {
			return fmt.Errorf("topic %s: %w", t.Name, err)
		}
	}
	return m.AdoptSettings(ctx, c.plan.Settings)
}

// finish writes what makes the directory a broker's, and gives it its name.
func (c *carrier) finish(context.Context) error {
	a := segment.Adopted{
		ClusterID: c.plan.ClusterID, NodeID: c.plan.NodeID, Random: c.Random, Ends: map[string]int64{}, Starts: map[string]int64{},
	}
	for _, t := range c.plan.Topics {
		for i, l := range t.Logs {
			a.Ends[logName(t.Name, int32(i))] = l.End
			if l.Start > 0 {
				a.Starts[logName(t.Name, int32(i))] = l.Start
			}
		}
	}
	if err := segment.WriteAdopted(c.FS, c.work, a); err != nil {
		return err
	}
	if err := c.FS.Remove(c.Dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // the empty directory
	}
	if err := c.FS.Rename(c.work, c.Dir); err != nil {
		return err
	}
	return c.FS.SyncDir(filepath.Dir(filepath.Clean(c.Dir)))
}

// Below tells whether a path lies in a directory, and returns it moved to another.
func Below(path, dir, other string) (string, bool) {
	rest, err := filepath.Rel(dir, path)
	if err != nil || slices.Contains(strings.Split(filepath.ToSlash(rest), "/"), "..") {
		return path, false
	}
	return filepath.Join(other, rest), true
}
