package api

import (
	"context"
	"path/filepath"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// alterReplicaLogDirs answers where logs are to lie (KIP-113). Logs do not move between
// directories yet: what lies there already does, everything else is refused.
func (s *Server) alterReplicaLogDirs(_ context.Context, _ *call, q *kmsg.AlterReplicaLogDirsRequest) *kmsg.AlterReplicaLogDirsResponse {
	p := q.ResponseKind().(*kmsg.AlterReplicaLogDirsResponse)
	places := newLogPlaces(s.Partitions.LogDirs())
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
				r.Partition, r.ErrorCode = index, code(places.move(t.Topic, index, q.Dirs[i].Dir))
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

// logPlaces says where logs lie, and where they could.
type logPlaces struct {
	dirs map[string]error // of log.dirs, by path: why one is offline
	logs map[placedLog]string
}

type placedLog struct {
	topic string
	index int32
}

func newLogPlaces(dirs []LogDir) *logPlaces {
	p := &logPlaces{dirs: make(map[string]error), logs: make(map[placedLog]string)}
	for _, d := range dirs {
		if !filepath.IsAbs(d.Path) {
			continue // the bucket
		}
		p.dirs[d.Path] = d.Err
		for _, l := range d.Logs {
			p.logs[placedLog{l.Topic, l.Partition}] = d.Path
		}
	}
	return p
}

// move decides what the wish that a log lie in a directory comes to.
func (p *logPlaces) move(topic string, index int32, path string) error {
	offline, known := p.dirs[path]
	now, here := p.logs[placedLog{topic, index}]
	switch {
	case !known:
		return kerr.LogDirNotFound
	case offline != nil:
		return kerr.KafkaStorageError
	case !here:
		return kerr.ReplicaNotAvailable
	case now != path:
		return kerr.InvalidRequest
	}
	return nil
}
