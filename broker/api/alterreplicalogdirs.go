package api

import (
	"path/filepath"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// alterReplicaLogDirs answers where logs are to lie (KIP-113). Logs do not move between
// directories yet: what lies there already does, everything else is refused.
func (s *Server) alterReplicaLogDirs(_ *call, q *kmsg.AlterReplicaLogDirsRequest) *kmsg.AlterReplicaLogDirsResponse {
	p := q.ResponseKind().(*kmsg.AlterReplicaLogDirsResponse)
	dirs := s.Partitions.LogDirs()
	at := make(map[string]int)
	for i := range q.Dirs {
		for _, t := range q.Dirs[i].Topics {
			n, ok := at[t.Topic]
			if !ok {
				n = len(p.Topics)
				at[t.Topic] = n
				to := kmsg.NewAlterReplicaLogDirsResponseTopic()
				to.Topic = t.Topic
				p.Topics = append(p.Topics, to)
			}
			for _, index := range t.Partitions {
				r := kmsg.NewAlterReplicaLogDirsResponseTopicPartition()
				r.Partition, r.ErrorCode = index, code(moveLog(dirs, t.Topic, index, q.Dirs[i].Dir))
				p.Topics[n].Partitions = append(p.Topics[n].Partitions, r)
			}
		}
	}
	if slices.ContainsFunc(p.Topics, refusedMoves) { // the protocol has room for a code only
		s.Log.Warn("logs were to be moved to another log directory, which this version of varve does not do")
	}
	return p
}

func refusedMoves(t kmsg.AlterReplicaLogDirsResponseTopic) bool {
	return slices.ContainsFunc(t.Partitions, func(p kmsg.AlterReplicaLogDirsResponseTopicPartition) bool {
		return p.ErrorCode == kerr.InvalidRequest.Code
	})
}

// moveLog decides what the wish that a log lie in a directory comes to.
func moveLog(dirs []LogDir, topic string, index int32, path string) error {
	n := slices.IndexFunc(dirs, func(d LogDir) bool { return d.Path == path && filepath.IsAbs(d.Path) }) // the bucket's is no path
	switch {
	case n < 0:
		return kerr.LogDirNotFound
	case dirs[n].Err != nil:
		return kerr.KafkaStorageError
	}
	lies := func(d LogDir) bool {
		return slices.ContainsFunc(d.Logs, func(l LogDirEntry) bool { return l.Topic == topic && l.Partition == index })
	}
	switch {
	case lies(dirs[n]):
		return nil
	case slices.ContainsFunc(dirs, lies):
		return kerr.InvalidRequest
	default:
		return kerr.ReplicaNotAvailable
	}
}
