package tiering

import (
	"container/list"
	"sync"

	"github.com/google/uuid"
)

// tailCacheBytes bounds the memory of decoded tails. A segment of 1 GiB has some 5 MB of
// indexes, one of 64 MiB a sixteenth of that: a dozen to hundreds of segments stay open.
const tailCacheBytes = 64 << 20

// tailCache keeps decoded tails, least recently used out first.
type tailCache struct {
	budget int64

	mu    sync.Mutex
	tails map[uuid.UUID]*list.Element // of cachedTail; guarded by mu
	lru   *list.List                  // guarded by mu
	used  int64                       // bytes; guarded by mu
}

type cachedTail struct {
	id   uuid.UUID
	tail *tail
}

func newTailCache(budget int64) *tailCache {
	return &tailCache{budget: budget, tails: map[uuid.UUID]*list.Element{}, lru: list.New()}
}

func (c *tailCache) get(id uuid.UUID) (*tail, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.tails[id]
	if !ok {
		return nil, false
	}
	c.lru.MoveToFront(e)
	return e.Value.(cachedTail).tail, true
}

// put adds a tail. One that is larger than the budget stays until the next comes.
func (c *tailCache) put(id uuid.UUID, t *tail) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.tails[id]; ok {
		return
	}
	for c.used+t.memory > c.budget && c.lru.Len() > 0 {
		c.remove(c.lru.Back())
	}
	c.tails[id] = c.lru.PushFront(cachedTail{id, t})
	c.used += t.memory
}

func (c *tailCache) drop(id uuid.UUID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.tails[id]; ok {
		c.remove(e)
	}
}

func (c *tailCache) remove(e *list.Element) {
	t := c.lru.Remove(e).(cachedTail)
	delete(c.tails, t.id)
	c.used -= t.tail.memory
}
