package tiering

import (
	"container/list"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"

	"github.com/google/uuid"

	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/vfs"
)

// maxOpenChunks bounds the descriptors that the cache keeps open between readers. A
// chunk whose file is closed is opened again by name: a few microseconds.
const maxOpenChunks = 1024

// chunkID names a chunk: objects are immutable and their ids unique.
type chunkID struct {
	object uuid.UUID
	index  int32
}

// cache holds verified chunks in files of one directory, bounded in bytes. Space is
// reserved before a download begins and counted until the file is closed by its last
// reader, unlinked or not (I37). Every operation is O(1).
//
// A cached file is never changed in place, nor used for another chunk: pages that
// sendfile(2) has handed to a socket are the file's own until the peer has read them. A
// reader's reference keeps an evicted one readable (I31). A file is found by the index in
// memory alone, which it enters verified; the directory is emptied at start, so that a
// torn one is never served.
type cache struct {
	fs     vfs.FS
	dir    string
	budget int64

	mu        sync.Mutex
	chunks    map[chunkID]*cached
	lru       *list.List    // of *cached, most recently used first
	open      *list.List    // of *cached whose file is open, most recently used first
	used      int64         // bytes reserved or held
	unread    int64         // of used: fetched ahead and not read yet
	serial    uint64        // for names
	freed     chan struct{} // closed and replaced when used shrinks
	evictions int64
	wasted    int64 // evictions of chunks that nobody read
}

// cached is one chunk in the cache. All fields are guarded by the cache's mu.
type cached struct {
	id      chunkID
	path    string
	size    int64
	linked  bool
	handles int           // open descriptors of the file
	file    *segment.File // kept open for the next reader, or nil
	unread  bool
	lru     *list.Element
	open    *list.Element
}

// newCache empties dir and returns a cache of at most budget bytes in it.
func newCache(f vfs.FS, dir string, budget int64) (*cache, error) {
	if err := f.RemoveAll(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("empty chunk cache: %w", err)
	}
	if err := f.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("create chunk cache: %w", err)
	}
	return &cache{
		fs: f, dir: dir, budget: budget, chunks: map[chunkID]*cached{},
		lru: list.New(), open: list.New(), freed: make(chan struct{}),
	}, nil
}

// has tells whether a chunk is here, without using it.
func (c *cache) has(id chunkID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.chunks[id]
	return ok
}

// get returns a chunk's file with a reference for the caller.
func (c *cache) get(id chunkID) (*segment.File, bool) {
	c.mu.Lock()
	e, ok := c.chunks[id]
	if !ok {
		c.mu.Unlock()
		return nil, false
	}
	c.touch(e)
	if e.file != nil && e.file.Acquire() {
		c.open.MoveToFront(e.open)
		f := e.file
		c.mu.Unlock()
		return f, true
	}
	path := e.path
	e.handles++
	c.mu.Unlock()

	raw, err := c.fs.Open(path, true)
	c.mu.Lock()
	if err != nil {
		c.closed(e)
		c.forget(e)
		c.mu.Unlock()
		return nil, false
	}
	f := segment.NewFile(&countedFile{File: raw, cache: c, entry: e})
	idle := c.keepOpen(e, f)
	c.mu.Unlock()
	release(idle)
	return f, true
}

// touch marks a chunk as read. Caller holds mu.
func (c *cache) touch(e *cached) {
	c.lru.MoveToFront(e.lru)
	if e.unread {
		e.unread = false
		c.unread -= e.size
	}
}

// keepOpen keeps a reference of its own to the file of a linked chunk and returns a file
// that must be released in exchange. Caller holds mu.
func (c *cache) keepOpen(e *cached, f *segment.File) *segment.File {
	if !e.linked || e.file != nil || !f.Acquire() {
		return nil
	}
	e.file, e.open = f, nil
	e.open = c.open.PushFront(e)
	if c.open.Len() <= maxOpenChunks {
		return nil
	}
	return c.dropOpen(c.open.Back().Value.(*cached))
}

// dropOpen gives up the cache's own reference. The caller, who holds mu, releases what
// is returned after unlocking.
func (c *cache) dropOpen(e *cached) *segment.File {
	if e.file == nil {
		return nil
	}
	f := e.file
	c.open.Remove(e.open)
	e.file, e.open = nil, nil
	return f
}

func release(files ...*segment.File) {
	for _, f := range files {
		if f != nil {
			f.Release()
		}
	}
}

// errCacheFull: there is no room that could be made now.
var errCacheFull = errors.New("chunk cache is full")

// reserve takes n bytes of the budget, evicting what was not used for longest. Where that
// does not suffice it returns errCacheFull and a channel that is closed when space is
// freed. Read-ahead may take at most half of the budget for chunks nobody has read yet.
//
// A chunk larger than the whole budget, one batch of that size, is let in when it is
// alone: it has to be delivered (I40).
func (c *cache) reserve(n int64, ahead bool) (<-chan struct{}, error) {
	c.mu.Lock()
	if ahead && c.unread+n > c.budget/2 {
		freed := c.freed
		c.mu.Unlock()
		return freed, errCacheFull
	}
	var victims []*cached
	var idle []*segment.File
	for c.used+n > c.budget {
		last := c.lru.Back()
		if last == nil {
			break
		}
		e := last.Value.(*cached)
		idle = append(idle, c.unlink(e))
		victims = append(victims, e)
		c.evictions++
	}
	c.mu.Unlock()
	release(idle...)
	c.remove(victims)

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used+n > c.budget && c.used > 0 {
		return c.freed, errCacheFull
	}
	c.used += n
	return nil, nil
}

// unlink takes a chunk out of the index; its space is freed when its last descriptor
// closes. Caller holds mu, releases what is returned, and removes the file.
func (c *cache) unlink(e *cached) *segment.File {
	delete(c.chunks, e.id)
	c.lru.Remove(e.lru)
	if e.unread {
		c.unread -= e.size
		c.wasted++
	}
	e.linked, e.unread = false, false
	f := c.dropOpen(e)
	if e.handles == 0 {
		c.free(e.size)
	}
	return f
}

// forget is unlink for a chunk whose file turned out to be gone. Caller holds mu.
func (c *cache) forget(e *cached) {
	if e.linked {
		c.unlink(e)
	}
}

// remove deletes the files of unlinked chunks. A file that cannot be removed costs disk
// space until the next start; there is nobody who could do better.
func (c *cache) remove(victims []*cached) {
	for _, e := range victims {
		_ = c.fs.Remove(e.path)
	}
}

// unreserve gives reserved bytes back.
func (c *cache) unreserve(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.free(n)
}

// free lowers used and wakes who waits for space. Caller holds mu.
func (c *cache) free(n int64) {
	c.used -= n
	close(c.freed)
	c.freed = make(chan struct{})
}

// closed accounts for a descriptor that is gone. Caller holds mu.
func (c *cache) closed(e *cached) {
	e.handles--
	if e.handles == 0 && !e.linked {
		c.free(e.size)
	}
}

// drop removes a chunk that turned out to be damaged.
func (c *cache) drop(id chunkID) {
	c.mu.Lock()
	e, ok := c.chunks[id]
	if !ok {
		c.mu.Unlock()
		return
	}
	f := c.unlink(e)
	c.mu.Unlock()
	release(f)
	c.remove([]*cached{e})
}

// dropObject removes every chunk of an object.
func (c *cache) dropObject(object uuid.UUID, chunks int) {
	for i := range chunks {
		c.drop(chunkID{object, int32(i)})
	}
}

// fill is a chunk that is being written.
type fill struct {
	cache *cache
	id    chunkID
	size  int64
	path  string
	file  vfs.File
}

// begin creates the file of a chunk whose bytes are reserved.
func (c *cache) begin(id chunkID, size int64) (*fill, error) {
	c.mu.Lock()
	c.serial++
	path := filepath.Join(c.dir, fmt.Sprintf("%s-%06d-%d", id.object, id.index, c.serial))
	c.mu.Unlock()
	f, err := c.fs.Create(path)
	if err != nil {
		return nil, fmt.Errorf("create cached chunk: %w", err)
	}
	return &fill{cache: c, id: id, size: size, path: path, file: f}, nil
}

// commit publishes a whole and verified chunk. The reserved bytes are the chunk's now.
func (f *fill) commit(ahead bool) {
	c := f.cache
	e := &cached{id: f.id, path: f.path, size: f.size, linked: true, handles: 1, unread: ahead}
	file := segment.NewFile(&countedFile{File: f.file, cache: c, entry: e})
	c.mu.Lock()
	old, doubled := c.chunks[f.id]
	var dropped *segment.File
	if doubled {
		dropped = c.unlink(old)
	}
	c.chunks[f.id] = e
	e.lru = c.lru.PushFront(e)
	if ahead {
		c.unread += f.size
	}
	idle := c.keepOpen(e, file)
	c.mu.Unlock()
	release(file, idle, dropped)
	if doubled {
		c.remove([]*cached{old})
	}
}

// abort gives up; the reserved bytes are the caller's.
func (f *fill) abort() {
	_ = f.file.Close()
	_ = f.cache.fs.Remove(f.path)
}

// close lets go of every file. Readers keep theirs.
func (c *cache) close() {
	c.mu.Lock()
	var files []*segment.File
	for c.open.Len() > 0 {
		files = append(files, c.dropOpen(c.open.Front().Value.(*cached)))
	}
	c.mu.Unlock()
	release(files...)
}

// countedFile tells the cache when the last reader has gone.
type countedFile struct {
	vfs.File
	cache *cache
	entry *cached
}

// Close implements io.Closer.
func (f *countedFile) Close() error {
	err := f.File.Close()
	f.cache.mu.Lock()
	f.cache.closed(f.entry)
	f.cache.mu.Unlock()
	return err
}
