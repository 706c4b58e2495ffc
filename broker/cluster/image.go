package cluster

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/varvelog/varve/segment"
)

// Broker is a registered broker.
type Broker struct {
	ID          int32      `json:"id"`
	Epoch       int64      `json:"-"` // creation revision of its key
	Incarnation string     `json:"incarnation"`
	Endpoints   []Endpoint `json:"endpoints"`
	Rack        string     `json:"rack,omitempty"`
	// Unclean says, at Register, that logs had to be recovered: lead under new
	// epochs even if the last stop looked clean.
	Unclean bool `json:"-"`
}

// Endpoint is where clients reach a broker. Host is empty where each connection is
// told the address that it came by.
type Endpoint struct {
	Name string `json:"name"`
	Host string `json:"host"`
	Port int32  `json:"port"`
}

// Topic is a topic with its partitions, by index. It never changes; do not write to it.
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
//
// Images share what did not change between them: topics are the same pointers, and a
// change outside of topics shares all maps.
type Image struct {
	revision   int64
	clusterID  string
	controller int32
	elected    int64                        // creation revision of the controller key
	features   map[string]int16             // levels, of those that were set
	brokers    []Broker                     // by id
	configs    map[int32]map[string]string  // by broker id, DefaultConfigs
	groups     map[string]map[string]string // configs by group
	metrics    map[string]map[string]string // configs by subscription to clients' metrics
	quotas     map[string]Quota             // by entity
	scram      map[string]Credentials       // by user
	topics     map[string]*Topic            // by name
	ids        map[segment.TopicID]*Topic   // the same topics
	list       *topicList                   // the same topics
	deleting   []*Topic                     // by name

	// edition numbers the images of one Store; the others are the editions that last
	// changed topics, brokers, configs, quotas and subscriptions to metrics: to see at once
	// what two images share.
	edition, topicsAt, brokersAt, configsAt, quotasAt, metricsAt int64
}

// topicList sorts topics when somebody asks, once for all images that share them.
type topicList struct {
	once   sync.Once
	sorted []*Topic
}

// Revision is the store's revision up to which the image holds every change.
func (i *Image) Revision() int64 { return i.revision }

// ClusterID is the cluster's id, 22 characters as Kafka prints it.
func (i *Image) ClusterID() string { return i.clusterID }

// Brokers returns the registered brokers by id.
func (i *Image) Brokers() []Broker { return i.brokers }

// Broker looks a registered broker up by id.
func (i *Image) Broker(id int32) (*Broker, bool) {
	at, ok := slices.BinarySearchFunc(i.brokers, id, func(b Broker, id int32) int { return cmp.Compare(b.ID, id) })
	if !ok {
		return nil, false
	}
	return &i.brokers[at], true
}

// BrokerIDs returns the ids of the registered brokers, ascending.
func (i *Image) BrokerIDs() []int32 {
	ids := make([]int32, len(i.brokers))
	for at := range i.brokers {
		ids[at] = i.brokers[at].ID
	}
	return ids
}

// Controller returns the id of the broker that reconciles, -1: none.
func (i *Image) Controller() int32 { return i.controller }

// ControllerEpoch is the revision at which the controller was elected.
func (i *Image) ControllerEpoch() int64 { return i.elected }

// Features returns the levels that SetFeatures was given, by feature.
func (i *Image) Features() map[string]int16 { return i.features }

// Topic looks a topic up by name.
func (i *Image) Topic(name string) (*Topic, bool) {
	t, ok := i.topics[name]
	return t, ok
}

// TopicByID looks a topic up by id. A topic that is being deleted is not found.
func (i *Image) TopicByID(id segment.TopicID) (*Topic, bool) {
	t, ok := i.ids[id]
	return t, ok
}

// Topics returns all topics by name.
func (i *Image) Topics() []*Topic {
	i.list.once.Do(func() { i.list.sorted = byName(slices.Collect(maps.Values(i.topics))) })
	return i.list.sorted
}

// BrokerConfigs returns the dynamic configs of a broker; DefaultConfigs: the
// cluster-wide ones. Nil: none.
func (i *Image) BrokerConfigs(id int32) map[string]string { return i.configs[id] }

// GroupConfigs returns the dynamic configs of a group. Nil: none.
func (i *Image) GroupConfigs(group string) map[string]string { return i.groups[group] }

// ConfiguredGroups returns the groups that have dynamic configs, sorted.
func (i *Image) ConfiguredGroups() []string { return slices.Sorted(maps.Keys(i.groups)) }

// MetricsConfigs returns the configs of a subscription to clients' metrics. Nil: there is none.
func (i *Image) MetricsConfigs(name string) map[string]string { return i.metrics[name] }

// MetricsSubscriptions returns the names of the subscriptions to clients' metrics, sorted.
func (i *Image) MetricsSubscriptions() []string { return slices.Sorted(maps.Keys(i.metrics)) }

// Deleting returns topics whose data still has to be removed, from disks and bucket.
func (i *Image) Deleting() []*Topic { return i.deleting }

// Delta is what changed between two images: for the broker to open, close and
// reconfigure partitions. A topic that was deleted and made again under its name is in
// both lists, with different ids.
type Delta struct {
	Changed []*Topic // created or altered, as they are now, by name
	Deleted []*Topic // as they were, by name
	Brokers bool     // the set of brokers changed
	Configs bool     // broker configs changed
	Quotas  bool     // quotas changed
	Metrics bool     // subscriptions to clients' metrics changed
}

// since says what i has that the older image before had not; nil: nothing at all.
func (i *Image) since(before *Image) Delta {
	if before == nil {
		before = emptyImage("")
	}
	d := Delta{
		Brokers: i.brokersAt != before.brokersAt, Configs: i.configsAt != before.configsAt,
		Quotas: i.quotasAt != before.quotasAt, Metrics: i.metricsAt != before.metricsAt,
	}
	if i.topicsAt == before.topicsAt {
		return d
	}
	for id, t := range i.ids {
		if before.ids[id] != t {
			d.Changed = append(d.Changed, t)
		}
	}
	for id, t := range before.ids {
		if _, ok := i.ids[id]; !ok {
			d.Deleted = append(d.Deleted, t)
		}
	}
	byName(d.Changed)
	byName(d.Deleted)
	return d
}

func emptyImage(clusterID string) *Image {
	return &Image{clusterID: clusterID, controller: -1, list: new(topicList)}
}

// adopt replaces what is equal in before by the very pointers of before, so that an
// image that was read anew differs from the last one only where the metadata does.
func (i *Image) adopt(before *Image) {
	same := len(i.ids) == len(before.ids)
	for id, t := range i.ids {
		old, ok := before.ids[id]
		if !ok || !t.equal(old) {
			same = false
			continue
		}
		i.ids[id], i.topics[t.Name] = old, old
	}
	if same {
		i.topics, i.ids, i.list, i.topicsAt = before.topics, before.ids, before.list, before.topicsAt
	}
	if slices.EqualFunc(i.brokers, before.brokers, Broker.equal) {
		i.brokers, i.brokersAt = before.brokers, before.brokersAt
	}
	if maps.EqualFunc(i.configs, before.configs, maps.Equal) {
		i.configs, i.configsAt = before.configs, before.configsAt
	}
	if maps.EqualFunc(i.quotas, before.quotas, Quota.equal) {
		i.quotas, i.quotasAt = before.quotas, before.quotasAt
	}
	if maps.EqualFunc(i.metrics, before.metrics, maps.Equal) {
		i.metrics, i.metricsAt = before.metrics, before.metricsAt
	}
}

func (b Broker) equal(o Broker) bool {
	return b.ID == o.ID && b.Epoch == o.Epoch && b.Incarnation == o.Incarnation && b.Rack == o.Rack &&
		slices.Equal(b.Endpoints, o.Endpoints)
}

func (t *Topic) equal(o *Topic) bool {
	return t.Name == o.Name && t.ID == o.ID && maps.Equal(t.Configs, o.Configs) &&
		slices.EqualFunc(t.Partitions, o.Partitions, Partition.equal)
}

func (p Partition) equal(o Partition) bool {
	return p.Leader == o.Leader && p.LeaderEpoch == o.LeaderEpoch && p.LeaderRevision == o.LeaderRevision &&
		p.ISRRevision == o.ISRRevision && slices.Equal(p.Replicas, o.Replicas) && slices.Equal(p.ISR, o.ISR)
}

func byName(topics []*Topic) []*Topic {
	slices.SortFunc(topics, func(a, b *Topic) int { return strings.Compare(a.Name, b.Name) })
	return topics
}
