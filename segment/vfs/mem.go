package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Op names an operation to a fault function.
type Op string

// The operations a fault function sees.
const (
	OpCreate   Op = "create"
	OpOpen     Op = "open"
	OpRead     Op = "read"
	OpWrite    Op = "write"
	OpSync     Op = "sync"
	OpTruncate Op = "truncate"
	OpRemove   Op = "remove"
	OpRename   Op = "rename"
	OpMkdir    Op = "mkdir"
	OpList     Op = "list"
	OpStat     Op = "stat"
	OpSyncDir  Op = "syncdir"
	OpSyncAll  Op = "syncall"
)

// Mutates reports whether the operation can change what a crash leaves behind.
func (o Op) Mutates() bool {
	switch o {
	case OpRead, OpOpen, OpList, OpStat:
		return false
	}
	return true
}

// Mem is a file system in memory that can be crashed, broken, filled and slowed down. Each file has the bytes that
// its users see and the bytes that the disk holds; each directory has the names that
// its users see and the changes of names that the disk has not seen.
//
// A crash leaves, of each file, what was synced, and of what was not any of its
// blocks, at any size between the synced and the written one; of each directory, what
// was synced and a prefix of the changes since, as a journalling file system does.
// A failed Sync leaves its bytes readable, clean and not durable (fsyncgate).
type Mem struct {
	mu     sync.Mutex
	root   *memDir
	locks  map[string]bool
	disk   *budget            // of all files outside of the mounts
	mounts map[string]*budget // by directory
	fault  func(op Op, path string, n int) error
	rules  []*rule // of Inject
	ops    int
	now    func() time.Time
}

// budget is the space of one disk.
type budget struct {
	capacity int64 // bytes, 0: unlimited
	used     int64
}

func (b *budget) left() int64 {
	if b.capacity == 0 {
		return 1 << 40
	}
	return max(0, b.capacity-b.used)
}

// blockSize is what a crash keeps or loses as a whole: a sector, the unit that disks
// write atomically.
const blockSize = 512

type memDir struct {
	entries map[string]any // *memDir or *memInode, as users see it
	durable map[string]any // as the disk has it
	pending []change       // from durable to entries, in order
}

// change sets names in one atomic step; a nil node removes the name.
type change struct {
	names []string
	nodes []any
}

type memInode struct {
	data     []byte
	durable  []byte
	dirty    int64 // bytes from here on are not yet durable; len(data) when clean
	disk     *budget
	modified time.Time
}

type memFile struct {
	m        *Mem
	node     *memInode
	name     string
	readOnly bool
	closed   bool
}

// NewMem returns an empty file system without limits.
func NewMem() *Mem {
	return &Mem{root: newMemDir(), locks: map[string]bool{}, disk: &budget{}, mounts: map[string]*budget{}, now: func() time.Time { return time.Time{} }}
}

func newMemDir() *memDir { return &memDir{entries: map[string]any{}, durable: map[string]any{}} }

// SetNow sets the clock of modification times.
func (m *Mem) SetNow(now func() time.Time) { m.mu.Lock(); m.now = now; m.mu.Unlock() }

// SetFault sets a function that is asked before each operation, outside any lock: n
// counts all operations so far. An error it returns is the operation's; half of the
// bytes of such a write are written.
func (m *Mem) SetFault(fault func(op Op, path string, n int) error) {
	m.mu.Lock()
	m.fault = fault
	m.mu.Unlock()
}

// SetCapacity limits the sum of all file sizes in bytes; 0 lifts the limit. A write
// beyond it is cut short with ENOSPC. Removing and cutting files makes room.
func (m *Mem) SetCapacity(bytes int64) { m.mu.Lock(); m.disk.capacity = bytes; m.mu.Unlock() }

// Mount makes dir a disk of its own, of capacity bytes (0: unlimited): it fills up and
// is synced (SyncAll) by itself. The directory is made, and should be empty. A second
// call changes the capacity.
func (m *Mem) Mount(dir string, capacity int64) error {
	dir = filepath.Clean(dir)
	if err := m.MkdirAll(dir); err != nil {
		return err
	}
	// A mount point is there after any crash.
	for at := dir; at != filepath.Dir(at); at = filepath.Dir(at) {
		if err := m.SyncDir(filepath.Dir(at)); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mounts[dir] == nil {
		m.mounts[dir] = &budget{}
	}
	m.mounts[dir].capacity = capacity
	return nil
}

// mount returns the disk that holds name, and where it is mounted. Caller holds mu.
func (m *Mem) mount(name string) (string, *budget) {
	for name = filepath.Clean(name); ; name = filepath.Dir(name) {
		if b := m.mounts[name]; b != nil {
			return name, b
		}
		if parent := filepath.Dir(name); parent == name {
			return name, m.disk
		}
	}
}

// Ops returns the number of operations so far.
func (m *Mem) Ops() int { m.mu.Lock(); defer m.mu.Unlock(); return m.ops }

// Crash returns what a power cut at this moment leaves, by the dice of r; with a nil
// r nothing is lost, as when only the process is killed. m is not changed; locks and
// faults do not carry over.
func (m *Mem) Crash(r *rand.Rand) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := NewMem()
	c.now = m.now
	c.root = m.root.crash(r, map[*memInode]*memInode{})
	c.root.settle(c.disk)
	return c
}

// settle puts all files of a tree on one disk.
func (d *memDir) settle(disk *budget) {
	for _, node := range d.entries {
		switch node := node.(type) {
		case *memDir:
			node.settle(disk)
		case *memInode:
			node.disk = disk
			disk.used += int64(len(node.data))
		}
	}
}

// free gives back the space of all files of a tree.
func (d *memDir) free() {
	for _, node := range d.entries {
		switch node := node.(type) {
		case *memDir:
			node.free()
		case *memInode:
			node.disk.used -= int64(len(node.data))
		}
	}
}

func (d *memDir) crash(r *rand.Rand, seen map[*memInode]*memInode) *memDir {
	names := map[string]any{}
	for name, node := range d.durable {
		names[name] = node
	}
	keep := len(d.pending)
	if r != nil {
		keep = r.IntN(len(d.pending) + 1)
	}
	for _, c := range d.pending[:keep] {
		c.apply(names)
	}
	left := newMemDir()
	// In the order of names, so that a seed always rolls the same dice.
	sorted := make([]string, 0, len(names))
	for name := range names {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	for _, name := range sorted {
		var node any
		switch n := names[name].(type) {
		case *memDir:
			node = n.crash(r, seen)
		case *memInode:
			if seen[n] == nil {
				seen[n] = n.crash(r)
			}
			node = seen[n]
		}
		left.entries[name], left.durable[name] = node, node
	}
	return left
}

func (f *memInode) crash(r *rand.Rand) *memInode {
	if r == nil {
		// The process died; what was dirty is dirty still, in the system's cache.
		return &memInode{data: slices.Clone(f.data), durable: slices.Clone(f.durable), dirty: f.dirty, modified: f.modified}
	}
	low, high := min(len(f.durable), len(f.data)), max(len(f.durable), len(f.data))
	size := low
	if high > low {
		size += r.IntN(high - low + 1)
	}
	data := make([]byte, size)
	copy(data, f.durable)
	for at := 0; at < size; at += blockSize {
		if at < len(f.data) && r.IntN(2) == 0 {
			copy(data[at:min(at+blockSize, size)], f.data[at:])
		}
	}
	return &memInode{data: data, durable: slices.Clone(data), dirty: int64(size), modified: f.modified}
}

func (c change) apply(names map[string]any) {
	for i, name := range c.names {
		if c.nodes[i] == nil {
			delete(names, name)
		} else {
			names[name] = c.nodes[i]
		}
	}
}

func (d *memDir) change(names []string, nodes ...any) {
	c := change{names, nodes}
	c.apply(d.entries)
	d.pending = append(d.pending, c)
}

func (d *memDir) sync() {
	for _, c := range d.pending {
		c.apply(d.durable)
	}
	d.pending = nil
}

func (d *memDir) syncAll() {
	d.sync()
	for _, node := range d.entries {
		switch node := node.(type) {
		case *memDir:
			node.syncAll()
		case *memInode:
			node.sync()
		}
	}
}

func (d *memDir) cleanAll() {
	for _, node := range d.entries {
		switch node := node.(type) {
		case *memDir:
			node.cleanAll()
		case *memInode:
			node.dirty = int64(len(node.data))
		}
	}
}

func (f *memInode) sync() {
	f.durable = append(f.durable[:min(int64(len(f.durable)), f.dirty)], make([]byte, max(0, f.dirty-int64(len(f.durable))))...)
	f.durable = append(f.durable, f.data[f.dirty:]...)
	f.dirty = int64(len(f.data))
}

// step counts an operation and asks the fault function.
func (m *Mem) step(op Op, path string) error {
	m.mu.Lock()
	m.ops++
	n, fault := m.ops, m.fault
	hits := m.hits(op, path)
	m.mu.Unlock()
	if fault != nil {
		if err := fault(op, path, n); err != nil {
			return memError(op, path, err)
		}
	}
	for _, f := range hits {
		if f.Wait != nil {
			f.Wait()
		}
		if f.Lie {
			return errLie
		}
		if f.Err != nil {
			return memError(op, path, f.Err)
		}
	}
	return nil
}

// find returns the directory that holds name, and the node of name, nil when missing.
func (m *Mem) find(name string) (dir *memDir, base string, node any) {
	dir = m.root
	parts := strings.Split(strings.Trim(filepath.Clean(name), "/"), "/")
	for _, part := range parts[:len(parts)-1] {
		next, ok := dir.entries[part].(*memDir)
		if !ok {
			return nil, "", nil
		}
		dir = next
	}
	base = parts[len(parts)-1]
	if base == "" || base == "." {
		return dir, "", dir
	}
	return dir, base, dir.entries[base]
}

func memError(op Op, name string, err error) error {
	if (op == OpSync || op == OpSyncDir || op == OpSyncAll) && !errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", ErrSync, err)
	}
	return &fs.PathError{Op: string(op), Path: name, Err: err}
}

// Create implements FS.
func (m *Mem) Create(name string) (File, error) {
	if err := m.step(OpCreate, name); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, node := m.find(name)
	if dir == nil {
		return nil, memError(OpCreate, name, fs.ErrNotExist)
	}
	if node != nil {
		return nil, memError(OpCreate, name, fs.ErrExist)
	}
	_, disk := m.mount(name)
	f := &memInode{modified: m.now(), disk: disk}
	dir.change([]string{base}, f)
	return &memFile{m: m, node: f, name: name}, nil
}

// Open implements FS.
func (m *Mem) Open(name string, readOnly bool) (File, error) {
	if err := m.step(OpOpen, name); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch _, _, node := m.find(name); node := node.(type) {
	case nil:
		return nil, memError(OpOpen, name, fs.ErrNotExist)
	case *memInode:
		return &memFile{m: m, node: node, name: name, readOnly: readOnly}, nil
	default:
		return nil, memError(OpOpen, name, fmt.Errorf("is not a regular file: %w", fs.ErrInvalid))
	}
}

func (m *Mem) remove(name string, all bool) error {
	if err := m.step(OpRemove, name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, node := m.find(name)
	switch node := node.(type) {
	case nil:
		if all {
			return nil
		}
		return memError(OpRemove, name, fs.ErrNotExist)
	case *memDir:
		if len(node.entries) > 0 && !all {
			return memError(OpRemove, name, syscall.ENOTEMPTY)
		}
		node.free()
	case *memInode:
		node.disk.used -= int64(len(node.data))
	}
	dir.change([]string{base}, nil)
	return nil
}

// Remove implements FS.
func (m *Mem) Remove(name string) error { return m.remove(name, false) }

// RemoveAll implements FS.
func (m *Mem) RemoveAll(name string) error { return m.remove(name, true) }

// Rename implements FS, within one directory only.
func (m *Mem) Rename(oldName, newName string) error {
	if err := m.step(OpRename, newName); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, from, node := m.find(oldName)
	into, to, replaced := m.find(newName)
	if node == nil || into == nil {
		return memError(OpRename, oldName, fs.ErrNotExist)
	}
	if dir != into {
		return memError(OpRename, oldName, syscall.EXDEV)
	}
	if f, ok := replaced.(*memInode); ok {
		f.disk.used -= int64(len(f.data))
	}
	dir.change([]string{to, from}, node, nil)
	return nil
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(name string) error {
	if err := m.step(OpMkdir, name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	dir := m.root
	for _, part := range strings.Split(strings.Trim(filepath.Clean(name), "/"), "/") {
		switch node := dir.entries[part].(type) {
		case nil:
			next := newMemDir()
			dir.change([]string{part}, next)
			dir = next
		case *memDir:
			dir = node
		default:
			return memError(OpMkdir, name, syscall.ENOTDIR)
		}
	}
	return nil
}

// memInfo is both a directory entry and a file's description.
type memInfo struct {
	name     string
	size     int64
	dir      bool
	modified time.Time
}

func (i memInfo) Name() string               { return i.name }
func (i memInfo) Size() int64                { return i.size }
func (i memInfo) ModTime() time.Time         { return i.modified }
func (i memInfo) IsDir() bool                { return i.dir }
func (i memInfo) Sys() any                   { return nil }
func (i memInfo) Info() (fs.FileInfo, error) { return i, nil }
func (i memInfo) Type() fs.FileMode          { return i.Mode().Type() }
func (i memInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}

func describe(name string, node any) memInfo {
	if f, ok := node.(*memInode); ok {
		return memInfo{name: name, size: int64(len(f.data)), modified: f.modified}
	}
	return memInfo{name: name, dir: true}
}

// List implements FS.
func (m *Mem) List(name string) ([]fs.DirEntry, error) {
	if err := m.step(OpList, name); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, _, node := m.find(name)
	dir, ok := node.(*memDir)
	if !ok {
		return nil, memError(OpList, name, fs.ErrNotExist)
	}
	list := make([]fs.DirEntry, 0, len(dir.entries))
	for name, node := range dir.entries {
		list = append(list, describe(name, node))
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return list, nil
}

// Stat implements FS.
func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	if err := m.step(OpStat, name); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, base, node := m.find(name)
	if node == nil {
		return nil, memError(OpStat, name, fs.ErrNotExist)
	}
	return describe(base, node), nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(name string) error {
	if err := m.step(OpSyncDir, name); err != nil {
		return unlessLie(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, _, node := m.find(name)
	dir, ok := node.(*memDir)
	if !ok {
		return memError(OpSyncDir, name, fs.ErrNotExist)
	}
	dir.sync()
	return nil
}

// SyncAll implements FS: of the disk that holds dir, and of those mounted below.
func (m *Mem) SyncAll(dir string) error {
	err := m.step(OpSyncAll, dir)
	if errors.Is(err, errLie) {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	root := m.root
	if at, _ := m.mount(dir); at != "/" {
		if _, _, node := m.find(at); node != nil {
			root = node.(*memDir)
		}
	}
	if err != nil {
		root.cleanAll()
		return err
	}
	root.syncAll()
	return nil
}

type memLock struct {
	m    *Mem
	name string
}

func (l memLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	delete(l.m.locks, l.name)
	return nil
}

// Lock implements FS.
func (m *Mem) Lock(name string) (io.Closer, error) {
	if f, err := m.Create(name); err == nil {
		f.Close()
	} else if _, statErr := m.Stat(name); statErr != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locks[name] {
		return nil, memError("lock", name, ErrLocked)
	}
	m.locks[name] = true
	return memLock{m, name}, nil
}

// Free implements FS.
func (m *Mem) Free(dir string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, disk := m.mount(dir)
	return disk.left(), nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.m.step(OpRead, f.name); err != nil {
		return 0, err
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.closed {
		return 0, memError(OpRead, f.name, fs.ErrClosed)
	}
	if off >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	err := f.m.step(OpWrite, f.name)
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.closed || f.readOnly {
		return 0, memError(OpWrite, f.name, fs.ErrClosed)
	}
	if err != nil {
		p = p[:len(p)/2]
	}
	if grow := off + int64(len(p)) - int64(len(f.node.data)); grow > 0 {
		if short := grow - f.node.disk.left(); short > 0 {
			p = p[:max(0, int64(len(p))-short)]
			if err == nil {
				err = memError(OpWrite, f.name, syscall.ENOSPC)
			}
		}
	}
	if len(p) == 0 {
		return 0, err
	}
	end := off + int64(len(p))
	if grow := end - int64(len(f.node.data)); grow > 0 {
		f.node.dirty = min(f.node.dirty, int64(len(f.node.data)))
		f.node.data = append(f.node.data, make([]byte, grow)...)
		f.node.disk.used += grow
	}
	f.node.dirty = min(f.node.dirty, off)
	f.node.modified = f.m.now()
	return copy(f.node.data[off:], p), err
}

func (f *memFile) Sync() error {
	err := f.m.step(OpSync, f.name)
	if errors.Is(err, errLie) {
		return nil
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err != nil {
		f.node.dirty = int64(len(f.node.data))
		return err
	}
	f.node.sync()
	return nil
}

func (f *memFile) Truncate(size int64) error {
	if err := f.m.step(OpTruncate, f.name); err != nil {
		return err
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	old := int64(len(f.node.data))
	f.node.disk.used += size - old
	if size > old {
		f.node.data = append(f.node.data, make([]byte, size-old)...)
	}
	f.node.data = f.node.data[:size]
	f.node.dirty = min(f.node.dirty, size, old)
	return nil
}

func (f *memFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return int64(len(f.node.data)), nil
}

func (f *memFile) Close() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.closed {
		return memError("close", f.name, fs.ErrClosed)
	}
	f.closed = true
	return nil
}

func (f *memFile) Fd() (int, bool) { return 0, false }
func (f *memFile) Name() string    { return f.name }
