package group

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/segment/batch"
)

// Ticket names a request that may be answered later. Zero is no request.
type Ticket uint64

// Output is what a step decided: answers to give and records to write, each in order, and
// work to do beside the group.
type Output struct {
	Replies []Reply
	Appends []Append
	Persist []Persist // for the share coordinator
	Matches []*Match  // to be carried out beside the group
}

// Reply answers the request of Ticket.
type Reply struct {
	Ticket   Ticket
	Response kmsg.Response // nil where the answer is Code alone
	Code     int16
	Missing  []NewTopic // internal topics that a streams group waits for
}

// Append is records to write. When they are committed, or can no longer be, the
// group wants them back by Appended, in the order in which they were handed out.
type Append struct {
	Records []batch.Record
	after   continuation
}

// continuation is what a group does once the fate of an append is known: code is 0
// where the records are committed, else the error to answer.
type continuation interface {
	appended(g *Group, now int64, code int16, out *Output)
}

func (o *Output) reply(t Ticket, r kmsg.Response) {
	if t != 0 {
		o.Replies = append(o.Replies, Reply{Ticket: t, Response: r})
	}
}

func (o *Output) code(t Ticket, code int16) {
	if t != 0 {
		o.Replies = append(o.Replies, Reply{Ticket: t, Code: code})
	}
}

func (o *Output) append(records []batch.Record, after continuation) {
	o.Appends = append(o.Appends, Append{Records: records, after: after})
}

// Appended tells the group the fate of a: code 0, or the error to answer.
func (g *Group) Appended(now int64, a Append, code int16) Output {
	var out Output
	a.after.appended(g, now, code, &out)
	return out
}
