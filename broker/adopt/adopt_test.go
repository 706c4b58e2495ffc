package adopt

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/broker/cluster/kraft"
	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
)

const clusterID = "5L6g3nShT-eMCtK--X86sw"

// A writer of KRaft's records, for tests.

func record(kind, version byte, fields ...any) []byte {
	p := []byte{1, kind, version}
	for _, f := range fields {
		switch f := f.(type) {
		case string:
			p = append(binary.AppendUvarint(p, uint64(len(f)+1)), f...)
		case segment.TopicID:
			p = append(p, f[:]...)
		case int:
			p = binary.BigEndian.AppendUint32(p, uint32(f))
		case int64:
			p = binary.BigEndian.AppendUint64(p, uint64(f))
		case byte:
			p = append(p, f)
		case []int:
			p = binary.AppendUvarint(p, uint64(len(f)+1))
			for _, v := range f {
				p = binary.BigEndian.AppendUint32(p, uint32(v))
			}
		}
	}
	return append(p, 0) // no tagged fields
}

func topicRecord(name string, id byte) []byte { return record(2, 0, name, segment.TopicID{id}) }

func partitionRecord(id byte, partition int, isr []int, epoch int) []byte {
	return record(3, 0, partition, segment.TopicID{id}, []int{3, 4}, isr, []int{}, []int{}, 3, epoch, 7)
}

func configRecord(topic, key, value string) []byte { return record(4, 0, byte(2), topic, key, value) }

func healthy() [][]byte {
	return [][]byte{
		topicRecord("t", 1), partitionRecord(1, 0, []int{3, 4}, 6), partitionRecord(1, 1, []int{3}, 2),
		configRecord("t", "retention.ms", "-1"), record(15, 0, 3, int64(9), int64(4000)),
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, m *vfs.Mem, path string, p []byte) {
	t.Helper()
	must(t, m.MkdirAll(filepath.Dir(path)))
	if err := m.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	f, err := m.Create(path)
	must(t, err)
	_, err = f.WriteAt(p, 0)
	must(t, err)
	must(t, f.Close())
}

// kafka makes the directory of a broker that has stopped: t-0 and t-1 of some segments.
func kafka(t testing.TB, records [][]byte) *vfs.Mem {
	t.Helper()
	m := vfs.NewMem()
	d, err := segment.OpenDir(segment.DirOptions{FS: m, Path: "/kafka", ClusterID: clusterID, NodeID: 3})
	must(t, err)
	now := func() time.Time { return time.UnixMilli(1_700_000_000_000) }
	for i := range int32(2) {
		l, _, err := d.OpenLog("t", i, segment.TopicID{1}, segment.Options{Now: now, Config: segment.Config{
			SegmentBytes: 600, SegmentAge: time.Hour, IndexInterval: 100, IndexBytes: 1 << 20, FlushMessages: 1,
		}})
		must(t, err)
		for n := range int64(10) {
			b, err := batch.NoProducer.Build(n*2, 5, []batch.Record{{Timestamp: n, Value: make([]byte, 60)}, {Timestamp: n, Key: []byte("k")}})
			must(t, err)
			_, err = l.Append([]batch.Batch{b})
			must(t, err)
		}
		must(t, l.WriteSnapshot(20, []segment.ProducerState{{ProducerID: 4, CurrentTxnFirst: -1}}))
	}
	d.Committer().Commit()
	must(t, d.Close())
	var all []batch.Record
	for _, r := range records {
		all = append(all, batch.Record{Value: r})
	}
	b, err := batch.NoProducer.Build(0, 1, all)
	must(t, err)
	write(t, m, "/kafka/"+kraft.Directory+"/00000000000000000000.log", b)
	must(t, m.MkdirAll("/home"))
	must(t, m.SyncAll("/"))
	for _, dir := range []string{"/", "/kafka", "/home"} {
		must(t, m.SyncDir(dir))
	}
	return m
}

func settings(t testing.TB, sets ...string) *config.Broker {
	t.Helper()
	c, _, err := config.Load(config.Sources{Sets: append([]string{"log.dirs=/home/varve", "node.id=3"}, sets...)})
	must(t, err)
	return c
}

func surveyed(t testing.TB, m *vfs.Mem, skip ...string) Plan {
	t.Helper()
	p, err := Survey(Source{FS: m, Dirs: []string{"/kafka"}, Skip: skip, Config: settings(t), MaxBatch: 1 << 20})
	must(t, err)
	return p
}

// memory is a metadata store that outlives a crash.
type memory struct {
	topics   map[string]cluster.AdoptedTopic
	settings cluster.AdoptedSettings
	next     int64
}

func (m *memory) AdoptSettings(_ context.Context, a cluster.AdoptedSettings) error {
	m.settings = a
	return nil
}

func (m *memory) AdoptTopic(_ context.Context, t cluster.AdoptedTopic) error {
	if there, ok := m.topics[t.Name]; ok && there.ID != t.ID {
		return cluster.ErrTopicExists
	}
	m.topics[t.Name] = t
	return nil
}

func (m *memory) SkipProducerIDs(_ context.Context, next int64) error {
	m.next = max(m.next, next)
	return nil
}

func (m *memory) Close() error { return nil }

func target(m *vfs.Mem, s *memory) Target {
	return Target{FS: m, Dir: "/home/varve", Random: bytes.NewReader(make([]byte, 64)), Open: func(context.Context, string) (Metadata, error) { return s, nil }}
}

// files is every file below a directory, with its bytes.
func files(t testing.TB, m *vfs.Mem, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := m.List(dir)
	must(t, err)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if e.IsDir() {
			maps.Copy(all, files(t, m, path))
			continue
		}
		p, err := segment.ReadFile(m, path)
		must(t, err)
		all[path] = string(p)
	}
	return all
}

// adopted checks the directory that was made: a broker opens it as cleanly stopped, with
// the same records.
func adopted(t *testing.T, m *vfs.Mem, s *memory) {
	t.Helper()
	want := cluster.AdoptedTopic{
		Name: "t", ID: segment.TopicID{1}, Replicas: [][]int32{{3}, {3}}, Epochs: []int32{6, 5},
		Configs: map[string]string{"retention.ms": "-1", "remote.storage.enable": "true"},
	}
	if fmt.Sprint(s.topics["t"]) != fmt.Sprint(want) || len(s.topics) != 1 || s.next != 4000 {
		t.Fatalf("metadata: %+v, next producer id %d", s.topics, s.next)
	}
	must(t, segment.InspectDir(m, "/home/varve", 1<<20, func(f segment.Fault) { t.Error(f) }, nil))
	d, err := segment.OpenDir(segment.DirOptions{FS: m, Path: "/home/varve", NodeID: 3, ClusterID: clusterID})
	must(t, err)
	if !d.Clean() || len(d.Found()) != 2 {
		t.Fatalf("clean %t, %v", d.Clean(), d.Found())
	}
	for i := range int32(2) {
		l, r, err := d.OpenLog("t", i, segment.TopicID{1}, segment.Options{Now: time.Now, Config: segment.Config{SegmentBytes: 600, SegmentAge: time.Hour, IndexInterval: 100, IndexBytes: 1 << 20, FlushMessages: 1}})
		must(t, err)
		if o := l.Offsets(); o.LogStart != int64(i)*3 || o.End != 20 || r.TruncatedBytes > 0 || len(r.Faults) > 0 {
			t.Fatalf("t-%d: %+v, %+v", i, o, r)
		}
		if at, producers, found, err := l.LoadSnapshot(20); err != nil || !found || at != 20 || len(producers) != 1 {
			t.Fatalf("producers: %d, %v, %v", at, producers, err)
		}
	}
	must(t, d.Close())
}

// TestCarryOutSurvivesACrashAtEveryStep cuts the power at each operation on the disk,
// and asks again: the result is whole, and Kafka's directory as it was.
func TestCarryOutSurvivesACrashAtEveryStep(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	crashed := errors.New("power cut")
	for at := 1; ; at++ {
		m := kafka(t, healthy())
		write(t, m, "/kafka/"+startName, []byte("0\n1\nt 1 3\n"))
		must(t, m.SyncAll("/"))
		plan, s := surveyed(t, m), &memory{topics: map[string]cluster.AdoptedTopic{}}
		if len(plan.Refusals) > 0 {
			t.Fatal(plan.Refusals)
		}
		original := files(t, m, "/kafka")
		begin := m.Ops()
		m.SetFault(func(_ vfs.Op, _ string, n int) error {
			if n-begin >= at {
				return crashed
			}
			return nil
		})
		_, err := CarryOut(t.Context(), plan, target(m, s))
		done := err == nil
		m.SetFault(nil)
		if !done {
			if !errors.Is(err, crashed) {
				t.Fatalf("step %d: %v", at, err)
			}
			m = m.Crash(r)
			if _, err := CarryOut(t.Context(), surveyed(t, m), target(m, s)); err != nil && !errors.Is(err, ErrInTheWay) {
				t.Fatalf("again after a crash at step %d: %v", at, err)
			}
		}
		adopted(t, m, s)
		if now := files(t, m, "/kafka"); !maps.Equal(now, original) {
			t.Fatalf("after a crash at step %d Kafka's directory is not as it was", at)
		}
		if done {
			if at < 60 {
				t.Fatalf("only %d steps", at)
			}
			return
		}
	}
}

// TestSurveyRefusesBeforeAnythingIsChanged makes one thing impossible at a time.
func TestSurveyRefusesBeforeAnythingIsChanged(t *testing.T) {
	first := "/kafka/t-0/00000000000000000000.log"
	for _, c := range []struct {
		name    string
		records [][]byte
		damage  func(m *vfs.Mem)
		why     string
	}{
		{"Kafka runs, or was killed", nil, func(m *vfs.Mem) { must(t, m.Remove("/kafka/"+cleanName)) }, "did not stop cleanly"},
		{"another node", nil, func(m *vfs.Mem) {
			write(t, m, "/kafka/"+propertiesName, []byte("cluster.id="+clusterID+"\nnode.id=8\nversion=1\n"))
		}, "set node.id=8"},
		{"ZooKeeper", nil, func(m *vfs.Mem) {
			write(t, m, "/kafka/"+propertiesName, []byte("cluster.id="+clusterID+"\nbroker.id=3\nversion=0\n"))
		}, "only directories of KRaft"},
		{"no meta.properties", nil, func(m *vfs.Mem) { must(t, m.Remove("/kafka/"+propertiesName)) }, "it is not a log directory of Kafka"},
		{"no metadata log", nil, func(m *vfs.Mem) { must(t, m.RemoveAll("/kafka/"+kraft.Directory)) }, "topics and their configs cannot be known"},
		{"a metadata log of a newer Kafka", append(healthy(), record(3, 9)), nil, "of version 9, this version of varve reads up to 2"},
		{"a metadata log that is cut", append(healthy(), record(2, 0)[:3]), nil, "is cut short"},
		{"a remote tier", append(healthy(), configRecord("t", "remote.storage.enable", "true")), nil, "Kafka's remote tier"},
		{"a config that is not enforced", append(healthy(), configRecord("t", "unclean.leader.election.enable", "true")), nil, "unclean.leader.election.enable"},
		{"a partition on another broker", append(healthy(), partitionRecord(1, 2, []int{3}, 1)), nil, "t-2 lies on other brokers"},
		{"a replica out of sync", append(healthy(), partitionRecord(1, 1, []int{4}, 3)), nil, "was not in sync here"},
		{"another topic of the same name", nil, func(m *vfs.Mem) {
			write(t, m, "/kafka/t-0/partition.metadata", []byte("version: 0\ntopic_id: "+segment.TopicID{9}.String()))
		}, "of another topic of the same name"},
		{"old records", nil, func(m *vfs.Mem) {
			p, err := segment.ReadFile(m, first)
			must(t, err)
			p[16] = 1
			write(t, m, first, p)
		}, "message format 1"},
		{"corrupt records", nil, func(m *vfs.Mem) {
			p, err := segment.ReadFile(m, first)
			must(t, err)
			p[80] ^= 1
			write(t, m, first, p)
		}, "batch-crc"},
		{"an interrupted compaction", nil, func(m *vfs.Mem) { write(t, m, first+".swap", nil) }, "interrupted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			records := c.records
			if records == nil {
				records = healthy()
			}
			m := kafka(t, records)
			if c.damage != nil {
				c.damage(m)
			}
			before := files(t, m, "/")
			plan := surveyed(t, m)
			if !slices.ContainsFunc(plan.Refusals, func(r string) bool { return strings.Contains(r, c.why) }) {
				t.Fatalf("refusals %q, notes %q, want %q", plan.Refusals, plan.Notes, c.why)
			}
			if _, err := CarryOut(t.Context(), plan, target(m, &memory{})); err == nil || !maps.Equal(files(t, m, "/"), before) {
				t.Fatalf("something was done: %v", err)
			}
		})
	}
}

func TestSurveyLeavesBehindAndSaysSo(t *testing.T) {
	m := kafka(t, append(healthy(),
		topicRecord("tiered", 2), configRecord("tiered", "remote.storage.enable", "true"),
		topicRecord("__remote_log_metadata", 3), topicRecord("gone", 4), record(9, 0, segment.TopicID{4}), record(77, 9),
		record(4, 0, byte(4), "3", "log.cleaner.threads", "2")))
	for _, dir := range []string{"gone-0.9bc1-delete", "stray-0"} {
		must(t, m.MkdirAll("/kafka/"+dir))
	}
	must(t, m.Remove("/kafka/t-0/00000000000000000000.timeindex"))
	write(t, m, "/kafka/"+cleanedName, nil) // as Kafka makes it, before anything was compacted
	plan := surveyed(t, m, "tiered")
	if len(plan.Refusals) > 0 || len(plan.Topics) != 1 {
		t.Fatalf("%+v", plan)
	}
	for _, want := range []string{"topic tiered is left behind, as asked for", "__remote_log_metadata", "gone-0.9bc1-delete", "stray-0 is left behind", "log.cleaner.threads (brokers: 3)", "indexes are built anew"} {
		if !strings.Contains(strings.Join(plan.Notes, "\n"), want) {
			t.Errorf("%q is not in %q", want, plan.Notes)
		}
	}
	s := &memory{topics: map[string]cluster.AdoptedTopic{}}
	_, err := CarryOut(t.Context(), plan, target(m, s))
	must(t, err)
	d, err := segment.OpenDir(segment.DirOptions{FS: m, Path: "/home/varve", NodeID: 3})
	must(t, err)
	_, r, err := d.OpenLog("t", 0, segment.TopicID{1}, segment.Options{Now: time.Now, Config: segment.Config{SegmentBytes: 600, SegmentAge: time.Hour, IndexInterval: 100, IndexBytes: 1 << 20, FlushMessages: 1}})
	if err != nil || r.RebuiltIndexes == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	must(t, d.Close())
	if _, err := CarryOut(t.Context(), plan, target(m, s)); !errors.Is(err, ErrInTheWay) {
		t.Errorf("over what is there: %v", err)
	}
}

func TestSettingsAreAdopted(t *testing.T) {
	m := kafka(t, append(healthy(),
		record(4, 0, byte(32), "g", "share.auto.offset.reset", "earliest"), record(4, 0, byte(32), "g", "of.a.later.kafka", "1"),
		record(4, 0, byte(16), "s", "interval.ms", "1000"),
		record(14, 0, byte(2), "user", "alice", byte(0), "producer_byte_rate", int64(math.Float64bits(1<<20)), byte(0)),
		record(11, 0, "alice", byte(2), "salt", "stored", "server", 8192), record(11, 0, "bob", byte(9), "salt", "stored", "server", 8192),
		record(18, 0, segment.TopicID{9})))
	plan := surveyed(t, m)
	if len(plan.Refusals) > 0 {
		t.Fatal(plan.Refusals)
	}
	for _, want := range []string{"config of.a.later.kafka of group g is not adopted", "a credential of bob is not adopted: mechanism 9", "1 access control entries are not adopted"} {
		if !strings.Contains(strings.Join(plan.Notes, "\n"), want) {
			t.Errorf("%q is not in %q", want, plan.Notes)
		}
	}
	s := &memory{topics: map[string]cluster.AdoptedTopic{}}
	_, err := CarryOut(t.Context(), plan, target(m, s))
	must(t, err)
	a := s.settings
	if got := fmt.Sprint(a.GroupConfigs, a.MetricsConfigs, a.Credentials); got != "map[g:map[share.auto.offset.reset:earliest]] map[s:map[interval.ms:1000]] map[alice:map[SCRAM-SHA-512:SCRAM, 8192 iterations]]" {
		t.Error(got)
	}
	if len(a.Quotas) != 1 || *a.Quotas[0].Entity["user"] != "alice" || a.Quotas[0].Limits["producer_byte_rate"] != 1<<20 {
		t.Errorf("quotas %+v", a.Quotas)
	}
	if c := a.Credentials["alice"]["SCRAM-SHA-512"]; c.Salt != "c2FsdA==" || c.StoredKey != "c3RvcmVk" || c.ServerKey != "c2VydmVy" {
		t.Error("the credential's keys are others")
	}
	if text, err := json.Marshal(plan); err != nil || strings.Contains(string(text), "c3RvcmVk") {
		t.Errorf("the plan shows a secret, %v: %s", err, text)
	}
}
