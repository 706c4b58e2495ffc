package config

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// ShareRecords are the settings of how records are delivered to share groups (KIP-932).
type ShareRecords struct {
	LockDuration, MinLockDuration, MaxLockDuration time.Duration
	DeliveryLimit, MinDeliveryLimit                int
	MaxDeliveryLimit                               int
	MaxLocks, MinMaxLocks, MaxMaxLocks             int // of one share partition
	Sessions                                       int // of this broker

	// Of groups only: Kafka has no key of the broker for them.
	OffsetReset string // latest, earliest, by_duration:PnDTnHnMn.nS
	Isolation   string // read_committed or read_uncommitted
	Renew       string // true or false (KIP-1222)
}

// Names of share.isolation.level.
const (
	readCommitted   = "read_committed"
	readUncommitted = "read_uncommitted"
)

// ReadCommitted tells whether records of transactions are delivered once they are
// committed, and never those of aborted ones.
func (c *ShareRecords) ReadCommitted() bool { return c.Isolation == readCommitted }

// Reset is where a group begins that has read nothing: at the earliest record, so long
// before now, or, where both say nothing, at the end.
func (c *ShareRecords) Reset() (earliest bool, by time.Duration) {
	if text, ok := strings.CutPrefix(c.OffsetReset, byDuration); ok {
		by, _ = isoDuration(text) // checked when it was set
	}
	return c.OffsetReset == "earliest", by
}

const byDuration = "by_duration:"

func checkOffsetReset(value string) string {
	text, ok := strings.CutPrefix(value, byDuration)
	if !ok {
		if value == "latest" || value == "earliest" {
			return ""
		}
		return "The value must be either 'earliest', 'latest' or of the format 'by_duration:<PnDTnHnMn.nS>'"
	}
	if _, ok := isoDuration(text); !ok {
		return "The duration must be PnDTnHnMn.nS (ISO 8601), and not negative"
	}
	return ""
}

var isoForm = regexp.MustCompile(`^P(?:(\d{1,5})D)?(?:(T)(?:(\d{1,7})H)?(?:(\d{1,9})M)?(?:(\d{1,10}(?:\.\d{1,9})?)S)?)?$`)

// isoDuration reads a duration of days to seconds that is not negative. What a
// time.Duration cannot hold, some 290 years, is none.
func isoDuration(text string) (time.Duration, bool) {
	m := isoForm.FindStringSubmatch(strings.ToUpper(text))
	if m == nil || m[1] == "" && m[3] == "" && m[4] == "" && m[5] == "" || m[2] != "" && m[3] == "" && m[4] == "" && m[5] == "" {
		return 0, false
	}
	seconds := 0.0
	for i, unit := range map[int]float64{1: 24 * 60 * 60, 3: 60 * 60, 4: 60, 5: 1} {
		if m[i] != "" {
			n, _ := strconv.ParseFloat(m[i], 64) // the form says it is one
			seconds += n * unit
		}
	}
	return time.Duration(seconds * float64(time.Second)), seconds < 290*365*24*60*60
}

// settle checks what keys say of one another.
func (c *ShareRecords) settle(f *faults) {
	c.OffsetReset, c.Isolation, c.Renew = "latest", readUncommitted, "true"
	for _, r := range []struct {
		key           string
		low, is, high int64
	}{
		{"record.lock.duration.ms", int64(c.MinLockDuration), int64(c.LockDuration), int64(c.MaxLockDuration)},
		{"delivery.count.limit", int64(c.MinDeliveryLimit), int64(c.DeliveryLimit), int64(c.MaxDeliveryLimit)},
		{"partition.max.record.locks", int64(c.MinMaxLocks), int64(c.MaxLocks), int64(c.MaxMaxLocks)},
	} {
		if r.is < r.low || r.is > r.high {
			f.add("group.share."+r.key, "", "group.share.%s must be at least group.share.min.%s and at most group.share.max.%s", r.key, r.key, r.key)
		}
	}
}
