package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// pageKeys is how many keys one read of the state asks for: about 1.5 MB.
const pageKeys = 10_000

// Waits between attempts to reach an etcd that does not answer.
const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 2 * time.Second
)

// errWatchEnded: etcd's client closed the watch without a reason.
var errWatchEnded = errors.New("the watch ended")

// follow feeds the state from one watch until ctx ends. Whatever ends the watch, it
// goes on from the image's revision; where that cannot be, it reads the state anew.
func (s *Store) follow(ctx context.Context) error {
	backoff := minBackoff
	stale := false
	for ctx.Err() == nil {
		var err error
		if stale {
			err = s.reload(ctx)
		} else {
			err = s.watch(ctx)
		}
		switch {
		case err == nil:
			stale, backoff = false, minBackoff
			s.health.Store(nil)
			continue
		case errors.Is(err, errGap), errors.Is(err, rpctypes.ErrCompacted):
			stale = true
			continue
		case errors.Is(err, ErrCorrupt), errors.Is(err, ErrRegressed):
			return err
		}
		s.health.Store(&err)
		sleep(ctx, backoff)
		backoff = min(2*backoff, maxBackoff)
	}
	return nil
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// watch applies events from the image's revision on until the watch breaks. errGap: the
// state must be read anew.
func (s *Store) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	events := s.client.Watch(ctx, imageRoot, clientv3.WithPrefix(), clientv3.WithRev(s.Image().revision+1))
	for {
		select {
		case <-s.reread:
			return errGap
		case resp, ok := <-events:
			if !ok {
				return unavailable("watch the metadata", errWatchEnded)
			}
			if err := resp.Err(); err != nil {
				return unavailable("watch the metadata", err)
			}
			if err := s.take(resp.Events); err != nil {
				return err
			}
		}
	}
}

// take applies the events of one response, which holds whole revisions, and publishes.
func (s *Store) take(events []*clientv3.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.state.revision
	if err := s.state.apply(events); err != nil {
		return err
	}
	if s.state.revision == before {
		return nil
	}
	return s.publish()
}

// reload reads the state anew, at one revision, and publishes its image. It returns
// ErrRegressed where the store is behind what the image had before the read, or is
// another store.
func (s *Store) reload(ctx context.Context) error {
	known := s.Image().revision
	fresh, err := s.read(ctx)
	if err != nil {
		return err
	}
	if fresh.revision < known {
		return s.regressed(fresh.revision)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.current.Load()
	if fresh.revision < before.image.revision {
		return nil // another reader was faster
	}
	image, err := fresh.image(emptyImage(s.clusterID))
	if err != nil {
		return err
	}
	image.edition = before.image.edition + 1
	image.topicsAt, image.brokersAt, image.configsAt, image.quotasAt, image.metricsAt = image.edition, image.edition, image.edition, image.edition, image.edition
	image.adopt(before.image)
	s.state = fresh
	s.replace(before, image)
	return nil
}

func (s *Store) regressed(revision int64) error {
	return fmt.Errorf("%w: from revision %d to %d: it was restored from a backup or lost its disk; restart this broker",
		ErrRegressed, s.Image().revision, revision)
}

// read reads all keys of the image, page by page, as of the first page's revision. It
// begins again where compaction overtakes it.
func (s *Store) read(ctx context.Context) (*state, error) {
	for {
		fresh, err := s.readPages(ctx)
		if !errors.Is(err, rpctypes.ErrCompacted) {
			return fresh, err
		}
	}
}

func (s *Store) readPages(ctx context.Context) (*state, error) {
	fresh := newState(s.clusterID)
	end := clientv3.GetPrefixRangeEnd(imageRoot)
	from := imageRoot
	for {
		resp, err := s.get(ctx, "read the metadata", from,
			clientv3.WithRange(end), clientv3.WithLimit(pageKeys), clientv3.WithRev(fresh.revision))
		if err != nil {
			return nil, err
		}
		if resp.Header.ClusterId != s.etcdID {
			return nil, fmt.Errorf("%w: etcd cluster %x answers, it was %x", ErrRegressed, resp.Header.ClusterId, s.etcdID)
		}
		if fresh.revision == 0 {
			fresh.revision = resp.Header.Revision
		}
		for _, kv := range resp.Kvs {
			if err := fresh.put(kv); err != nil {
				return nil, err
			}
		}
		if !resp.More {
			return fresh, nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}
