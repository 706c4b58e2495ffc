package api

import (
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/cluster"
)

// configResource is a type of what has configs.
type configResource struct {
	kind  kmsg.ConfigResourceType
	names func(*cluster.Image) []string
}

// configResources are all types (KIP-1142).
var configResources = []configResource{
	{kmsg.ConfigResourceTypeTopic, topicNames},
	{kmsg.ConfigResourceTypeBroker, brokerNames},
	{kmsg.ConfigResourceTypeBrokerLogger, brokerNames},
	{kmsg.ConfigResourceTypeClientMetrics, (*cluster.Image).MetricsSubscriptions},
	{kmsg.ConfigResourceTypeGroupConfig, (*cluster.Image).ConfiguredGroups},
}

// listConfigResources names resources; version 0 lists subscriptions to clients' metrics.
func (s *Server) listConfigResources(c *call, q *kmsg.ListConfigResourcesRequest) *kmsg.ListConfigResourcesResponse {
	p := q.ResponseKind().(*kmsg.ListConfigResourcesResponse)
	wanted := q.ResourceTypes
	if c.Version == 0 {
		wanted = []int8{int8(kmsg.ConfigResourceTypeClientMetrics)}
	}
	for _, kind := range wanted {
		if !slices.ContainsFunc(configResources, func(r configResource) bool { return int8(r.kind) == kind }) {
			p.ErrorCode = kerr.UnsupportedVersion.Code
			return p
		}
	}
	image := s.Store.Image()
	for _, r := range configResources {
		if len(wanted) > 0 && !slices.Contains(wanted, int8(r.kind)) {
			continue
		}
		for _, name := range r.names(image) {
			to := kmsg.NewListConfigResourcesResponseConfigResource()
			to.Type, to.Name = int8(r.kind), name
			p.ConfigResources = append(p.ConfigResources, to)
		}
	}
	return p
}

func topicNames(image *cluster.Image) []string {
	var names []string
	for _, t := range image.Topics() {
		names = append(names, t.Name)
	}
	return names
}

func brokerNames(image *cluster.Image) []string {
	var names []string
	for _, id := range image.BrokerIDs() {
		names = append(names, strconv.Itoa(int(id)))
	}
	return names
}
