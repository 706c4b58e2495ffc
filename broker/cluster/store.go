package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/segment"
)

// defaultLeaseSeconds is Kafka's broker.session.timeout.ms.
const defaultLeaseSeconds = 9

// callTimeout bounds one request to etcd, whatever the caller's context says. etcd
// itself gives up after five seconds and two elections.
const callTimeout = 10 * time.Second

// Options say where etcd is.
type Options struct {
	NodeID int32
	// Dir is the broker's metadata directory: its lock, its id, and the embedded etcd.
	// With Endpoints it may be empty; a dead predecessor's id is then free only when
	// its lease has run out, and every start raises leader epochs.
	Dir       string
	Endpoints []string // external etcd instead
	Login     Login    // of the external etcd
	// LeaseSeconds is the broker session time-out; 0: 9.
	LeaseSeconds int64
	// Logger gets what etcd has to say at error level and above; nil: standard error.
	Logger *zap.Logger
}

// Store is a client of the metadata, with the embedded etcd inside where there is one.
// Its methods are safe for concurrent use. Every write waits until the local image
// shows it, and every call to etcd has a deadline of its own.
//
// Where a write returns ErrUnavailable it may have been applied or may yet be.
type Store struct {
	o         Options
	dir       *directory  // nil: none
	etcd      *embed.Etcd // nil: external
	client    *clientv3.Client
	kv        clientv3.KV // client.KV
	clusterID string
	etcdID    uint64 // id of the etcd cluster, for good

	session session

	mu      sync.Mutex // guards state and the replacement of current; held over no request
	state   *state
	current atomic.Pointer[published]

	running atomic.Bool
	reread  chan struct{} // one token: the watch is to read the state anew
	health  atomic.Pointer[error]

	inFlight creations
}

// published is an image and the channel that closes when a newer one replaces it.
type published struct {
	image    *Image
	replaced chan struct{}
}

// Open starts or dials etcd and reads the first image. The cluster id is made when
// the metadata is new, or must equal clusterID where that is not empty (ErrWrongCluster).
//
// It returns ErrLocked when another process uses o.Dir, and ErrUnavailable when no etcd
// answers in time. It starts no goroutine but those of etcd and its client.
func Open(ctx context.Context, o Options, clusterID string) (_ *Store, err error) {
	if o.LeaseSeconds <= 0 {
		o.LeaseSeconds = defaultLeaseSeconds
	}
	s := &Store{o: o, reread: make(chan struct{}, 1)}
	s.session.turn = make(chan struct{}, 1)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.dir, err = openDirectory(o.Dir); err != nil {
		return nil, err
	}
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	if err := s.identify(ctx, clusterID); err != nil {
		return nil, err
	}
	s.current.Store(&published{image: emptyImage(s.clusterID), replaced: make(chan struct{})})
	if err := s.reload(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Store) connect(ctx context.Context) error {
	if len(s.o.Endpoints) > 0 {
		client, err := dial(ctx, s.o.Endpoints, s.o.Login)
		if err != nil {
			return err
		}
		s.client, s.kv = client, client.KV
		return nil
	}
	if s.dir == nil {
		return fmt.Errorf("%w: neither a metadata directory nor endpoints of etcd are given", ErrInvalid)
	}
	etcd, client, err := startEmbedded(ctx, s.dir.etcd(), s.o.Logger)
	if err != nil {
		return err
	}
	s.etcd, s.client, s.kv = etcd, client, client.KV
	return nil
}

// identify makes or checks the identity of the metadata.
func (s *Store) identify(ctx context.Context, want string) error {
	made := want
	if made == "" {
		id, err := newID()
		if err != nil {
			return err
		}
		made = topicName(id)
	}
	resp, err := s.txn(ctx, "read the cluster id",
		[]clientv3.Cmp{absent(clusterKey)},
		[]clientv3.Op{clientv3.OpPut(clusterKey, encode(clusterRecord{ID: made, Format: formatVersion}))},
		clientv3.OpGet(clusterKey))
	if err != nil {
		return err
	}
	s.etcdID = resp.Header.ClusterId
	if resp.Succeeded {
		s.clusterID = made
		return nil
	}
	var r clusterRecord
	if err := decode(clusterKey, first(resp, 0).Value, &r); err != nil {
		return err
	}
	if r.Format != formatVersion {
		return fmt.Errorf("%w: format %d, this version of varve reads format %d", ErrWrongCluster, r.Format, formatVersion)
	}
	if want != "" && r.ID != want {
		return fmt.Errorf("%w: the metadata is of cluster %s, the data of cluster %s: check the data directory and the endpoints", ErrWrongCluster, r.ID, want)
	}
	s.clusterID = r.ID
	return nil
}

// Run keeps the image current and the broker's lease alive until ctx ends, and then
// returns nil. It rides out an etcd that does not answer; see Health. It returns
// ErrNodeIDTaken, ErrRegressed or ErrCorrupt where going on would be wrong, and
// ErrUnavailable when the embedded etcd has stopped: the broker must stop then.
func (s *Store) Run(ctx context.Context) error {
	if !s.running.CompareAndSwap(false, true) {
		return errors.New("cluster: Run is running already")
	}
	defer func() {
		s.running.Store(false)
		s.wake()
	}()
	group, inner := errgroup.WithContext(ctx)
	group.Go(func() error { return s.follow(inner) })
	group.Go(func() error { return s.heartbeats(inner) })
	if s.etcd != nil {
		group.Go(func() error {
			select {
			case <-inner.Done():
				return nil
			case <-s.etcd.Server.StopNotify():
				return fmt.Errorf("%w: the embedded etcd has stopped", ErrUnavailable)
			}
		})
	}
	if err := group.Wait(); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// Health returns why the metadata store cannot be reached at present, or nil.
func (s *Store) Health() error {
	if err := s.health.Load(); err != nil {
		return *err
	}
	return nil
}

// Close stops the client and the embedded etcd and gives the directory free. Run must
// have returned.
func (s *Store) Close() error {
	var errs []error
	if s.client != nil {
		if err := s.client.Close(); err != nil && !errors.Is(err, context.Canceled) {
			errs = append(errs, fmt.Errorf("close the etcd client: %w", err))
		}
	}
	if s.etcd != nil {
		s.etcd.Close()
	}
	if s.dir != nil {
		errs = append(errs, s.dir.close())
	}
	s.client, s.etcd, s.dir = nil, nil, nil
	return errors.Join(errs...)
}

// Image returns the newest image.
func (s *Store) Image() *Image { return s.current.Load().image }

// Next waits for an image later than after, and says which topics, brokers or configs
// differ: maybe none, for a revision may have changed something else. After nil is the
// empty image: the first Delta lists everything.
func (s *Store) Next(ctx context.Context, after *Image) (*Image, Delta, error) {
	for {
		p := s.current.Load()
		if after == nil || p.image.revision > after.revision {
			return p.image, p.image.since(after), nil
		}
		select {
		case <-p.replaced:
		case <-ctx.Done():
			return nil, Delta{}, ctx.Err()
		}
	}
}

// WaitFor waits until the image has reached revision: read your own writes. The
// revision must be one that changed the image. Where Run is not running it reads the
// state anew.
func (s *Store) WaitFor(ctx context.Context, revision int64) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for {
		p := s.current.Load()
		if p.image.revision >= revision {
			return nil
		}
		if !s.running.Load() {
			if err := s.reload(ctx); err != nil {
				return err
			}
			if at := s.Image().revision; at < revision {
				return fmt.Errorf("%w: wait for revision %d: the store is at %d", ErrInvalid, revision, at)
			}
			continue
		}
		select {
		case <-p.replaced:
		case <-ctx.Done():
			return unavailable(fmt.Sprintf("wait for revision %d of the metadata, the image is at %d", revision, p.image.revision), ctx.Err())
		}
	}
}

// Sync brings the image up to every change that was confirmed before the call, by
// whichever broker.
func (s *Store) Sync(ctx context.Context) error {
	resp, err := s.get(ctx, "read the tally", tallyKey)
	if err != nil || len(resp.Kvs) == 0 {
		return err
	}
	return s.WaitFor(ctx, resp.Kvs[0].ModRevision)
}

// publish makes an image of the state. The caller holds mu.
func (s *Store) publish() error {
	before := s.current.Load()
	image, err := s.state.image(before.image)
	if err != nil {
		return err
	}
	s.replace(before, image)
	return nil
}

func (s *Store) replace(before *published, image *Image) {
	s.current.Store(&published{image: image, replaced: make(chan struct{})})
	close(before.replaced)
}

// wake makes every waiter look again.
func (s *Store) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.current.Load()
	s.replace(before, before.image)
}

// topic looks up a topic by id in the image, and again after a Sync where it is missing.
func (s *Store) topic(ctx context.Context, id segment.TopicID) (*Topic, error) {
	if t, ok := s.Image().TopicByID(id); ok {
		return t, nil
	}
	if err := s.Sync(ctx); err != nil {
		return nil, err
	}
	if t, ok := s.Image().TopicByID(id); ok {
		return t, nil
	}
	return nil, fmt.Errorf("%w: id %s", ErrUnknownTopic, topicName(id))
}
