// Package config is the one table of settings: Kafka's names, types, defaults,
// ranges, scopes and sentences. server.properties, VARVE_* variables, --set flags and
// topic configs are read through it, DescribeConfigs answers from it, and a key that
// is not in it is refused with the nearest one that is.
package config

import "time"

// Key is a row of the table.
type Key struct {
	Name      string
	Type      Type
	Default   string
	Doc       string // one sentence
	Topic     bool   // may be set on a topic
	Broker    bool   // may be set on the broker
	BrokerKey string // for a topic key: the broker key that is its default (log.retention.ms …)
	Dynamic   bool   // may be altered while the broker runs
	Sensitive bool
}

// Type is a config's type, numbered as in DescribeConfigs.
type Type int8

// Types of the Kafka protocol.
const (
	Boolean Type = iota + 1
	String
	Int
	Short
	Long
	Double
	List
	Class
	Password
)

// Endpoint is a listener: NAME://HOST:PORT.
type Endpoint struct {
	Name string
	Host string
	Port int32
}

// Broker is a broker's settings, typed.
type Broker struct {
	NodeID              int32
	Listeners           []Endpoint
	AdvertisedListeners []Endpoint // empty: each connection is told the address it came by
	LogDirs             []string
	// … one field per broker key.
	Topic Topic // defaults of topics
}

// Topic is a topic's settings, typed.
type Topic struct {
	RetentionMs, RetentionBytes           int64
	LocalRetentionMs, LocalRetentionBytes int64
	RemoteStorage                         bool
	CleanupDelete, CleanupCompact         bool
	SegmentBytes                          int64
	SegmentAge, SegmentJitter             time.Duration
	IndexBytes, IndexInterval             int64
	FileDeleteDelay                       time.Duration
	FlushMessages                         int64
	FlushAge                              time.Duration
	MinInsyncReplicas                     int32
	MaxMessageBytes                       int32
	LogAppendTime                         bool
	TimestampBeforeMaxMs                  int64
	TimestampAfterMaxMs                   int64
	Preallocate                           bool
	// … one field per topic key.
}
