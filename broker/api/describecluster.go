package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// brokersEndpoint is the endpoint type of brokers; 2 would be KRaft controllers (KIP-919).
const brokersEndpoint = 1

// describeCluster names the brokers as this client can reach them (KIP-700).
func (s *Server) describeCluster(c *call, q *kmsg.DescribeClusterRequest) *kmsg.DescribeClusterResponse {
	p := q.ResponseKind().(*kmsg.DescribeClusterResponse)
	image := s.Store.Image()
	p.ClusterID, p.ControllerID, p.EndpointType = image.ClusterID(), image.Controller(), brokersEndpoint
	p.ClusterAuthorizedOperations = operations(q.IncludeClusterAuthorizedOperations, clusterOperations)
	if c.Version >= 1 && q.EndpointType != brokersEndpoint {
		p.ErrorCode = kerr.MismatchedEndpointType.Code
		p.ErrorMessage = kmsg.StringPtr("this listener serves brokers, not controllers")
		return p
	}
	for _, r := range reachable(image, c.Conn) {
		b := kmsg.NewDescribeClusterResponseBroker()
		b.NodeID, b.Host, b.Port, b.Rack = r.id, r.host, r.port, r.rack
		p.Brokers = append(p.Brokers, b)
	}
	return p
}
