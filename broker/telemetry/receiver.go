package telemetry

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/segment/batch"
)

const (
	// maxClients is how many client instances are known, as in Kafka. The one that has
	// been silent for longest is forgotten for a new one.
	maxClients = 16 << 10

	// decompressed is how many times telemetry.max.bytes a push may have when it is
	// decompressed. What clients push shrinks to a tenth at best.
	decompressed = 16

	// decoders is how many pushes are decompressed and decoded at a time: they need
	// memory, and one takes a millisecond or less.
	decoders = 2

	// expiryIntervals is after how many push intervals without a request a client is
	// forgotten, as in Kafka.
	expiryIntervals = 3

	maxCodec = int8(batch.Zstd)
)

// Codecs are those that clients are told to push with, best first, by their numbers in
// record batches. Without compression is taken, too.
var Codecs = []int8{int8(batch.Zstd), int8(batch.LZ4), int8(batch.Gzip), int8(batch.Snappy)}

// Options make a Receiver.
type Options struct {
	MaxBytes           int           // of a push as it comes, compressed
	MaxSeries          int           // of all clients
	MaxSeriesPerClient int           // of one
	Retention          time.Duration // of the metrics of a silent client, if three intervals are less
	NewID              func() ID     // random
}

// Receiver knows the clients and the newest values of their metrics. Its methods may be
// called by any goroutine.
type Receiver struct {
	options Options
	decoder chan struct{} // has room for decoders

	mu            sync.Mutex
	edition       int64 // of subscriptions: grows with each change
	subscriptions []config.Subscription
	clients       map[ID]*instance
	recent        *list.List // of *instance, who asked last first
	series        int        // of all clients
	stats         Stats
}

// New makes a Receiver without subscriptions.
func New(o Options) *Receiver {
	return &Receiver{options: o, decoder: make(chan struct{}, decoders), clients: make(map[ID]*instance), recent: list.New()}
}

// SetSubscriptions replaces the subscriptions. A client learns of it when it pushes, and
// may then ask at once.
func (r *Receiver) SetSubscriptions(all []config.Subscription) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.subscriptions = all
	r.edition++
}

// Get tells a client its subscription and its id, a new one if it has none yet. It
// returns ErrThrottled.
func (r *Receiver) Get(now time.Time, c Client) (ID, Subscription, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.InstanceID == (ID{}) {
		c.InstanceID = r.newID()
	}
	i := r.instance(now, &c)
	if err := i.admitGet(now); err != nil {
		r.stats.count(err)
		return ID{}, Subscription{}, err
	}
	return i.id, i.subscription, nil
}

// Push is one of a client's pushes.
type Push struct {
	SubscriptionID int32
	Terminating    bool // the last one
	Codec          int8 // as of record batches
	Metrics        []byte
}

// Push takes a push. It waits while others are decoded, and not for them when ctx ends:
// the push is then lost. p's bytes are not kept. It returns one of the errors of this
// package, or ctx's.
func (r *Receiver) Push(ctx context.Context, now time.Time, c Client, p Push) error {
	if slices.Contains(reserved, c.InstanceID) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.stats.count(ErrInvalidRequest)
		return ErrInvalidRequest
	}
	if err := r.admit(now, &c, &p); err != nil {
		return err
	}
	d, err := r.decode(ctx, &p)
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.instance(now, &c)
	if i.lastError = err; err != nil {
		r.stats.count(err)
		return err
	}
	r.stats.Pushes++
	r.stats.Bytes += int64(len(p.Metrics))
	r.keep(i, now, d)
	return nil
}

func (r *Receiver) admit(now time.Time, c *Client, p *Push) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.instance(now, c)
	err := i.admitPush(now, p, r.options.MaxBytes)
	i.lastError, i.terminating = err, p.Terminating
	r.stats.count(err)
	return err
}

func (r *Receiver) decode(ctx context.Context, p *Push) (*decoder, error) {
	if len(p.Metrics) == 0 {
		return new(decoder), nil // by any codec
	}
	select {
	case r.decoder <- struct{}{}:
		defer func() { <-r.decoder }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	most := int64(r.options.MaxBytes) * decompressed
	metrics, err := batch.Decompress(batch.Codec(p.Codec), p.Metrics, most)
	switch {
	case errors.Is(err, batch.ErrTooLarge):
		return nil, fmt.Errorf("%w: of %d bytes when decompressed", ErrTooLarge, most)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrInvalidRecord, err)
	}
	return decode(metrics, r.options.MaxSeriesPerClient)
}

// newID returns an id that no client has. Kafka's tools print ids, and take one that
// begins with a dash for an option.
func (r *Receiver) newID() ID {
	for {
		id := r.options.NewID()
		if _, known := r.clients[id]; !known && !slices.Contains(reserved, id) && !strings.HasPrefix(id.String(), "-") {
			return id
		}
	}
}

// instance returns that of a client, by the subscriptions as they are now.
func (r *Receiver) instance(now time.Time, c *Client) *instance {
	i := r.clients[c.InstanceID]
	if i == nil {
		i = r.add(c)
	}
	if i.edition != r.edition {
		i.edition, i.subscription = r.edition, subscribe(c, r.subscriptions)
		i.lastGet, i.lastPush, i.terminating, i.lastError = time.Time{}, time.Time{}, false, nil
	}
	i.expires = now.Add(r.patience(i))
	r.recent.MoveToFront(i.recent)
	return i
}

func (r *Receiver) add(c *Client) *instance {
	if len(r.clients) >= maxClients {
		r.forget(r.recent.Back().Value.(*instance))
	}
	i := &instance{id: c.InstanceID, edition: -1, own: ownLabels(c), address: c.Address, series: make(map[string]*series)}
	i.recent = r.recent.PushFront(i)
	r.clients[i.id] = i
	return i
}

// forget drops a client and all of its series.
func (r *Receiver) forget(i *instance) {
	r.series -= len(i.series)
	r.recent.Remove(i.recent)
	delete(r.clients, i.id)
}

// counterPatience is how long a counter is kept that its client pushes no more, though it
// pushes: franz-go leaves out what has not changed, and so a total is as true as before.
// A gauge is not.
const counterPatience = time.Hour

// patience is how long a client that is silent is kept, or a gauge.
func (r *Receiver) patience(i *instance) time.Duration {
	return max(r.options.Retention, expiryIntervals*i.subscription.Interval)
}

// Expire forgets the clients that have been silent for too long, and the series that
// others have pushed no more.
func (r *Receiver) Expire(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range r.clients {
		if !now.Before(i.expires) {
			r.forget(i)
			continue
		}
		gauges := r.patience(i)
		counters := max(gauges, counterPatience)
		for key, s := range i.series {
			if age := now.Sub(s.seen); age >= counters || age >= gauges && !s.counter {
				delete(i.series, key)
				r.series--
			}
		}
	}
}
