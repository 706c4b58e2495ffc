package api

import (
	"math"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/cluster"
)

// metadataTopic is KRaft's name of the metadata log.
const metadataTopic = "__cluster_metadata"

// describeQuorum tells who keeps the metadata, in KRaft's words (KIP-595, KIP-836). The
// log is etcd's: its revision is the offset, the controller its leader, and every
// broker may become controller. Only what this broker knows of itself is told.
func (s *Server) describeQuorum(c *call, q *kmsg.DescribeQuorumRequest) *kmsg.DescribeQuorumResponse {
	p := q.ResponseKind().(*kmsg.DescribeQuorumResponse)
	if len(q.Topics) != 1 || q.Topics[0].Topic != metadataTopic || len(q.Topics[0].Partitions) != 1 || q.Topics[0].Partitions[0].Partition != 0 {
		refuseQuorum(p, q)
		return p
	}
	image := s.Store.Image()
	to := kmsg.NewDescribeQuorumResponseTopic()
	to.Topic = metadataTopic
	to.Partitions = append(to.Partitions, quorum(image, s.NodeID, s.Now().UnixMilli()))
	p.Topics = append(p.Topics, to)
	for _, b := range reachable(image, c.Conn) {
		n := kmsg.NewDescribeQuorumResponseNode()
		n.NodeID = b.id
		l := kmsg.NewDescribeQuorumResponseNodeListener()
		l.Name, l.Host, l.Port = c.Conn.Listener, b.host, uint16(b.port)
		n.Listeners = append(n.Listeners, l)
		p.Nodes = append(p.Nodes, n)
	}
	return p
}

// quorum describes the metadata log as broker self sees it at now, in milliseconds.
func quorum(image *cluster.Image, self int32, now int64) kmsg.DescribeQuorumResponseTopicPartition {
	r := kmsg.NewDescribeQuorumResponseTopicPartition()
	r.LeaderID, r.HighWatermark = image.Controller(), image.Revision()
	r.LeaderEpoch = int32(min(image.ControllerEpoch(), math.MaxInt32))
	for _, id := range image.BrokerIDs() {
		v := kmsg.NewDescribeQuorumResponseTopicPartitionReplicaState()
		v.ReplicaID, v.LogEndOffset = id, -1
		if id == self {
			v.LogEndOffset, v.LastFetchTimestamp, v.LastCaughtUpTimestamp = image.Revision(), now, now
		}
		r.CurrentVoters = append(r.CurrentVoters, v)
	}
	return r
}

// refuseQuorum answers a request for anything but the metadata log.
func refuseQuorum(p *kmsg.DescribeQuorumResponse, q *kmsg.DescribeQuorumRequest) {
	for i := range q.Topics {
		to := kmsg.NewDescribeQuorumResponseTopic()
		to.Topic = q.Topics[i].Topic
		for _, asked := range q.Topics[i].Partitions {
			r := kmsg.NewDescribeQuorumResponseTopicPartition()
			r.Partition, r.ErrorCode = asked.Partition, kerr.UnknownTopicOrPartition.Code
			to.Partitions = append(to.Partitions, r)
		}
		p.Topics = append(p.Topics, to)
	}
}
