package coordinator

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/coordinator/group"
)

// oneTopic is a cluster of the topic "in" with two partitions.
type oneTopic struct{}

func (oneTopic) Topic(name string) (group.Topic, bool) {
	return group.Topic{Name: name, ID: group.TopicID{1}, Partitions: 2}, name == "in"
}
func (oneTopic) TopicByID(group.TopicID) (group.Topic, bool) { return group.Topic{}, false }
func (oneTopic) Names() []string                             { return []string{"in"} }
func (oneTopic) Version() int64                              { return 1 }

func streamsHeartbeat(member string, epoch int32, changelogs ...string) *kmsg.StreamsGroupHeartbeatRequest {
	r := kmsg.NewPtrStreamsGroupHeartbeatRequest()
	process := "process-" + member
	r.Group, r.MemberID, r.MemberEpoch, r.ProcessID, r.RebalanceTimeoutMillis = "g", member, epoch, &process, -1
	if epoch == 0 {
		sub := kmsg.StreamsGroupHeartbeatRequestTopologySubtopology{SubtopologyID: "0", SourceTopics: []string{"in"}}
		for _, name := range changelogs {
			sub.StateChangelogTopics = append(sub.StateChangelogTopics, kmsg.TopicInfo{Topic: name})
		}
		r.RebalanceTimeoutMillis = 5000
		r.Topology = &kmsg.StreamsGroupHeartbeatRequestTopology{Subtopologies: []kmsg.StreamsGroupHeartbeatRequestTopologySubtopology{sub}}
	}
	return r
}

// TestStreamsGroupSurvivesAReload: the next coordinator of the partition knows members and
// tasks; while there is none, requests are sent elsewhere.
func TestStreamsGroupSurvivesAReload(t *testing.T) {
	inBubble(t, func(t *testing.T, g *Groups, l *memoryLog) {
		g.limits.Metadata = func() group.Metadata { return oneTopic{} }
		ask := func(member string, epoch int32) *kmsg.StreamsGroupHeartbeatResponse {
			t.Helper()
			return must(t, g.StreamsHeartbeat(Client{ID: "c", Host: "/h"}, streamsHeartbeat(member, epoch))).Response
		}
		if a := ask("a", 3); a.ErrorCode != kerr.GroupIDNotFound.Code {
			t.Errorf("heartbeat of a group that is not there: %d", a.ErrorCode)
		}
		a := ask("a", 0)
		if a.ErrorCode != 0 || a.MemberEpoch != 1 || len(a.ActiveTasks) != 0 {
			t.Fatalf("within the initial delay: %+v", a)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		a = ask("a", 1)
		if a.MemberEpoch != 2 || len(a.ActiveTasks) != 1 || len(a.ActiveTasks[0].Partitions) != 2 {
			t.Fatalf("after the initial delay: %+v", a)
		}
		g.Unload(0)
		if a := ask("a", 2); a.ErrorCode != kerr.NotCoordinator.Code {
			t.Errorf("heartbeat elsewhere: %d", a.ErrorCode)
		}
		if err := g.Load(t.Context(), 0, 2, l); err != nil {
			t.Fatal(err)
		}
		if a := ask("a", 2); a.ErrorCode != 0 || a.MemberEpoch != 2 || a.ActiveTasks != nil {
			t.Fatalf("on the next coordinator: %+v", a)
		}
		q := kmsg.NewPtrStreamsGroupDescribeRequest()
		q.Groups = []string{"g", "none", ""}
		d := g.StreamsDescribe(q)
		if d.Groups[0].State != "Stable" || len(d.Groups[0].Members) != 1 || d.Groups[1].ErrorCode != kerr.GroupIDNotFound.Code || d.Groups[2].ErrorCode != kerr.InvalidGroupID.Code {
			t.Errorf("described: %+v", d.Groups)
		}
		time.Sleep(45 * time.Second)
		synctest.Wait()
		if a := ask("a", 2); a.ErrorCode != kerr.UnknownMemberID.Code {
			t.Errorf("a member that was silent for its session timeout: %d", a.ErrorCode)
		}
	})
}

// TestStreamsHeartbeatWaitsForTheLog: nothing is told that may be lost.
func TestStreamsHeartbeatWaitsForTheLog(t *testing.T) {
	inBubble(t, func(t *testing.T, g *Groups, l *memoryLog) {
		g.limits.Metadata = func() group.Metadata { return oneTopic{} }
		l.change(func() { l.held = true })
		late, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wait := g.StreamsHeartbeat(Client{}, streamsHeartbeat("a", 0, "log"))
		a, err := wait(late)
		if err != nil || a.Response.ErrorCode != kerr.CoordinatorNotAvailable.Code {
			t.Fatalf("while the log holds: %+v, %v", a.Response, err)
		}
		l.change(func() { l.held = false })
		synctest.Wait()
		b, err := g.StreamsHeartbeat(Client{}, streamsHeartbeat("b", 0, "log"))(t.Context())
		if err != nil || b.Response.ErrorCode != 0 || len(b.Missing) != 1 || b.Missing[0].Name != "log" || b.Missing[0].Partitions != 2 {
			t.Fatalf("after that: %+v, to make %v, %v", b.Response, b.Missing, err)
		}
		l.change(func() { l.fail = errors.New("the disk is full") })
		c, err := g.StreamsHeartbeat(Client{}, streamsHeartbeat("c", 0, "log"))(t.Context())
		if err != nil || c.Response.ErrorCode == 0 {
			t.Fatalf("without a disk: %+v, %v", c.Response, err)
		}
	})
}
