package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// describeLogDirs tells sizes by directory (KIP-113, KIP-827). The bucket is one more
// directory, named by its URL, so that tiered bytes show in the tools people have.
func (s *Server) describeLogDirs(_ context.Context, _ *call, q *kmsg.DescribeLogDirsRequest) *kmsg.DescribeLogDirsResponse {
	p := q.ResponseKind().(*kmsg.DescribeLogDirsResponse)
	wanted := wantedLogs(q)
	for _, d := range s.Partitions.LogDirs() {
		r := kmsg.NewDescribeLogDirsResponseDir()
		r.Dir, r.TotalBytes, r.UsableBytes, r.IsCordoned = d.Path, d.Total, d.Usable, d.Cordoned
		if d.Err != nil {
			r.ErrorCode = kerr.KafkaStorageError.Code
		}
		topics := make(map[string]int)
		for _, l := range d.Logs {
			if !wanted(l.Topic, l.Partition) {
				continue
			}
			i, ok := topics[l.Topic]
			if !ok {
				i = len(r.Topics)
				topics[l.Topic] = i
				t := kmsg.NewDescribeLogDirsResponseDirTopic()
				t.Topic = l.Topic
				r.Topics = append(r.Topics, t)
			}
			to := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
			to.Partition, to.Size = l.Partition, l.Size
			r.Topics[i].Partitions = append(r.Topics[i].Partitions, to)
		}
		p.Dirs = append(p.Dirs, r)
	}
	return p
}

// wantedLogs tells which logs a request names; null names all.
func wantedLogs(q *kmsg.DescribeLogDirsRequest) func(topic string, index int32) bool {
	if q.Topics == nil {
		return func(string, int32) bool { return true }
	}
	type log struct {
		topic string
		index int32
	}
	named := make(map[log]bool)
	for i := range q.Topics {
		for _, index := range q.Topics[i].Partitions {
			named[log{q.Topics[i].Topic, index}] = true
		}
	}
	return func(topic string, index int32) bool { return named[log{topic, index}] }
}
