package broker

import (
	"cmp"
	"context"
	"slices"

	"github.com/varvelog/varve/tiering"
)

// TierStatus is what GET /tier shows of one partition: where its records are.
type TierStatus struct {
	Topic          string          `json:"topic"`
	Partition      int32           `json:"partition"`
	LogStart       int64           `json:"log_start"`
	LocalStart     int64           `json:"local_start"`
	TieredEnd      int64           `json:"tiered_end"` // -1: not tiered
	HighWatermark  int64           `json:"high_watermark"`
	End            int64           `json:"end"`
	LocalBytes     int64           `json:"local_bytes"`
	RemoteBytes    int64           `json:"remote_bytes"`
	RemoteSegments int             `json:"remote_segments"`
	DeadObjects    int             `json:"dead_objects"` // wait for their deletion
	Intents        int             `json:"intents"`      // uploads under way or given up
	Uncertain      bool            `json:"uncertain"`    // the outcome of a commit is not known yet
	Damaged        []DamagedObject `json:"damaged"`      // found in the background
	Error          string          `json:"error,omitempty"`
	Segments       []TieredSegment `json:"segments"`
}

// DamagedObject is one that is missing, cut short or corrupt.
type DamagedObject struct {
	Kind   string `json:"kind"`
	Key    string `json:"key"`
	Detail string `json:"detail"`
}

// TieredSegment is one segment in the bucket.
type TieredSegment struct {
	Base         int64  `json:"base"`
	Next         int64  `json:"next"`
	Size         int64  `json:"size"`
	MaxTimestamp int64  `json:"max_timestamp"`
	Epoch        int32  `json:"epoch"`
	Key          string `json:"key"`
}

// tierStatus describes the partitions of a topic, or of all, in order.
func (b *Broker) tierStatus(ctx context.Context, topic string) []TierStatus {
	all := []TierStatus{}
	for id, r := range b.replicas.all() {
		if topic == "" || r.Topic() == topic {
			all = append(all, b.statusOf(ctx, id, r))
		}
	}
	slices.SortFunc(all, func(x, y TierStatus) int {
		return cmp.Or(cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition))
	})
	return all
}

func (b *Broker) statusOf(ctx context.Context, id tiering.PartitionID, r *replica) TierStatus {
	o := r.Offsets()
	local, remote := r.Size()
	s := TierStatus{
		Topic: r.Topic(), Partition: id.Partition, LogStart: o.LogStart, LocalStart: o.LocalStart,
		TieredEnd: o.TieredEnd, HighWatermark: o.HighWatermark, End: o.End,
		LocalBytes: local, RemoteBytes: max(0, remote), Damaged: []DamagedObject{}, Segments: []TieredSegment{},
	}
	if !r.Config().RemoteStorage && o.TieredEnd <= 0 {
		s.TieredEnd = -1 // it has a remote log, but nothing was ever copied there
		return s
	}
	t, err := b.tier.Remote(id).Status(ctx)
	switch {
	case err != nil:
		s.Error = err.Error()
	case t.Known:
		s.TieredEnd = t.End // a copy may have been committed since o: it is to fit the segments
	}
	s.RemoteSegments, s.DeadObjects, s.Intents, s.Uncertain = len(t.Entries), len(t.Dead), len(t.Intents), t.Uncertain
	for _, f := range t.Findings {
		s.Damaged = append(s.Damaged, DamagedObject{Kind: string(f.Kind), Key: f.Key, Detail: f.Detail})
	}
	for _, e := range t.Entries {
		s.Segments = append(s.Segments, TieredSegment{Base: e.Base, Next: e.Next, Size: e.Size, MaxTimestamp: e.MaxTimestamp, Epoch: e.Epoch, Key: e.Key})
	}
	return s
}
