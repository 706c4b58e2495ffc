package tiering

import (
	"container/list"
	"fmt"
	"sync"

	"github.com/google/uuid"

	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/vfs"
	"github.com/varvelog/varve/tiering/objstore"
)

// maxLocalObjects bounds the objects that are kept open where the bucket is a directory
// of this machine. One that is opened again has its chunks verified again.
const maxLocalObjects = 1024

// localObjects serves chunks from the objects' own files: no copy in the cache. Each
// chunk is verified once before its first reader sees it.
type localObjects struct {
	bucket objstore.Local

	mu      sync.Mutex
	objects map[uuid.UUID]*localObject // guarded by mu
	lru     *list.List                 // of *localObject; guarded by mu
}

// localObject is an open object. Fields but file are guarded by localObjects.mu.
type localObject struct {
	id       uuid.UUID
	file     *segment.File
	verified map[int32]bool // chunks
	elem     *list.Element
}

func newLocalObjects(b objstore.Local) *localObjects {
	return &localObjects{bucket: b, objects: map[uuid.UUID]*localObject{}, lru: list.New()}
}

// get returns the object's file with a reference for the caller, if the chunk was verified.
func (l *localObjects) get(id chunkID) (*segment.File, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o, ok := l.objects[id.object]
	if !ok || !o.verified[id.index] || !o.file.Acquire() {
		return nil, false
	}
	l.lru.MoveToFront(o.elem)
	return o.file, true
}

func (l *localObjects) has(id chunkID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	o, ok := l.objects[id.object]
	return ok && o.verified[id.index]
}

// open returns the object's file with a reference for the caller.
func (l *localObjects) open(id uuid.UUID, key string) (*segment.File, error) {
	l.mu.Lock()
	if o, ok := l.objects[id]; ok && o.file.Acquire() {
		l.mu.Unlock()
		return o.file, nil
	}
	l.mu.Unlock()
	raw, err := l.bucket.OpenLocal(key)
	if err != nil {
		return nil, err
	}
	file := segment.NewFile(localFile{raw})

	l.mu.Lock()
	var drop []*segment.File
	if o, ok := l.objects[id]; ok && o.file.Acquire() { // somebody was faster
		drop, file = append(drop, file), o.file
	} else {
		file.Acquire() // one reference stays here
		o := &localObject{id: id, file: file, verified: map[int32]bool{}}
		o.elem = l.lru.PushFront(o)
		l.objects[id] = o
		if l.lru.Len() > maxLocalObjects {
			drop = append(drop, l.remove(l.lru.Back()))
		}
	}
	l.mu.Unlock()
	release(drop...)
	return file, nil
}

// mark says that a chunk of a file that open returned has been verified.
func (l *localObjects) mark(id chunkID, file *segment.File) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o, ok := l.objects[id.object]; ok && o.file == file {
		o.verified[id.index] = true
	}
}

// drop forgets an object; readers keep its file.
func (l *localObjects) drop(id uuid.UUID) {
	l.mu.Lock()
	var f *segment.File
	if o, ok := l.objects[id]; ok {
		f = l.remove(o.elem)
	}
	l.mu.Unlock()
	release(f)
}

func (l *localObjects) close() {
	l.mu.Lock()
	var files []*segment.File
	for l.lru.Len() > 0 {
		files = append(files, l.remove(l.lru.Back()))
	}
	l.mu.Unlock()
	release(files...)
}

// remove takes an object out of the index. The caller, who holds mu, releases its file
// after unlocking.
func (l *localObjects) remove(e *list.Element) *segment.File {
	o := l.lru.Remove(e).(*localObject)
	delete(l.objects, o.id)
	return o.file
}

// localFile makes a vfs.File of an object that is only read.
type localFile struct {
	osFile
}

// osFile is what an *os.File offers that a reader needs.
type osFile interface {
	ReadAt(p []byte, position int64) (int, error)
	Close() error
	Fd() uintptr
	Name() string
}

var _ vfs.File = localFile{}

// Fd implements vfs.File.
func (f localFile) Fd() (int, bool) { return int(f.osFile.Fd()), true }

// Size implements vfs.File; nobody asks an object of the bucket for it.
func (f localFile) Size() (int64, error) { return 0, errReadOnly(f.Name()) }

// WriteAt, Sync and Truncate implement vfs.File by refusing.
func (f localFile) WriteAt([]byte, int64) (int, error) { return 0, errReadOnly(f.Name()) }

// Sync refuses.
func (f localFile) Sync() error { return errReadOnly(f.Name()) }

// Truncate refuses.
func (f localFile) Truncate(int64) error { return errReadOnly(f.Name()) }

func errReadOnly(name string) error { return fmt.Errorf("%s is an object and only read", name) }
