package api

import (
	"context"
	"errors"
	"sync"

	"github.com/varvelog/varve/broker/cluster"
)

// creations lets one request at a time create the topic of a name: thousands of members
// that join at once all need the coordinator's, and each attempt writes its partitions to
// etcd before it knows whether it was the first. The zero value is ready.
type creations struct {
	mu       sync.Mutex
	underway map[string]*creation
}

// creation is a turn that one request has, and some may wait for.
type creation struct {
	turn    chan struct{} // holds one token
	waiting int           // who has it or waits for it; guarded by creations.mu
	err     error         // what all who wait would meet, one after the other; guarded by the turn
}

// begin waits for the turn of a name, until ctx ends or the metadata are unavailable to
// somebody before. The caller has to call done with what came of it.
func (c *creations) begin(ctx context.Context, name string) (done func(error), err error) {
	c.mu.Lock()
	u := c.underway[name]
	if u == nil {
		u = &creation{turn: make(chan struct{}, 1)}
		if c.underway == nil {
			c.underway = map[string]*creation{}
		}
		c.underway[name] = u
	}
	u.waiting++
	c.mu.Unlock()
	leave := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if u.waiting--; u.waiting == 0 {
			delete(c.underway, name)
		}
	}
	select {
	case u.turn <- struct{}{}:
		done = func(err error) {
			if errors.Is(err, cluster.ErrUnavailable) {
				u.err = err
			}
			<-u.turn
			leave()
		}
		if err := u.err; err != nil {
			done(nil)
			return nil, err
		}
		return done, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
