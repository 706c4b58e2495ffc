package api

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/broker/config"
)

// maxNewPartitions bounds the partitions of one request (RELIABILITY.md B26).
const maxNewPartitions = 10_000

// newTopic is a topic that somebody wants; -1 stands for the broker's default.
type newTopic struct {
	name              string
	partitions        int32
	replicationFactor int16
	assignment        [][]int32 // explicit replicas; nil: we choose
	configs           map[string]string
}

// offsetsTopic is __consumer_offsets under the broker's settings. It is compacted, and
// not tiered yet.
func (s *Server) offsetsTopic() newTopic {
	return newTopic{
		name:              OffsetsTopic,
		partitions:        s.Config().OffsetsTopicPartitions,
		replicationFactor: min(s.Config().OffsetsTopicReplicationFactor, int16(len(s.Store.Image().Brokers()))),
		configs: map[string]string{
			"cleanup.policy":        "compact",
			"compression.type":      "producer",
			"segment.bytes":         strconv.FormatInt(s.Config().OffsetsTopicSegmentBytes, 10),
			"remote.storage.enable": "false",
		},
	}
}

// transactionTopic is __transaction_state under the broker's settings. It is compacted, and
// not tiered yet; what Kafka sets beside that, no compression and no unclean election, goes
// without saying here.
func (s *Server) transactionTopic() newTopic {
	c := s.Config().Transactions
	return newTopic{
		name:              TransactionTopic,
		partitions:        c.Partitions,
		replicationFactor: min(c.ReplicationFactor, int16(len(s.Store.Image().Brokers()))),
		configs: map[string]string{
			"cleanup.policy":        "compact",
			"min.insync.replicas":   strconv.Itoa(int(c.MinISR)),
			"segment.bytes":         strconv.FormatInt(c.SegmentBytes, 10),
			"remote.storage.enable": "false",
		},
	}
}

// createTopics creates topics, each by itself.
func (s *Server) createTopics(ctx context.Context, c *call, q *kmsg.CreateTopicsRequest) *kmsg.CreateTopicsResponse {
	p := q.ResponseKind().(*kmsg.CreateTopicsResponse)
	ctx, cancel := withTimeout(ctx, q.TimeoutMillis)
	defer cancel()
	named := make(map[string]int)
	total := 0
	for i := range q.Topics {
		named[q.Topics[i].Topic]++
		total += max(int(q.Topics[i].NumPartitions), len(q.Topics[i].ReplicaAssignment))
	}
	grant := s.mutations(c, strictCreateTopics)
	for i := range q.Topics {
		r := kmsg.NewCreateTopicsResponseTopic()
		r.Topic = q.Topics[i].Topic
		var err error
		switch {
		case named[r.Topic] == 0:
			continue // answered already
		case named[r.Topic] > 1:
			err = refuse(kerr.InvalidRequest, "topic is named more than once in the request")
			named[r.Topic] = 0
		case total > maxNewPartitions:
			err = refuse(kerr.PolicyViolation, fmt.Sprintf("request creates %d partitions, more than %d", total, maxNewPartitions))
		default:
			err = s.createRequested(ctx, &q.Topics[i], grant, q.ValidateOnly, &r)
		}
		r.ErrorCode, r.ErrorMessage = code(err), text(err)
		if err != nil {
			r.NumPartitions, r.ReplicationFactor = -1, -1
		}
		p.Topics = append(p.Topics, r)
	}
	return p
}

func (s *Server) createRequested(ctx context.Context, q *kmsg.CreateTopicsRequestTopic, grant func(int) error, validateOnly bool, r *kmsg.CreateTopicsResponseTopic) error {
	n := newTopic{name: clone(q.Topic), partitions: q.NumPartitions, replicationFactor: q.ReplicationFactor, configs: make(map[string]string)}
	if _, exists := s.Store.Image().Topic(n.name); internal(n.name) && !exists {
		return refuse(kerr.InvalidTopicException, n.name+" is created by the broker itself")
	}
	for _, o := range q.Configs {
		if o.Value == nil {
			return refuse(kerr.InvalidConfig, fmt.Sprintf("null value not supported for topic configs: %s", o.Name))
		}
		n.configs[clone(o.Name)] = clone(*o.Value)
	}
	if len(q.ReplicaAssignment) > 0 {
		if q.NumPartitions != -1 || q.ReplicationFactor != -1 {
			return refuse(kerr.InvalidRequest, "replica assignment excludes partition count and replication factor, which must be -1")
		}
		n.assignment = make([][]int32, len(q.ReplicaAssignment))
		for _, a := range q.ReplicaAssignment {
			if a.Partition < 0 || int(a.Partition) >= len(n.assignment) || n.assignment[a.Partition] != nil {
				return refuse(kerr.InvalidReplicaAssignment, "partitions of a replica assignment must be 0, 1, 2 and so on, once each")
			}
			n.assignment[a.Partition] = append([]int32{}, a.Replicas...)
		}
	}
	t, replicas, err := s.createTopic(ctx, n, grant, validateOnly)
	if err != nil {
		return err
	}
	if t != nil {
		r.TopicID = t.ID
	}
	r.NumPartitions, r.ReplicationFactor = int32(len(replicas)), int16(len(replicas[0]))
	r.Configs = s.createdConfigs(s.withTieringDefault(n))
	return nil
}

// createTopic checks a topic and, if grant lets it, unless validateOnly, creates it and
// waits until its local replicas are open. It returns the assignment chosen.
func (s *Server) createTopic(ctx context.Context, n newTopic, grant func(partitions int) error, validateOnly bool) (*cluster.Topic, [][]int32, error) {
	image := s.Store.Image()
	if err := checkTopicName(n.name); err != nil {
		return nil, nil, err
	}
	if _, ok := image.Topic(n.name); ok {
		return nil, nil, fmt.Errorf("topic %q: %w", n.name, cluster.ErrTopicExists)
	}
	if err := collides(image, n.name); err != nil {
		return nil, nil, err
	}
	replicas, err := s.assign(image, n)
	if err != nil {
		return nil, nil, err
	}
	configs := s.withTieringDefault(n)
	if _, err := config.TopicConfig(n.name, s.Config().Topic, configs); err != nil {
		return nil, nil, err
	}
	if err := grant(len(replicas)); err != nil {
		return nil, nil, err
	}
	if validateOnly {
		return nil, replicas, nil
	}
	t, err := s.Store.CreateTopic(ctx, cluster.NewTopic{Name: n.name, Replicas: replicas, Configs: configs})
	if err != nil {
		return nil, nil, err
	}
	return t, replicas, s.Partitions.Await(ctx, s.Store.Image().Revision())
}

// withTieringDefault writes varve.tiering.default down as the new topic's own
// remote.storage.enable, so that a later change of the default moves no old topic.
// Compacted topics are not tiered.
func (s *Server) withTieringDefault(n newTopic) map[string]string {
	if _, said := n.configs["remote.storage.enable"]; said || !s.Config().TieringDefault || !config.TieredByDefault(s.Config().Topic, n.configs) {
		return n.configs
	}
	configs := map[string]string{"remote.storage.enable": "true"}
	for k, v := range n.configs {
		configs[k] = v
	}
	return configs
}

// assign chooses replicas, or checks the ones asked for.
func (s *Server) assign(image *cluster.Image, n newTopic) ([][]int32, error) {
	ids := image.BrokerIDs()
	if n.assignment != nil {
		return n.assignment, checkAssignment(n.assignment, ids)
	}
	partitions, factor := n.partitions, n.replicationFactor
	if partitions == -1 {
		partitions = s.Config().NumPartitions
	}
	if factor == -1 {
		factor = s.Config().DefaultReplicationFactor
	}
	switch {
	case partitions <= 0:
		return nil, refuse(kerr.InvalidPartitions, "number of partitions must be larger than 0")
	case partitions > maxNewPartitions:
		return nil, refuse(kerr.InvalidPartitions, fmt.Sprintf("number of partitions must be at most %d", maxNewPartitions))
	case factor <= 0:
		return nil, refuse(kerr.InvalidReplicationFactor, "replication factor must be larger than 0")
	case int(factor) > len(ids):
		return nil, refuse(kerr.InvalidReplicationFactor, fmt.Sprintf("replication factor %d is larger than the number of brokers, %d", factor, len(ids)))
	}
	return cluster.Assign(ids, int(partitions), int(factor), len(image.Topics()))
}

// checkAssignment wants distinct live brokers, the same number for each partition.
func checkAssignment(replicas [][]int32, ids []int32) error {
	for i, r := range replicas {
		if len(r) == 0 || len(r) != len(replicas[0]) {
			return refuse(kerr.InvalidReplicaAssignment, "every partition needs the same number of replicas, at least one")
		}
		for j, id := range r {
			if slices.Contains(r[:j], id) {
				return refuse(kerr.InvalidReplicaAssignment, fmt.Sprintf("partition %d names broker %d twice", i, id))
			}
			if !slices.Contains(ids, id) {
				return refuse(kerr.InvalidReplicaAssignment, fmt.Sprintf("partition %d names broker %d, which is not registered", i, id))
			}
		}
	}
	return nil
}

// createdConfigs shows the configs of a new topic (KIP-525).
func (s *Server) createdConfigs(overrides map[string]string) []kmsg.CreateTopicsResponseTopicConfig {
	var out []kmsg.CreateTopicsResponseTopicConfig
	for _, e := range s.Config().DescribeTopic(overrides) {
		r := kmsg.NewCreateTopicsResponseTopicConfig()
		r.Name, r.Value, r.ReadOnly, r.Source, r.IsSensitive = e.Name, e.Value, e.ReadOnly, int8(e.Source), e.Sensitive
		out = append(out, r)
	}
	return out
}
