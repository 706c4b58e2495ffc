//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/test/harness"
)

// stopLimit is what a stop may take: the time for requests under way
// (varve.shutdown.timeout.ms), and closing.
const stopLimit = time.Minute

// restarts are the ways in which a broker ends and comes back.
var restarts = map[string]func(*testing.T, *harness.Broker){
	"kill": func(_ *testing.T, b *harness.Broker) { b.Kill(); b.Start() },
	"stop": func(t *testing.T, b *harness.Broker) {
		if err := b.Stop(stopLimit); err != nil {
			t.Fatal(err)
		}
		b.Start()
	},
}

// TestProducerStateSurvivesRestart resends batches of an idempotent producer over a
// restart (KIP-98): what is in the log is answered with its offset and not appended,
// gaps and older epochs are refused, the next batch goes on.
func TestProducerStateSurvivesRestart(t *testing.T) {
	for name, restart := range restarts {
		t.Run(name, func(t *testing.T) {
			b := harness.StartBroker(t, quick()...)
			createTopic(t, b, "idempotent", 1, nil)
			r := dial(t, b)
			q := kmsg.NewPtrInitProducerIDRequest()
			q.Version = 5
			id := ask[*kmsg.InitProducerIDResponse](r, q)
			if id.ErrorCode != 0 || id.ProducerID < 0 || id.ProducerEpoch != 0 {
				t.Fatalf("InitProducerId: %+v", id)
			}
			send := func(epoch int16, sequence int32, records int) produced {
				var list []batch.Record
				for i := range records {
					list = append(list, batch.Record{Timestamp: now(), Value: fmt.Append(nil, sequence+int32(i))})
				}
				return r.produce("idempotent", 0, build(t, batch.Builder{ProducerID: id.ProducerID, ProducerEpoch: epoch, BaseSequence: sequence}, list...))
			}
			want := func(what string, p produced, code *kerr.Error, offset int64) {
				t.Helper()
				expected := int16(0)
				if code != nil {
					expected = code.Code
				}
				if p.ErrorCode != expected || p.BaseOffset != offset {
					t.Errorf("%s: %s at offset %d, want %s at %d", what, errorName(p.ErrorCode), p.BaseOffset, errorName(expected), offset)
				}
			}
			for i := range int32(7) {
				want("first", send(0, i*3, 3), nil, int64(i*3))
			}
			restart(t, b)
			r = dial(t, b)
			want("last batch again", send(0, 18, 3), nil, 18)
			want("fifth last batch again", send(0, 6, 3), nil, 6)
			want("a gap", send(0, 24, 3), kerr.OutOfOrderSequenceNumber, -1)
			want("next batch", send(0, 21, 2), nil, 21)
			want("a newer epoch", send(1, 0, 1), nil, 23)
			restart(t, b)
			r = dial(t, b)
			want("the older epoch", send(0, 23, 1), kerr.InvalidProducerEpoch, -1)
			want("the newer epoch again", send(1, 0, 1), nil, 23)
			want("the newer epoch goes on", send(1, 1, 1), nil, 24)
			if end := r.listOffset("idempotent", 0, -1); end.Offset != 25 {
				t.Errorf("the log ends at %d: a duplicate was appended", end.Offset)
			}
			p := ask[*kmsg.DescribeProducersResponse](r, describeProducers("idempotent")).Topics[0].Partitions[0]
			if len(p.ActiveProducers) != 1 || p.ActiveProducers[0].ProducerEpoch != 1 || p.ActiveProducers[0].LastSequence != 1 {
				t.Errorf("DescribeProducers: %+v", p)
			}
			q = kmsg.NewPtrInitProducerIDRequest()
			q.Version = 5
			if again := ask[*kmsg.InitProducerIDResponse](r, q); again.ProducerID <= id.ProducerID {
				t.Errorf("producer id %d after %d: ids are never given twice", again.ProducerID, id.ProducerID)
			}
		})
	}
}

func describeProducers(topic string) *kmsg.DescribeProducersRequest {
	q := kmsg.NewPtrDescribeProducersRequest()
	t := kmsg.NewDescribeProducersRequestTopic()
	t.Topic, t.Partitions = topic, []int32{0}
	q.Topics = append(q.Topics, t)
	return q
}

// TestGroupSurvivesRestart commits offsets in a group and restarts the broker: members,
// generation and offsets are there, and the group goes on without a rebalance.
func TestGroupSurvivesRestart(t *testing.T) {
	for name, restart := range restarts {
		t.Run(name, func(t *testing.T) {
			b := harness.StartBroker(t, quick()...)
			createTopic(t, b, "read", 1, nil)
			r := dial(t, b)
			awaitCoordinator(t, r, "survivors")
			member, generation := joinAlone(t, r, "survivors")
			if code := commit(r, "survivors", member, generation, 42); code != 0 {
				t.Fatalf("commit: %s", errorName(code))
			}
			restart(t, b)
			r = dial(t, b)
			awaitCoordinator(t, r, "survivors")
			if offset := committed(r, "survivors"); offset != 42 {
				t.Errorf("offset %d is committed, want 42", offset)
			}
			h := kmsg.NewPtrHeartbeatRequest()
			h.Version, h.Group, h.MemberID, h.Generation = 4, "survivors", member, generation
			if p := ask[*kmsg.HeartbeatResponse](r, h); p.ErrorCode != 0 {
				t.Errorf("heartbeat of member %s, generation %d: %s", member, generation, errorName(p.ErrorCode))
			}
			if code := commit(r, "survivors", member, generation-1, 1); code != kerr.IllegalGeneration.Code {
				t.Errorf("commit of an older generation: %s", errorName(code))
			}
			if code := commit(r, "survivors", member, generation, 43); code != 0 {
				t.Errorf("commit: %s", errorName(code))
			}
			if offset := committed(r, "survivors"); offset != 43 {
				t.Errorf("offset %d is committed, want 43", offset)
			}
		})
	}
}

// awaitCoordinator waits until the group's coordinator answers.
func awaitCoordinator(t *testing.T, r *raw, group string) {
	t.Helper()
	harness.Until(t, time.Minute, "coordinator of "+group, func() error {
		f := kmsg.NewPtrFindCoordinatorRequest()
		f.Version, f.CoordinatorType, f.CoordinatorKeys = 4, 0, []string{group}
		p := ask[*kmsg.FindCoordinatorResponse](r, f).Coordinators[0]
		if p.ErrorCode == 0 {
			g := kmsg.NewPtrDescribeGroupsRequest()
			g.Version, g.Groups = 5, []string{group}
			p.ErrorCode = ask[*kmsg.DescribeGroupsResponse](r, g).Groups[0].ErrorCode
		}
		if p.ErrorCode != 0 {
			return kerr.ErrorForCode(p.ErrorCode)
		}
		return nil
	})
}

// joinAlone makes a group with one member, by the requests of a classic consumer.
func joinAlone(t *testing.T, r *raw, group string) (member string, generation int32) {
	t.Helper()
	j := kmsg.NewPtrJoinGroupRequest()
	j.Version, j.Group, j.SessionTimeoutMillis, j.RebalanceTimeoutMillis, j.ProtocolType = 9, group, 60_000, 60_000, "consumer"
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name, protocol.Metadata = "range", []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	j.Protocols = append(j.Protocols, protocol)
	p := ask[*kmsg.JoinGroupResponse](r, j)
	if p.ErrorCode != kerr.MemberIDRequired.Code {
		t.Fatalf("JoinGroup without a member id: %s (KIP-394)", errorName(p.ErrorCode))
	}
	j.MemberID = p.MemberID
	if p = ask[*kmsg.JoinGroupResponse](r, j); p.ErrorCode != 0 || p.LeaderID != p.MemberID {
		t.Fatalf("JoinGroup: %s, leader %s", errorName(p.ErrorCode), p.LeaderID)
	}
	s := kmsg.NewPtrSyncGroupRequest()
	s.Version, s.Group, s.MemberID, s.Generation = 5, group, p.MemberID, p.Generation
	s.ProtocolType, s.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
	a := kmsg.NewSyncGroupRequestGroupAssignment()
	a.MemberID, a.MemberAssignment = p.MemberID, []byte("mine")
	s.GroupAssignment = append(s.GroupAssignment, a)
	if q := ask[*kmsg.SyncGroupResponse](r, s); q.ErrorCode != 0 || string(q.MemberAssignment) != "mine" {
		t.Fatalf("SyncGroup: %s, %q", errorName(q.ErrorCode), q.MemberAssignment)
	}
	return p.MemberID, p.Generation
}

func commit(r *raw, group, member string, generation int32, offset int64) int16 {
	r.t.Helper()
	q := kmsg.NewPtrOffsetCommitRequest()
	q.Version, q.Group, q.MemberID, q.Generation = 9, group, member, generation
	t, p := kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetCommitRequestTopicPartition()
	p.Offset = offset
	t.Topic, t.Partitions = "read", append(t.Partitions, p)
	q.Topics = append(q.Topics, t)
	return ask[*kmsg.OffsetCommitResponse](r, q).Topics[0].Partitions[0].ErrorCode
}

func committed(r *raw, group string) int64 {
	r.t.Helper()
	q := kmsg.NewPtrOffsetFetchRequest()
	q.Version = 9
	g, t := kmsg.NewOffsetFetchRequestGroup(), kmsg.NewOffsetFetchRequestGroupTopic()
	t.Topic, t.Partitions = "read", []int32{0}
	g.Group, g.Topics = group, append(g.Topics, t)
	q.Groups = append(q.Groups, g)
	p := ask[*kmsg.OffsetFetchResponse](r, q).Groups[0]
	if p.ErrorCode != 0 || len(p.Topics) != 1 {
		r.t.Fatalf("OffsetFetch: %s, %+v", errorName(p.ErrorCode), p.Topics)
	}
	return p.Topics[0].Partitions[0].Offset
}

// TestStopIsCleanAndInTime sends SIGTERM while fetches wait for records: the broker
// leaves at once, and the next start has nothing to recover: the leader epoch stays.
func TestStopIsCleanAndInTime(t *testing.T) {
	b := harness.StartBroker(t, quick()...)
	createTopic(t, b, "stopped", 1, nil)
	r := dial(t, b)
	one := build(t, batch.NoProducer, batch.Record{Timestamp: now(), Value: []byte("one")})
	if p := r.produce("stopped", 0, one); p.ErrorCode != 0 {
		t.Fatal(errorName(p.ErrorCode))
	}
	epoch := r.listOffset("stopped", 0, -1).LeaderEpoch
	waiting := dial(t, b)
	q := fetchRequest("stopped", 0, 1, 1<<20, 1<<20)
	q.MaxWaitMillis = 600_000
	if err := waiting.write(frame(q, 1)); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := b.Stop(stopLimit); err != nil {
		t.Fatalf("stop: %v", err)
	}
	t.Logf("stopped in %v beside a fetch that waits", time.Since(begin))
	mark := filepath.Join(b.Dir, ".kafka_cleanshutdown")
	if _, err := os.Stat(mark); err != nil {
		t.Errorf("no mark of a clean stop: %v", err)
	}
	b.Start()
	if _, err := os.Stat(mark); err == nil {
		t.Error("the mark of a clean stop is there while the broker runs")
	}
	r = dial(t, b)
	if after := r.listOffset("stopped", 0, -1); after.LeaderEpoch != epoch || after.Offset != 1 {
		t.Errorf("epoch %d, end %d after a clean stop; epoch %d, end 1 before", after.LeaderEpoch, after.Offset, epoch)
	}
	b.Kill()
	b.Start()
	r = dial(t, b)
	if after := r.listOffset("stopped", 0, -1); after.LeaderEpoch <= epoch || after.Offset != 1 {
		t.Errorf("epoch %d, end %d after a kill; epoch %d, end 1 before", after.LeaderEpoch, after.Offset, epoch)
	}
}

// TestStartIsRefusedInOneSentence starts brokers that cannot run: each ends with an
// error that says what to change, at once.
func TestStartIsRefusedInOneSentence(t *testing.T) {
	b := harness.StartBroker(t)
	free := func() string { return "listeners=PLAINTEXT://" + harness.FreeAddress(t) }
	for _, c := range []struct {
		name string
		sets []string
		says []string
	}{
		{"port taken", []string{"log.dirs=" + t.TempDir(), "varve.http.listener="}, []string{b.Port()}},
		{"http port taken", []string{"log.dirs=" + t.TempDir(), free()}, []string{"varve.http.listener"}},
		{"directory locked", []string{free(), "varve.http.listener="}, []string{b.Dir}},
		{"unknown key", []string{"log.retention.hour=1"}, []string{"log.retention.hour", "log.retention.hours"}},
		{"value out of range", []string{"num.partitions=0"}, []string{"num.partitions", "1"}},
		{"not a number", []string{"log.segment.bytes=1G"}, []string{"log.segment.bytes", "1G"}},
		{"half a TLS listener", []string{"listeners=SSL://127.0.0.1:0"}, []string{"SSL"}},
		{"half a bucket", []string{"varve.bucket=minio://127.0.0.1:9000"}, []string{"varve.bucket", "bucket"}},
		{"bucket without credentials", []string{"varve.bucket=minio://127.0.0.1:9000/b"}, []string{"varve.bucket.access.key"}},
		{"directory is a file", []string{"log.dirs=" + os.Args[0], free(), "varve.http.listener="}, []string{os.Args[0]}},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			out := strings.TrimSpace(b.Refused(30*time.Second, c.sets...))
			lines := strings.Split(out, "\n")
			last := lines[len(lines)-1]
			for _, word := range c.says {
				if !strings.Contains(last, word) {
					t.Errorf("no %q in the last line of:\n%s", word, out)
				}
			}
			if len(lines) > 2 || strings.Contains(out, "goroutine ") {
				t.Errorf("more than a sentence:\n%s", out)
			}
		})
	}
	if !b.Running() {
		t.Error("the running broker did not survive")
	}
}
