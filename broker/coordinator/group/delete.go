package group

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/segment/batch"
)

// DeleteOffsets handles OffsetDelete. Offsets of a topic that members are subscribed
// to stay.
func (g *Group) DeleteOffsets(now int64, t Ticket, r *kmsg.OffsetDeleteRequest) Output {
	var out Output
	switch {
	case g.state == Dead, g.share != nil:
		out.reply(t, DeleteOffsetsError(r, groupIDNotFound))
		return out
	case !g.modern() && g.state != Empty && g.protocolType != consumerProtocol:
		out.reply(t, DeleteOffsetsError(r, nonEmptyGroup))
		return out
	}
	subscribed := g.subscription()
	response := DeleteOffsetsError(r, 0)
	var gone []topicPartition
	for i := range r.Topics {
		topic := &r.Topics[i]
		answer := kmsg.NewOffsetDeleteResponseTopic()
		answer.Topic = topic.Topic
		for j := range topic.Partitions {
			p := kmsg.NewOffsetDeleteResponseTopicPartition()
			p.Partition = topic.Partitions[j].Partition
			tp := topicPartition{topic.Topic, p.Partition}
			switch {
			case subscribed.has(topic.Topic):
				p.ErrorCode = groupSubscribedToTopic
			case g.knows(tp):
				gone = append(gone, tp)
			}
			answer.Partitions = append(answer.Partitions, p)
		}
		response.Topics = append(response.Topics, answer)
	}
	g.drop(now, gone, afterDrop{ticket: t, response: response}, &out)
	return out
}

// DropTopic removes the offsets of a topic that no longer exists, and leaves those of
// another one of its name. The answer is a code.
func (g *Group) DropTopic(now int64, t Ticket, topic string, id TopicID) Output {
	var out Output
	if g.state == Dead {
		out.code(t, 0) // its tombstones are on their way
		return out
	}
	gone := g.onTheirWay(func(tp topicPartition) bool { return tp.topic == topic })
	for partition, v := range g.offsets[topic] {
		if v.TopicID == id || v.TopicID == (TopicID{}) {
			gone = append(gone, topicPartition{topic, partition})
		}
	}
	sortPartitions(gone)
	gone = slices.Compact(gone)
	g.drop(now, gone, afterDrop{ticket: t}, &out)
	g.dropShareTopic(now, topic, &out)
	return out
}

// dropOutlived removes the offsets of topics that were deleted when nobody was there to drop
// them, for instance by a broker that died on the way. A topic made anew must not be read
// from where its predecessor was.
func (g *Group) dropOutlived(now int64, out *Output) {
	var gone []topicPartition
	for topic, partitions := range g.offsets {
		outlived := g.outlived(topic)
		for partition, v := range partitions {
			if outlived(v) {
				gone = append(gone, topicPartition{topic, partition})
			}
		}
	}
	for _, pending := range g.txn {
		for tp, v := range pending {
			if g.outlived(tp.topic)(v) {
				gone = append(gone, tp)
			}
		}
	}
	sortPartitions(gone)
	g.drop(now, slices.Compact(gone), afterDrop{}, out)
}

// Delete handles DeleteGroups for an empty group. The answer is a code.
func (g *Group) Delete(now int64, t Ticket) Output {
	var out Output
	switch {
	case g.state == Dead:
		out.code(t, groupIDNotFound)
	case g.empty() && g.share != nil:
		g.deleteShare(now, t, &out)
	case g.empty():
		g.bury(now, t, &out)
	default:
		out.code(t, nonEmptyGroup)
	}
	return out
}

// empty reports whether nobody is in the group, of either protocol.
func (g *Group) empty() bool {
	return g.state == Empty && g.modernMembers() == 0
}

// modernMembers counts the members of a group of a later protocol.
func (g *Group) modernMembers() int {
	switch {
	case g.consumer != nil:
		return len(g.consumer.state.members)
	case g.streams != nil:
		return len(g.streams.state.members)
	case g.share != nil:
		return len(g.share.state.members)
	}
	return 0
}

// bury writes the tombstones of all the group's records.
func (g *Group) bury(now int64, t Ticket, out *Output) {
	records := g.tombstones(now, g.everyOffset())
	_, gone := g.modernTombstones(now)
	records = append(records, gone...)
	if !g.modern() {
		records = append(records, record(now, g.metadataKey(), nil))
	}
	after := afterBury{ticket: t, since: g.since}
	g.transition(now, Dead)
	out.append(records, after)
}

// afterBury ends a group, or brings it back where its tombstones were not stored.
type afterBury struct {
	ticket Ticket
	since  int64
}

func (a afterBury) appended(g *Group, _ int64, code int16, out *Output) {
	if code == 0 {
		g.deleted = true
	} else {
		g.state, g.since = Empty, a.since
		if keys := g.modernKeys(); keys != nil {
			g.doubt(keys)
		}
	}
	out.code(a.ticket, code)
}

// drop writes tombstones for the offsets and answers when they are stored.
func (g *Group) drop(now int64, gone []topicPartition, after afterDrop, out *Output) {
	if len(gone) == 0 {
		after.answer(0, out)
		return
	}
	after.gone = make([]topicPartition, len(gone))
	for i, tp := range gone {
		after.gone[i] = topicPartition{string([]byte(tp.topic)), tp.partition}
	}
	out.append(g.tombstones(now, gone), after)
}

// afterDrop removes offsets whose tombstones are stored.
type afterDrop struct {
	ticket   Ticket
	gone     []topicPartition
	response *kmsg.OffsetDeleteResponse // nil: answer a code
}

func (a afterDrop) appended(g *Group, _ int64, code int16, out *Output) {
	if code == 0 {
		for _, tp := range a.gone {
			g.offsets.remove(tp)
			for _, pending := range g.txn {
				delete(pending, tp)
			}
		}
	}
	a.answer(code, out)
}

func (a afterDrop) answer(code int16, out *Output) {
	if a.response == nil {
		out.code(a.ticket, code)
		return
	}
	if code != 0 {
		a.response.ErrorCode, a.response.Topics = code, nil
	}
	out.reply(a.ticket, a.response)
}

// DeleteOffsetsError answers with a code for the whole request.
func DeleteOffsetsError(r *kmsg.OffsetDeleteRequest, code int16) *kmsg.OffsetDeleteResponse {
	response := kmsg.NewPtrOffsetDeleteResponse()
	response.Version = r.Version
	response.ErrorCode = code
	return response
}

// ExpireOffsets removes offsets that have outlived their retention (KIP-211), and the
// group with the last of them if nobody is in it.
//
// An offset's time runs from its commit in a simple group and in a stable group that
// is no longer subscribed to the topic, and from the moment the group became empty in
// one that had members. A share group has none, and stays until it is deleted: what it has
// read would be forgotten with it.
func (g *Group) ExpireOffsets(now int64) Output {
	var out Output
	if g.state == Dead || g.share != nil || g.protocolType != "" && g.state != Empty && g.state != Stable {
		return out
	}
	subscribed := g.subscription()
	if g.state == Stable && !subscribed.known {
		return out
	}
	var gone []topicPartition
	all := true
	for topic, partitions := range g.offsets {
		for partition, v := range partitions {
			tp := topicPartition{topic, partition}
			if subscribed.has(topic) || !g.expires(now, v) || g.inflight[tp] > 0 || g.inTransaction(tp) {
				all = false
				continue
			}
			gone = append(gone, tp)
		}
	}
	if all && g.empty() && len(g.pending) == 0 && len(g.inflight) == 0 && len(g.txn) == 0 {
		g.bury(now, 0, &out)
		return out
	}
	sortPartitions(gone)
	g.drop(now, gone, afterDrop{}, &out)
	return out
}

func (g *Group) expires(now int64, v Offset) bool {
	if v.ExpireTime != -1 {
		return now >= v.ExpireTime
	}
	from := v.CommitTime
	if g.protocolType != "" && g.state == Empty && g.since != -1 {
		from = g.since
	}
	return now-from >= g.limits.OffsetsRetention
}

// knows reports whether the log holds, or will hold, an offset for the partition.
func (g *Group) knows(tp topicPartition) bool {
	return g.offsets.has(tp) || g.inflight[tp] > 0 || g.inTransaction(tp)
}

// everyOffset lists each partition that the group knows, once and in order.
func (g *Group) everyOffset() []topicPartition {
	all := g.onTheirWay(func(topicPartition) bool { return true })
	for topic, partitions := range g.offsets {
		for partition := range partitions {
			all = append(all, topicPartition{topic, partition})
		}
	}
	sortPartitions(all)
	return slices.Compact(all)
}

// onTheirWay lists the partitions that are wanted among those of which a commit is not
// decided: its record is not committed yet, or its transaction is open.
func (g *Group) onTheirWay(wanted func(topicPartition) bool) (all []topicPartition) {
	for tp := range g.inflight {
		if wanted(tp) {
			all = append(all, tp)
		}
	}
	for _, pending := range g.txn {
		for tp := range pending {
			if wanted(tp) {
				all = append(all, tp)
			}
		}
	}
	return all
}

func sortPartitions(all []topicPartition) {
	slices.SortFunc(all, func(a, b topicPartition) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
	})
}

func (g *Group) tombstones(now int64, gone []topicPartition) []batch.Record {
	records := make([]batch.Record, 0, len(gone)+1)
	for _, tp := range gone {
		records = append(records, record(now, g.offsetKey(tp), nil))
	}
	return records
}

// subscription is which topics the members read, as far as we can tell.
type subscription struct {
	known  bool
	all    bool // not known, so assume that any topic may be one
	topics map[string]struct{}
}

func (s subscription) has(topic string) bool {
	_, ok := s.topics[topic]
	return ok || s.all
}

// subscription reads the members' metadata where they use Kafka's own consumer
// protocol; any version begins like version 0.
func (g *Group) subscription() subscription {
	switch {
	case g.consumer != nil:
		return subscription{known: true, topics: g.consumer.state.subscribed()}
	case g.streams != nil:
		return subscription{known: true, topics: g.streams.subscribed()}
	}
	if g.protocolType != consumerProtocol {
		return subscription{}
	}
	s := subscription{known: true, topics: map[string]struct{}{}}
	for _, m := range g.members {
		if g.protocolName == nil || !readTopics(m.metadata(*g.protocolName), s.topics) {
			return subscription{all: true}
		}
	}
	return s
}

// readTopics adds the topics of a subscription to topics:
//
//	version  int16
//	topics   int32 count, each int16 length and the name
func readTopics(p []byte, topics map[string]struct{}) bool {
	if len(p) < 6 {
		return false
	}
	n := int32(binary.BigEndian.Uint32(p[2:]))
	p = p[6:]
	for ; n > 0; n-- {
		if len(p) < 2 {
			return false
		}
		size := int(int16(binary.BigEndian.Uint16(p)))
		if size < 0 || size > len(p)-2 {
			return false
		}
		topics[string(p[2:2+size])] = struct{}{}
		p = p[2+size:]
	}
	return true
}
