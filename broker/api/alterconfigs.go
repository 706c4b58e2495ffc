package api

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/broker/partition"
	"github.com/varvelog/varve/segment"
)

// Both APIs come down to the same: take a resource's overrides, make new ones, check
// them, and store them if nobody else has stored others meanwhile.

// change makes new overrides of old ones.
type change func(old map[string]string) (map[string]string, error)

// incrementalAlterConfigs changes single configs (KIP-339).
func (s *Server) incrementalAlterConfigs(ctx context.Context, _ *call, q *kmsg.IncrementalAlterConfigsRequest) *kmsg.IncrementalAlterConfigsResponse {
	p := q.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
	twice := repeated(q.Resources, func(r kmsg.IncrementalAlterConfigsRequestResource) resource {
		return resource{r.ResourceType, r.ResourceName}
	})
	for i := range q.Resources {
		from := &q.Resources[i]
		ops := make([]config.Op, 0, len(from.Configs))
		for _, o := range from.Configs {
			ops = append(ops, config.Op{Type: config.OpType(o.Op), Name: clone(o.Name), Value: cloned(o.Value)})
		}
		r := resource{from.ResourceType, from.ResourceName}
		err := twice[r]
		if err == nil {
			err = once(ops)
		}
		if err == nil && r.kind == kmsg.ConfigResourceTypeBrokerLogger {
			err = s.alterLogger(r.name, ops, q.ValidateOnly)
		} else if err == nil {
			err = s.alter(ctx, r, q.ValidateOnly, func(old map[string]string) (map[string]string, error) {
				switch r.kind {
				case kmsg.ConfigResourceTypeBroker:
					return config.AlterBroker(old, ops)
				case kmsg.ConfigResourceTypeGroupConfig:
					return config.AlterGroup(old, ops)
				case kmsg.ConfigResourceTypeClientMetrics:
					return alteredClientMetrics(old, ops)
				}
				return s.Config().AlterTopic(old, ops)
			})
		}
		to := kmsg.NewIncrementalAlterConfigsResponseResource()
		to.ResourceType, to.ResourceName, to.ErrorCode, to.ErrorMessage = from.ResourceType, from.ResourceName, code(err), text(err)
		p.Resources = append(p.Resources, to)
	}
	return p
}

// once refuses changes of which two are to one config: their order would matter.
func once(ops []config.Op) error {
	named := make(map[string]bool, len(ops))
	for _, o := range ops {
		if named[o.Name] {
			return refuse(kerr.InvalidRequest, "config "+o.Name+" is named more than once")
		}
		named[o.Name] = true
	}
	return nil
}

// alterConfigs replaces all overrides of a resource.
func (s *Server) alterConfigs(ctx context.Context, _ *call, q *kmsg.AlterConfigsRequest) *kmsg.AlterConfigsResponse {
	p := q.ResponseKind().(*kmsg.AlterConfigsResponse)
	twice := repeated(q.Resources, func(r kmsg.AlterConfigsRequestResource) resource { return resource{r.ResourceType, r.ResourceName} })
	for i := range q.Resources {
		from := &q.Resources[i]
		r := resource{from.ResourceType, from.ResourceName}
		err := twice[r]
		if err == nil {
			err = s.alter(ctx, r, q.ValidateOnly, func(old map[string]string) (map[string]string, error) {
				next, err := s.replacement(old, from.Configs)
				if err == nil && r.kind == kmsg.ConfigResourceTypeBroker {
					err = config.KnownToBrokers(next)
				}
				return next, err
			})
		}
		to := kmsg.NewAlterConfigsResponseResource()
		to.ResourceType, to.ResourceName, to.ErrorCode, to.ErrorMessage = from.ResourceType, from.ResourceName, code(err), text(err)
		p.Resources = append(p.Resources, to)
	}
	return p
}

// replacement makes overrides of a request that names them all. Whether a topic is
// tiered was decided when it was made, mostly by default: a client that does not know
// of it leaves it as it is, but for a topic that it tells to be compacted.
func (s *Server) replacement(old map[string]string, configs []kmsg.AlterConfigsRequestResourceConfig) (map[string]string, error) {
	const tiered = "remote.storage.enable"
	next := make(map[string]string, len(configs)+1)
	if v, set := old[tiered]; set {
		next[tiered] = v
	}
	said := false
	for _, o := range configs {
		if o.Value == nil {
			return nil, refuse(kerr.InvalidRequest, fmt.Sprintf("null value not supported for: %s", o.Name))
		}
		next[clone(o.Name)] = clone(*o.Value)
		said = said || o.Name == tiered
	}
	if said {
		return next, nil
	}
	return s.Config().WithoutDefaultTiering(next), nil
}

// resource names what configs belong to.
type resource struct {
	kind kmsg.ConfigResourceType
	name string
}

// repeated returns an error for each resource that a request names more than once.
func repeated[R any](rs []R, name func(R) resource) map[resource]error {
	count := make(map[resource]int)
	twice := make(map[resource]error)
	for _, r := range rs {
		if n := name(r); count[n] > 0 {
			twice[n] = refuse(kerr.InvalidRequest, "each resource must appear at most once")
		}
		count[name(r)]++
	}
	return twice
}

// alterAttempts bounds how often a change is made anew because another one came first.
const alterAttempts = 10

// alter makes a change, checks its result and stores it.
func (s *Server) alter(ctx context.Context, r resource, validateOnly bool, next change) error {
	for range alterAttempts {
		var err error
		switch r.kind {
		case kmsg.ConfigResourceTypeTopic:
			err = s.alterTopic(ctx, r.name, validateOnly, next)
		case kmsg.ConfigResourceTypeBroker:
			err = s.alterBroker(ctx, r.name, validateOnly, next)
		case kmsg.ConfigResourceTypeGroupConfig:
			err = s.alterGroup(ctx, r.name, validateOnly, next)
		case kmsg.ConfigResourceTypeClientMetrics:
			err = s.alterClientMetrics(ctx, r.name, validateOnly, next)
		default:
			err = refuse(kerr.InvalidRequest, fmt.Sprintf("resource type %d has no configs here", r.kind))
		}
		if !errors.Is(err, cluster.ErrConflict) {
			return err
		}
	}
	return cluster.ErrConflict
}

func (s *Server) alterTopic(ctx context.Context, name string, validateOnly bool, next change) error {
	if err := checkTopicName(name); err != nil {
		return err
	}
	t, err := s.find(name, segment.TopicID{}, false)
	if err != nil {
		return err
	}
	configs, err := next(t.Configs)
	if err != nil {
		return err
	}
	before, _ := config.StoredTopic(s.Config().Topic, t.Configs)
	after, err := config.TopicConfig(t.Name, s.Config().Topic, configs)
	if err != nil {
		return err
	}
	if before.RemoteStorage && !after.RemoteStorage { // what is looked for in the bucket may not come later
		release, err := s.holdCopies(ctx, t)
		if err != nil {
			return err
		}
		defer release()
	}
	if err := config.CheckTopicChange(before, after, func() (bool, error) { return s.inBucket(ctx, t) }); err != nil || validateOnly {
		return err
	}
	if err := s.Store.SetTopicConfigs(ctx, t.Name, t.Configs, configs); err != nil {
		return err
	}
	return s.Partitions.Await(ctx, s.Store.Image().Revision())
}

// holdCopies is partition.HoldCopies of all partitions of a topic.
func (s *Server) holdCopies(ctx context.Context, t *cluster.Topic) (release func(), err error) {
	var held []func()
	release = func() {
		for _, r := range held {
			r()
		}
	}
	for i := range t.Partitions {
		p, err := s.replica(t, int32(i))
		if err != nil {
			release()
			return nil, err
		}
		r, err := p.HoldCopies(ctx)
		if err != nil {
			release()
			return nil, err
		}
		held = append(held, r)
	}
	return release, nil
}

// inBucket tells whether records of a topic are in the bucket.
func (s *Server) inBucket(ctx context.Context, t *cluster.Topic) (bool, error) {
	return partition.AnyInBucket(ctx, len(t.Partitions), func(index int32) (*partition.Partition, error) { return s.replica(t, index) })
}

func (s *Server) alterBroker(ctx context.Context, name string, validateOnly bool, next change) error {
	id, err := s.brokerResource(name)
	if err != nil {
		return err
	}
	image := s.Store.Image()
	old := image.BrokerConfigs(id)
	configs, err := next(old)
	if err != nil {
		return err
	}
	// What is stored on the other level is not the client's fault.
	all, one := config.Holding(image.BrokerConfigs(cluster.DefaultConfigs), true), configs
	if id == cluster.DefaultConfigs {
		all, one = configs, config.Holding(image.BrokerConfigs(s.NodeID), false)
	}
	changed, err := s.Config().WithDynamic(all, one)
	if err == nil && (id == cluster.DefaultConfigs || id == s.NodeID) {
		err = s.Config().CheckReconfiguration(changed)
	}
	if err != nil {
		return refuse(kerr.InvalidRequest, err.Error()) // Kafka's code for configs of brokers; those of topics are INVALID_CONFIG
	}
	if validateOnly {
		return nil
	}
	if err := s.Store.SetBrokerConfigs(ctx, id, old, configs); err != nil {
		return err
	}
	return s.Partitions.Await(ctx, s.Store.Image().Revision())
}

// clone and cloned free a value from the request's frame, which it outlives.
func clone(s string) string { return strings.Clone(s) }

func cloned(s *string) *string {
	if s == nil {
		return nil
	}
	c := clone(*s)
	return &c
}
