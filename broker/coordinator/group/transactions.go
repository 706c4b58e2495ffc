package group

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// CommitTransaction handles TxnOffsetCommit v0-v5: the offsets count once the producer's
// transaction is committed (KIP-98). The answer comes when they are stored. Append the
// records as the producer's.
func (g *Group) CommitTransaction(now int64, t Ticket, r *kmsg.TxnOffsetCommitRequest) Output {
	var out Output
	q := asCommit(r)
	fenced, code := g.validateTransaction(q)
	if code == 0 && fenced != nil {
		code = g.stalePart(q, fenced)
	}
	if code != 0 {
		out.reply(t, CommitTransactionError(r, code))
		return out
	}
	if m := g.members[r.MemberID]; m != nil {
		g.touch(now, m)
	}
	response := CommitError(q, 0)
	commits, records := g.offsetRecords(now, q, response)
	if len(records) == 0 {
		out.reply(t, asTransaction(response, r.Version))
		return out
	}
	out.append(records, afterTransaction{ticket: t, response: response, version: r.Version, producerID: r.ProducerID, commits: commits})
	return out
}

// validateTransaction checks who commits (KIP-447). Clients before version 3 do not say,
// and neither do those that use no group membership.
func (g *Group) validateTransaction(r *kmsg.OffsetCommitRequest) (fenced func(topicPartition, TopicID) int16, code int16) {
	anonymous := r.Generation < 0 && r.MemberID == "" && r.InstanceID == nil
	switch {
	case g.state == Dead:
		return nil, coordinatorNotAvailable
	case anonymous:
		return nil, 0
	case g.modern():
		return g.validateModern(r)
	case r.Generation < 0 && g.state == Empty:
		return nil, 0
	}
	if code := g.validate(r.MemberID, r.InstanceID); code != 0 {
		return nil, code
	}
	if r.Generation != g.generation {
		return nil, illegalGeneration
	}
	return nil, 0
}

// afterTransaction makes stored offsets wait for the end of their transaction.
type afterTransaction struct {
	ticket     Ticket
	response   *kmsg.OffsetCommitResponse
	version    int16
	producerID int64
	commits    []commit
}

func (a afterTransaction) appended(g *Group, _ int64, code int16, out *Output) {
	for _, c := range a.commits {
		g.landed(c.tp)
		if code == 0 {
			g.putPending(a.producerID, c.tp, c.offset)
		}
	}
	if code != 0 {
		failCommit(a.response, code)
	}
	out.reply(a.ticket, asTransaction(a.response, a.version))
}

func (g *Group) putPending(producerID int64, tp topicPartition, o Offset) {
	if g.txn == nil {
		g.txn = map[int64]map[topicPartition]Offset{}
	}
	if g.txn[producerID] == nil {
		g.txn[producerID] = map[topicPartition]Offset{}
	}
	g.txn[producerID][tp] = o
}

// EndTransaction applies a marker: the producer's offsets count, or are forgotten. Of two
// commits of a partition the one stays that was made later, whenever its transaction ends.
// It returns false where the producer has no offsets here.
func (g *Group) EndTransaction(producerID int64, commit bool) bool {
	pending, ok := g.txn[producerID]
	for tp, o := range pending {
		if before, ok := g.offsets[tp.topic][tp.partition]; commit && (!ok || o.record > before.record) {
			g.offsets.put(tp, o)
		}
	}
	delete(g.txn, producerID)
	return ok
}

// CommitTransactionUnknown is the code for a commit to a group that does not exist, 0
// where the commit makes a simple group.
func CommitTransactionUnknown(r *kmsg.TxnOffsetCommitRequest) int16 {
	if r.Generation >= 0 {
		return illegalGeneration
	}
	return 0
}

// CommitTransactionError answers a commit with one code for every partition.
func CommitTransactionError(r *kmsg.TxnOffsetCommitRequest, code int16) *kmsg.TxnOffsetCommitResponse {
	return asTransaction(CommitError(asCommit(r), code), r.Version)
}

// asCommit is the commit outside of a transaction that asks for the same.
func asCommit(r *kmsg.TxnOffsetCommitRequest) *kmsg.OffsetCommitRequest {
	q := kmsg.NewPtrOffsetCommitRequest()
	q.Version = 9 // names, and the epochs of KIP-848
	q.Group, q.Generation, q.MemberID, q.InstanceID = r.Group, r.Generation, r.MemberID, r.InstanceID
	if r.Version < 3 {
		q.Generation, q.MemberID, q.InstanceID = -1, "", nil
	}
	q.Topics = make([]kmsg.OffsetCommitRequestTopic, len(r.Topics))
	for i := range r.Topics {
		t := &q.Topics[i]
		t.Topic = r.Topics[i].Topic
		t.Partitions = make([]kmsg.OffsetCommitRequestTopicPartition, len(r.Topics[i].Partitions))
		for j := range r.Topics[i].Partitions {
			from, to := &r.Topics[i].Partitions[j], &t.Partitions[j]
			to.Default()
			to.Partition, to.Offset, to.Metadata = from.Partition, from.Offset, from.Metadata
			if r.Version >= 2 {
				to.LeaderEpoch = from.LeaderEpoch
			}
		}
	}
	return q
}

// asTransaction is the answer to a commit in a transaction.
func asTransaction(r *kmsg.OffsetCommitResponse, version int16) *kmsg.TxnOffsetCommitResponse {
	response := kmsg.NewPtrTxnOffsetCommitResponse()
	response.Version = version
	response.Topics = make([]kmsg.TxnOffsetCommitResponseTopic, len(r.Topics))
	for i := range r.Topics {
		t := &response.Topics[i]
		t.Topic = r.Topics[i].Topic
		t.Partitions = make([]kmsg.TxnOffsetCommitResponseTopicPartition, len(r.Topics[i].Partitions))
		for j, p := range r.Topics[i].Partitions {
			t.Partitions[j].Partition, t.Partitions[j].ErrorCode = p.Partition, p.ErrorCode
		}
	}
	return response
}
