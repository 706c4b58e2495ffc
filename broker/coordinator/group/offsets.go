package group

import (
	"maps"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/segment/batch"
)

// Offset is a committed offset.
type Offset struct {
	Offset      int64
	LeaderEpoch int32 // -1: not known (KIP-320)
	Metadata    string
	CommitTime  int64    // ms
	ExpireTime  int64    // ms, -1: by offsets.retention.minutes (KIP-211)
	TopicID     [16]byte // of the topic that it was committed for; zero: not known

	// record orders the commits of a group as the log does: the later of a transactional
	// and a plain commit wins. What was read from the log has its record's offset.
	record int64
}

// offsets are committed offsets by topic and partition. No inner map is empty.
type offsets map[string]map[int32]Offset

func (o offsets) put(tp topicPartition, v Offset) {
	if o[tp.topic] == nil {
		o[tp.topic] = map[int32]Offset{}
	}
	o[tp.topic][tp.partition] = v
}

func (o offsets) remove(tp topicPartition) {
	if delete(o[tp.topic], tp.partition); len(o[tp.topic]) == 0 {
		delete(o, tp.topic)
	}
}

// outlived tells of the offsets of a topic whether they are of one that is gone: it was
// deleted, and perhaps made anew under its name.
func (g *Group) outlived(topic string) func(Offset) bool {
	metadata := g.limits.metadata()
	t, exists := metadata.Topic(topic)
	return func(v Offset) bool {
		return metadata.Version() != 0 && (!exists || v.TopicID != (TopicID{}) && v.TopicID != t.ID)
	}
}

func (o offsets) has(tp topicPartition) bool {
	_, ok := o[tp.topic][tp.partition]
	return ok
}

// Commit handles OffsetCommit v1-v10. The answer comes when the offsets are stored.
func (g *Group) Commit(now int64, t Ticket, r *kmsg.OffsetCommitRequest) Output {
	var out Output
	code := g.validateCommit(r)
	var fenced func(tp topicPartition, id TopicID) int16
	if g.modern() && g.state != Dead {
		fenced, code = g.validateModern(r)
	}
	if code == 0 && fenced != nil {
		code = g.stalePart(r, fenced)
	}
	if code != 0 {
		out.reply(t, CommitError(r, code))
		return out
	}
	// A commit counts as a heartbeat, save for simple consumers who are not members.
	if m := g.members[r.MemberID]; m != nil {
		g.touch(now, m)
	}
	response := CommitError(r, 0)
	commits, records := g.offsetRecords(now, r, response)
	if len(records) == 0 {
		out.reply(t, response)
		return out
	}
	out.append(records, afterCommit{ticket: t, response: response, commits: commits})
	return out
}

// stalePart asks fenced of every partition that would be committed: the code of one is that
// of all, as in Kafka, for who is behind with one shall ask again with all.
func (g *Group) stalePart(r *kmsg.OffsetCommitRequest, fenced func(topicPartition, TopicID) int16) int16 {
	for i := range r.Topics {
		id, _ := g.committed(&r.Topics[i])
		for j := range r.Topics[i].Partitions {
			p := &r.Topics[i].Partitions[j]
			if g.noteTooLong(p) {
				continue
			}
			if code := fenced(topicPartition{r.Topics[i].Topic, p.Partition}, id); code != 0 {
				return code
			}
		}
	}
	return 0
}

func (g *Group) noteTooLong(p *kmsg.OffsetCommitRequestTopicPartition) bool {
	return p.Metadata != nil && tooLong(*p.Metadata, g.limits.OffsetMetadataMax)
}

// offsetRecords are the records of a commit. Partitions that have none get their code in
// the response. A topic may have gone since the request was looked at: what is committed is
// of the topic that there is.
func (g *Group) offsetRecords(now int64, r *kmsg.OffsetCommitRequest, response *kmsg.OffsetCommitResponse) (commits []commit, records []batch.Record) {
	for i := range r.Topics {
		topic := &r.Topics[i]
		name := strings.Clone(topic.Topic)
		response.Topics[i].Topic = name
		id, gone := g.committed(topic)
		for j := range topic.Partitions {
			p := &topic.Partitions[j]
			if gone != 0 {
				response.Topics[i].Partitions[j].ErrorCode = gone
				continue
			}
			if g.noteTooLong(p) {
				response.Topics[i].Partitions[j].ErrorCode = offsetMetadataTooLarge
				continue
			}
			tp := topicPartition{name, p.Partition}
			v := newOffset(now, r, id, p)
			g.order++
			v.record = g.order
			commits = append(commits, commit{tp, v})
			records = append(records, record(now, g.offsetKey(tp), offsetValue(v)))
			g.inflight[tp]++
		}
	}
	return commits, records
}

// committed is the id of the topic that offsets are committed for, zero where there is no
// metadata, or a code.
func (g *Group) committed(asked *kmsg.OffsetCommitRequestTopic) (TopicID, int16) {
	metadata := g.limits.metadata()
	if metadata.Version() == 0 {
		return asked.TopicID, 0
	}
	t, ok := metadata.Topic(asked.Topic)
	switch {
	case asked.TopicID != (TopicID{}) && (!ok || asked.TopicID != t.ID):
		return TopicID{}, unknownTopicID
	case !ok:
		return TopicID{}, unknownTopicOrPartition
	}
	return t.ID, 0
}

// tooLong reports whether s is longer than limit, as Kafka counts: in UTF-16 units.
func tooLong(s string, limit int) bool {
	if len(s) > maxString {
		return true // whatever the limit: the record could not hold it
	}
	if len(s) <= limit { // never fewer bytes than units
		return false
	}
	units := 0
	for _, r := range s {
		units += max(utf16.RuneLen(r), 1)
	}
	return units > limit
}

func newOffset(now int64, r *kmsg.OffsetCommitRequest, id TopicID, p *kmsg.OffsetCommitRequestTopicPartition) Offset {
	v := Offset{Offset: p.Offset, LeaderEpoch: -1, CommitTime: now, ExpireTime: -1, TopicID: id, record: -1}
	if p.Metadata != nil {
		v.Metadata = strings.Clone(*p.Metadata)
	}
	if r.Version >= 6 {
		v.LeaderEpoch = max(p.LeaderEpoch, -1)
	}
	if r.Version == 1 && p.Timestamp != -1 {
		v.CommitTime = p.Timestamp
	}
	if 2 <= r.Version && r.Version <= 4 && r.RetentionTimeMillis != -1 {
		v.ExpireTime = now + r.RetentionTimeMillis
	}
	return v
}

// validateModern is validateCommit for a group of a later protocol. fenced, where it is not
// nil, is to be asked of each partition, see stalePart.
func (g *Group) validateModern(r *kmsg.OffsetCommitRequest) (fenced func(topicPartition, TopicID) int16, code int16) {
	switch {
	case g.streams != nil:
		return g.streams.validateCommit(r)
	case g.share != nil: // its offsets are the share coordinator's
		return nil, groupIDNotFound
	}
	return g.consumer.validateCommit(r, g.limits.metadata())
}

func (g *Group) validateCommit(r *kmsg.OffsetCommitRequest) int16 {
	switch {
	case g.state == Dead:
		return coordinatorNotAvailable
	case r.Generation < 0 && g.state == Empty:
		return 0 // a simple consumer, or an administrator
	case r.Generation >= 0 || r.MemberID != "" || r.InstanceID != nil:
		if code := g.validate(r.MemberID, r.InstanceID); code != 0 {
			return code
		}
		if r.Generation != g.generation {
			return illegalGeneration
		}
	case g.state != Empty:
		return unknownMemberID
	}
	if g.state == CompletingRebalance {
		// The member is of this generation but has no assignment in it yet.
		return rebalanceInProgress
	}
	return 0
}

type commit struct {
	tp     topicPartition
	offset Offset
}

// afterCommit makes stored offsets visible.
type afterCommit struct {
	ticket   Ticket
	response *kmsg.OffsetCommitResponse
	commits  []commit
}

func (a afterCommit) appended(g *Group, _ int64, code int16, out *Output) {
	for _, c := range a.commits {
		g.landed(c.tp)
		if code == 0 {
			g.offsets.put(c.tp, c.offset)
		}
	}
	if code != 0 {
		failCommit(a.response, code)
	}
	out.reply(a.ticket, a.response)
}

// landed notes that the fate of a commit is known.
func (g *Group) landed(tp topicPartition) {
	if g.inflight[tp]--; g.inflight[tp] <= 0 {
		delete(g.inflight, tp)
	}
}

// CommitError answers a commit with one code for every partition.
func CommitError(r *kmsg.OffsetCommitRequest, code int16) *kmsg.OffsetCommitResponse {
	response := kmsg.NewPtrOffsetCommitResponse()
	response.Version = r.Version
	response.Topics = make([]kmsg.OffsetCommitResponseTopic, len(r.Topics))
	for i := range r.Topics {
		t := &response.Topics[i]
		t.Topic, t.TopicID = r.Topics[i].Topic, r.Topics[i].TopicID
		t.Partitions = make([]kmsg.OffsetCommitResponseTopicPartition, len(r.Topics[i].Partitions))
		for j := range r.Topics[i].Partitions {
			t.Partitions[j].Partition = r.Topics[i].Partitions[j].Partition
		}
	}
	failCommit(response, code)
	return response
}

func failCommit(response *kmsg.OffsetCommitResponse, code int16) {
	for i := range response.Topics {
		for j := range response.Topics[i].Partitions {
			response.Topics[i].Partitions[j].ErrorCode = code
		}
	}
}

// CommitUnknown is the code for a commit to a group that does not exist, 0 where the
// commit makes a simple group.
func CommitUnknown(r *kmsg.OffsetCommitRequest) int16 {
	switch {
	case r.Generation < 0:
		return 0
	case r.Version >= 9:
		return groupIDNotFound
	}
	return illegalGeneration
}

// Fetch answers OffsetFetch for the group: the committed offsets of the given topics,
// or all of them where topics is nil. g is nil for a group that does not exist.
//
// requireStable asks for UNSTABLE_OFFSET_COMMIT where an offset is about to change:
// its transaction is open (KIP-447), or its record is not committed yet. Clients ask
// again after that.
func (g *Group) Fetch(topics []kmsg.OffsetFetchRequestGroupTopic, requireStable bool) []kmsg.OffsetFetchResponseGroupTopic {
	if g == nil || g.state == Dead {
		g = &Group{limits: &Limits{}}
	}
	if topics == nil {
		topics = g.allTopics()
	}
	answers := make([]kmsg.OffsetFetchResponseGroupTopic, len(topics))
	for i := range topics {
		a := &answers[i]
		outlived := g.outlived(topics[i].Topic)
		a.Topic, a.TopicID = topics[i].Topic, topics[i].TopicID
		a.Partitions = make([]kmsg.OffsetFetchResponseGroupTopicPartition, len(topics[i].Partitions))
		for j, partition := range topics[i].Partitions {
			g.fetch(&a.Partitions[j], topicPartition{a.Topic, partition}, requireStable, outlived)
		}
	}
	return answers
}

func (g *Group) fetch(a *kmsg.OffsetFetchResponseGroupTopicPartition, tp topicPartition, requireStable bool, outlived func(Offset) bool) {
	a.Partition, a.Offset, a.LeaderEpoch, a.Metadata = tp.partition, -1, -1, new(string)
	if requireStable && (g.inflight[tp] > 0 || g.inTransaction(tp)) {
		a.ErrorCode = unstableOffsetCommit
		return
	}
	if v, ok := g.offsets[tp.topic][tp.partition]; ok && !outlived(v) {
		a.Offset, a.LeaderEpoch, a.Metadata = v.Offset, v.LeaderEpoch, &v.Metadata
	}
}

// allTopics names every partition with an offset, in order.
func (g *Group) allTopics() []kmsg.OffsetFetchRequestGroupTopic {
	all := make([]kmsg.OffsetFetchRequestGroupTopic, 0, len(g.offsets))
	for _, name := range slices.Sorted(maps.Keys(g.offsets)) {
		t := kmsg.NewOffsetFetchRequestGroupTopic()
		t.Topic = name
		outlived := g.outlived(name)
		for _, partition := range slices.Sorted(maps.Keys(g.offsets[name])) {
			v := g.offsets[name][partition]
			if outlived(v) {
				continue
			}
			t.Partitions = append(t.Partitions, partition)
			if t.TopicID == (TopicID{}) {
				t.TopicID = v.TopicID
			}
		}
		if len(t.Partitions) > 0 {
			all = append(all, t)
		}
	}
	return all
}

func (g *Group) inTransaction(tp topicPartition) bool {
	for _, offsets := range g.txn {
		if _, ok := offsets[tp]; ok {
			return true
		}
	}
	return false
}
