package group

import (
	"cmp"
	"container/heap"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// topology is what an application of Kafka Streams reads and writes, as its first member
// has told it. It is never changed.
type topology struct {
	epoch         int32
	subtopologies []subtopology  // in the order of their ids, no id twice
	readers       map[string]int // topic → the first subtopology that reads it; made by settle
}

// subtopology is a part that runs by itself: one task for each partition of its sources.
type subtopology struct {
	id                             string
	sources, sourceRegexes, sinks  []string
	repartitionSources, changelogs []internalTopic
	copartitionGroups              []copartitionGroup
	inputs                         []string // the topics that it reads, each once, in order; made by settle
}

// internalTopic is one that the broker makes for the application.
type internalTopic struct {
	name              string
	partitions        int32 // 0: as many as fit
	replicationFactor int16 // 0: the broker's default
	configs           []keyValue
}

// copartitionGroup is sources that are joined and so need the same number of partitions:
// indexes into the subtopology's lists.
type copartitionGroup struct {
	sources, sourceRegexes, repartitionSources []int16
}

func (s *subtopology) compare(o *subtopology) int { return cmp.Compare(s.id, o.id) }

func (t *topology) subtopology(id string) *subtopology {
	at, ok := slices.BinarySearchFunc(t.subtopologies, id, func(s subtopology, id string) int { return cmp.Compare(s.id, id) })
	if !ok {
		return nil
	}
	return &t.subtopologies[at]
}

// reads lists the topics that a subtopology reads. A topology may name one a hundred
// thousand times.
func (s *subtopology) reads() []string {
	all := slices.Clone(s.sources)
	for _, r := range s.repartitionSources {
		all = append(all, r.name)
	}
	slices.Sort(all)
	return slices.Clip(slices.Compact(all))
}

// required are all topics that must be there.
func (t *topology) required() map[string]struct{} {
	all := map[string]struct{}{}
	for i := range t.subtopologies {
		s := &t.subtopologies[i]
		for _, name := range s.inputs {
			all[name] = struct{}{}
		}
		for _, c := range s.changelogs {
			all[c.name] = struct{}{}
		}
	}
	return all
}

// reader finds the subtopology that reads a topic, nil: none.
func (t *topology) reader(topic string) *subtopology {
	i, ok := t.readers[topic]
	if !ok {
		return nil
	}
	return &t.subtopologies[i]
}

func (t *topology) equal(o *topology) bool {
	return t.epoch == o.epoch && slices.EqualFunc(t.subtopologies, o.subtopologies, func(a, b subtopology) bool { return a.equal(&b) })
}

func (s *subtopology) equal(o *subtopology) bool {
	sameTopic := func(a, b internalTopic) bool {
		return a.name == b.name && a.partitions == b.partitions && a.replicationFactor == b.replicationFactor && slices.Equal(a.configs, b.configs)
	}
	sameGroup := func(a, b copartitionGroup) bool {
		return slices.Equal(a.sources, b.sources) && slices.Equal(a.sourceRegexes, b.sourceRegexes) && slices.Equal(a.repartitionSources, b.repartitionSources)
	}
	return s.id == o.id && slices.Equal(s.sources, o.sources) && slices.Equal(s.sourceRegexes, o.sourceRegexes) && slices.Equal(s.sinks, o.sinks) &&
		slices.EqualFunc(s.repartitionSources, o.repartitionSources, sameTopic) && slices.EqualFunc(s.changelogs, o.changelogs, sameTopic) &&
		slices.EqualFunc(s.copartitionGroups, o.copartitionGroups, sameGroup)
}

// maxTopologyNames bounds the names and numbers in a topology. Its record has to fit in a
// batch of __consumer_offsets, of 1 MiB by default, and a name takes ten bytes of it.
const maxTopologyNames = 100_000

// namesOf counts the names and numbers that a member tells.
func namesOf(r *kmsg.StreamsGroupHeartbeatRequestTopology) (n int) {
	for i := range r.Subtopologies {
		s := &r.Subtopologies[i]
		n += 1 + len(s.SourceTopics) + len(s.SourceTopicRegex) + len(s.RepartitionSinkTopics)
		for _, topics := range [...][]kmsg.TopicInfo{s.RepartitionSourceTopics, s.StateChangelogTopics} {
			for _, t := range topics {
				n += 1 + len(t.Configs)
			}
		}
		for _, g := range s.CopartitionGroups {
			n += 1 + len(g.SourceTopics) + len(g.SourceTopicRegex) + len(g.RepartitionSourceTopics)
		}
	}
	return n
}

// topologyOf copies what a member tells, which may be a view of its request. The error
// says why it is no topology.
func topologyOf(r *kmsg.StreamsGroupHeartbeatRequestTopology) (*topology, error) {
	if namesOf(r) > maxTopologyNames {
		return nil, fmt.Errorf("the topology has more than %d names", maxTopologyNames)
	}
	t := &topology{epoch: r.Epoch}
	for i := range r.Subtopologies {
		from := &r.Subtopologies[i]
		s := subtopology{
			id: strings.Clone(from.SubtopologyID), sources: cloneNames(from.SourceTopics), sourceRegexes: cloneNames(from.SourceTopicRegex),
			sinks: cloneNames(from.RepartitionSinkTopics), repartitionSources: internalTopicsOf(from.RepartitionSourceTopics), changelogs: internalTopicsOf(from.StateChangelogTopics),
		}
		for _, g := range from.CopartitionGroups {
			s.copartitionGroups = append(s.copartitionGroups, copartitionGroup{slices.Clone(g.SourceTopics), slices.Clone(g.SourceTopicRegex), slices.Clone(g.RepartitionSourceTopics)})
		}
		t.subtopologies = append(t.subtopologies, s)
	}
	return t, t.settle()
}

// settle puts a topology in order, checks what the rest relies on, and makes what is
// derived from it.
func (t *topology) settle() error {
	slices.SortStableFunc(t.subtopologies, func(a, b subtopology) int { return a.compare(&b) })
	t.readers = map[string]int{}
	if t.epoch < 0 {
		return fmt.Errorf("topology epoch %d is negative", t.epoch)
	}
	for i := range t.subtopologies {
		s := &t.subtopologies[i]
		if i > 0 && t.subtopologies[i-1].id == s.id {
			return fmt.Errorf("subtopology %s is there twice", s.id)
		}
		if len(s.sources)+len(s.repartitionSources) == 0 {
			return fmt.Errorf("no source topics found for subtopology %s", s.id)
		}
		s.inputs = s.reads()
		for _, name := range s.inputs {
			if _, read := t.readers[name]; !read {
				t.readers[name] = i
			}
		}
		for _, g := range s.copartitionGroups {
			if !within(g.sources, len(s.sources)) || !within(g.repartitionSources, len(s.repartitionSources)) {
				return fmt.Errorf("a copartition group of subtopology %s names a topic that is not there", s.id)
			}
		}
		for _, r := range append(slices.Clone(s.repartitionSources), s.changelogs...) {
			if r.partitions < 0 {
				return fmt.Errorf("topic %s has %d partitions", r.name, r.partitions)
			}
		}
	}
	return nil
}

func within(indexes []int16, n int) bool {
	return !slices.ContainsFunc(indexes, func(i int16) bool { return i < 0 || int(i) >= n })
}

func cloneNames(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = strings.Clone(name)
	}
	return out
}

func internalTopicsOf(all []kmsg.TopicInfo) []internalTopic {
	out := make([]internalTopic, len(all))
	for i, t := range all {
		out[i] = internalTopic{name: strings.Clone(t.Topic), partitions: t.NumPartitions, replicationFactor: t.ReplicationFactor}
		for _, c := range t.Configs {
			out[i].configs = append(out[i].configs, keyValue{strings.Clone(c.Key), strings.Clone(c.Value)})
		}
	}
	return out
}

// Status codes of StreamsGroupHeartbeat.
const (
	statusStaleTopology       = 0
	statusMissingSources      = 1
	statusIncorrectPartitions = 2
	statusMissingInternal     = 3
	statusShutdownApplication = 4
	statusAssignmentDelayed   = 5
)

// configuredTopology is a topology with the numbers that it gets from the topics that
// there are.
type configuredTopology struct {
	tasks   map[string]int32 // of each subtopology; nil: they cannot be told
	topics  map[string]int32 // partitions of each internal topic, likewise
	missing []NewTopic       // internal topics to make, in order
	problem *topologyProblem // nil: all is there
}

// maxStreamsTasks bounds the tasks of a group, so that no request can make the coordinator
// list more than memory holds. A task is some 100 bytes here and a store on some disk of
// the application: a million is beyond any of them.
const maxStreamsTasks = 1_000_000

// NewTopic is an internal topic that an application needs.
type NewTopic struct {
	Name              string
	Partitions        int32
	ReplicationFactor int16 // -1: the broker's default
	Configs           map[string]string
}

// topologyProblem is why no task can be assigned.
type topologyProblem struct {
	status int8
	detail string
}

func (c *configuredTopology) ready() bool { return c.problem == nil }

// configure decides the number of tasks of each subtopology and the partitions of each
// internal topic. The error says that no topics could ever suit the topology.
func (t *topology) configure(metadata Metadata) (*configuredTopology, error) {
	c := configuration{topology: t, metadata: metadata, decided: map[string]int32{}}
	if missing := c.missingSources(); len(missing) > 0 {
		return &configuredTopology{problem: &topologyProblem{statusMissingSources, "Source topics " + summary(missing) + " are missing."}}, nil
	}
	if err := c.decideRepartition(); err != nil {
		return nil, err
	}
	problem := c.copartition()
	if problem != nil {
		return &configuredTopology{problem: problem}, nil
	}
	return c.result()
}

// configuration is configure at work.
type configuration struct {
	topology *topology
	metadata Metadata
	decided  map[string]int32 // partitions of internal topics
}

// partitions is how many a topic has, or will have; 0: not decided.
func (c *configuration) partitions(topic string) int32 {
	if t, ok := c.metadata.Topic(topic); ok {
		return t.Partitions
	}
	return c.decided[topic]
}

func (c *configuration) missingSources() []string {
	var missing []string
	for i := range c.topology.subtopologies {
		for _, name := range c.topology.subtopologies[i].sources {
			if _, ok := c.metadata.Topic(name); !ok {
				missing = append(missing, name)
			}
		}
	}
	slices.Sort(missing)
	return slices.Compact(missing)
}

// decideRepartition gives each repartition topic the number that it asks for, else the
// largest of the inputs of the subtopology that writes it.
func (c *configuration) decideRepartition() error {
	for i := range c.topology.subtopologies {
		for _, r := range c.topology.subtopologies[i].repartitionSources {
			if r.partitions != 0 {
				c.decided[r.name] = r.partitions
			}
		}
	}
	if !c.decideSinks() {
		return fmt.Errorf("Failed to compute number of partitions for all repartition topics. There may be loops in the topology that cannot be resolved.") //nolint:staticcheck // Kafka's sentence, shown to clients
	}
	for i := range c.topology.subtopologies {
		for _, r := range c.topology.subtopologies[i].repartitionSources {
			if c.decided[r.name] == 0 {
				return fmt.Errorf("Failed to compute number of partitions for all repartition topics, because a repartition source topic is never used as a sink topic.") //nolint:staticcheck // Kafka's sentence, shown to clients
			}
		}
	}
	return nil
}

// decideSinks gives the repartition topics that ask for no number the largest one among
// the inputs, as far as decided, of the first subtopology that writes them. Kafka goes
// over all subtopologies round by round until none is left: what a round decides depends
// on their order. Here only those are looked at again that an input has been decided of,
// each where its turn comes: a chain of n takes n steps and not n². It is false where
// sinks are left.
func (c *configuration) decideSinks() bool {
	all := c.topology.subtopologies
	readers := map[string][]int{}
	turns := make(turnHeap, len(all)) // round*len(all) + subtopology
	for i := range all {
		turns[i] = i
		for _, r := range all[i].repartitionSources {
			readers[r.name] = append(readers[r.name], i)
		}
	}
	done := make([]bool, len(all))
	for len(turns) > 0 {
		turn := heap.Pop(&turns).(int)
		i := turn % len(all)
		if done[i] {
			continue
		}
		n := c.widest(&all[i])
		if n == 0 {
			continue // its turn comes again once an input is decided
		}
		done[i] = true
		for _, sink := range all[i].sinks {
			if c.decided[sink] != 0 {
				continue
			}
			c.decided[sink] = n
			for _, reader := range readers[sink] {
				next := turn - i + reader
				if reader <= i {
					next += len(all)
				}
				heap.Push(&turns, next)
			}
		}
	}
	return !slices.ContainsFunc(all, func(s subtopology) bool {
		return slices.ContainsFunc(s.sinks, func(sink string) bool { return c.decided[sink] == 0 })
	})
}

// turnHeap has the next turn first.
type turnHeap []int

func (h turnHeap) Len() int           { return len(h) }
func (h turnHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h turnHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *turnHeap) Push(x any)        { *h = append(*h, x.(int)) }
func (h *turnHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

// widest is the largest number of partitions among a subtopology's inputs that are
// decided, 0: none is.
func (c *configuration) widest(s *subtopology) int32 {
	widest := int32(0)
	for _, r := range s.repartitionSources {
		widest = max(widest, c.decided[r.name])
	}
	for _, name := range s.sources {
		widest = max(widest, c.partitions(name))
	}
	return widest
}

// copartition makes the repartition topics of each copartition group as wide as the
// group's other topics, which must agree.
func (c *configuration) copartition() *topologyProblem {
	fixed := map[string]bool{} // repartition topics, and whether they ask for a number
	for i := range c.topology.subtopologies {
		for _, r := range c.topology.subtopologies[i].repartitionSources {
			fixed[r.name] = r.partitions != 0
		}
	}
	asked := map[string]int32{} // what they ask for
	for name, asks := range fixed {
		if asks {
			asked[name] = c.partitions(name)
		}
	}
	width, same := common(asked)
	for i := range c.topology.subtopologies {
		s := &c.topology.subtopologies[i]
		for _, g := range s.copartitionGroups {
			if problem := c.agree(s, g, fixed, asking{width, same}); problem != nil {
				return problem
			}
		}
	}
	return nil
}

// asking is the number that all repartition topics ask for that ask for one, 0: none does.
type asking struct {
	width int32
	same  bool
}

func (c *configuration) agree(s *subtopology, g copartitionGroup, fixed map[string]bool, asked asking) *topologyProblem {
	repartition, others := map[string]int32{}, map[string]int32{}
	put := func(name string) {
		if _, ok := fixed[name]; ok {
			repartition[name] = c.partitions(name)
		} else {
			others[name] = c.partitions(name)
		}
	}
	for _, i := range g.sources {
		put(s.sources[i])
	}
	for _, i := range g.repartitionSources {
		put(s.repartitionSources[i].name)
	}
	width, same := common(others)
	switch {
	case len(repartition)+len(others) == 0:
		return nil
	case len(others) == 0:
		// Of those that ask for a number all in the topology must agree, as in Kafka.
		if width, same = asked.width, asked.same; same && width == 0 {
			width = slices.Max(slices.Collect(maps.Values(repartition)))
		}
		others = repartition
	}
	if !same {
		return &topologyProblem{statusIncorrectPartitions, fmt.Sprintf("Following topics do not have the same number of partitions: [%s]", counted(others))}
	}
	for _, name := range slices.Sorted(maps.Keys(repartition)) {
		if fixed[name] && repartition[name] != width {
			return &topologyProblem{statusIncorrectPartitions, fmt.Sprintf(
				"Number of partitions [%d] of repartition topic [%s] doesn't match number of partitions [%d] of the source topic.", repartition[name], name, width)}
		}
		c.decided[name] = width
	}
	return nil
}

// common is the number that all have, and whether they have one.
func common(counts map[string]int32) (n int32, same bool) {
	for _, count := range counts {
		if n != 0 && n != count {
			return 0, false
		}
		n = count
	}
	return n, true
}

// counted shows topics with their partitions as Java shows a sorted map.
func counted(counts map[string]int32) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		all = append(all, fmt.Sprintf("%s=%d", name, counts[name]))
	}
	return "{" + strings.Join(all, ", ") + "}"
}

// result counts tasks and partitions, and finds what is missing.
func (c *configuration) result() (*configuredTopology, error) {
	out := &configuredTopology{tasks: map[string]int32{}, topics: map[string]int32{}}
	wanted := map[string]NewTopic{}
	total := 0
	for i := range c.topology.subtopologies {
		s := &c.topology.subtopologies[i]
		width := int32(0)
		for _, name := range s.inputs {
			width = max(width, c.partitions(name))
		}
		out.tasks[s.id] = width
		if total += int(width); total > maxStreamsTasks {
			return nil, fmt.Errorf("the topology has more than %d tasks", maxStreamsTasks)
		}
		for _, r := range s.repartitionSources {
			n := r.partitions
			if n == 0 {
				n = c.decided[r.name]
			}
			wanted[r.name] = r.wanted(n)
		}
		for _, r := range s.changelogs {
			wanted[r.name] = r.wanted(width)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		want := wanted[name]
		out.topics[name] = want.Partitions
		there, ok := c.metadata.Topic(name)
		switch {
		case !ok:
			out.missing = append(out.missing, want)
		case there.Partitions != want.Partitions:
			return &configuredTopology{problem: &topologyProblem{statusIncorrectPartitions, fmt.Sprintf(
				"Existing topic %s has different number of partitions: expected %d, found %d", name, want.Partitions, there.Partitions)}}, nil
		}
	}
	if len(out.missing) > 0 {
		names := make([]string, len(out.missing))
		for i := range out.missing {
			names[i] = out.missing[i].Name
		}
		out.problem = &topologyProblem{statusMissingInternal, "Internal topics are missing: " + summary(names)}
	}
	return out, nil
}

func (t *internalTopic) wanted(partitions int32) NewTopic {
	n := NewTopic{Name: t.name, Partitions: partitions, ReplicationFactor: t.replicationFactor, Configs: map[string]string{}}
	if n.ReplicationFactor == 0 {
		n.ReplicationFactor = -1
	}
	for _, c := range t.configs {
		n.Configs[c.key] = c.value
	}
	return n
}

// summary names the first three.
func summary(names []string) string {
	const shown = 3
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d additional topics", strings.Join(names[:shown], ", "), len(names)-shown)
}
