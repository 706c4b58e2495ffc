package coordinator

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/coordinator/group"
)

// waiter is a request that waits for its answer.
type waiter struct {
	s      *shard
	ticket group.Ticket
	fail   func(code int16) kmsg.Response
	reply  chan group.Reply // of capacity 1: answering never blocks
}

// answer gives the answer. It is called once.
func (w *waiter) answer(r group.Reply) { w.reply <- r }

// failed is the answer with a code for the whole request.
func (w *waiter) failed(code int16) group.Reply {
	r := group.Reply{Ticket: w.ticket, Code: code}
	if w.fail != nil {
		r.Response = w.fail(code)
	}
	return r
}

// wait returns the answer. Where ctx ends first the answer will be dropped; a member
// whose connection is gone stays in its group until its session times out.
func (w *waiter) wait(ctx context.Context) (group.Reply, error) {
	select {
	case r := <-w.reply:
		return r, nil
	default:
	}
	select {
	case r := <-w.reply:
		return r, nil
	case <-ctx.Done():
		w.s.mu.Lock()
		delete(w.s.waiters, w.ticket)
		w.s.mu.Unlock()
		return group.Reply{}, ctx.Err()
	}
}

// code waits for an answer that is a code. A deadline that passes is one, too.
func (w *waiter) code(ctx context.Context) (int16, error) {
	r, err := w.wait(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return kerr.CoordinatorNotAvailable.Code, nil
	}
	return r.Code, err
}
