package coordinator

import (
	"slices"
	"sync"

	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/broker/coordinator/group"
)

// Topics shows groups the topics of the cluster's images.
type Topics struct {
	image func() *cluster.Image

	mu   sync.Mutex
	last *topics // guarded by mu; what it was made of is in it
}

// NewTopics makes Topics of the image that there is whenever it is asked.
func NewTopics(image func() *cluster.Image) *Topics { return &Topics{image: image} }

// Metadata is the topics as they are now. It is the same value until a topic changes.
func (t *Topics) Metadata() group.Metadata {
	image := t.image()
	all := image.Topics() // images share the list while no topic changes
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last != nil && len(t.last.all) == len(all) && (len(all) == 0 || &t.last.all[0] == &all[0]) {
		return t.last
	}
	if t.last != nil && image.Revision() < t.last.image.Revision() {
		return t.last // whoever was faster has seen more
	}
	next := &topics{image: image, all: all, names: make([]string, len(all))}
	for i := range all {
		next.names[i] = all[i].Name
	}
	t.last = next
	return next
}

// topics implements group.Metadata.
type topics struct {
	image *cluster.Image
	all   []*cluster.Topic
	names []string
}

func (t *topics) Topic(name string) (group.Topic, bool) {
	topic, ok := t.image.Topic(name)
	if !ok {
		return group.Topic{}, false
	}
	return t.seen(topic), true
}

func (t *topics) TopicByID(id group.TopicID) (group.Topic, bool) {
	topic, ok := t.image.TopicByID(id)
	if !ok {
		return group.Topic{}, false
	}
	return t.seen(topic), true
}

func (t *topics) Names() []string { return t.names }

func (t *topics) Version() int64 { return t.image.Revision() }

func (t *topics) seen(topic *cluster.Topic) group.Topic {
	g := group.Topic{Name: topic.Name, ID: topic.ID, Partitions: int32(len(topic.Partitions))}
	if !slices.ContainsFunc(t.image.Brokers(), func(b cluster.Broker) bool { return b.Rack != "" }) {
		return g
	}
	g.Racks = make([][]string, len(topic.Partitions))
	for i := range topic.Partitions {
		for _, id := range topic.Partitions[i].Replicas {
			if b, ok := t.image.Broker(id); ok && b.Rack != "" && !slices.Contains(g.Racks[i], b.Rack) {
				g.Racks[i] = append(g.Racks[i], b.Rack)
			}
		}
		slices.Sort(g.Racks[i])
	}
	return g
}
