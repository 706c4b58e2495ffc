package api

import "strconv"

// shareTopic is __share_group_state under the broker's settings, as Kafka makes it: its
// records are deleted by the share coordinator and never expire. It is not tiered.
func (s *Server) shareTopic() newTopic {
	c := s.Config().Shares
	return newTopic{
		name:              ShareTopic,
		partitions:        c.Partitions,
		replicationFactor: min(c.ReplicationFactor, int16(len(s.Store.Image().Brokers()))),
		configs: map[string]string{
			"cleanup.policy":        "delete",
			"compression.type":      "producer",
			"min.insync.replicas":   strconv.Itoa(int(c.MinISR)),
			"retention.bytes":       "-1",
			"retention.ms":          "-1",
			"segment.bytes":         strconv.FormatInt(c.SegmentBytes, 10),
			"remote.storage.enable": "false",
		},
	}
}
