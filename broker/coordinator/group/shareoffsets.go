package group

import (
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Persist is something for the share coordinator to do, once what it rests on is
// committed. One of the requests is set.
type Persist struct {
	Initialize *kmsg.InitializeShareGroupStateRequest
	Delete     *kmsg.DeleteShareGroupStateRequest
	// Done tells the group what became of it, nil: all of it was done.
	Done func(g *Group, now int64, failed *Refusal) Output
}

// initialization asks for the state of partitions to begin at their start offsets, -1:
// where the leader decides.
func (g *Group) initialization(epoch int32, topics map[TopicID]shareTopic, starts map[topicIDPartition]int64, done func(*Group, int64, *Refusal) Output) Persist {
	q := kmsg.NewPtrInitializeShareGroupStateRequest()
	q.GroupID = g.id
	for _, id := range sortedIDs(maps.Keys(topics)) {
		t := kmsg.NewInitializeShareGroupStateRequestTopic()
		t.TopicID = id
		for _, partition := range topics[id].partitions {
			p := kmsg.NewInitializeShareGroupStateRequestTopicPartition()
			p.Partition, p.StateEpoch, p.StartOffset = partition, epoch, -1
			if start, ok := starts[topicIDPartition{id, partition}]; ok {
				p.StartOffset = start
			}
			t.Partitions = append(t.Partitions, p)
		}
		q.Topics = append(q.Topics, t)
	}
	return Persist{Initialize: q, Done: done}
}

// deletion asks for the state of partitions to be forgotten.
func (g *Group) deletion(topics map[TopicID]shareTopic, done func(*Group, int64, *Refusal) Output) Persist {
	q := kmsg.NewPtrDeleteShareGroupStateRequest()
	q.GroupID = g.id
	for _, id := range sortedIDs(maps.Keys(topics)) {
		t := kmsg.NewDeleteShareGroupStateRequestTopic()
		t.TopicID = id
		for _, partition := range topics[id].partitions {
			t.Partitions = append(t.Partitions, kmsg.DeleteShareGroupStateRequestTopicPartition{Partition: partition})
		}
		q.Topics = append(q.Topics, t)
	}
	return Persist{Delete: q, Done: done}
}

// SharePartitions lists the partitions of a share group whose state was initialized, by
// topic; nil where it is no share group.
func (g *Group) SharePartitions() map[TopicID][]int32 {
	if g.share == nil || g.state == Dead || g.share.state.partitions == nil {
		return nil
	}
	all := map[TopicID][]int32{}
	for id, t := range g.share.state.partitions.initialized {
		all[id] = t.partitions
	}
	return all
}

// refuseShare tells why a share group's offsets cannot be changed, nil: they can.
func (g *Group) refuseShare() *Refusal {
	switch {
	case g.share == nil || g.state == Dead:
		return refuse(groupIDNotFound, "Group %s is not a share group.", g.id)
	case len(g.share.state.members) > 0:
		return refuse(nonEmptyGroup, "The group is not empty.")
	}
	return nil
}

// AlterShareOffsets handles AlterShareGroupOffsets v0 for topics that exist: they begin
// anew at their start offsets. A group that is not there is made.
func (g *Group) AlterShareOffsets(now int64, t Ticket, r *kmsg.AlterShareGroupOffsetsRequest) (out Output) {
	version := r.Version
	a := answer{ticket: t, fail: func(code int16) kmsg.Response { return AlterShareOffsetsError(version, &Refusal{Code: code}) }}
	fresh, refused := g.makeShare(true)
	if refused == nil {
		refused = g.refuseShare()
	}
	if refused != nil {
		out.reply(t, AlterShareOffsetsError(version, refused))
		return out
	}
	p := g.newShareStep(now, fresh)
	response := kmsg.NewPtrAlterShareGroupOffsetsResponse()
	response.Version = version
	topics, starts := p.alter(r, response)
	a.response = response
	if len(topics) == 0 {
		if fresh {
			g.share = nil
		}
		out.reply(t, response)
		return out
	}
	s := p.edit()
	s.partitions = s.partitions.ask(topics)
	p.persist = append(p.persist, g.initialization(s.epoch, topics, starts, func(g *Group, now int64, failed *Refusal) Output {
		if failed != nil {
			failAltered(response, failed)
		}
		return g.shareSettled(now, topics, failed == nil, a)
	}))
	p.finish(&out)
	return out
}

// alter finds what a request wants to begin anew, and begins the answer.
func (p *shareStep) alter(r *kmsg.AlterShareGroupOffsetsRequest, response *kmsg.AlterShareGroupOffsetsResponse) (map[TopicID]shareTopic, map[topicIDPartition]int64) {
	topics, starts := map[TopicID]shareTopic{}, map[topicIDPartition]int64{}
	for _, asked := range r.Topics {
		found, known := p.metadata.Topic(asked.Topic)
		to := kmsg.NewAlterShareGroupOffsetsResponseTopic()
		to.Topic, to.TopicID = asked.Topic, found.ID
		for _, from := range asked.Partitions {
			answered := kmsg.NewAlterShareGroupOffsetsResponseTopicPartition()
			answered.Partition = from.Partition
			if !known || from.Partition < 0 || from.Partition >= found.Partitions {
				answered.ErrorCode = unknownTopicOrPartition
				answered.ErrorMessage = stringPtr(unknownPartition)
			} else {
				starts[topicIDPartition{found.ID, from.Partition}] = from.StartOffset
				t := topics[found.ID]
				t.name, t.asked = found.Name, p.now
				topics[found.ID] = t.with([]int32{from.Partition})
			}
			to.Partitions = append(to.Partitions, answered)
		}
		response.Topics = append(response.Topics, to)
	}
	return topics, starts
}

const unknownPartition = "This server does not host this topic-partition."

func stringPtr(s string) *string { return &s }

// failAltered puts why the share coordinator refused at each partition that it was asked
// for.
func failAltered(response *kmsg.AlterShareGroupOffsetsResponse, failed *Refusal) {
	for i := range response.Topics {
		for j := range response.Topics[i].Partitions {
			if p := &response.Topics[i].Partitions[j]; p.ErrorCode == 0 {
				p.ErrorCode, p.ErrorMessage = failed.Code, stringPtr(failed.Message)
			}
		}
	}
}

// AlterShareOffsetsError answers with an error for the whole request.
func AlterShareOffsetsError(version int16, f *Refusal) *kmsg.AlterShareGroupOffsetsResponse {
	r := kmsg.NewPtrAlterShareGroupOffsetsResponse()
	r.Version, r.ErrorCode = version, f.Code
	if f.Message != "" {
		r.ErrorMessage = stringPtr(f.Message)
	}
	return r
}

// DeleteShareOffsets handles DeleteShareGroupOffsets v0: the state of the topics is
// forgotten.
func (g *Group) DeleteShareOffsets(now int64, t Ticket, r *kmsg.DeleteShareGroupOffsetsRequest) (out Output) {
	version := r.Version
	a := answer{ticket: t, fail: func(code int16) kmsg.Response { return DeleteShareOffsetsError(version, &Refusal{Code: code}) }}
	if refused := g.refuseShare(); refused != nil {
		out.reply(t, DeleteShareOffsetsError(version, refused))
		return out
	}
	p := g.newShareStep(now, false)
	response := kmsg.NewPtrDeleteShareGroupOffsetsResponse()
	response.Version = version
	topics := p.forgettable(r, response)
	a.response = response
	if len(topics) == 0 {
		p.finish(&out, a)
		return out
	}
	p.delete(topics, func(g *Group, now int64, failed *Refusal) Output {
		for id, t := range topics {
			r := kmsg.NewDeleteShareGroupOffsetsResponseTopic()
			r.Topic, r.TopicID = t.name, id
			if failed != nil {
				r.ErrorCode, r.ErrorMessage = failed.Code, stringPtr(failed.Message)
			}
			response.Topics = append(response.Topics, r)
		}
		slices.SortFunc(response.Topics, func(x, y kmsg.DeleteShareGroupOffsetsResponseTopic) int {
			return slices.Compare([]byte(x.Topic), []byte(y.Topic))
		})
		return g.shareForgotten(now, topics, failed == nil, a)
	})
	p.finish(&out)
	return out
}

// forgettable are the topics of a request that there is state of; the answer has the
// others.
func (p *shareStep) forgettable(r *kmsg.DeleteShareGroupOffsetsRequest, response *kmsg.DeleteShareGroupOffsetsResponse) map[TopicID]shareTopic {
	topics := map[TopicID]shareTopic{}
	parts := p.state.partitions
	if parts == nil {
		return nil
	}
	for _, asked := range r.Topics {
		t, known := p.metadata.Topic(asked.Topic)
		initialized, has := parts.initialized[t.ID]
		_, deleting := parts.deleting[t.ID]
		refused := kmsg.NewDeleteShareGroupOffsetsResponseTopic()
		refused.Topic, refused.ErrorCode = asked.Topic, unknownTopicOrPartition
		switch {
		case !known:
			refused.ErrorMessage = stringPtr(unknownPartition)
			response.Topics = append(response.Topics, refused)
		case has:
			topics[t.ID] = shareTopic{name: t.Name, partitions: initialized.partitions}
		case deleting: // again: it was not known to be done
			topics[t.ID] = wholeTopic(t)
		default:
			refused.ErrorMessage = stringPtr("There is no offset information to delete.")
			response.Topics = append(response.Topics, refused)
		}
	}
	return topics
}

func wholeTopic(t Topic) shareTopic {
	all := shareTopic{name: t.Name}
	for partition := range t.Partitions {
		all.partitions = append(all.partitions, partition)
	}
	return all
}

// delete notes that the state of topics is being forgotten, and has that done once the step
// is committed.
func (p *shareStep) delete(topics map[TopicID]shareTopic, done func(*Group, int64, *Refusal) Output) {
	s := p.edit()
	s.partitions = s.partitions.forget(func(id TopicID, _ string) bool { _, ok := topics[id]; return ok })
	for id, t := range topics {
		s.partitions.deleting[id] = t.name
	}
	p.persist = append(p.persist, p.g.deletion(topics, done))
}

// shareForgotten notes what became of a deletion.
func (g *Group) shareForgotten(now int64, topics map[TopicID]shareTopic, done bool, answers ...answer) (out Output) {
	if g.share == nil || g.state == Dead || g.share.state.partitions == nil {
		(&afterShare{answers: answers}).reply(0, &out)
		return out
	}
	p := g.newShareStep(now, false)
	if left := p.state.partitions.forgotten(topics, done); !left.equal(p.state.partitions) {
		p.edit().partitions = left
	}
	p.finish(&out, answers...)
	return out
}

// DeleteShareOffsetsError answers with an error for the whole request.
func DeleteShareOffsetsError(version int16, f *Refusal) *kmsg.DeleteShareGroupOffsetsResponse {
	r := kmsg.NewPtrDeleteShareGroupOffsetsResponse()
	r.Version, r.ErrorCode = version, f.Code
	if f.Message != "" {
		r.ErrorMessage = stringPtr(f.Message)
	}
	return r
}

// deleteShare deletes an empty share group: first the state of its partitions, then the
// group.
func (g *Group) deleteShare(now int64, t Ticket, out *Output) {
	p := g.newShareStep(now, false)
	topics := map[TopicID]shareTopic{}
	if parts := p.state.partitions; parts != nil {
		for id, x := range parts.initialized {
			topics[id] = x
		}
		for id, x := range parts.initializing {
			topics[id] = shareTopic{name: x.name, partitions: topics[id].with(x.partitions).partitions}
		}
		for id := range parts.deleting {
			found, _ := p.metadata.TopicByID(id)
			topics[id] = wholeTopic(found)
		}
		maps.DeleteFunc(topics, func(id TopicID, _ shareTopic) bool { // their state goes without being asked
			_, exists := p.metadata.TopicByID(id)
			return !exists
		})
	}
	if len(topics) == 0 {
		g.bury(now, t, out)
		return
	}
	p.delete(topics, func(g *Group, now int64, failed *Refusal) Output {
		var out Output
		switch {
		case g.state == Dead || g.share == nil:
			out.code(t, groupIDNotFound)
		case failed != nil:
			out = g.shareForgotten(now, topics, false)
			out.code(t, failed.Code)
		case len(g.share.state.members) > 0: // somebody has joined meanwhile
			out = g.shareForgotten(now, topics, true)
			out.code(t, nonEmptyGroup)
		default:
			g.bury(now, t, &out)
		}
		return out
	})
	p.finish(out)
}

// dropShareTopic forgets a topic that is gone. What the share coordinator has of it goes
// without being asked.
func (g *Group) dropShareTopic(now int64, topic string, out *Output) {
	if g.share == nil || g.share.state.partitions == nil {
		return
	}
	p := g.newShareStep(now, false)
	left := p.state.partitions.forget(func(id TopicID, name string) bool {
		_, exists := p.metadata.TopicByID(id)
		return name == topic && !exists
	})
	if left.equal(p.state.partitions) {
		return
	}
	p.edit().partitions = left
	p.finish(out)
}
