package telemetry

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/varvelog/varve/broker/config"
)

// ID is a client instance id.
type ID [16]byte

// reserved are the ids that no client instance has.
var reserved = []ID{{}, {15: 1}}

// String is the id as Apache Kafka's tools print it.
func (id ID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// hash is that of Apache Kafka's Uuid, which is part of the subscription id.
func (id ID) hash() uint32 {
	both := binary.BigEndian.Uint64(id[:8]) ^ binary.BigEndian.Uint64(id[8:])
	return uint32(both>>32) ^ uint32(both)
}

// Client is who asks, as its connection and its requests tell.
type Client struct {
	InstanceID    ID
	ClientID      string
	Software      string // name, as of ApiVersions (KIP-511)
	Version       string
	Address, Port string // where it connects from
}

// attribute is what a pattern of the name is held against; "" is matched by none.
func (c *Client) attribute(name string) string {
	switch name {
	case config.MatchInstanceID:
		return c.InstanceID.String()
	case config.MatchClientID:
		return c.ClientID
	case config.MatchSoftwareName:
		return c.Software
	case config.MatchSoftwareVersion:
		return c.Version
	case config.MatchSourceAddress:
		return c.Address
	case config.MatchSourcePort:
		return c.Port
	}
	return ""
}

// Subscription is what a client is told to push.
type Subscription struct {
	ID       int32
	Metrics  []string // prefixes of names, sorted; "*" alone is all, none at all nothing
	Interval time.Duration
}

// everything is the prefix that stands for all metrics.
const everything = "*"

// subscribe makes one subscription for a client of all that match it. The shortest
// interval counts, and never one above the default, as in Kafka.
func subscribe(c *Client, all []config.Subscription) Subscription {
	s := Subscription{Interval: config.DefaultPushInterval}
	metrics := make(map[string]struct{})
	for i := range all {
		if !matches(c, all[i].Match) {
			continue
		}
		for _, m := range all[i].Metrics {
			metrics[m] = struct{}{}
		}
		s.Interval = min(s.Interval, all[i].Interval)
	}
	if _, ok := metrics[everything]; ok {
		metrics = map[string]struct{}{everything: {}}
	}
	s.Metrics = slices.Sorted(maps.Keys(metrics))
	s.ID = subscriptionID(c.InstanceID, s.Metrics, s.Interval)
	return s
}

func matches(c *Client, patterns map[string]*regexp.Regexp) bool {
	for name, p := range patterns {
		if value := c.attribute(name); value == "" || !p.MatchString(value) {
			return false
		}
	}
	return true
}

// subscriptionID is the CRC-32C of the metrics and the interval, XOR the instance's hash
// (KIP-714). The order in which Kafka writes several metrics is that of a Java hash set.
func subscriptionID(id ID, metrics []string, interval time.Duration) int32 {
	text := "[" + strings.Join(metrics, ", ") + "]" + strconv.FormatInt(interval.Milliseconds(), 10)
	return int32(crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli)) ^ id.hash())
}
