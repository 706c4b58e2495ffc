package api

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/coordinator/group"
)

// The streams protocol of KIP-1071.

func (s *Server) streamsGroupHeartbeat(c *call, q *kmsg.StreamsGroupHeartbeatRequest) func(context.Context) (*kmsg.StreamsGroupHeartbeatResponse, error) {
	if refused := s.refusedTopology(q); refused != nil {
		p := group.StreamsHeartbeatError(q.Version, refused)
		return func(context.Context) (*kmsg.StreamsGroupHeartbeatResponse, error) { return p, nil }
	}
	wait := s.Groups.StreamsHeartbeat(client(c), q)
	return func(ctx context.Context) (*kmsg.StreamsGroupHeartbeatResponse, error) {
		a, err := wait(ctx)
		if err != nil || len(a.Missing) == 0 {
			return a.Response, err
		}
		s.createInternalTopics(ctx, c, a.Missing, a.Response)
		return a.Response, nil
	}
}

// streamsProtocol tells whether it is switched on, by feature.
func (s *Server) streamsProtocol() bool {
	return featureLevel(streamsVersion, s.Store.Image().Features()) > 0
}

// refusedTopology checks the protocol, and the names of a topology's topics.
func (s *Server) refusedTopology(q *kmsg.StreamsGroupHeartbeatRequest) *group.Refusal {
	if !s.streamsProtocol() {
		return &group.Refusal{Code: kerr.UnsupportedVersion.Code}
	}
	if q.Topology == nil {
		return nil
	}
	var prohibited, invalid []string
	for _, name := range topologyTopics(q.Topology) {
		if internal(name) {
			prohibited = append(prohibited, name)
		}
		if checkTopicName(name) != nil {
			invalid = append(invalid, name)
		}
	}
	switch {
	case len(prohibited) > 0:
		return &group.Refusal{Code: kerr.StreamsInvalidTopology.Code, Message: "Use of Kafka internal topics " + strings.Join(prohibited, ",") + " in a Kafka Streams topology is prohibited."}
	case len(invalid) > 0:
		return &group.Refusal{Code: kerr.StreamsInvalidTopology.Code, Message: "Topic names " + strings.Join(invalid, ",") + " are not valid topic names."}
	}
	return nil
}

// topologyTopics lists each topic of a topology once.
func topologyTopics(t *kmsg.StreamsGroupHeartbeatRequestTopology) []string {
	var all []string
	for i := range t.Subtopologies {
		sub := &t.Subtopologies[i]
		all = append(append(all, sub.SourceTopics...), sub.RepartitionSinkTopics...)
		for _, topics := range [...][]kmsg.TopicInfo{sub.RepartitionSourceTopics, sub.StateChangelogTopics} {
			for _, topic := range topics {
				all = append(all, topic.Topic)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// missingInternalTopics is the status code under which a heartbeat tells of them.
const missingInternalTopics = 3

// createInternalTopics makes the topics that a streams group waits for, as a CreateTopics
// of its member would, and adds to the answer why some could not be made. The group sees
// those that could with its next heartbeats.
func (s *Server) createInternalTopics(ctx context.Context, c *call, missing []group.NewTopic, p *kmsg.StreamsGroupHeartbeatResponse) {
	q := kmsg.NewPtrCreateTopicsRequest()
	q.Version = 7
	q.TimeoutMillis = 2 * p.HeartbeatIntervalMillis
	for _, m := range portion(missing) {
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = m.Name, m.Partitions, m.ReplicationFactor
		for name, value := range m.Configs {
			t.Configs = append(t.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: name, Value: &value})
		}
		q.Topics = append(q.Topics, t)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(q.TimeoutMillis)*time.Millisecond)
	defer cancel()
	var failed []string
	for _, t := range s.createTopics(ctx, c, q).Topics {
		if t.ErrorCode == 0 || t.ErrorCode == kerr.TopicAlreadyExists.Code {
			continue // another member was faster
		}
		why := kerr.ErrorForCode(t.ErrorCode).Error()
		if t.ErrorMessage != nil {
			why = *t.ErrorMessage
		}
		failed = append(failed, t.Topic+" ("+why+")")
	}
	if len(failed) == 0 {
		return
	}
	for i := range p.Status {
		if st := &p.Status[i]; st.StatusCode == missingInternalTopics {
			st.StatusDetail += "; Creation failed: " + strings.Join(failed, ", ") + "."
		}
	}
}

// portion is those that one request may create, the first at least: the others are asked
// for again with the next heartbeats. All together were refused, each time, where an
// application needs more.
func portion(missing []group.NewTopic) []group.NewTopic {
	total := 0
	for i := range missing {
		if total += int(missing[i].Partitions); total > maxNewPartitions && i > 0 {
			return missing[:i]
		}
	}
	return missing
}

func (s *Server) streamsGroupDescribe(_ *call, q *kmsg.StreamsGroupDescribeRequest) *kmsg.StreamsGroupDescribeResponse {
	if !s.streamsProtocol() {
		p := q.ResponseKind().(*kmsg.StreamsGroupDescribeResponse)
		for _, id := range q.Groups {
			p.Groups = append(p.Groups, group.StreamsDescribeError(id, kerr.UnsupportedVersion.Code, ""))
		}
		return p
	}
	p := s.Groups.StreamsDescribe(q)
	for i := range p.Groups {
		if p.Groups[i].ErrorCode == 0 {
			p.Groups[i].AuthorizedOperations = operations(q.IncludeAuthorizedOperations, groupOperations)
		}
	}
	return p
}
