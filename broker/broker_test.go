package broker

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"

	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/broker/config"
)

// open opens a broker on embedded defaults over dir.
func open(t *testing.T, dir string) *Broker {
	t.Helper()
	c, _, err := config.Load(config.Sources{Sets: []string{"log.dirs=" + dir, "listeners=PLAINTEXT://127.0.0.1:0", "varve.http.listener=127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Open(t.Context(), Options{Config: c, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func create(t *testing.T, b *Broker, name string) *cluster.Topic {
	t.Helper()
	topic, err := b.store.CreateTopic(t.Context(), cluster.NewTopic{Name: name, Replicas: [][]int32{{0}}})
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
	good, bad := create(t, b, "good"), create(t, b, "bad")
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
