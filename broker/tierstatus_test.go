package broker

import (
	"context"
	"errors"
	"testing"

	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/tiering"
)

// What is said of a partition fits together, also while segments are copied: the last one
// that is named ends at the tiered end.
func TestTierStatusIsOfOneMoment(t *testing.T) {
	b := newDisks(t).open(t, "/a")
	topic, err := b.store.CreateTopic(t.Context(), cluster.NewTopic{
		Name: "t", Replicas: [][]int32{{0}}, Configs: map[string]string{"segment.bytes": "1048576", "remote.storage.enable": "true"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.apply(t.Context(), b.store.Image(), []*cluster.Topic{topic}, nil); err != nil {
		t.Fatal(err)
	}
	id := tiering.PartitionID{Topic: topic.ID}
	r := b.replicas.all()[id]
	copied := make(chan error, 1)
	go func() {
		n := 0
		for range 5000 { // nine segments
			if err := produce(t, b, topic, 0); err != nil {
				copied <- err
				return
			}
			more, err := r.Copy(context.Background())
			if n += more; err != nil {
				copied <- err
				return
			}
		}
		if n == 0 {
			copied <- errors.New("no segment was copied")
			return
		}
		copied <- nil
	}()
	for done := false; !done; {
		select {
		case err := <-copied:
			if done = true; err != nil {
				t.Error(err)
			}
		default:
		}
		s := b.statusOf(t.Context(), id, r)
		if n := len(s.Segments); n > 0 && s.Segments[n-1].Next != s.TieredEnd {
			t.Fatalf("segments end at %d, the tiered end is %d", s.Segments[n-1].Next, s.TieredEnd)
		}
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}
