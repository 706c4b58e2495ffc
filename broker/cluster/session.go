package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// session is this process's lease and registration.
type session struct {
	// turn is held, as a token, by whoever changes lease or registration: these take
	// requests to etcd, and no mutex is held over one.
	turn   chan struct{}
	lease  atomic.Int64           // clientv3.LeaseID, 0: none
	broker atomic.Pointer[Broker] // nil: not registered; Epoch is the broker epoch
}

func (s *session) take(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *session) give() { <-s.turn }

// grant returns the session's lease, and makes one where there is none. The caller has
// the turn.
func (s *Store) grant(ctx context.Context) (clientv3.LeaseID, error) {
	if id := s.session.lease.Load(); id != 0 {
		return clientv3.LeaseID(id), nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := s.client.Grant(ctx, s.o.LeaseSeconds)
	if err != nil {
		return 0, unavailable("get a lease", err)
	}
	s.session.lease.Store(int64(resp.ID))
	return resp.ID, nil
}

// lease is grant for those who have not the turn.
func (s *Store) lease(ctx context.Context) (clientv3.LeaseID, error) {
	if id := s.session.lease.Load(); id != 0 {
		return clientv3.LeaseID(id), nil
	}
	if err := s.session.take(ctx); err != nil {
		return 0, unavailable("get a lease", err)
	}
	defer s.session.give()
	return s.grant(ctx)
}

// revoke ends a lease; the keys under it are gone when it returns nil.
func (s *Store) revoke(ctx context.Context, id clientv3.LeaseID) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err := s.client.Revoke(ctx, id); err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return unavailable("revoke a lease", err)
	}
	return nil
}

// Register puts the broker under its lease; ErrNodeIDTaken where a live one has the
// id. With it this broker takes leadership of partitions whose leader is none or a
// previous incarnation of itself (see the package comment), and of the cluster where
// it has no controller. The image shows all of it on return.
//
// Where the id is registered by a process that may still live, it waits for the lease
// to run out: up to the LeaseSeconds of that process.
func (s *Store) Register(ctx context.Context, b Broker) error {
	if b.ID != s.o.NodeID || b.ID < 0 {
		return fmt.Errorf("%w: register broker %d: this node is %d", ErrInvalid, b.ID, s.o.NodeID)
	}
	if b.Incarnation == "" {
		b.Incarnation = uuid.NewString()
	}
	if err := s.session.take(ctx); err != nil {
		return unavailable("register", err)
	}
	defer s.session.give()
	if s.session.broker.Load() != nil {
		return fmt.Errorf("%w: broker %d is registered already", ErrInvalid, b.ID)
	}
	if err := s.evict(ctx); err != nil {
		return err
	}
	err := s.begin(ctx, b)
	if err != nil {
		s.session.broker.Store(nil) // a repeated Register begins anew
	}
	return err
}

// begin enters the cluster and takes what this broker leads.
func (s *Store) begin(ctx context.Context, b Broker) error {
	clean, err := s.enter(ctx, b)
	if err != nil {
		return err
	}
	if err := s.campaign(ctx); err != nil {
		return err
	}
	return s.lead(ctx, clean && !b.Unclean)
}

// enter creates the broker key and consumes the mark of a clean stop, which it reports.
// ErrNodeIDTaken: there is a broker key.
func (s *Store) enter(ctx context.Context, b Broker) (clean bool, err error) {
	lease, err := s.grant(ctx)
	if err != nil {
		return false, err
	}
	mark, err := s.one(ctx, stoppedKey(b.ID))
	if err != nil {
		return false, err
	}
	clean, err = s.stoppedHere(mark)
	if err != nil {
		return false, err
	}
	resp, err := s.change(ctx, fmt.Sprintf("register broker %d", b.ID),
		[]clientv3.Cmp{absent(brokerKey(b.ID)), unchanged(stoppedKey(b.ID), revisionOf(mark))},
		[]clientv3.Op{
			clientv3.OpPut(brokerKey(b.ID), encode(registration{Broker: b, Directory: s.directoryID()}), clientv3.WithLease(lease)),
			clientv3.OpDelete(stoppedKey(b.ID)),
		})
	if err != nil {
		if errors.Is(err, rpctypes.ErrLeaseNotFound) {
			s.session.lease.Store(0)
		}
		return false, err
	}
	if !resp.Succeeded {
		return false, fmt.Errorf("%w: %d", ErrNodeIDTaken, b.ID)
	}
	b.Epoch = resp.Header.Revision
	s.session.broker.Store(&b)
	return clean, s.WaitFor(ctx, b.Epoch)
}

// stoppedHere reports whether the mark says that this directory's last broker stopped
// cleanly.
func (s *Store) stoppedHere(mark *mvccpb.KeyValue) (bool, error) {
	if mark == nil || s.dir == nil {
		return false, nil
	}
	var r stoppedRecord
	if err := decode(string(mark.Key), mark.Value, &r); err != nil {
		return false, err
	}
	return r.Directory == s.dir.id, nil
}

func (s *Store) directoryID() string {
	if s.dir == nil {
		return ""
	}
	return s.dir.id
}

// evict removes the registration of a dead predecessor: at once where it names our
// directory, whose lock we hold; otherwise when its lease has run out.
func (s *Store) evict(ctx context.Context) error {
	key := brokerKey(s.o.NodeID)
	kv, err := s.one(ctx, key)
	if err != nil || kv == nil {
		return err
	}
	var r registration
	if err := decode(key, kv.Value, &r); err != nil {
		return err
	}
	ours := kv.Lease != 0 && kv.Lease == s.session.lease.Load() // of an attempt whose answer was lost
	sameDirectory := s.dir != nil && r.Directory == s.dir.id
	if !ours && !sameDirectory {
		return s.outwait(ctx, kv)
	}
	s.session.lease.CompareAndSwap(kv.Lease, 0)
	if kv.Lease != 0 {
		if err := s.revoke(ctx, clientv3.LeaseID(kv.Lease)); err != nil {
			return err
		}
	}
	_, err = s.change(ctx, "remove the registration of a dead predecessor",
		[]clientv3.Cmp{unchanged(key, kv.ModRevision)}, []clientv3.Op{clientv3.OpDelete(key)})
	return err
}

// outwait waits until the broker key has gone with its lease. It returns ErrNodeIDTaken
// when the lease was renewed meanwhile.
func (s *Store) outwait(ctx context.Context, kv *mvccpb.KeyValue) error {
	taken := fmt.Errorf("%w: %d: stop that broker or give this one another node.id", ErrNodeIDTaken, s.o.NodeID)
	if kv.Lease == 0 {
		return taken
	}
	short, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	left, err := s.client.TimeToLive(short, clientv3.LeaseID(kv.Lease))
	if err != nil {
		return unavailable("read the lease of the registered broker", err)
	}
	// Two seconds more: etcd cuts to whole seconds, and looks twice a second for leases
	// that have run out.
	wait := time.NewTimer(time.Duration(max(left.TTL, 0)+2) * time.Second)
	defer wait.Stop()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	events := s.client.Watch(ctx, string(kv.Key), clientv3.WithRev(kv.ModRevision+1))
	for {
		select {
		case <-wait.C:
			return taken
		case resp, ok := <-events:
			if !ok {
				return unavailable("wait for the lease of the registered broker", errors.Join(errWatchEnded, ctx.Err()))
			}
			if err := resp.Err(); err != nil {
				return unavailable("wait for the lease of the registered broker", err)
			}
			for _, e := range resp.Events {
				if e.Type == mvccpb.DELETE {
					return nil
				}
			}
		}
	}
}

// Deregister removes the broker at a clean stop: when every log is flushed and closed,
// for it vouches to the next start that the logs end where they ended. A broker whose
// logs failed must not call it. Without a registration it does nothing.
func (s *Store) Deregister(ctx context.Context) error {
	if err := s.session.take(ctx); err != nil {
		return unavailable("deregister", err)
	}
	defer s.session.give()
	b := s.session.broker.Load()
	if b == nil {
		return nil
	}
	then := []clientv3.Op{clientv3.OpDelete(brokerKey(b.ID))}
	if s.dir != nil {
		then = append(then, clientv3.OpPut(stoppedKey(b.ID), encode(stoppedRecord{Directory: s.dir.id})))
	}
	if _, err := s.change(ctx, "deregister", []clientv3.Cmp{created(brokerKey(b.ID), b.Epoch)}, then); err != nil {
		return err
	}
	s.session.broker.Store(nil)
	// The controller key and keys of unfinished creations go with the lease.
	return s.revoke(ctx, clientv3.LeaseID(s.session.lease.Swap(0)))
}

// heartbeats keeps the lease alive, and audits the watch, until ctx ends.
func (s *Store) heartbeats(ctx context.Context) error {
	tick := time.NewTicker(time.Duration(s.o.LeaseSeconds) * time.Second / 3)
	defer tick.Stop()
	var confirmed int64 // revision that the image must have reached by the next beat
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := s.heartbeat(ctx)
		if err == nil {
			confirmed, err = s.audit(ctx, confirmed)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrNodeIDTaken), errors.Is(err, ErrRegressed), errors.Is(err, ErrCorrupt):
			return err
		case err != nil:
			s.health.Store(&err)
		default:
			s.health.Store(nil)
		}
	}
}

// heartbeat renews the lease. Where it or the registration is lost, it registers again;
// where the cluster has no controller, it runs for it.
func (s *Store) heartbeat(ctx context.Context) error {
	if err := s.session.take(ctx); err != nil {
		return err
	}
	defer s.session.give()
	lost, err := s.renew(ctx)
	if err != nil {
		return err
	}
	b := s.session.broker.Load()
	if b == nil {
		return nil
	}
	image := s.Image()
	if seen, ok := image.broker(b.ID); lost || !ok || seen.Epoch != b.Epoch {
		return s.rejoin(ctx, *b)
	}
	if image.controller < 0 {
		return s.campaign(ctx)
	}
	return nil
}

// renew keeps the lease alive, or forgets it and reports it lost where etcd has ended it.
func (s *Store) renew(ctx context.Context) (lost bool, err error) {
	id := s.session.lease.Load()
	if id == 0 {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, min(callTimeout, time.Duration(s.o.LeaseSeconds)*time.Second))
	defer cancel()
	_, err = s.client.KeepAliveOnce(ctx, clientv3.LeaseID(id))
	switch {
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		s.session.lease.CompareAndSwap(id, 0)
		return true, nil
	case err != nil:
		return false, unavailable("renew the lease", err)
	}
	return false, nil
}

// rejoin registers again, with a new broker epoch, after the lease was lost. It returns
// ErrNodeIDTaken where another broker has the id by now. Leader keys stand: whoever
// registered under our id in between has written them anew, which the image shows.
func (s *Store) rejoin(ctx context.Context, b Broker) error {
	kv, err := s.one(ctx, brokerKey(b.ID))
	switch {
	case err != nil:
		return err
	case kv == nil:
		if _, err := s.enter(ctx, b); err != nil {
			return err
		}
	case kv.Lease == 0 || kv.Lease != s.session.lease.Load():
		return fmt.Errorf("%w: %d", ErrNodeIDTaken, b.ID)
	default: // ours, of a registration whose answer was lost
		b.Epoch = kv.CreateRevision
		s.session.broker.Store(&b)
		if err := s.WaitFor(ctx, kv.ModRevision); err != nil {
			return err
		}
	}
	if err := s.campaign(ctx); err != nil {
		return err
	}
	return s.lead(ctx, true)
}

// audit reads the tally linearizably. It returns the revision that the image has to show
// by the next audit, has the state read anew where it does not show that of the last
// one, and returns ErrRegressed where the store is behind the image.
func (s *Store) audit(ctx context.Context, confirmed int64) (int64, error) {
	shown := s.Image().revision
	resp, err := s.get(ctx, "read the tally", tallyKey)
	if err != nil {
		return confirmed, err
	}
	if resp.Header.ClusterId != s.etcdID || resp.Header.Revision < shown {
		return confirmed, s.regressed(resp.Header.Revision)
	}
	if shown < confirmed {
		select {
		case s.reread <- struct{}{}:
		default: // asked already
		}
	}
	if len(resp.Kvs) == 0 {
		return 0, nil
	}
	return resp.Kvs[0].ModRevision, nil
}
