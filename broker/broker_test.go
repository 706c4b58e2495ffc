package broker

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/zap"

	"github.com/varvelog/varve/broker/api"
	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/broker/config"
)

// open opens a broker on embedded defaults over dir.
func open(t *testing.T, dir string, sets ...string) *Broker {
	t.Helper()
	c, _, err := config.Load(config.Sources{Sets: append([]string{"log.dirs=" + dir, "listeners=PLAINTEXT://127.0.0.1:0", "varve.http.listener=127.0.0.1:0"}, sets...)})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Open(t.Context(), Options{Config: c, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func create(t *testing.T, b *Broker, name string, partitions int) *cluster.Topic {
	t.Helper()
	topic, err := b.store.CreateTopic(t.Context(), cluster.NewTopic{Name: name, Replicas: slices.Repeat([][]int32{{0}}, partitions)})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.apply(t.Context(), b.store.Image(), []*cluster.Topic{topic}, nil); err != nil {
		t.Fatal(err)
	}
	return topic
}

func leads(b *Broker, topic *cluster.Topic) bool {
	p, ok := b.replicas.Partition(topic.ID, 0)
	return ok && p.Offsets().Leader
}

// A log that cannot be opened takes its own partition offline, not the broker, and
// comes back by itself when it can be opened again.
func TestBrokenPartitionStopsNoOther(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	good, bad := create(t, b, "good", 1), create(t, b, "bad", 1)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}

	// The segment is not a regular file any more.
	segment := filepath.Join(dir, "bad-0", "00000000000000000000.log")
	if err := os.Rename(segment, segment+".kept"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/null", segment); err != nil {
		t.Fatal(err)
	}
	b = open(t, dir)
	if !leads(b, good) || leads(b, bad) {
		t.Errorf("good leads: %v, bad leads: %v; want true, false", leads(b, good), leads(b, bad))
	}

	if err := os.Rename(segment+".kept", segment); err != nil {
		t.Fatal(err)
	}
	b.reopen(t.Context())
	if !leads(b, bad) {
		t.Error("the mended partition did not come back")
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// A group lives in a partition that the topic has, also where the setting has changed
// since the topic was made.
func TestGroupsAreSpreadOverThePartitionsThereAre(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	create(t, b, api.OffsetsTopic, 3)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = open(t, dir, "offsets.topic.num.partitions=50")
	for i := range 100 {
		if p := b.groups.PartitionFor(fmt.Sprint("group-", i)); p >= 3 {
			t.Fatalf("group-%d lives in partition %d of 3", i, p)
		}
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}
