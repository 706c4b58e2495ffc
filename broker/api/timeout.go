package api

import (
	"context"
	"time"
)

// maxTimeout bounds what a client may make the broker wait for, whatever it asks.
const maxTimeout = 5 * time.Minute

// requestTimeout bounds how long a step of a transaction waits to be stored: Kafka's
// request.timeout.ms.
const requestTimeout = 30 * time.Second

// withTimeout bounds ctx by a request's own timeout in milliseconds.
func withTimeout(ctx context.Context, ms int32) (context.Context, context.CancelFunc) {
	d := time.Duration(ms) * time.Millisecond
	if d <= 0 || d > maxTimeout {
		d = maxTimeout
	}
	return context.WithTimeout(ctx, d)
}
