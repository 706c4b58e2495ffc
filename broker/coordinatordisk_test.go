package broker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"

	"github.com/varvelog/varve/broker/api"
	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
	"github.com/varvelog/varve/test/harness"
)

// The disk below the coordinators' own topics (R31, R32): what their logs refuse, nobody is
// told is done, and nothing in memory says so either.

// served is a broker that serves in this process, over a disk in memory, and a client of it.
type served struct {
	t        *testing.T
	disk     *vfs.Mem
	metadata string
	b        *Broker
	c        *kgo.Client
	stop     func()
	topic    [16]byte // of "t"
	producer struct {
		id    int64
		epoch int16
	}
}

// waitLimit is how long a test waits for what has to come.
const waitLimit = time.Minute

func serve(t *testing.T) *served {
	t.Helper()
	s := &served{t: t, disk: vfs.NewMem(), metadata: t.TempDir()}
	s.disk.SetNow(time.Now)
	s.start()
	t.Cleanup(func() { s.stop() })
	return s
}

func (s *served) start() {
	s.t.Helper()
	c, _, err := config.Load(config.Sources{Sets: []string{
		"log.dirs=/a,/b", "varve.metadata.dir=" + s.metadata, "varve.bucket=file:" + s.metadata + "/bucket", "varve.tiering.default=false",
		"listeners=PLAINTEXT://127.0.0.1:0", "varve.http.listener=127.0.0.1:0", "group.initial.rebalance.delay.ms=0",
		"group.consumer.max.session.timeout.ms=600000", "group.consumer.session.timeout.ms=600000",
		"offsets.topic.num.partitions=1", "transaction.state.log.num.partitions=1", "share.coordinator.state.topic.num.partitions=1",
	}})
	if err != nil {
		s.t.Fatal(err)
	}
	b, err := Open(s.t.Context(), Options{Config: c, Log: zap.NewNop(), FS: s.disk})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		_ = b.Run(ctx, func() { close(ready) }) // a broken disk may end it
	}()
	s.b, s.stop = b, func() {
		s.c.Close()
		cancel()
		<-ended
		_ = b.Close() // nor can what is broken be closed
	}
	<-ready
	if s.c, err = kgo.NewClient(kgo.SeedBrokers(b.Address("PLAINTEXT"))); err != nil {
		s.t.Fatal(err)
	}
}

// crash ends the broker: killed with a nil r, else with the power of its disk.
func (s *served) crash(r *rand.Rand) {
	s.t.Helper()
	left := s.disk.Crash(r)
	left.SetNow(time.Now)
	s.stop()
	s.disk = left
	s.start()
}

// request sends one request, which nobody sends again.
func request[P kmsg.Response](s *served, q kmsg.Request) P {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), waitLimit)
	defer cancel()
	p, err := s.c.Broker(0).Request(ctx, q)
	if err != nil {
		s.t.Fatalf("%s: %v", kmsg.NameForKey(q.Key()), err)
	}
	return p.(P)
}

// home is the directory of an internal topic's partition.
func (s *served) home(topic string) string {
	s.t.Helper()
	t, ok := s.b.store.Image().Topic(topic)
	if !ok {
		s.t.Fatalf("no topic %s", topic)
	}
	return homeOf(s.b, t, 0)
}

// settle waits until the coordinators of the test's keys serve.
func (s *served) settle() {
	s.t.Helper()
	for kind, keys := range [][]string{{"g"}, {"x"}} {
		harness.Until(s.t, waitLimit, "coordinators", func() error {
			q := kmsg.NewPtrFindCoordinatorRequest()
			q.CoordinatorType, q.CoordinatorKeys = int8(kind), keys
			return kerr.ErrorForCode(request[*kmsg.FindCoordinatorResponse](s, q).Coordinators[0].ErrorCode)
		})
	}
	harness.Until(s.t, waitLimit, "loaded coordinators", func() error {
		return errors.Join(kerr.ErrorForCode(s.fetchOffset(false).ErrorCode), ignore(kerr.ErrorForCode(s.describe().ErrorCode), kerr.TransactionalIDNotFound))
	})
}

func ignore(err, passing error) error {
	if errors.Is(err, passing) {
		return nil
	}
	return err
}

func (s *served) createTopic() {
	s.t.Helper()
	q := kmsg.NewPtrCreateTopicsRequest()
	q.TimeoutMillis = int32(waitLimit.Milliseconds())
	of := kmsg.NewCreateTopicsRequestTopic()
	of.Topic, of.NumPartitions, of.ReplicationFactor = "t", 2, 1
	q.Topics = append(q.Topics, of)
	p := request[*kmsg.CreateTopicsResponse](s, q).Topics[0]
	if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
		s.t.Fatal(err)
	}
	s.topic = p.TopicID
}

func (s *served) init(id string) int16 {
	q := kmsg.NewPtrInitProducerIDRequest()
	q.TransactionalID, q.TransactionTimeoutMillis = &id, int32((10 * time.Minute).Milliseconds())
	p := request[*kmsg.InitProducerIDResponse](s, q)
	if p.ErrorCode == 0 && id == "x" {
		s.producer.id, s.producer.epoch = p.ProducerID, p.ProducerEpoch
	}
	return p.ErrorCode
}

func (s *served) addPartition(partition int32) int16 {
	q := kmsg.NewPtrAddPartitionsToTxnRequest()
	of := kmsg.NewAddPartitionsToTxnRequestTransaction()
	of.TransactionalID, of.ProducerID, of.ProducerEpoch = "x", s.producer.id, s.producer.epoch
	of.Topics = []kmsg.AddPartitionsToTxnRequestTransactionTopic{{Topic: "t", Partitions: []int32{partition}}}
	q.Transactions = append(q.Transactions, of)
	return request[*kmsg.AddPartitionsToTxnResponse](s, q).Transactions[0].Topics[0].Partitions[0].ErrorCode
}

func (s *served) produce(partition int32) int16 {
	s.t.Helper()
	records, err := batch.Builder{ProducerID: s.producer.id, ProducerEpoch: s.producer.epoch, Transactional: true}.Build(0, -1,
		[]batch.Record{{Timestamp: time.Now().UnixMilli(), Value: []byte("v")}})
	if err != nil {
		s.t.Fatal(err)
	}
	q := kmsg.NewPtrProduceRequest()
	id := "x"
	q.TransactionID, q.Acks, q.TimeoutMillis = &id, -1, int32(waitLimit.Milliseconds())
	q.Topics = []kmsg.ProduceRequestTopic{{Topic: "t", TopicID: s.topic, Partitions: []kmsg.ProduceRequestTopicPartition{{Partition: partition, Records: records}}}}
	return request[*kmsg.ProduceResponse](s, q).Topics[0].Partitions[0].ErrorCode
}

func (s *served) addOffsets() int16 {
	q := kmsg.NewPtrAddOffsetsToTxnRequest()
	q.TransactionalID, q.Group, q.ProducerID, q.ProducerEpoch = "x", "g", s.producer.id, s.producer.epoch
	return request[*kmsg.AddOffsetsToTxnResponse](s, q).ErrorCode
}

func (s *served) end() int16 {
	q := kmsg.NewPtrEndTxnRequest()
	q.TransactionalID, q.ProducerID, q.ProducerEpoch, q.Commit = "x", s.producer.id, s.producer.epoch, true
	return request[*kmsg.EndTxnResponse](s, q).ErrorCode
}

func (s *served) describe() kmsg.DescribeTransactionsResponseTransactionState {
	q := kmsg.NewPtrDescribeTransactionsRequest()
	q.TransactionalIDs = []string{"x"}
	return request[*kmsg.DescribeTransactionsResponse](s, q).TransactionStates[0]
}

func (s *served) commit(partition int32, offset int64) int16 {
	q := kmsg.NewPtrOffsetCommitRequest()
	q.Group, q.Generation = "g", -1
	of := kmsg.NewOffsetCommitRequestTopicPartition()
	of.Partition, of.Offset = partition, offset
	q.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", TopicID: s.topic, Partitions: []kmsg.OffsetCommitRequestTopicPartition{of}}}
	return request[*kmsg.OffsetCommitResponse](s, q).Topics[0].Partitions[0].ErrorCode
}

func (s *served) commitInTransaction(offset int64) int16 {
	q := kmsg.NewPtrTxnOffsetCommitRequest()
	q.TransactionalID, q.Group, q.ProducerID, q.ProducerEpoch, q.Generation = "x", "g", s.producer.id, s.producer.epoch, -1
	of := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	of.Offset = offset
	q.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{of}}}
	return request[*kmsg.TxnOffsetCommitResponse](s, q).Topics[0].Partitions[0].ErrorCode
}

func (s *served) deleteOffset(partition int32) int16 {
	q := kmsg.NewPtrOffsetDeleteRequest()
	q.Group = "g"
	q.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: partition}}}}
	p := request[*kmsg.OffsetDeleteResponse](s, q)
	if p.ErrorCode != 0 {
		return p.ErrorCode
	}
	return p.Topics[0].Partitions[0].ErrorCode
}

func (s *served) join() int16 {
	q := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	q.Group, q.MemberID, q.RebalanceTimeoutMillis = "members", "m", 60_000
	q.SubscribedTopicNames, q.Topics = []string{"t"}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	return request[*kmsg.ConsumerGroupHeartbeatResponse](s, q).ErrorCode
}

// fetchOffset asks for both partitions, of which the first is answered.
func (s *served) fetchOffset(stable bool) kmsg.OffsetFetchResponseGroup {
	q := kmsg.NewPtrOffsetFetchRequest()
	of := kmsg.NewOffsetFetchRequestGroup()
	of.Group = "g"
	q.RequireStable, q.Groups = stable, []kmsg.OffsetFetchRequestGroup{of}
	return request[*kmsg.OffsetFetchResponse](s, q).Groups[0]
}

func (s *served) members() string {
	q := kmsg.NewPtrConsumerGroupDescribeRequest()
	q.Groups = []string{"members"}
	p := request[*kmsg.ConsumerGroupDescribeResponse](s, q).Groups[0]
	return fmt.Sprint(p.ErrorCode, len(p.Members))
}

func (s *served) initializeShare(partition int32) int16 {
	q := kmsg.NewPtrInitializeShareGroupStateRequest()
	q.GroupID = "s"
	q.Topics = []kmsg.InitializeShareGroupStateRequestTopic{{TopicID: s.topic, Partitions: []kmsg.InitializeShareGroupStateRequestTopicPartition{{Partition: partition, StartOffset: 3}}}}
	return request[*kmsg.InitializeShareGroupStateResponse](s, q).Topics[0].Partitions[0].ErrorCode
}

func (s *served) writeShare(start int64) int16 {
	q := kmsg.NewPtrWriteShareGroupStateRequest()
	q.GroupID = "s"
	of := kmsg.NewWriteShareGroupStateRequestTopicPartition()
	of.StartOffset = start
	of.StateBatches = []kmsg.WriteShareGroupStateRequestTopicPartitionStateBatch{{FirstOffset: start, LastOffset: start + 1, DeliveryCount: 1}}
	q.Topics = []kmsg.WriteShareGroupStateRequestTopic{{TopicID: s.topic, Partitions: []kmsg.WriteShareGroupStateRequestTopicPartition{of}}}
	return request[*kmsg.WriteShareGroupStateResponse](s, q).Topics[0].Partitions[0].ErrorCode
}

func (s *served) deleteShare(partition int32) int16 {
	q := kmsg.NewPtrDeleteShareGroupStateRequest()
	q.GroupID = "s"
	q.Topics = []kmsg.DeleteShareGroupStateRequestTopic{{TopicID: s.topic, Partitions: []kmsg.DeleteShareGroupStateRequestTopicPartition{{Partition: partition}}}}
	return request[*kmsg.DeleteShareGroupStateResponse](s, q).Topics[0].Partitions[0].ErrorCode
}

func (s *served) shares() string {
	var seen []string
	for partition := range int32(2) {
		q := kmsg.NewPtrReadShareGroupStateSummaryRequest()
		q.GroupID = "s"
		of := kmsg.NewReadShareGroupStateSummaryRequestTopicPartition()
		of.Partition = partition
		q.Topics = []kmsg.ReadShareGroupStateSummaryRequestTopic{{TopicID: s.topic, Partitions: []kmsg.ReadShareGroupStateSummaryRequestTopicPartition{of}}}
		p := request[*kmsg.ReadShareGroupStateSummaryResponse](s, q).Topics[0].Partitions[0]
		seen = append(seen, fmt.Sprint(p.ErrorCode, p.StateEpoch, p.StartOffset))
	}
	return strings.Join(seen, ", ")
}

// seen is what the coordinators say that there is.
func (s *served) seen() string {
	s.t.Helper()
	d := s.describe()
	list := request[*kmsg.ListTransactionsResponse](s, kmsg.NewPtrListTransactionsRequest())
	var ids, offsets []string
	for _, x := range list.TransactionStates {
		ids = append(ids, fmt.Sprint(x.TransactionalID, x.ProducerID, x.TransactionState))
	}
	for _, t := range s.fetchOffset(false).Topics {
		for _, p := range t.Partitions {
			offsets = append(offsets, fmt.Sprint(p.Partition, ": ", p.Offset))
		}
	}
	slices.Sort(offsets)
	return fmt.Sprintf("transaction %s %d/%d of %v, ids %v, offsets %v, members %s, shares %s",
		d.State, d.ProducerID-s.producer.id, d.ProducerEpoch-s.producer.epoch, d.Topics, ids, offsets, s.members(), s.shares())
}

// begin makes a little of everything: an open transaction with offsets, a group with
// offsets, a member, and the state of a share partition.
func (s *served) begin() {
	s.t.Helper()
	s.createTopic()
	s.settle()
	s.fill()
}

func (s *served) fill() {
	s.t.Helper()
	for _, step := range []asked{
		{"init", func() int16 { return s.init("x") }},
		{"add a partition", func() int16 { return s.addPartition(0) }},
		{"produce", func() int16 { return s.produce(0) }},
		{"commit 0", func() int16 { return s.commit(0, 5) }},
		{"commit 1", func() int16 { return s.commit(1, 50) }},
		{"add offsets", s.addOffsets},
		{"commit in the transaction", func() int16 { return s.commitInTransaction(7) }},
		{"join", s.join},
		{"find the share coordinator", func() int16 {
			q := kmsg.NewPtrFindCoordinatorRequest()
			q.CoordinatorType, q.CoordinatorKeys = 2, []string{"s:AAAAAAAAAAAAAAAAAAAAAQ:0"}
			return request[*kmsg.FindCoordinatorResponse](s, q).Coordinators[0].ErrorCode
		}},
		{"initialize a share partition", func() int16 { return s.initializeShare(0) }},
		{"write its state", func() int16 { return s.writeShare(4) }},
	} {
		s.succeeds(step.name, step.do)
	}
}

// succeeds asks again while the answer is one that clients ask again for.
func (s *served) succeeds(what string, do func() int16) {
	s.t.Helper()
	harness.Until(s.t, waitLimit, what, func() error {
		err := kerr.ErrorForCode(do())
		if err != nil && !kerr.IsRetriable(err) {
			s.t.Fatalf("%s: %v", what, err)
		}
		return err
	})
}

// asked is a request, and how it is asked.
type asked struct {
	name string
	do   func() int16
}

// refusable are requests that have to be written down in a coordinator's topic.
func (s *served) refusable(topic string) []asked {
	switch topic {
	case api.TransactionTopic:
		return []asked{
			{"InitProducerId of another id", func() int16 { return s.init("y") }},
			{"AddPartitionsToTxn", func() int16 { return s.addPartition(1) }},
			{"EndTxn", s.end},
		}
	case api.OffsetsTopic:
		return []asked{
			{"OffsetCommit", func() int16 { return s.commit(0, 6) }},
			{"TxnOffsetCommit", func() int16 { return s.commitInTransaction(8) }},
			{"OffsetDelete", func() int16 { return s.deleteOffset(1) }},
			{"ConsumerGroupHeartbeat", s.leave},
		}
	}
	return []asked{
		{"WriteShareGroupState", func() int16 { return s.writeShare(5) }},
		{"InitializeShareGroupState", func() int16 { return s.initializeShare(1) }},
		{"DeleteShareGroupState", func() int16 { return s.deleteShare(0) }},
	}
}

func (s *served) leave() int16 {
	q := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	q.Group, q.MemberID, q.MemberEpoch = "members", "m", -1
	return request[*kmsg.ConsumerGroupHeartbeatResponse](s, q).ErrorCode
}

// TestFullDiskBelowACoordinator (R31): while there is no room in a coordinator's topic, what
// it would have to write down is answered NOT_COORDINATOR, as by Kafka, and has not
// happened, neither in memory nor for who reads the log after a kill. Everything goes on
// once there is room, in the same process or the next.
func TestFullDiskBelowACoordinator(t *testing.T) {
	for _, topic := range []string{api.TransactionTopic, api.OffsetsTopic, api.ShareTopic} {
		t.Run(topic, func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			s.begin()
			for _, way := range []string{"there is room again", "the process is killed"} {
				before := s.seen()
				room := s.disk.Inject(vfs.Fault{Op: vfs.OpWrite, Path: s.home(topic) + "/" + topic + "-0", Err: syscall.ENOSPC})
				for _, step := range s.refusable(topic) {
					if code := step.do(); code != kerr.NotCoordinator.Code {
						t.Errorf("%s on a full disk: %v, want NOT_COORDINATOR", step.name, kerr.ErrorForCode(code))
					}
				}
				if topic == api.TransactionTopic {
					if code := s.produce(1); code != kerr.NotEnoughReplicas.Code {
						t.Errorf("Produce that begins a partition: %v, want NOT_ENOUGH_REPLICAS", kerr.ErrorForCode(code))
					}
				}
				if after := s.seen(); after != before {
					t.Errorf("refused, and happened nevertheless:\n%s, was\n%s", after, before)
				}
				if way == "the process is killed" {
					s.crash(nil)
					s.settle()
				} else {
					room()
				}
				harness.Until(s.t, waitLimit, "what there was before, once "+way, func() error {
					if after := s.seen(); after != before {
						return fmt.Errorf("%s, was\n%s", after, before)
					}
					return nil
				})
			}
			s.goesOn(topic)
		})
	}
}

// goesOn asks again for what was refused, and for the end of everything.
func (s *served) goesOn(topic string) {
	s.t.Helper()
	for _, step := range s.refusable(topic) {
		s.succeeds(step.name, step.do)
	}
	if topic != api.TransactionTopic { // there it was among them
		s.succeeds("the end of the transaction", s.end)
	}
	want := "0: 7"
	if topic == api.OffsetsTopic {
		want = "0: 8"
	}
	harness.Until(s.t, waitLimit, "the offsets of the transaction", func() error {
		if seen := s.seen(); !strings.Contains(seen, "offsets ["+want) || !strings.Contains(seen, "CompleteCommit") {
			return errors.New(seen)
		}
		return nil
	})
}

// TestMarkersWaitForRoom (R31): a transaction whose end is decided stays prepared, and its
// offsets stay unstable (KIP-447), while the partition of its group has no room for the
// marker; then it completes.
func TestMarkersWaitForRoom(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.begin()
	room := s.disk.Inject(vfs.Fault{Op: vfs.OpWrite, Path: s.home(api.OffsetsTopic) + "/" + api.OffsetsTopic + "-0", Err: syscall.ENOSPC})
	if code := s.end(); code != 0 {
		t.Fatalf("the decision has room: %v", kerr.ErrorForCode(code))
	}
	offset := func(stable bool) (int64, int16) {
		for _, p := range s.fetchOffset(stable).Topics[0].Partitions {
			if p.Partition == 0 {
				return p.Offset, p.ErrorCode
			}
		}
		return -1, 0
	}
	harness.Until(s.t, waitLimit, "markers that are tried again", func() error {
		if n := s.b.transactions.Stats().MarkersTriedAgain; n < 3 {
			return fmt.Errorf("%d times", n)
		}
		return nil
	})
	if state := s.describe().State; state != "PrepareCommit" {
		t.Errorf("state %s without room for a marker", state)
	}
	if o, _ := offset(false); o != 5 {
		t.Errorf("offset %d before the marker", o)
	}
	if _, code := offset(true); code != kerr.UnstableOffsetCommit.Code {
		t.Errorf("a stable offset: %v", kerr.ErrorForCode(code))
	}
	room()
	harness.Until(s.t, waitLimit, "the marker", func() error {
		o, code := offset(true)
		if state := s.describe().State; o != 7 || code != 0 || state != "CompleteCommit" {
			return fmt.Errorf("offset %d, code %d, state %s", o, code, state)
		}
		return nil
	})
}

// TestBrokenDiskBelowACoordinator (R32): what was in the round whose sync has failed, and all
// that follows, is answered NOT_COORDINATOR; the power goes; the next process has all that
// was acknowledged, and of what was refused all or nothing.
func TestBrokenDiskBelowACoordinator(t *testing.T) {
	for _, topic := range []string{api.TransactionTopic, api.OffsetsTopic, api.ShareTopic} {
		for _, fault := range []vfs.Fault{{Op: vfs.OpSync, Err: syscall.EIO}, {Op: vfs.OpWrite, Err: syscall.EIO}} {
			t.Run(fmt.Sprint(topic, " ", fault.Op), func(t *testing.T) {
				t.Parallel()
				s := serve(t)
				s.begin()
				ask := s.refusable(topic)[0]
				for seed := range uint64(3) {
					before := s.seen()
					fault.Path = s.home(topic)
					s.disk.Inject(fault)
					if fault.Op == vfs.OpSync {
						s.disk.Inject(vfs.Fault{Op: vfs.OpSyncAll, Path: fault.Path, Err: fault.Err})
					}
					for range 2 {
						if code := ask.do(); code != kerr.NotCoordinator.Code {
							t.Errorf("%s on a broken disk: %v, want NOT_COORDINATOR", ask.name, kerr.ErrorForCode(code))
						}
					}
					s.crash(rand.New(rand.NewPCG(seed, 0)))
					s.settle()
					harness.Until(t, waitLimit, "loaded share partitions", func() error {
						_, shares, _ := strings.Cut(s.seen(), "shares ")
						if strings.HasSuffix(before, shares) || topic == api.ShareTopic && strings.HasPrefix(shares, "0 0 5") {
							return nil
						}
						return errors.New(shares)
					})
					after := s.seen()
					s.succeeds(ask.name, ask.do)
					if done := s.seen(); after != before && after != done {
						t.Errorf("power cut %d left\n%s, of\n%s, or all of\n%s", seed, after, before, done)
					}
				}
				s.goesOn(topic)
			})
		}
	}
}

// TestAFirstRoundWithoutRoomBelowACoordinator (R31): a record that is written and cannot be
// flushed yet, since the log's first leader epoch has no room, is refused as well. What its
// log holds by then does no harm once there is room.
func TestAFirstRoundWithoutRoomBelowACoordinator(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.createTopic()
	room := s.disk.Inject(vfs.Fault{Op: vfs.OpWrite, Path: "leader-epoch-checkpoint*", Err: syscall.ENOSPC})
	s.settle()
	for range 2 {
		for _, step := range []asked{
			{"InitProducerId", func() int16 { return s.init("x") }},
			{"OffsetCommit", func() int16 { return s.commit(0, 4) }},
		} {
			if code := step.do(); code != kerr.NotCoordinator.Code {
				t.Errorf("%s: %v, want NOT_COORDINATOR", step.name, kerr.ErrorForCode(code))
			}
		}
	}
	if code := s.describe().ErrorCode; code != kerr.TransactionalIDNotFound.Code {
		t.Errorf("the id that was refused: %v", kerr.ErrorForCode(code))
	}
	if topics := s.fetchOffset(false).Topics; len(topics) > 0 {
		t.Errorf("the offset that was refused: %v", topics)
	}
	room()
	s.fill()
	before := s.seen()
	s.crash(nil)
	s.settle()
	harness.Until(t, waitLimit, "what there was before", func() error {
		if after := s.seen(); after != before {
			return fmt.Errorf("%s, was\n%s", after, before)
		}
		return nil
	})
	s.goesOn(api.TransactionTopic)
}

// TestACopyGoesOnOverFullCoordinators (R31, C10): one disk, then the other, has no room for
// what the coordinators of transactions and of groups write, again and again, while a topic
// is copied in transactions. Each record is there once.
func TestACopyGoesOnOverFullCoordinators(t *testing.T) {
	t.Parallel()
	const records, windows, refusals, progress = 400, 8, 3, 20
	s := serve(t)
	s.createTopic()
	s.settle()
	s.succeeds("init", func() int16 { return s.init("x") }) // homes are known
	s.succeeds("commit", func() int16 { return s.commit(1, 0) })
	fill := s.client(kgo.DefaultProduceTopic("t"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for i := range records {
		if err := fill.ProduceSync(t.Context(), kgo.StringRecord(fmt.Sprint(i))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}

	var copied atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var copying sync.WaitGroup
	defer copying.Wait()
	defer cancel()
	for window := range windows {
		topic := []string{api.TransactionTopic, api.OffsetsTopic}[window%2]
		var refused atomic.Int64
		path := s.home(topic) + "/" + topic + "-0"
		counted := s.disk.Inject(vfs.Fault{Op: vfs.OpWrite, Path: path, Wait: func() { refused.Add(1) }})
		room := s.disk.Inject(vfs.Fault{Op: vfs.OpWrite, Path: path, Err: syscall.ENOSPC})
		if window == 0 { // not before: it might be done by then
			copying.Go(func() {
				for ctx.Err() == nil && copied.Load() < records {
					s.copySome(ctx, records, &copied)
				}
			})
		}
		harness.Until(t, waitLimit, "refusals", func() error {
			if n := refused.Load(); n < refusals && copied.Load() < records {
				return fmt.Errorf("%d", n)
			}
			return nil
		})
		room()
		counted()
		from := copied.Load()
		harness.Until(t, waitLimit, "progress", func() error {
			if n := copied.Load(); n < min(from+progress, records) {
				return fmt.Errorf("%d of %d records, from %d on", n, records, from)
			}
			return nil
		})
	}
	harness.Until(t, waitLimit, "the end of the copy", func() error {
		if n := copied.Load(); n < records {
			return fmt.Errorf("%d of %d records", n, records)
		}
		return nil
	})

	seen := make([]int, records)
	reader := s.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"t": {1: kgo.NewOffset().At(0)}}), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	for n := 0; n < records; {
		fetches := reader.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			i, err := strconv.Atoi(string(r.Value))
			if err != nil {
				t.Fatal(err)
			}
			seen[i]++
			n++
		})
	}
	for i, n := range seen {
		if n != 1 {
			t.Errorf("record %d is there %d times", i, n)
		}
	}
}

func (s *served) client(options ...kgo.Opt) *kgo.Client {
	s.t.Helper()
	c, err := kgo.NewClient(append(options, kgo.SeedBrokers(s.b.Address("PLAINTEXT")))...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

// copySome copies partition 0 of "t" to partition 1, until the session cannot begin any more,
// or all is done; copied is where the group is.
func (s *served) copySome(ctx context.Context, records int64, copied *atomic.Int64) {
	session, err := kgo.NewGroupTransactSession(
		kgo.SeedBrokers(s.b.Address("PLAINTEXT")), kgo.TransactionalID("copier"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumerGroup("copiers"), kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DefaultProduceTopic("t"), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }), kgo.HeartbeatInterval(100*time.Millisecond), kgo.MetadataMinAge(50*time.Millisecond),
	)
	if err != nil {
		s.t.Error(err)
		return
	}
	defer session.Close()
	for ctx.Err() == nil {
		q := kmsg.NewPtrOffsetFetchRequest()
		of := kmsg.NewOffsetFetchRequestGroup()
		of.Group = "copiers"
		q.Groups = []kmsg.OffsetFetchRequestGroup{of}
		p, err := q.RequestWith(ctx, session.Client())
		if err != nil {
			return
		}
		for _, topic := range p.Groups[0].Topics {
			for _, at := range topic.Partitions {
				if at.Partition == 0 {
					copied.Store(at.Offset)
				}
			}
		}
		if copied.Load() >= records {
			return
		}
		poll, stop := context.WithTimeout(ctx, time.Second)
		fetches := session.PollRecords(poll, 5)
		stop()
		if session.Begin() != nil {
			return
		}
		promise := kgo.AbortingFirstErrPromise(session.Client())
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Partition == 0 {
				session.Produce(ctx, &kgo.Record{Partition: 1, Value: r.Value}, promise.Promise())
			}
		})
		if _, err := session.End(ctx, promise.Err() == nil); err != nil {
			s.t.Logf("end: %v", err) // what is read again is written again
		}
	}
}
