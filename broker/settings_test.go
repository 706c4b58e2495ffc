package broker

import (
	"testing"

	"github.com/varvelog/varve/broker/cluster"
)

// altered is the broker once it goes by settings of all brokers that are stored.
func altered(t *testing.T, b *Broker, settings map[string]string) {
	t.Helper()
	before := b.store.Image().BrokerConfigs(cluster.DefaultConfigs)
	if err := b.store.SetBrokerConfigs(t.Context(), cluster.DefaultConfigs, before, settings); err != nil {
		t.Fatal(err)
	}
	b.alter(b.store.Image())
}

// A stored setting that this broker cannot go by, since a later version has taken it, say,
// took all others with it.
func TestABadStoredSettingTakesNoOtherWithIt(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	altered(t, b, map[string]string{"log.cleaner.threads": "2", "of.tomorrow": "1"})
	if n := b.config().CleanerThreads; n != 2 {
		t.Errorf("%d threads while it runs", n)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = open(t, dir)
	if n := b.config().CleanerThreads; n != 2 {
		t.Errorf("%d threads after a restart", n)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// The defaults of topics are altered while they have settings of their own, which are then
// at odds with them: a broker that was told to keep less than a topic keeps on disk stopped,
// and never started again.
func TestDefaultsThatATopicIsAtOddsWithStopNoBroker(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	topic := create(t, b, "orders", 1)
	if err := b.store.SetTopicConfigs(t.Context(), topic.Name, nil, map[string]string{"local.retention.ms": "3600000", "of.tomorrow": "1"}); err != nil {
		t.Fatal(err)
	}
	altered(t, b, map[string]string{"log.retention.ms": "60000"})
	image := b.store.Image()
	if err := b.apply(t.Context(), image, image.Topics(), nil); err != nil {
		t.Errorf("the running broker: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = open(t, dir)
	if !leads(b, topic) {
		t.Error("the topic is not led after a restart")
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}
