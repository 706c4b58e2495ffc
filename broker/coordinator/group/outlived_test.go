package group

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// commit commits an offset of partition 0, as an administrator, and returns the code.
func (l *life) commit(topic string, id TopicID, offset int64) int16 {
	r := kmsg.NewPtrOffsetCommitRequest()
	r.Version, r.Group, r.Generation = 10, "g", -1
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Offset = offset
	r.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: topic, TopicID: id, Partitions: []kmsg.OffsetCommitRequestTopicPartition{p}}}
	ticket := l.ticket()
	l.take(l.g.Commit(l.now, ticket, r))
	return l.answers[ticket].(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode
}

// committed is the offset of partition 0, -1: none.
func (l *life) committed(topic string) int64 {
	asked := kmsg.NewOffsetFetchRequestGroupTopic()
	asked.Topic, asked.Partitions = topic, []int32{0}
	return l.g.Fetch([]kmsg.OffsetFetchRequestGroupTopic{asked}, false)[0].Partitions[0].Offset
}

// anew is a topic that was deleted and made again.
func (m *testMetadata) anew(name string) *testMetadata {
	next := m.set(name, m.topics[name].Partitions)
	t := next.topics[name]
	t.ID[len(t.ID)-1]++
	next.topics[name] = t
	return next
}

// TestATopicMadeAnewIsNotReadFromWhereTheOldOneWas: whatever became of the tombstones that
// the deletion of the old one asked for.
func TestATopicMadeAnewIsNotReadFromWhereTheOldOneWas(t *testing.T) {
	for _, c := range []struct {
		name   string
		reload bool // before the offset is asked for
		change func(m *testMetadata) *testMetadata
		want   int64
	}{
		{"nothing happens", true, func(m *testMetadata) *testMetadata { return m }, 7},
		{"the topic grows", true, func(m *testMetadata) *testMetadata { return m.set("t", 9) }, 7},
		{"it is made anew", false, func(m *testMetadata) *testMetadata { return m.anew("t") }, -1},
		{"it is made anew while nobody leads the group", true, func(m *testMetadata) *testMetadata { return m.anew("t") }, -1},
		{"it is deleted", true, func(m *testMetadata) *testMetadata { return m.set("t", 0) }, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLife(t)
			metadata := metadataOf(map[string]int32{"t": 4, "other": 1})
			l.limits.Metadata = func() Metadata { return metadata }
			l.commit("t", TopicID{}, 7) // of a client that knows no ids
			l.commit("other", TopicID{}, 8)
			metadata = c.change(metadata)
			if c.reload {
				l.reload()
				l.take(l.g.Loaded(l.now))
			}
			if got := l.committed("t"); got != c.want {
				t.Errorf("offset %d, want %d", got, c.want)
			}
			all := l.g.Fetch(nil, false)
			if listed := len(all) == 2; listed != (c.want != -1) || l.committed("other") != 8 {
				t.Errorf("all offsets: %+v", all)
			}
			if c.reload { // what was dropped is dropped for good
				metadata = metadataOf(map[string]int32{"t": 4, "other": 1})
				if l.reload(); l.committed("t") != c.want {
					t.Errorf("offset %d in the log", l.committed("t"))
				}
			}
		})
	}
}

// TestACommitThatComesAfterItsTopicIsRefused, or it would be that of the next topic of its
// name: the request was looked at before the topic was deleted.
func TestACommitThatComesAfterItsTopicIsRefused(t *testing.T) {
	l := newLife(t)
	metadata := metadataOf(map[string]int32{"t": 4})
	l.limits.Metadata = func() Metadata { return metadata }
	old := idOf("t")
	if code := l.commit("t", old, 7); code != 0 {
		t.Fatalf("code %d", code)
	}
	metadata = metadata.set("t", 0)
	l.take(l.g.DropTopic(l.now, 0, "t", old))
	if code := l.commit("t", TopicID{}, 7); code != unknownTopicOrPartition {
		t.Errorf("after its topic: code %d", code)
	}
	metadata = metadata.set("t", 4).anew("t")
	if code := l.commit("t", old, 7); code != unknownTopicID {
		t.Errorf("to the next one by the id of the old: code %d", code)
	}
	if code := l.commit("t", TopicID{}, 3); code != 0 {
		t.Errorf("to the next one by name: code %d", code)
	}
	l.take(l.g.DropTopic(l.now, 0, "t", old)) // another broker hears of the deletion late
	if got := l.committed("t"); got != 3 {
		t.Errorf("offset %d of the new topic", got)
	}
}
