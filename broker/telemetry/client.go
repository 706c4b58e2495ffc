package telemetry

import (
	"container/list"
	"errors"
	"time"
)

// Why a request is refused; api has the code of each.
var (
	ErrInvalidRequest         = errors.New("client has said that it terminates, or has no client instance id")
	ErrThrottled              = errors.New("request came before the next push interval")
	ErrUnknownSubscription    = errors.New("subscription is not the client's, or not any more")
	ErrUnsupportedCompression = errors.New("unknown compression type")
	ErrTooLarge               = errors.New("push is larger than telemetry.max.bytes")
	ErrInvalidRecord          = errors.New("push cannot be read")
)

// instance is a client instance that this broker knows. One that comes from another
// broker, or that was forgotten, begins anew: its first request is never too early.
//
//	Get ──► subscribed ──Push──► pushing ──Push, terminating──► terminating
//	             ▲                  │                            refuses pushes
//	             └── the subscriptions have changed, in any state
type instance struct {
	id           ID
	edition      int64 // of the subscriptions that subscription is of
	subscription Subscription
	own          []label // of each of its series
	address      string
	member       string // of a group, "": of none

	lastGet, lastPush time.Time
	terminating       bool
	lastError         error // of its last request

	expires time.Time // unless it asks before
	recent  *list.Element
	series  map[string]*series // by key
}

// admitGet decides whether the client may ask for its subscription now: once an interval,
// and at once where it was told that its subscription or compression is not good any more.
func (i *instance) admitGet(now time.Time) error {
	last := i.lastGet
	if i.lastPush.After(last) {
		last = i.lastPush
	}
	switch {
	case now.Sub(last) >= i.subscription.Interval:
		i.lastGet = now
	case errors.Is(i.lastError, ErrUnknownSubscription), errors.Is(i.lastError, ErrUnsupportedCompression):
	default:
		return ErrThrottled
	}
	i.lastError = nil
	return nil
}

// admitPush decides whether a push is taken, in the order of Kafka's checks: once an
// interval. The first after a Get may come at any time, since the Get was an interval
// after the push before it: the client's own jitter lets it come after half of the
// interval (KIP-714). The last push may always come early.
func (i *instance) admitPush(now time.Time, p *Push, maxBytes int) error {
	if i.terminating {
		return ErrInvalidRequest
	}
	if now.Sub(i.lastPush) >= i.subscription.Interval {
		i.lastPush = now
	} else if !p.Terminating {
		return ErrThrottled
	}
	switch {
	case p.SubscriptionID != i.subscription.ID:
		return ErrUnknownSubscription
	case p.Codec < 0 || p.Codec > maxCodec:
		return ErrUnsupportedCompression
	case len(p.Metrics) > maxBytes:
		return ErrTooLarge
	}
	return nil
}
