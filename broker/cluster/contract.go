// Package cluster is the metadata of a Varve cluster on etcd: brokers, topics,
// partitions, configs, producer id blocks and tier pointers. Writes are etcd
// transactions that any broker may issue; reads come from an immutable Image that a
// watch keeps current. It holds no records and decides no leadership by lease alone:
// whoever acts as a leader carries an epoch that storage checks.
package cluster

import (
	"context"
	"errors"

	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/tiering"
)

// Errors that callers choose by.
var (
	ErrTopicExists  = errors.New("topic exists")
	ErrUnknownTopic = errors.New("unknown topic")
	ErrNodeIDTaken  = errors.New("another running broker has this node id")
	ErrConflict     = errors.New("metadata changed meanwhile")
	ErrInvalid      = errors.New("invalid metadata change")
	ErrUnavailable  = errors.New("metadata store unavailable")
)

// Broker is a registered broker.
type Broker struct {
	ID          int32      `json:"id"`
	Epoch       int64      `json:"-"` // creation revision of its key
	Incarnation string     `json:"incarnation"`
	Endpoints   []Endpoint `json:"endpoints"`
	Rack        string     `json:"rack,omitempty"`
}

// Endpoint is where clients reach a broker. Host is empty where each connection is
// told the address that it came by.
type Endpoint struct {
	Name string `json:"name"`
	Host string `json:"host"`
	Port int32  `json:"port"`
}

// Topic is a topic with its partitions, by index.
type Topic struct {
	Name       string
	ID         segment.TopicID
	Configs    map[string]string // overrides only
	Partitions []Partition
}

// Partition is a partition's assignment, leadership and in-sync replicas.
type Partition struct {
	Replicas       []int32
	Leader         int32 // -1: none
	LeaderEpoch    int32
	LeaderRevision int64 // modification revision of the leader key: the fence of tier commits
	ISR            []int32
	ISRRevision    int64
}

// Image is the metadata at one revision. It never changes; do not write to it.
type Image struct{}

func (i *Image) Revision() int64                             { panic("unbuilt") }
func (i *Image) ClusterID() string                           { panic("unbuilt") }
func (i *Image) Brokers() []Broker                           { panic("unbuilt") } // by id
func (i *Image) Controller() int32                           { panic("unbuilt") } // broker id, -1: none
func (i *Image) Topic(name string) (*Topic, bool)            { panic("unbuilt") }
func (i *Image) TopicByID(id segment.TopicID) (*Topic, bool) { panic("unbuilt") }
func (i *Image) Topics() []*Topic                            { panic("unbuilt") } // by name
func (i *Image) BrokerConfigs(id int32) map[string]string    { panic("unbuilt") } // dynamic; id -1: the cluster-wide defaults
// Deleting returns topics whose data still has to be removed, from disks and bucket.
func (i *Image) Deleting() []*Topic { panic("unbuilt") }

// Delta is what changed between two images: for the broker to open, close and
// reconfigure partitions.
type Delta struct {
	Changed []*Topic // created or altered
	Deleted []*Topic
	Brokers bool // the set of brokers changed
	Configs bool // broker configs changed
}

// Options say where etcd is.
type Options struct {
	NodeID    int32
	Dir       string   // data directory of the embedded etcd
	Endpoints []string // external etcd instead
	// LeaseSeconds is the broker session time-out.
	LeaseSeconds int64
}

// Store is a client of the metadata, with the embedded etcd inside where there is one.
type Store struct{}

// Open starts or dials etcd and reads the first image. The cluster id is made when
// the metadata is new, or must equal clusterID where that is not empty.
func Open(ctx context.Context, o Options, clusterID string) (*Store, error) { panic("unbuilt") }

// Run keeps the image current and the broker's lease alive until ctx ends.
func (s *Store) Run(ctx context.Context) error { panic("unbuilt") }

// Close stops the client and the embedded etcd.
func (s *Store) Close() error { panic("unbuilt") }

// Image returns the newest image.
func (s *Store) Image() *Image { panic("unbuilt") }

// Next waits for an image newer than revision and says what changed in between.
func (s *Store) Next(ctx context.Context, after *Image) (*Image, Delta, error) { panic("unbuilt") }

// WaitFor waits until the image has reached revision: read your own writes.
func (s *Store) WaitFor(ctx context.Context, revision int64) error { panic("unbuilt") }

// Register puts the broker under its lease; ErrNodeIDTaken where a live one has the
// id. With it this broker takes leadership of partitions whose only replica it is.
func (s *Store) Register(ctx context.Context, b Broker) error { panic("unbuilt") }

// Deregister removes the broker at a clean stop.
func (s *Store) Deregister(ctx context.Context) error { panic("unbuilt") }

// NewTopic is a topic to create: explicit replicas per partition.
type NewTopic struct {
	Name     string
	Replicas [][]int32
	Configs  map[string]string
}

// CreateTopic creates a topic; the local image holds it when the call returns.
func (s *Store) CreateTopic(ctx context.Context, n NewTopic) (*Topic, error) { panic("unbuilt") }

// DeleteTopic makes a topic unknown at once; its data is removed in the background
// until FinishDelete.
func (s *Store) DeleteTopic(ctx context.Context, id segment.TopicID) error  { panic("unbuilt") }
func (s *Store) FinishDelete(ctx context.Context, id segment.TopicID) error { panic("unbuilt") }

// AddPartitions appends partitions to a topic that has exactly have of them.
func (s *Store) AddPartitions(ctx context.Context, name string, have int, replicas [][]int32) error {
	panic("unbuilt")
}

// SetTopicConfigs replaces a topic's overrides if they are still those of old.
func (s *Store) SetTopicConfigs(ctx context.Context, name string, old, new map[string]string) error {
	panic("unbuilt")
}

// SetBrokerConfigs replaces dynamic broker configs; id -1: the cluster-wide defaults.
func (s *Store) SetBrokerConfigs(ctx context.Context, id int32, old, new map[string]string) error {
	panic("unbuilt")
}

// ProducerIDs allocates a block of producer ids, [first, first+n), never handed out before.
func (s *Store) ProducerIDs(ctx context.Context, n int64) (first int64, err error) { panic("unbuilt") }

// Assign spreads replicas over brokers as Kafka does: each partition's replicas on
// different brokers, leaders round-robin from start. Pure.
func Assign(brokers []int32, partitions, replicationFactor, start int) ([][]int32, error) {
	panic("unbuilt")
}

// Tier is the tiering.Metadata of this store.
func (s *Store) Tier() tiering.Metadata { panic("unbuilt") }
