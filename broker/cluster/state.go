package cluster

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/varvelog/varve/segment"
)

// errGap: the watch lost events; the state is worth nothing and must be read anew.
var errGap = errors.New("watch lost events")

// state is what the keys of the image say, at one revision, complete with what an
// image does not show: partitions without a topic, and who is adding some. It is fed
// key by key and makes images; it is not safe for concurrent use.
type state struct {
	clusterID string
	revision  int64
	tally     int64 // version of the tally key

	brokers    map[int32]Broker
	controller int32
	elected    int64 // creation revision of the controller key
	features   map[string]int16
	topics     map[segment.TopicID]*committedTopic
	names      map[string]segment.TopicID
	deleting   map[segment.TopicID]*committedTopic
	creating   map[segment.TopicID]creation
	partitions map[segment.TopicID][]partitionState
	configs    map[int32]map[string]string
	groups     map[string]map[string]string // configs
	metrics    map[string]map[string]string // configs
	quotas     map[string]Quota             // by entity
	scram      map[string]Credentials       // by user

	// What changed since the last image.
	touched                                         map[segment.TopicID]struct{}
	touchedDeleting, touchedBrokers, touchedConfigs bool
	touchedGroups, touchedQuotas, touchedSCRAM      bool
	touchedMetrics                                  bool
}

// committedTopic is a topic key or a deleting key.
type committedTopic struct {
	name       string
	partitions int32
	configs    map[string]string
	revision   int64 // modification revision of the key
}

// creation is a creating key.
type creation struct {
	token string
	lease clientv3.LeaseID
}

// partitionState is a partition of which some keys may not have arrived, or be gone.
type partitionState struct {
	Partition
	replicasAt int64 // modification revision of the replicas key, 0: no key
}

func (p *partitionState) complete() bool {
	return p.replicasAt != 0 && p.LeaderRevision != 0 && p.ISRRevision != 0
}

func (p *partitionState) gone() bool {
	return p.replicasAt == 0 && p.LeaderRevision == 0 && p.ISRRevision == 0
}

func newState(clusterID string) *state {
	return &state{
		clusterID:  clusterID,
		controller: -1,
		brokers:    map[int32]Broker{},
		topics:     map[segment.TopicID]*committedTopic{},
		names:      map[string]segment.TopicID{},
		deleting:   map[segment.TopicID]*committedTopic{},
		creating:   map[segment.TopicID]creation{},
		partitions: map[segment.TopicID][]partitionState{},
		configs:    map[int32]map[string]string{},
		groups:     map[string]map[string]string{},
		metrics:    map[string]map[string]string{},
		quotas:     map[string]Quota{},
		scram:      map[string]Credentials{},
		touched:    map[segment.TopicID]struct{}{},
	}
}

// apply brings the state to the revision of the last event. Events at or below the
// state's revision have been seen and are skipped. It returns errGap when events are
// missing and ErrCorrupt when one cannot be understood; the state is then unusable.
func (s *state) apply(events []*clientv3.Event) error {
	seen := s.revision
	for _, e := range events {
		if e.Kv.ModRevision <= seen {
			continue
		}
		s.revision = max(s.revision, e.Kv.ModRevision)
		if string(e.Kv.Key) == tallyKey {
			if e.Type == mvccpb.DELETE || e.Kv.Version != s.tally+1 {
				return fmt.Errorf("%w: change %d after %d", errGap, e.Kv.Version, s.tally)
			}
			s.tally = e.Kv.Version
			continue
		}
		var err error
		if e.Type == mvccpb.DELETE {
			err = s.remove(string(e.Kv.Key))
		} else {
			err = s.put(e.Kv)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// put takes a key in. Keys that this version does not know are left alone.
func (s *state) put(kv *mvccpb.KeyValue) error {
	key := string(kv.Key)
	switch key {
	case tallyKey:
		s.tally = kv.Version
		return nil
	case controllerKey:
		var r controllerRecord
		if err := decode(key, kv.Value, &r); err != nil {
			return err
		}
		s.controller, s.elected = r.ID, kv.CreateRevision
		return nil
	case featuresKey:
		s.features = nil // an image has the old ones
		return decode(key, kv.Value, &s.features)
	}
	kind, rest, _ := strings.Cut(strings.TrimPrefix(key, imageRoot), "/")
	switch imageRoot + kind + "/" {
	case partitionsRoot:
		return s.putPartition(key, rest, kv)
	case topicsRoot:
		return s.putTopic(key, rest, kv)
	case deletingRoot:
		return s.putDeleting(key, rest, kv)
	case creatingRoot:
		return s.putCreating(key, rest, kv)
	case brokersRoot:
		return s.putBroker(key, rest, kv)
	case configsRoot:
		return s.putConfigs(key, rest, kv)
	case groupsRoot:
		return putOverrides(s.groups, &s.touchedGroups, key, rest, kv)
	case metricsRoot:
		return putOverrides(s.metrics, &s.touchedMetrics, key, rest, kv)
	case quotasRoot:
		return s.putQuota(key, rest, kv)
	case scramRoot:
		return s.putSCRAM(key, rest, kv)
	}
	return nil
}

func (s *state) putPartition(key, rest string, kv *mvccpb.KeyValue) error {
	id, n, part, ok := parsePartitionKey(rest)
	if !ok {
		return fmt.Errorf("%w: key %q", ErrCorrupt, key)
	}
	list := s.partitions[id]
	for int(n) >= len(list) {
		list = append(list, partitionState{})
	}
	s.partitions[id] = list
	s.touched[id] = struct{}{}
	p := &list[n]
	switch part {
	case partLeader:
		var r leaderRecord
		if err := decode(key, kv.Value, &r); err != nil {
			return err
		}
		p.Leader, p.LeaderEpoch, p.LeaderRevision = r.ID, r.Epoch, kv.ModRevision
	case partReplicas:
		ids, err := decodeBrokers(key, kv.Value)
		if err != nil {
			return err
		}
		p.Replicas, p.replicasAt = ids, kv.ModRevision
	case partISR:
		ids, err := decodeBrokers(key, kv.Value)
		if err != nil {
			return err
		}
		p.ISR, p.ISRRevision = ids, kv.ModRevision
	}
	return nil
}

func (s *state) putTopic(key, name string, kv *mvccpb.KeyValue) error {
	if err := validTopicName(name); err != nil {
		return fmt.Errorf("%w: key %q: %w", ErrCorrupt, key, err)
	}
	r, err := decodeTopic(key, kv.Value)
	if err != nil {
		return err
	}
	id, err := r.topicID(key)
	if err != nil {
		return err
	}
	if t, ok := s.topics[id]; ok && t.name != name {
		return fmt.Errorf("%w: key %q has the id of topic %s", ErrCorrupt, key, t.name)
	}
	s.removeTopic(name) // a name that was given to another id without a deletion in between
	s.names[name] = id
	s.topics[id] = &committedTopic{name: name, partitions: r.Partitions, configs: r.Configs, revision: kv.ModRevision}
	s.touched[id] = struct{}{}
	return nil
}

func (s *state) putDeleting(key, rest string, kv *mvccpb.KeyValue) error {
	id, ok := parseTopic(rest)
	if !ok {
		return fmt.Errorf("%w: key %q", ErrCorrupt, key)
	}
	r, err := decodeTopic(key, kv.Value)
	if err != nil {
		return err
	}
	s.deleting[id] = &committedTopic{name: r.Name, partitions: r.Partitions, configs: r.Configs, revision: kv.ModRevision}
	s.touchedDeleting = true
	return nil
}

func (s *state) putCreating(key, rest string, kv *mvccpb.KeyValue) error {
	id, ok := parseTopic(rest)
	if !ok {
		return fmt.Errorf("%w: key %q", ErrCorrupt, key)
	}
	s.creating[id] = creation{token: string(kv.Value), lease: clientv3.LeaseID(kv.Lease)}
	return nil
}

func (s *state) putBroker(key, rest string, kv *mvccpb.KeyValue) error {
	id, ok := parseBroker(rest)
	if !ok {
		return fmt.Errorf("%w: key %q", ErrCorrupt, key)
	}
	var r registration
	if err := decode(key, kv.Value, &r); err != nil {
		return err
	}
	r.ID, r.Epoch = id, kv.CreateRevision
	s.brokers[id] = r.Broker
	s.touchedBrokers = true
	return nil
}

func (s *state) putConfigs(key, rest string, kv *mvccpb.KeyValue) error {
	id, ok := parseConfigs(rest)
	if !ok {
		return fmt.Errorf("%w: key %q", ErrCorrupt, key)
	}
	var r map[string]string
	if err := decode(key, kv.Value, &r); err != nil {
		return err
	}
	s.configs[id] = r
	s.touchedConfigs = true
	return nil
}

// putOverrides enters the configs of what is known by a name: a group, a subscription.
func putOverrides(all map[string]map[string]string, touched *bool, key, name string, kv *mvccpb.KeyValue) error {
	var r map[string]string
	if err := decode(key, kv.Value, &r); err != nil {
		return err
	}
	all[name], *touched = r, true
	return nil
}

func parseConfigs(s string) (int32, bool) {
	if s == defaultConfigsName {
		return DefaultConfigs, true
	}
	return parseBroker(s)
}

// remove forgets a key.
func (s *state) remove(key string) error {
	switch key {
	case controllerKey:
		s.controller, s.elected = -1, 0
		return nil
	case featuresKey:
		s.features = nil
		return nil
	}
	kind, rest, _ := strings.Cut(strings.TrimPrefix(key, imageRoot), "/")
	ok := true
	switch imageRoot + kind + "/" {
	case partitionsRoot:
		ok = s.removePartition(rest)
	case topicsRoot:
		s.removeTopic(rest)
	case deletingRoot:
		var id segment.TopicID
		id, ok = parseTopic(rest)
		delete(s.deleting, id)
		s.touchedDeleting = true
	case creatingRoot:
		var id segment.TopicID
		id, ok = parseTopic(rest)
		delete(s.creating, id)
	case brokersRoot:
		var id int32
		id, ok = parseBroker(rest)
		delete(s.brokers, id)
		s.touchedBrokers = true
	case configsRoot:
		var id int32
		id, ok = parseConfigs(rest)
		delete(s.configs, id)
		s.touchedConfigs = true
	case groupsRoot:
		delete(s.groups, rest)
		s.touchedGroups = true
	case metricsRoot:
		delete(s.metrics, rest)
		s.touchedMetrics = true
	case quotasRoot:
		delete(s.quotas, rest)
		s.touchedQuotas = true
	case scramRoot:
		delete(s.scram, rest)
		s.touchedSCRAM = true
	}
	if !ok {
		return fmt.Errorf("%w: key %q", ErrCorrupt, key)
	}
	return nil
}

func (s *state) removeTopic(name string) {
	id, ok := s.names[name]
	if !ok {
		return
	}
	delete(s.names, name)
	delete(s.topics, id)
	s.touched[id] = struct{}{}
}

func (s *state) removePartition(rest string) bool {
	id, n, part, ok := parsePartitionKey(rest)
	if !ok {
		return false
	}
	list := s.partitions[id]
	if int(n) >= len(list) {
		return true
	}
	s.touched[id] = struct{}{}
	p := &list[n]
	switch part {
	case partLeader:
		p.Leader, p.LeaderEpoch, p.LeaderRevision = 0, 0, 0
	case partReplicas:
		p.Replicas, p.replicasAt = nil, 0
	case partISR:
		p.ISR, p.ISRRevision = nil, 0
	}
	// Ranges are removed in ascending order of keys: shorten when the last is gone.
	for len(list) > 0 && list[len(list)-1].gone() {
		list = list[:len(list)-1]
	}
	if len(list) == 0 {
		delete(s.partitions, id)
		return true
	}
	s.partitions[id] = list
	return true
}

// image makes the image of the state, sharing with the one before it what did not
// change. It returns ErrCorrupt where a topic lacks a partition key.
func (s *state) image(before *Image) (*Image, error) {
	i := *before
	i.revision, i.controller, i.edition = s.revision, s.controller, before.edition+1
	i.elected, i.features = s.elected, s.features
	if s.touchedBrokers {
		i.brokers, i.brokersAt = slices.SortedFunc(maps.Values(s.brokers), byBrokerID), i.edition
	}
	if s.touchedConfigs {
		i.configs, i.configsAt = maps.Clone(s.configs), i.edition
	}
	if s.touchedGroups {
		i.groups = maps.Clone(s.groups)
	}
	if s.touchedMetrics {
		i.metrics, i.metricsAt = maps.Clone(s.metrics), i.edition
	}
	if s.touchedQuotas {
		i.quotas, i.quotasAt = maps.Clone(s.quotas), i.edition
	}
	if s.touchedSCRAM {
		i.scram = maps.Clone(s.scram)
	}
	if err := s.imageTopics(&i); err != nil {
		return nil, err
	}
	if s.touchedDeleting {
		i.deleting = make([]*Topic, 0, len(s.deleting))
		for id, t := range s.deleting {
			topic, err := s.topic(id, t)
			if err != nil {
				return nil, err
			}
			i.deleting = append(i.deleting, topic)
		}
		byName(i.deleting)
	}
	clear(s.touched)
	s.touchedBrokers, s.touchedConfigs, s.touchedDeleting = false, false, false
	s.touchedGroups, s.touchedQuotas, s.touchedSCRAM, s.touchedMetrics = false, false, false, false
	return &i, nil
}

func byBrokerID(a, b Broker) int { return int(a.ID) - int(b.ID) }

// imageTopics puts the touched topics into i. The maps are copied once, and only when a
// topic that can be seen has changed.
func (s *state) imageTopics(i *Image) error {
	var gone []*Topic
	var changed []*Topic
	for id := range s.touched {
		old := i.ids[id]
		t, ok := s.topics[id]
		if !ok {
			if old != nil {
				gone = append(gone, old)
			}
			continue
		}
		topic, err := s.topic(id, t)
		if err != nil {
			return err
		}
		changed = append(changed, topic)
	}
	if len(gone) == 0 && len(changed) == 0 {
		return nil
	}
	i.topics, i.ids, i.list, i.topicsAt = cloneMap(i.topics), cloneMap(i.ids), new(topicList), i.edition
	for _, t := range gone {
		delete(i.ids, t.ID)
		delete(i.topics, t.Name)
	}
	for _, t := range changed { // after those that are gone: a name may have a new id
		i.ids[t.ID] = t
		i.topics[t.Name] = t
	}
	return nil
}

// topic makes the immutable value of a topic.
func (s *state) topic(id segment.TopicID, t *committedTopic) (*Topic, error) {
	list := s.partitions[id]
	if len(list) < int(t.partitions) {
		return nil, fmt.Errorf("%w: topic %s (%s) has %d partitions, keys of %d", ErrCorrupt, t.name, topicName(id), t.partitions, len(list))
	}
	topic := &Topic{Name: t.name, ID: id, Configs: t.configs, Partitions: make([]Partition, t.partitions)}
	for n := range topic.Partitions {
		if !list[n].complete() {
			return nil, fmt.Errorf("%w: topic %s (%s): partition %d lacks a key", ErrCorrupt, t.name, topicName(id), n)
		}
		topic.Partitions[n] = list[n].Partition
	}
	return topic, nil
}

func cloneMap[K comparable, V any](m map[K]V) map[K]V {
	if m == nil {
		return map[K]V{}
	}
	return maps.Clone(m)
}
