package api

import (
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/varvelog/varve/broker/auth"
)

// Client quotas as requests meet them: what a request uses is recorded, the answer says how
// long to wait for it, and the connection is not read for that time (KIP-219).

// delay tells the client of c to wait, and makes it.
func (c *call) delay(wait time.Duration) {
	if wait > c.throttle {
		c.throttle = wait
		c.Conn.Mute(wait)
	}
}

// throttleMillis is the wait as answers say it, in milliseconds.
func (c *call) throttleMillis() int32 {
	return int32(min(c.throttle.Milliseconds(), math.MaxInt32))
}

// recordProduced counts the bytes of a Produce request. What comes after it on the
// connection is not read before the quota grants it.
func (s *Server) recordProduced(c *call) {
	if s.Limiter.Limits(auth.ProducerBytes) {
		c.delay(s.Limiter.Record(auth.ProducerBytes, anonymous, c.ClientID, float64(c.Size), s.Now()))
	}
}

// admitFetched counts the bytes of records that are about to be sent to a consumer, of
// whatever kind. False: the answer has to go without them, since the quota does not grant
// them yet, and they count for nothing.
func (s *Server) admitFetched(c *call, bytes int64) bool {
	if !s.Limiter.Limits(auth.ConsumerBytes) {
		return true
	}
	wait := s.Limiter.Admit(auth.ConsumerBytes, anonymous, c.ClientID, float64(bytes), s.Now())
	c.delay(wait)
	return wait == 0
}

// fetchable bounds the bytes of an answer to a consumer by what its quota can grant at
// once: a larger answer would never be admitted.
func (s *Server) fetchable(c *call, most int64) int64 {
	if !s.Limiter.Limits(auth.ConsumerBytes) {
		return most
	}
	return int64(min(float64(most), s.Limiter.Grant(auth.ConsumerBytes, anonymous, c.ClientID)))
}

// charge counts the time since begin as used by the client's request (KIP-124). What a
// request waits for, be it a disk, the metadata, records or the socket, is not counted.
func (s *Server) charge(c *call, begin time.Time) {
	if s.Limiter.Limits(auth.RequestPercentage) {
		percent := 100 * s.Now().Sub(begin).Seconds()
		c.delay(s.Limiter.Record(auth.RequestPercentage, anonymous, c.ClientID, percent, s.Now()))
	}
}

// mutations counts the partitions that a request creates or deletes (KIP-599). From the
// version strict on, clients are refused what the quota does not grant.
func (s *Server) mutations(c *call, strict int16) func(partitions int) error {
	return func(partitions int) error {
		if !s.Limiter.Limits(auth.ControllerMutations) {
			return nil
		}
		wait, refused := s.Limiter.Mutate(anonymous, c.ClientID, partitions, c.Version >= strict, s.Now())
		c.delay(wait)
		if refused {
			return refuse(kerr.ThrottlingQuotaExceeded, "The throttling quota has been exceeded.")
		}
		return nil
	}
}

// The versions from which on clients know THROTTLING_QUOTA_EXCEEDED.
const (
	strictCreateTopics     = 6
	strictDeleteTopics     = 5
	strictCreatePartitions = 3
	neverStrict            = math.MaxInt16
)

// freely is for partitions that the broker needs itself.
func freely(int) error { return nil }
