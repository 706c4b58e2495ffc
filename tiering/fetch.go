package tiering

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/tiering/objstore"
)

const (
	// copyBuffer is one piece of a download: larger ones were not faster, and 32 workers
	// hold 8 MiB with it.
	copyBuffer = 256 << 10
	// rangeBytes is what one GET asks for at most. A store reads and verifies whole blocks of
	// its own, MinIO's of 1 MiB, and chunks begin within one: with ranges of 4 MiB it spent
	// half as much again on each byte as with these.
	rangeBytes = 16 << 20
	// maxWaitingJobs bounds the queue; beyond it readers get ErrBusy.
	maxWaitingJobs = 4096
	// failureHold is how long a failed download is answered with its error before it is
	// tried again, so that a broken store is not asked for each poll of each consumer.
	failureHold = 500 * time.Millisecond
)

// Indexes of a flight that is no chunk.
const (
	tailIndex int32 = -1 // the tail of a segment
	viewIndex int32 = -2 // the manifest tree; the object is the zero UUID
)

// flightID names what is being fetched: one download, however many wait (I38).
type flightID struct {
	partition PartitionID // of a view; else zero
	chunkID
}

// job is one GET, or the loading of a tree.
type job struct {
	remote *Remote
	entry  entry
	key    string
	tail   *tail // of a chunk job
	first  int32 // chunk index, tailIndex or viewIndex
	count  int32 // chunks
	ahead  bool  // nobody asked for it yet. Guarded by the fetcher's mu.

	lane *lane // while it waits, see queue
	elem *list.Element
}

// flight is what is on its way, and who wants to hear of it.
type flight struct {
	job     *job
	waiters []*segment.Waiter
}

// failure is a download that failed. It is told at least once.
type failure struct {
	err   error
	until time.Time
	told  bool
}

// fetcher downloads for all partitions of a broker: what readers wait for before what
// is read ahead, and in both fair between partitions.
//
// A job is independent of who asked: a reader that goes away fails nobody (I38). Lock
// order: fetcher.mu, then cache.mu, tailCache.mu or localObjects.mu.
type fetcher struct {
	tier    *Tier
	wake    chan struct{} // holds one element while there may be jobs
	raised  chan struct{} // holds one element once most has changed
	buffers sync.Pool     // of *[]byte, copyBuffer each

	mu       sync.Mutex
	flights  map[flightID]*flight
	failures map[flightID]*failure
	demand   *queue
	ahead    *queue
	waiting  int64
	running  int64
	most     int64 // jobs that run at a time, at least 1
}

func newFetcher(t *Tier) *fetcher {
	return &fetcher{
		tier: t, wake: make(chan struct{}, 1), raised: make(chan struct{}, 1), most: int64(t.o.FetchConcurrency),
		buffers: sync.Pool{New: func() any { b := make([]byte, copyBuffer); return &b }},
		flights: map[flightID]*flight{}, failures: map[flightID]*failure{},
		demand: newQueue(), ahead: newQueue(),
	}
}

// flightOf names part i of a job.
func (j *job) flightOf(i int32) flightID {
	if i == viewIndex {
		return flightID{partition: j.remote.id, chunkID: chunkID{index: i}}
	}
	return flightID{chunkID: chunkID{j.entry.id, i}}
}

// parts are the flights of a job.
func (j *job) parts() []flightID {
	if j.first < 0 {
		return []flightID{j.flightOf(j.first)}
	}
	parts := make([]flightID, 0, j.count)
	for i := j.first; i < j.first+j.count; i++ {
		parts = append(parts, j.flightOf(i))
	}
	return parts
}

// want asks for the first part of j; w is signalled when it is worth asking again. It
// returns ErrNotReady, or the error of the download that failed.
func (f *fetcher) want(j *job, w *segment.Waiter) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	id := j.flightOf(j.first)
	if err := f.failed(id); err != nil {
		return err
	}
	if have, ok := f.flights[id]; ok {
		have.await(w)
		f.promote(have.job)
		return ErrNotReady
	}
	if f.arrived(id) {
		w.Signal()
		return ErrNotReady
	}
	if f.waiting >= maxWaitingJobs {
		return ErrBusy
	}
	f.start(j).await(w)
	return ErrNotReady
}

// hint asks for j ahead of its readers. It tells whether there was room.
func (f *fetcher) hint(j *job) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	id := j.flightOf(j.first)
	if f.flights[id] != nil || f.failures[id] != nil || f.arrived(id) {
		return true
	}
	if f.waiting >= maxWaitingJobs/2 {
		return false
	}
	j.ahead = true
	f.start(j)
	return true
}

// has tells whether a part is here or on its way.
func (f *fetcher) has(id flightID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.flights[id] != nil || f.arrived(id)
}

// start queues a job and returns the flight of its first part. Chunks that are here or
// on their way already end its range. Caller holds mu.
func (f *fetcher) start(j *job) *flight {
	parts := j.parts()
	for i, id := range parts {
		if i > 0 && (f.flights[id] != nil || f.arrived(id)) {
			j.count = int32(i)
			break
		}
		f.flights[id] = &flight{job: j}
	}
	if j.ahead {
		f.ahead.push(j)
	} else {
		f.demand.push(j)
	}
	f.waiting++
	f.signal()
	return f.flights[parts[0]]
}

func (f *fetcher) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// arrived tells whether a part came in since the reader looked. Caller holds mu.
func (f *fetcher) arrived(id flightID) bool {
	switch {
	case id.index == viewIndex:
		return false
	case id.index == tailIndex:
		_, ok := f.tier.tails.get(id.object)
		return ok
	case f.tier.local != nil:
		return f.tier.local.has(id.chunkID)
	default:
		return f.tier.cache.has(id.chunkID)
	}
}

// promote lets a job that was read ahead go before the others, for a reader waits now.
// Caller holds mu.
func (f *fetcher) promote(j *job) {
	if !j.ahead {
		return
	}
	if j.lane != nil {
		f.ahead.remove(j)
		f.demand.push(j)
	}
	j.ahead = false
}

// failed returns the error of a download that failed a moment ago, once at least.
// Caller holds mu.
func (f *fetcher) failed(id flightID) error {
	e, ok := f.failures[id]
	if !ok {
		return nil
	}
	if e.told && !f.tier.o.Now().Before(e.until) {
		delete(f.failures, id)
		return nil
	}
	e.told = true
	return e.err
}

func (w *flight) await(waiter *segment.Waiter) {
	if waiter != nil && !slices.Contains(w.waiters, waiter) {
		w.waiters = append(w.waiters, waiter)
	}
}

// land ends the flight of one part. Where it failed and somebody waits, the error is
// kept for them; what was only read ahead is forgotten.
func (f *fetcher) land(j *job, id flightID, err error) {
	f.mu.Lock()
	w, ok := f.flights[id]
	if !ok || w.job != j {
		f.mu.Unlock()
		return
	}
	delete(f.flights, id)
	if err != nil && (len(w.waiters) > 0 || !w.job.ahead) {
		if len(f.failures) >= maxWaitingJobs {
			clear(f.failures) // only costs another attempt
		}
		f.failures[id] = &failure{err: err, until: f.tier.o.Now().Add(failureHold)}
	}
	f.mu.Unlock()
	for _, waiter := range w.waiters {
		waiter.Signal()
	}
}

// load returns the jobs that run and wait.
func (f *fetcher) load() (running, waiting int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.running, f.waiting
}

// work runs jobs until ctx ends.
func (f *fetcher) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		}
		for j := f.take(); j != nil && ctx.Err() == nil; j = f.take() {
			f.run(ctx, j)
			f.mu.Lock()
			f.running--
			f.mu.Unlock()
		}
	}
}

// bound is how many jobs run at a time, at most.
func (f *fetcher) bound() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.most
}

// setMost changes how many jobs run at a time.
func (f *fetcher) setMost(most int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.most == most {
		return
	}
	f.most = most
	select {
	case f.raised <- struct{}{}:
	default:
	}
	f.signal()
}

// take takes the next job; where more wait it wakes another worker. Where as many run as
// may, whoever is done first takes it.
func (f *fetcher) take() *job {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running >= f.most {
		return nil
	}
	j := f.demand.pop()
	if j == nil {
		j = f.ahead.pop()
	}
	if j == nil {
		return nil
	}
	f.waiting--
	f.running++
	if f.waiting > 0 {
		f.signal()
	}
	return j
}

// run carries a job out. Whatever happens, every part lands.
func (f *fetcher) run(ctx context.Context, j *job) {
	var err error
	switch {
	case j.first == viewIndex:
		err = j.remote.reload(ctx)
	case j.first == tailIndex:
		err = f.tier.fetchTail(ctx, j.remote, &j.entry, j.key)
	case f.tier.local != nil:
		err = f.verifyLocal(ctx, j)
	default:
		err = f.download(ctx, j)
	}
	if errors.Is(err, objstore.ErrNotFound) && j.first != viewIndex {
		err = j.remote.missing(ctx, &j.entry, err)
	}
	for _, id := range j.parts() {
		f.land(j, id, err) // those that landed already are not its own any more
	}
}

// fetchTail reads, verifies and caches the tail of a segment's object.
func (t *Tier) fetchTail(ctx context.Context, r *Remote, n *entry, key string) error {
	size := n.objectSize - n.size
	if size > maxTailBytes {
		return corrupt(key, "tail of %d bytes", size)
	}
	var last error
	for range 2 { // a damaged answer is asked for again, once (I36)
		p, err := t.getAll(ctx, key, n.size, size)
		if err != nil {
			return fmt.Errorf("read tail: %w", err)
		}
		decoded, err := n.openTail(r.id, key, p)
		if err == nil {
			t.tails.put(n.id, decoded)
			return nil
		}
		t.counters.checksumFailures.Add(1)
		last = err
	}
	return last
}

// maxTailBytes bounds what is read as a tail: the indexes of a segment of 2 GiB of the
// smallest batches stay far below it.
const maxTailBytes = 256 << 20

// openTail decodes a tail and makes sure that it is the one the manifest means.
func (n *entry) openTail(p PartitionID, key string, b []byte) (*tail, error) {
	if crc(b) != n.tailCRC {
		return nil, corruptAt(key, n.size, "tail is not the one that the manifest names: CRC %08x, expected %08x", crc(b), n.tailCRC)
	}
	t, id, err := decodeTail(key, b, n.size)
	if err != nil {
		return nil, err
	}
	if id != n.id || t.partition != p || t.base != n.base || t.next != n.next || t.epoch != n.epoch ||
		t.maxTimestamp != n.maxTimestamp || t.logCRC != n.logCRC || t.compaction != n.compaction {
		return nil, corrupt(key, "its footer is of offsets [%d, %d), epoch %d, the manifest says [%d, %d), epoch %d",
			t.base, t.next, t.epoch, n.base, n.next, n.epoch)
	}
	return t, nil
}

// isAhead tells whether nobody waits for a job.
func (f *fetcher) isAhead(j *job) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return j.ahead
}

// reserve makes room for the chunks of a job before the first byte is asked for. What is
// read ahead is given up where there is none; what a reader waits for shrinks to one
// chunk and then waits until others are done with theirs.
func (f *fetcher) reserve(ctx context.Context, j *job) (count int32, err error) {
	timeout := time.NewTimer(f.tier.o.RequestTimeout)
	defer timeout.Stop()
	for count = j.count; ; count = 1 {
		size := j.tail.chunks[j.first+count-1].end() - j.tail.chunks[j.first].position
		freed, err := f.tier.cache.reserve(size, f.isAhead(j))
		if err == nil {
			return count, nil
		}
		if count > 1 {
			continue
		}
		if f.isAhead(j) {
			return 0, err
		}
		select {
		case <-freed:
		case <-timeout.C:
			return 0, fmt.Errorf("%w: %w", ErrBusy, err)
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// download fetches a range of chunks in one GET, writes each to its cache file and
// publishes it as soon as it is verified.
func (f *fetcher) download(ctx context.Context, j *job) error {
	count, err := f.reserve(ctx, j)
	if err != nil {
		return err
	}
	chunks := j.tail.chunks[j.first : j.first+count]
	first, last := chunks[0], chunks[count-1]
	size := last.end() - first.position
	ctx, g := f.tier.guard(ctx, size)
	defer g.stop()
	stream, err := f.tier.open(ctx, j.key, first.position, size)
	if err != nil {
		f.tier.cache.unreserve(size)
		return cause(ctx, err)
	}
	for i, c := range chunks {
		index := j.first + int32(i)
		err := f.fill(ctx, g, j, index, stream)
		if errors.Is(err, errChecksum) {
			err = f.again(ctx, g, j, index)
		}
		if err != nil && !errors.Is(err, errChecksum) {
			f.tier.cache.unreserve(last.end() - c.position)
			return errors.Join(cause(ctx, err), closeQuietly(stream))
		}
		if err != nil {
			f.tier.cache.unreserve(c.size)
			err = corruptAt(j.key, c.position, "chunk CRC mismatch, twice")
		}
		f.land(j, j.flightOf(index), err)
	}
	return closeQuietly(stream)
}

// closeQuietly closes a stream whose bytes were all verified or are worthless: an error
// of close cannot make them less so.
func closeQuietly(c io.Closer) error {
	_ = c.Close()
	return nil
}

// errChecksum: a chunk's bytes are not those that were uploaded.
var errChecksum = errors.New("chunk CRC mismatch")

// again fetches a damaged chunk by itself, once (I36).
func (f *fetcher) again(ctx context.Context, g *guarded, j *job, index int32) error {
	c := j.tail.chunks[index]
	stream, err := f.tier.open(ctx, j.key, c.position, c.size)
	if err != nil {
		return err
	}
	return errors.Join(f.fill(ctx, g, j, index, stream), closeQuietly(stream))
}

// fill copies one chunk from a stream to its cache file and publishes it if its CRC is right.
func (f *fetcher) fill(ctx context.Context, g *guarded, j *job, index int32, stream io.Reader) error {
	c := j.tail.chunks[index]
	into, err := f.tier.cache.begin(chunkID{j.entry.id, index}, c.size)
	if err != nil {
		return err
	}
	sum, err := f.pump(ctx, g, j.key, c, stream, func(p []byte, at int64) error {
		_, err := into.file.WriteAt(p, at)
		return err
	})
	if err == nil && sum != c.crc {
		f.tier.counters.checksumFailures.Add(1)
		err = errChecksum
	}
	if err != nil {
		into.abort()
		return err
	}
	into.commit(f.isAhead(j))
	return nil
}

// pump reads one chunk's bytes in pieces and returns their CRC.
func (f *fetcher) pump(ctx context.Context, g *guarded, key string, c chunk, stream io.Reader, write func(p []byte, at int64) error) (uint32, error) {
	buffer := f.buffers.Get().(*[]byte)
	defer f.buffers.Put(buffer)
	sum := uint32(0)
	for done := int64(0); done < c.size; {
		p := (*buffer)[:min(c.size-done, copyBuffer)]
		if err := f.tier.fetchRate.wait(ctx, len(p)); err != nil {
			return 0, err
		}
		g.progress()
		if _, err := io.ReadFull(stream, p); err != nil {
			return 0, shortRead(key, c.position+done, err)
		}
		g.progress()
		f.tier.counters.getBytes.Add(int64(len(p)))
		sum = crc32.Update(sum, castagnoli, p)
		if err := write(p, done); err != nil {
			return 0, err
		}
		done += int64(len(p))
	}
	return sum, nil
}

// verifyLocal verifies a range of chunks in the object's own file.
func (f *fetcher) verifyLocal(ctx context.Context, j *job) error {
	file, err := f.tier.local.open(j.entry.id, j.key)
	if err != nil {
		return err
	}
	defer file.Release()
	ctx, g := f.tier.guard(ctx, j.tail.chunks[j.first+j.count-1].end()-j.tail.chunks[j.first].position)
	defer g.stop()
	for index := j.first; index < j.first+j.count; index++ {
		c := j.tail.chunks[index]
		var sum uint32
		for range 2 { // a damaged answer is asked for again, once (I36)
			f.tier.counters.getCalls.Add(1)
			sum, err = f.pump(ctx, g, j.key, c, io.NewSectionReader(file, c.position, c.size), func([]byte, int64) error { return nil })
			if err != nil || sum == c.crc {
				break
			}
			f.tier.counters.checksumFailures.Add(1)
		}
		switch {
		case err != nil:
			return cause(ctx, err)
		case sum != c.crc:
			f.land(j, j.flightOf(index), corruptAt(j.key, c.position, "chunk CRC mismatch, twice"))
		default:
			f.tier.local.mark(chunkID{j.entry.id, index}, file)
			f.land(j, j.flightOf(index), nil)
		}
	}
	return nil
}

// objects returns the ids of the objects that are being read.
func (f *fetcher) objects() map[uuid.UUID]bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	ids := map[uuid.UUID]bool{}
	for id := range f.flights {
		ids[id.object] = true
	}
	return ids
}
