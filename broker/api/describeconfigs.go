package api

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/segment"
)

// describeConfigs answers every config of a resource, or those named, with its
// default, source and synonyms (KIP-226): clients read, change one and write all back.
func (s *Server) describeConfigs(_ *call, q *kmsg.DescribeConfigsRequest) *kmsg.DescribeConfigsResponse {
	p := q.ResponseKind().(*kmsg.DescribeConfigsResponse)
	for i := range q.Resources {
		from := &q.Resources[i]
		to := kmsg.NewDescribeConfigsResponseResource()
		to.ResourceType, to.ResourceName = from.ResourceType, from.ResourceName
		entries, err := s.describe(from.ResourceType, from.ResourceName)
		to.ErrorCode, to.ErrorMessage = code(err), text(err)
		for _, e := range entries {
			if len(from.ConfigNames) == 0 || slices.Contains(from.ConfigNames, e.Name) {
				to.Configs = append(to.Configs, described(q, &e))
			}
		}
		p.Resources = append(p.Resources, to)
	}
	return p
}

// describe returns the entries of a topic, of this broker, or ("") of all brokers' defaults.
func (s *Server) describe(kind kmsg.ConfigResourceType, name string) ([]config.Entry, error) {
	switch kind {
	case kmsg.ConfigResourceTypeTopic:
		if err := checkTopicName(name); err != nil {
			return nil, err
		}
		t, err := s.find(name, segment.TopicID{}, false)
		if err != nil {
			return nil, err
		}
		return s.Config().DescribeTopic(t.Configs), nil
	case kmsg.ConfigResourceTypeBroker:
		id, err := s.brokerResource(name)
		if err != nil {
			return nil, err
		}
		if id == cluster.DefaultConfigs {
			return s.Config().DescribeDefaults(), nil
		}
		return s.Config().Describe(), nil
	case kmsg.ConfigResourceTypeGroupConfig:
		if err := checkGroupResource(name); err != nil {
			return nil, err
		}
		return s.Config().DescribeGroup(s.Store.Image().GroupConfigs(name)), nil
	case kmsg.ConfigResourceTypeBrokerLogger:
		if err := s.checkLogger(name); err != nil {
			return nil, err
		}
		return describeLoggers(s.LogLevel.Level()), nil
	case kmsg.ConfigResourceTypeClientMetrics:
		if err := checkClientMetrics(name); err != nil {
			return nil, err
		}
		return config.DescribeClientMetrics(s.Store.Image().MetricsConfigs(name)), nil
	}
	return nil, refuse(kerr.InvalidRequest, fmt.Sprintf("resource type %d has no configs here", kind))
}

// brokerResource reads the name of a broker resource: this broker's id, or nothing for
// the defaults of all brokers.
func (s *Server) brokerResource(name string) (int32, error) {
	if name == "" {
		return cluster.DefaultConfigs, nil
	}
	id, err := strconv.ParseInt(name, 10, 32)
	if err != nil {
		return 0, refuse(kerr.InvalidRequest, fmt.Sprintf("broker id must be an integer, but it is: %s", name))
	}
	if int32(id) != s.NodeID {
		return 0, refuse(kerr.InvalidRequest, fmt.Sprintf("unexpected broker id, expected %d or empty string, but received %s", s.NodeID, name))
	}
	return int32(id), nil
}

func described(q *kmsg.DescribeConfigsRequest, e *config.Entry) kmsg.DescribeConfigsResponseResourceConfig {
	to := kmsg.NewDescribeConfigsResponseResourceConfig()
	to.Name, to.Value, to.ReadOnly, to.IsDefault, to.IsSensitive = e.Name, e.Value, e.ReadOnly, e.IsDefault, e.Sensitive
	to.Source, to.ConfigType = kmsg.ConfigSource(e.Source), kmsg.ConfigType(e.Type)
	if q.IncludeSynonyms {
		for _, synonym := range e.Synonyms {
			r := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
			r.Name, r.Value, r.Source = synonym.Name, synonym.Value, kmsg.ConfigSource(synonym.Source)
			to.ConfigSynonyms = append(to.ConfigSynonyms, r)
		}
	}
	if q.IncludeDocumentation {
		to.Documentation = &e.Doc
	}
	return to
}
