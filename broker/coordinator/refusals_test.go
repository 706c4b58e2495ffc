package coordinator

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// groupRequests are all that name a group, each as a member of some epoch sends it, and the
// answer to it.
var groupRequests = map[string]func(t *testing.T, g *Groups, id string) any{
	"JoinGroup": func(t *testing.T, g *Groups, id string) any {
		r := joinRequest("")
		r.Group = id
		return must(t, g.Join(Client{}, r))
	},
	"SyncGroup": func(t *testing.T, g *Groups, id string) any {
		r := kmsg.NewPtrSyncGroupRequest()
		r.Group, r.MemberID = id, "m"
		return must(t, g.Sync(Client{}, r))
	},
	"LeaveGroup": func(_ *testing.T, g *Groups, id string) any {
		r := kmsg.NewPtrLeaveGroupRequest()
		r.Group, r.MemberID = id, "m"
		return g.Leave(r)
	},
	"OffsetCommit": func(t *testing.T, g *Groups, id string) any {
		return must(t, g.Commit(commitRequest(id, 0, 1)))
	},
	"OffsetFetch": func(_ *testing.T, g *Groups, id string) any {
		r := kmsg.NewPtrOffsetFetchRequest()
		r.Version, r.Groups = 8, []kmsg.OffsetFetchRequestGroup{{Group: id}}
		return g.Fetch(r)
	},
	"DescribeGroups": func(_ *testing.T, g *Groups, id string) any {
		r := kmsg.NewPtrDescribeGroupsRequest()
		r.Groups = []string{id}
		return g.Describe(r)
	},
	"DeleteGroups": func(t *testing.T, g *Groups, id string) any {
		r := kmsg.NewPtrDeleteGroupsRequest()
		r.Groups = []string{id}
		return must(t, g.Delete(r))
	},
	"OffsetDelete": func(t *testing.T, g *Groups, id string) any {
		r := kmsg.NewPtrOffsetDeleteRequest()
		r.Group = id
		return must(t, g.DeleteOffsets(r))
	},
	"TxnOffsetCommit": func(t *testing.T, g *Groups, id string) any {
		r := kmsg.NewPtrTxnOffsetCommitRequest()
		r.Version, r.Group, r.MemberID, r.Generation = 3, id, "m", 1
		r.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{{}}}}
		return must(t, g.CommitTransaction(r, 0))
	},
	"ConsumerGroupHeartbeat": func(t *testing.T, g *Groups, id string) any {
		r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		r.Version, r.Group, r.MemberID, r.MemberEpoch = 1, id, "m", 5
		return must(t, g.ConsumerHeartbeat(Client{}, r))
	},
	"ConsumerGroupDescribe": func(_ *testing.T, g *Groups, id string) any {
		r := kmsg.NewPtrConsumerGroupDescribeRequest()
		r.Groups = []string{id}
		return g.ConsumerDescribe(r)
	},
	"ShareGroupHeartbeat": func(t *testing.T, g *Groups, id string) any {
		r := kmsg.NewPtrShareGroupHeartbeatRequest()
		r.GroupID, r.MemberID, r.MemberEpoch = id, "m", 5
		return must(t, g.ShareHeartbeat(Client{}, r))
	},
	"ShareGroupDescribe": func(_ *testing.T, g *Groups, id string) any {
		r := kmsg.NewPtrShareGroupDescribeRequest()
		r.GroupIDs = []string{id}
		return g.ShareDescribe(r)
	},
	"share partitions": func(_ *testing.T, g *Groups, id string) any {
		_, code := g.SharePartitions(id)
		return struct{ ErrorCode int16 }{code}
	},
	"AlterShareGroupOffsets": func(t *testing.T, g *Groups, id string) any {
		r := kmsg.NewPtrAlterShareGroupOffsetsRequest()
		r.GroupID = id
		return must(t, g.AlterShareOffsets(r))
	},
	"DeleteShareGroupOffsets": func(t *testing.T, g *Groups, id string) any {
		r := kmsg.NewPtrDeleteShareGroupOffsetsRequest()
		r.GroupID = id
		return must(t, g.DeleteShareOffsets(r))
	},
	"StreamsGroupHeartbeat": func(t *testing.T, g *Groups, id string) any {
		r := kmsg.NewPtrStreamsGroupHeartbeatRequest()
		r.Group, r.MemberID, r.MemberEpoch = id, "m", 5
		return must(t, g.StreamsHeartbeat(Client{}, r)).Response
	},
	"StreamsGroupDescribe": func(_ *testing.T, g *Groups, id string) any {
		r := kmsg.NewPtrStreamsGroupDescribeRequest()
		r.Groups = []string{id}
		return g.StreamsDescribe(r)
	},
}

// TestEveryGroupRequestIsRefusedAlike: by a coordinator that is not this one, by one that
// loads, and for an id that no record can hold.
func TestEveryGroupRequestIsRefusedAlike(t *testing.T) {
	refused := func(t *testing.T, g *Groups, id string, want *kerr.Error) {
		t.Helper()
		for name, ask := range groupRequests {
			w := want
			if want == kerr.InvalidGroupID && strings.HasSuffix(name, "Heartbeat") {
				w = kerr.InvalidRequest // as for all that is longer than a record's string
			}
			if codes := codesIn(reflect.ValueOf(ask(t, g, id))); !slices.Contains(codes, w.Code) {
				t.Errorf("%s: codes %d, want %s", name, codes, w.Message)
			}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		g, l := newGroups(), newMemoryLog()
		refused(t, g, "g", kerr.NotCoordinator)
		l.scan = make(chan struct{})
		loaded := make(chan error, 1)
		go func() { loaded <- g.Load(t.Context(), 0, 1, l) }()
		synctest.Wait()
		refused(t, g, "g", kerr.CoordinatorLoadInProgress)
		close(l.scan)
		if err := <-loaded; err != nil {
			t.Fatal(err)
		}
		refused(t, g, strings.Repeat("g", 1<<15), kerr.InvalidGroupID)
	})
}

// TestRequestsOfAnUnknownGroupMakeNone: whoever claims to be a member of a group that is not
// there is told so, in the words of the protocol; the log stays empty, and no group is listed.
func TestRequestsOfAnUnknownGroupMakeNone(t *testing.T) {
	want := map[string]*kerr.Error{
		"JoinGroup": nil, "AlterShareGroupOffsets": nil, // these make a group
		"SyncGroup": kerr.UnknownMemberID, "LeaveGroup": kerr.UnknownMemberID, "OffsetFetch": {}, "share partitions": {},
		"OffsetCommit":   nil, // as of no member
		"DescribeGroups": {}, "TxnOffsetCommit": kerr.IllegalGeneration,
	}
	for name, ask := range groupRequests {
		w, special := want[name]
		switch {
		case !special:
			w = kerr.GroupIDNotFound
		case w == nil:
			continue
		}
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, g *Groups, l *memoryLog) {
				if codes := codesIn(reflect.ValueOf(ask(t, g, "g"))); !slices.Contains(codes, w.Code) {
					t.Errorf("codes %d, want %d", codes, w.Code)
				}
				time.Sleep(time.Minute)
				if listed := g.List(kmsg.NewPtrListGroupsRequest()).Groups; len(listed) > 0 || len(l.batches) > 0 {
					t.Errorf("listed: %+v; %d batches", listed, len(l.batches))
				}
			})
		})
	}
}

// codesIn finds all error codes of an answer.
func codesIn(v reflect.Value) (codes []int16) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			codes = codesIn(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			codes = append(codes, codesIn(v.Index(i))...)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name == "ErrorCode" {
				codes = append(codes, int16(v.Field(i).Int()))
			} else {
				codes = append(codes, codesIn(v.Field(i))...)
			}
		}
	}
	return codes
}
