package api

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/segment"
)

// metadata answers Metadata, creating unknown topics where broker and client allow it.
func (s *Server) metadata(ctx context.Context, c *call, q *kmsg.MetadataRequest) *kmsg.MetadataResponse {
	p := q.ResponseKind().(*kmsg.MetadataResponse)
	image := s.Store.Image()
	all := q.Topics == nil || (c.Version == 0 && len(q.Topics) == 0)
	if all {
		for _, t := range image.Topics() {
			p.Topics = append(p.Topics, s.metadataTopic(image, t, q))
		}
	}
	mayCreate := s.Config().AutoCreateTopics && (c.Version < 4 || q.AllowAutoTopicCreation)
	for i := range q.Topics {
		t, err := s.metadataLookup(ctx, c, &q.Topics[i], mayCreate)
		image = s.Store.Image()
		if err == nil {
			p.Topics = append(p.Topics, s.metadataTopic(image, t, q))
			continue
		}
		m := kmsg.NewMetadataResponseTopic()
		m.ErrorCode, m.Topic, m.TopicID = code(err), q.Topics[i].Topic, q.Topics[i].TopicID
		m.IsInternal = m.Topic != nil && internal(*m.Topic)
		p.Topics = append(p.Topics, m)
	}
	s.metadataCluster(image, c, q, p)
	return p
}

// metadataCluster fills in brokers, cluster id and controller.
func (s *Server) metadataCluster(image *cluster.Image, c *call, q *kmsg.MetadataRequest, p *kmsg.MetadataResponse) {
	for _, r := range reachable(image, c.Conn) {
		b := kmsg.NewMetadataResponseBroker()
		b.NodeID, b.Host, b.Port, b.Rack = r.id, r.host, r.port, r.rack
		p.Brokers = append(p.Brokers, b)
	}
	id := image.ClusterID()
	p.ClusterID = &id
	p.ControllerID = image.Controller()
	p.AuthorizedOperations = operations(q.IncludeClusterAuthorizedOperations, clusterOperations)
}

// metadataLookup finds a topic by name or, from version 10 on, by id.
func (s *Server) metadataLookup(ctx context.Context, c *call, q *kmsg.MetadataRequestTopic, mayCreate bool) (*cluster.Topic, error) {
	if q.Topic == nil {
		return s.find("", q.TopicID, true)
	}
	t, err := s.find(*q.Topic, segment.TopicID{}, false)
	if err == nil || !mayCreate {
		if err != nil {
			err = errors.Join(checkTopicName(*q.Topic), err)
		}
		return t, err
	}
	return s.autoCreate(ctx, *q.Topic, s.mutations(c, neverStrict))
}

// autoCreate creates a topic with the broker's defaults; somebody else may be first. Of
// requests that need the same topic one creates it, and the others wait for that.
func (s *Server) autoCreate(ctx context.Context, name string, grant func(partitions int) error) (*cluster.Topic, error) {
	done, err := s.creations.begin(ctx, name)
	if err != nil {
		return nil, err
	}
	t, err := s.find(name, segment.TopicID{}, false)
	if err != nil {
		t, err = s.createByDefault(ctx, name, grant)
	}
	done(err)
	return t, err
}

func (s *Server) createByDefault(ctx context.Context, name string, grant func(partitions int) error) (*cluster.Topic, error) {
	n := newTopic{name: name, partitions: -1, replicationFactor: -1}
	switch {
	case name == OffsetsTopic:
		n = s.offsetsTopic()
	case name == TransactionTopic:
		n = s.transactionTopic()
	case name == ShareTopic:
		n = s.shareTopic()
	case internal(name):
		return nil, kerr.InvalidTopicException
	}
	t, _, err := s.createTopic(ctx, n, grant, false)
	if errors.Is(err, cluster.ErrTopicExists) {
		return s.find(name, segment.TopicID{}, false)
	}
	return t, err
}

func (s *Server) metadataTopic(image *cluster.Image, t *cluster.Topic, q *kmsg.MetadataRequest) kmsg.MetadataResponseTopic {
	m := kmsg.NewMetadataResponseTopic()
	m.Topic, m.TopicID, m.IsInternal = &t.Name, t.ID, internal(t.Name)
	m.AuthorizedOperations = operations(q.IncludeTopicAuthorizedOperations, topicOperations)
	m.Partitions = make([]kmsg.MetadataResponseTopicPartition, 0, len(t.Partitions))
	for i := range t.Partitions {
		from := &t.Partitions[i]
		to := kmsg.NewMetadataResponseTopicPartition()
		to.Partition, to.Leader, to.LeaderEpoch = int32(i), from.Leader, from.LeaderEpoch
		to.Replicas, to.ISR, to.OfflineReplicas = from.Replicas, from.ISR, offline(image, from.Replicas)
		if from.Leader < 0 {
			to.ErrorCode = kerr.LeaderNotAvailable.Code
		}
		m.Partitions = append(m.Partitions, to)
	}
	return m
}

// offline returns the replicas whose brokers are not registered.
func offline(image *cluster.Image, replicas []int32) []int32 {
	var gone []int32
	for _, id := range replicas {
		if _, registered := image.Broker(id); !registered {
			gone = append(gone, id)
		}
	}
	return gone
}
