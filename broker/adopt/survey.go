package adopt

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/broker/cluster/kraft"
	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/vfs"
)

// Source says what is to be adopted, and by whom.
type Source struct {
	FS     vfs.FS
	Dirs   []string // all log directories of one Kafka broker (log.dirs)
	Skip   []string // topics that are left behind
	Config *config.Broker
	// MaxBatch bounds the batches whose records are parsed, in bytes.
	MaxBatch int64
	// Progress is told of each log that has been read; nil: nobody.
	Progress func(log string, bytes int64)
}

// Plan is what a survey has found.
type Plan struct {
	ClusterID      string   `json:"cluster_id"`
	NodeID         int32    `json:"node_id"`
	Sources        []string `json:"sources"`
	Topics         []Topic  `json:"topics"`
	NextProducerID int64    `json:"next_producer_id"`
	Notes          []string `json:"notes"`    // what is left out or changed, in sentences
	Refusals       []string `json:"refusals"` // why nothing is adopted, in sentences

	Settings cluster.AdoptedSettings `json:"settings"`
}

// Topic is a topic to be adopted.
type Topic struct {
	Name    string            `json:"name"`
	ID      string            `json:"id"`
	Configs map[string]string `json:"configs"`
	Logs    []Log             `json:"partitions"`

	id segment.TopicID
}

// Log is one partition of it.
type Log struct {
	Path  string `json:"path"`
	Start int64  `json:"start"` // log start offset
	End   int64  `json:"end"`   // log end offset
	Epoch int32  `json:"leader_epoch"`
	Bytes int64  `json:"bytes"`

	// rebuild: the indexes are not adopted, for they are damaged; the logs are whole.
	rebuild bool
}

// left are the internal topics that nobody here reads.
var left = map[string]string{
	"__remote_log_metadata": "it describes Kafka's remote tier",
}

// Names in Kafka's directories.
const (
	propertiesName = "meta.properties"
	cleanName      = ".kafka_cleanshutdown"
	startName      = "log-start-offset-checkpoint"
	cleanedName    = "cleaner-offset-checkpoint"
)

// survey is a Survey under way.
type survey struct {
	Source
	plan      Plan
	logs      map[string]string // path of each partition's directory, by its name
	starts    map[string]int64
	compacted map[string]bool
	meta      *kraft.Metadata
}

// Survey reads what is to be adopted and changes nothing. What stands in the way is in
// the plan's refusals; the error is that of a directory that cannot be read at all.
func Survey(o Source) (Plan, error) {
	s := &survey{Source: o, logs: map[string]string{}, starts: map[string]int64{}, compacted: map[string]bool{}}
	s.plan.NodeID = -1
	for _, dir := range o.Dirs {
		path, err := filepath.Abs(dir)
		if err != nil {
			return s.plan, err
		}
		s.plan.Sources = append(s.plan.Sources, path)
		if err := s.directory(path); err != nil {
			return s.plan, fmt.Errorf("survey %s: %w", dir, err)
		}
	}
	if s.meta == nil && len(s.plan.Refusals) == 0 {
		s.refuse("none of the directories has %s: topics and their configs cannot be known without it; name every directory of log.dirs and metadata.log.dir", kraft.Directory)
	}
	if len(s.plan.Refusals) > 0 {
		return s.plan, nil
	}
	s.settings()
	return s.plan, s.topics()
}

func (s *survey) refuse(format string, args ...any) {
	s.plan.Refusals = append(s.plan.Refusals, fmt.Sprintf(format, args...))
}

func (s *survey) note(format string, args ...any) {
	s.plan.Notes = append(s.plan.Notes, fmt.Sprintf(format, args...))
}

// directory reads what a log directory says of itself, and which logs are in it.
func (s *survey) directory(dir string) error {
	entries, err := s.FS.List(dir)
	if err != nil {
		return err
	}
	if err := s.identify(dir); err != nil {
		return err
	}
	if _, err := s.FS.Stat(filepath.Join(dir, cleanName)); errors.Is(err, fs.ErrNotExist) {
		s.refuse("%s: Kafka still runs on it, or did not stop cleanly: there is no %s; stop Kafka, or start it once more and stop it with SIGTERM", dir, cleanName)
	} else if err != nil {
		return err
	}
	starts, err := s.checkpoint(dir, startName)
	if err != nil {
		return err
	}
	maps.Copy(s.starts, starts)
	cleaned, err := s.checkpoint(dir, cleanedName)
	if err != nil {
		return err
	}
	for key := range cleaned {
		s.compacted[key] = true
	}
	for _, e := range entries {
		name := e.Name()
		path := filepath.Join(dir, name)
		_, _, ok := segment.ParsePartitionName(name)
		switch {
		case name == kraft.Directory:
			if s.meta, err = kraft.Read(s.FS, path); errors.Is(err, kraft.ErrMetadata) {
				s.refuse("%v", err)
				err = nil
			}
			if err != nil {
				return err
			}
		case !e.IsDir():
		case ok && s.logs[name] != "":
			s.refuse("%s is in two directories: %s and %s", name, s.logs[name], path)
		case ok:
			s.logs[name] = path
		case strings.HasSuffix(name, "-delete"), strings.HasSuffix(name, "-stray"), strings.HasSuffix(name, "-future"):
			s.note("%s is left behind: Kafka had given it up", path)
		}
	}
	return nil
}

// identify holds meta.properties against the other directories and our own settings.
func (s *survey) identify(dir string) error {
	p, err := segment.ReadFile(s.FS, filepath.Join(dir, propertiesName))
	if errors.Is(err, fs.ErrNotExist) {
		s.refuse("%s has no %s: it is not a log directory of Kafka", dir, propertiesName)
		return nil
	}
	if err != nil {
		return err
	}
	m, err := segment.ParseProperties(p)
	node, nodeErr := strconv.ParseInt(m["node.id"], 10, 32)
	switch {
	case err != nil:
		s.refuse("%s: %v", filepath.Join(dir, propertiesName), err)
	case m["version"] != "1":
		s.refuse("%s is of version %q: only directories of KRaft, version 1, can be adopted; migrate from ZooKeeper first", filepath.Join(dir, propertiesName), m["version"])
	case nodeErr != nil || m["cluster.id"] == "":
		s.refuse("%s names no node or no cluster", filepath.Join(dir, propertiesName))
	case s.plan.ClusterID != "" && s.plan.ClusterID != m["cluster.id"]:
		s.refuse("%s is of cluster %s, the others of %s", dir, m["cluster.id"], s.plan.ClusterID)
	case s.plan.NodeID >= 0 && s.plan.NodeID != int32(node):
		s.refuse("%s is of node %d, the others of node %d: the directories of one broker are adopted at a time", dir, node, s.plan.NodeID)
	case s.Config.NodeID != int32(node):
		s.refuse("%s is of node %d, and this broker would be node %d: set node.id=%d", dir, node, s.Config.NodeID, node)
	default:
		s.plan.ClusterID, s.plan.NodeID = m["cluster.id"], int32(node)
	}
	return nil
}

func (s *survey) checkpoint(dir, name string) (map[string]int64, error) {
	p, err := segment.ReadFile(s.FS, filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(p) == 0 { // Kafka makes the file before it has anything to say
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	offsets, err := segment.ParseOffsets(p)
	if err != nil {
		s.refuse("%s: %v", filepath.Join(dir, name), err)
	}
	return offsets, nil
}

// topics decides of each topic, and reads its logs.
func (s *survey) topics() error {
	claimed := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(s.meta.Topics)) {
		t := s.meta.Topics[name]
		for i := range t.Partitions {
			claimed[logName(name, i)] = true
		}
		if why, internal := left[name]; internal {
			s.note("topic %s is left behind: %s", name, why)
			continue
		}
		if slices.Contains(s.Skip, name) {
			s.note("topic %s is left behind, as asked for", name)
			continue
		}
		if err := s.topic(t); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.logs)) {
		if !claimed[name] {
			s.note("%s is left behind: the metadata has no such partition", s.logs[name])
		}
	}
	for _, name := range s.Skip {
		if s.meta.Topics[name] == nil {
			s.refuse("topic %s, which is to be left behind, is not there", name)
		}
	}
	s.plan.NextProducerID = s.meta.NextProducerID
	return nil
}

func logName(topic string, partition int32) string { return fmt.Sprintf("%s-%d", topic, partition) }

func (s *survey) topic(t *kraft.Topic) error {
	out := Topic{Name: t.Name, ID: t.ID.String(), id: t.ID, Configs: maps.Clone(t.Configs)}
	if t.Configs["remote.storage.enable"] == "true" {
		s.refuse("topic %s keeps records in Kafka's remote tier, which Varve cannot read: turn remote.storage.enable off in Kafka first, or leave the topic behind (--skip %s)", t.Name, t.Name)
		return nil
	}
	s.settle(&out)
	if _, err := config.TopicConfig(t.Name, s.Config.Topic, out.Configs); err != nil {
		s.refuse("topic %s: %v: change it in Kafka first, or leave the topic behind (--skip %s)", t.Name, err, t.Name)
		return nil
	}
	for i := range int32(len(t.Partitions)) {
		p := t.Partitions[i]
		path, here := s.logs[logName(t.Name, i)]
		switch {
		case p == nil:
			s.refuse("topic %s has %d partitions, and partition %d is not one of them", t.Name, len(t.Partitions), i)
			return nil
		case !here:
			s.refuse("%s lies on other brokers (%v) or in a directory that was not named; leave the topic behind with --skip %s", logName(t.Name, i), p.Replicas, t.Name)
			return nil
		case !slices.Contains(p.ISR, s.plan.NodeID) && !slices.Contains(p.ELR, s.plan.NodeID):
			s.refuse("%s was not in sync here (in sync: %v): acknowledged records may be missing; adopt an in-sync broker's directory, or leave the topic behind with --skip %s", logName(t.Name, i), p.ISR, t.Name)
			return nil
		}
		l, err := s.log(t, i, path)
		if err != nil {
			return err
		}
		l.Epoch = max(l.Epoch, p.LeaderEpoch)
		out.Logs = append(out.Logs, l)
	}
	s.plan.Topics = append(s.plan.Topics, out)
	return nil
}

// layout are the configs of internal topics that say how long the log is, and in which parts.
var layout = []string{"cleanup.policy", "retention.bytes", "retention.ms", "segment.bytes"}

// settle writes down what a new topic of ours would have written down. Of the configs of
// internal topics, which Kafka itself has chosen, those are kept that lay out the log.
func (s *survey) settle(t *Topic) {
	internal := slices.Contains(config.InternalTopics, t.Name)
	kept := map[string]string{}
	for name, value := range t.Configs {
		if !internal || slices.Contains(layout, name) {
			kept[name] = value
		}
	}
	compacted := strings.Contains(kept["cleanup.policy"], "compact")
	kept["remote.storage.enable"] = strconv.FormatBool(s.Config.TieringDefault && !compacted && !internal)
	if n, err := strconv.Atoi(kept["min.insync.replicas"]); err == nil && n > 1 {
		s.note("topic %s has min.insync.replicas=%d, and will have one replica: lower it, or add brokers, before producers with acks=all come", t.Name, n)
	}
	t.Configs = kept
}

// mendable are the faults that leave every record where it is: the indexes are built anew.
var mendable = []segment.FaultKind{segment.FaultNoIndex, segment.FaultIndex, segment.FaultTimes, segment.FaultOrphan}

// log reads one log as a whole.
func (s *survey) log(t *kraft.Topic, partition int32, path string) (Log, error) {
	key := logName(t.Name, partition)
	l := Log{Path: path}
	compacted := s.compacted[key] || strings.Contains(t.Configs["cleanup.policy"], "compact")
	found, err := segment.InspectLog(s.FS, path, segment.InspectOptions{Compacted: compacted, MaxBatch: s.MaxBatch}, func(f segment.Fault) {
		if slices.Contains(mendable, f.Kind) {
			l.rebuild = true
			s.note("indexes are built anew: %v", f)
			return
		}
		s.refuse("%v", f)
	})
	if err != nil {
		return l, err
	}
	if found.ID != t.ID {
		s.refuse("%s is of topic id %s, the metadata says %s: it is of another topic of the same name", path, found.ID, t.ID)
	}
	if n := len(found.Epochs); n > 0 {
		l.Epoch = found.Epochs[n-1].Epoch
	}
	l.Start, l.End, l.Bytes = max(found.Start, s.starts[key]), found.End, found.Bytes
	if l.Start > l.End {
		s.refuse("%s starts at offset %d, and ends at %d", path, l.Start, l.End)
	}
	if s.Progress != nil {
		s.Progress(key, found.Bytes)
	}
	return l, nil
}
