//go:build interop

package interop

import (
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/test/harness"
)

// servedKey is an API and its versions.
type servedKey struct {
	key      kmsg.Key
	min, max int16
}

// served are the versions that are answered: Apache Kafka 4.3's (PROTOCOL.md section 2).
// Where less is answered than advertised, it is said in advertised.
var served = []servedKey{
	{kmsg.Produce, 3, 13},
	{kmsg.Fetch, 4, 18},
	{kmsg.ListOffsets, 1, 11},
	{kmsg.Metadata, 0, 13},
	{kmsg.OffsetCommit, 2, 10},
	{kmsg.OffsetFetch, 1, 10},
	{kmsg.FindCoordinator, 0, 6},
	{kmsg.JoinGroup, 0, 9},
	{kmsg.Heartbeat, 0, 4},
	{kmsg.LeaveGroup, 0, 5},
	{kmsg.SyncGroup, 0, 5},
	{kmsg.DescribeGroups, 0, 6},
	{kmsg.ListGroups, 0, 5},
	{kmsg.SASLHandshake, 0, 1},
	{kmsg.ApiVersions, 0, 4},
	{kmsg.CreateTopics, 2, 7},
	{kmsg.DeleteTopics, 1, 6},
	{kmsg.DeleteRecords, 0, 2},
	{kmsg.InitProducerID, 0, 5},
	{kmsg.OffsetForLeaderEpoch, 2, 4},
	{kmsg.AddPartitionsToTxn, 0, 5},
	{kmsg.AddOffsetsToTxn, 0, 4},
	{kmsg.EndTxn, 0, 5},
	{kmsg.WriteTxnMarkers, 1, 2},
	{kmsg.TxnOffsetCommit, 0, 5},
	{kmsg.DescribeACLs, 1, 3},
	{kmsg.CreateACLs, 1, 3},
	{kmsg.DeleteACLs, 1, 3},
	{kmsg.DescribeConfigs, 1, 4},
	{kmsg.AlterConfigs, 0, 2},
	{kmsg.AlterReplicaLogDirs, 1, 2},
	{kmsg.DescribeLogDirs, 1, 5},
	{kmsg.SASLAuthenticate, 0, 2},
	{kmsg.CreatePartitions, 0, 3},
	{kmsg.CreateDelegationToken, 1, 3},
	{kmsg.RenewDelegationToken, 1, 2},
	{kmsg.ExpireDelegationToken, 1, 2},
	{kmsg.DescribeDelegationToken, 1, 3},
	{kmsg.DeleteGroups, 0, 2},
	{kmsg.ElectLeaders, 0, 2},
	{kmsg.IncrementalAlterConfigs, 0, 1},
	{kmsg.AlterPartitionAssignments, 0, 1},
	{kmsg.ListPartitionReassignments, 0, 0},
	{kmsg.OffsetDelete, 0, 0},
	{kmsg.DescribeClientQuotas, 0, 1},
	{kmsg.AlterClientQuotas, 0, 1},
	{kmsg.DescribeUserSCRAMCredentials, 0, 0},
	{kmsg.AlterUserSCRAMCredentials, 0, 0},
	{kmsg.DescribeQuorum, 0, 2},
	{kmsg.UpdateFeatures, 0, 2},
	{kmsg.DescribeCluster, 0, 2},
	{kmsg.DescribeProducers, 0, 0},
	{kmsg.UnregisterBroker, 0, 0},
	{kmsg.DescribeTransactions, 0, 0},
	{kmsg.ListTransactions, 0, 2},
	{kmsg.ConsumerGroupHeartbeat, 0, 1},
	{kmsg.ConsumerGroupDescribe, 0, 1},
	{kmsg.GetTelemetrySubscriptions, 0, 0},
	{kmsg.PushTelemetry, 0, 0},
	{kmsg.ListConfigResources, 0, 1},
	{kmsg.DescribeTopicPartitions, 0, 0},
	{kmsg.ShareGroupHeartbeat, 1, 1},
	{kmsg.ShareGroupDescribe, 1, 1},
	{kmsg.ShareFetch, 1, 2},
	{kmsg.ShareAcknowledge, 1, 2},
	{kmsg.InitializeShareGroupState, 0, 0},
	{kmsg.ReadShareGroupState, 0, 0},
	{kmsg.WriteShareGroupState, 0, 1},
	{kmsg.DeleteShareGroupState, 0, 0},
	{kmsg.ReadShareGroupStateSummary, 0, 1},
	{kmsg.StreamsGroupHeartbeat, 0, 0},
	{kmsg.StreamsGroupDescribe, 0, 0},
	{kmsg.DescribeShareGroupOffsets, 0, 1},
	{kmsg.AlterShareGroupOffsets, 0, 0},
	{kmsg.DeleteShareGroupOffsets, 0, 0},
}

// servedHereOnly says why a key is served that the Apache Kafka of these tests does not serve.
var servedHereOnly = map[kmsg.Key]string{kmsg.GetTelemetrySubscriptions: noReceiver, kmsg.PushTelemetry: noReceiver}

const noReceiver = "Apache Kafka offers clients to push their metrics only with a plugin that receives them, and has none in the box (KIP-714)"

// advertised is the minimum that ApiVersions shows where it is not the minimum served.
var advertised = map[kmsg.Key]int16{kmsg.Produce: 0}

// TestApiVersionsAdvertisesWhatIsServed holds the answer to ApiVersions against the
// table above, key by key: every key once, in order, none with a range of nothing.
func TestApiVersionsAdvertisesWhatIsServed(t *testing.T) {
	p := ask[*kmsg.ApiVersionsResponse](t, dial(t, broker(t).Address), 3, apiVersions())
	var got, want []string
	for _, k := range p.ApiKeys {
		got = append(got, fmt.Sprintf("%s %d-%d", kmsg.NameForKey(k.ApiKey), k.MinVersion, k.MaxVersion))
	}
	for _, s := range served {
		lowest := s.min
		if a, ok := advertised[s.key]; ok {
			lowest = a
		}
		want = append(want, fmt.Sprintf("%s %d-%d", s.key.Name(), lowest, s.max))
	}
	same(t, "advertised", got, want)
}

// TestEveryVersionIsAnsweredExactly sends a default and a filled request of every
// version of every API. Each answer must decode in that version to its last byte, and
// the connection must stay open.
func TestEveryVersionIsAnsweredExactly(t *testing.T) {
	f := newFilled(t)
	for _, s := range served {
		t.Run(s.key.Name(), func(t *testing.T) {
			c := dial(t, broker(t).Address)
			for version := s.min; version <= s.max; version++ {
				for _, q := range []kmsg.Request{f.defaults(s.key), f.request(t, s.key)} {
					ask[kmsg.Response](t, c, version, q)
				}
			}
			ask[kmsg.Response](t, c, 0, apiVersions()) // still open
		})
	}
}

// TestUnservedVersionClosesTheConnection sends one version beyond each end: as in
// Apache Kafka there is no answer that the client could read, but for ApiVersions.
func TestUnservedVersionClosesTheConnection(t *testing.T) {
	f := newFilled(t)
	for _, s := range served {
		if s.key == kmsg.ApiVersions {
			continue
		}
		for _, version := range []int16{s.min - 1, s.max + 1} {
			if version < 0 {
				continue
			}
			q := f.defaults(s.key)
			q.SetVersion(min(version, q.MaxVersion()))
			if q.GetVersion() != version {
				continue // the codec does not know it
			}
			if answer, err := dial(t, broker(t).Address).roundTrip(q); err == nil {
				t.Errorf("%s version %d was answered: %x", s.key.Name(), version, answer)
			}
		}
	}
}

func apiVersions() *kmsg.ApiVersionsRequest {
	q := kmsg.NewPtrApiVersionsRequest()
	q.ClientSoftwareName, q.ClientSoftwareVersion = "interop", "1.0"
	return q
}

// filled makes requests that mean something: about one topic and one group.
type filled struct {
	topic string
	id    [16]byte
	group string
	made  int // topics and groups asked for so far
}

func newFilled(t *testing.T) *filled {
	f := &filled{topic: topicOf(t), group: topicOf(t, "group")}
	create(t, f.topic, 2)
	produce(t, client(t), numbered(f.topic, 10)...)
	q := kmsg.NewPtrMetadataRequest()
	name := kmsg.NewMetadataRequestTopic()
	name.Topic = &f.topic
	q.Topics = append(q.Topics, name)
	c := dial(t, broker(t).Address)
	f.id = ask[*kmsg.MetadataResponse](t, c, 12, q).Topics[0].TopicID
	coordinate(t, broker(t).Address, f.group)
	return f
}

// coordinate has the coordinator of a group found, which creates __consumer_offsets,
// and waits until it answers.
func coordinate(t testing.TB, address, group string) {
	t.Helper()
	c := dial(t, address)
	harness.Until(t, testLimit, "coordinator of "+group, func() error {
		find := kmsg.NewPtrFindCoordinatorRequest()
		find.CoordinatorKey = group
		if p := ask[*kmsg.FindCoordinatorResponse](t, c, 0, find); p.ErrorCode != 0 {
			return errors.New(codeName(p.ErrorCode))
		}
		describe := kmsg.NewPtrDescribeGroupsRequest()
		describe.Groups = []string{group}
		if p := ask[*kmsg.DescribeGroupsResponse](t, c, 0, describe); p.Groups[0].ErrorCode != 0 {
			return errors.New(codeName(p.Groups[0].ErrorCode))
		}
		return nil
	})
}

// defaults is a request as the codec makes it. Produce gets acks, for without it there
// is no answer.
func (f *filled) defaults(key kmsg.Key) kmsg.Request {
	q := key.Request()
	if p, ok := q.(*kmsg.ProduceRequest); ok {
		p.Acks = 1
	}
	return q
}

// request is a request with something in each of its arrays.
func (f *filled) request(t *testing.T, key kmsg.Key) kmsg.Request {
	t.Helper()
	switch q := key.Request().(type) {
	case *kmsg.ProduceRequest:
		return produceRequest(f.topic, f.id, 0, recordBatch(nil, []byte("value")))
	case *kmsg.FetchRequest:
		return fetchRequest(f.topic, f.id, 0, 3)
	case *kmsg.ListOffsetsRequest:
		q.ReplicaID = -1
		to := kmsg.NewListOffsetsRequestTopic()
		to.Topic = f.topic
		for _, timestamp := range []int64{-1, -2, 0} {
			p := kmsg.NewListOffsetsRequestTopicPartition()
			p.Timestamp, p.Partition = timestamp, int32(len(to.Partitions))
			to.Partitions = append(to.Partitions, p)
		}
		q.Topics = append(q.Topics, to)
		return q
	case *kmsg.MetadataRequest:
		name := kmsg.NewMetadataRequestTopic()
		name.Topic = &f.topic
		q.Topics = append(q.Topics, name)
		q.IncludeTopicAuthorizedOperations, q.IncludeClusterAuthorizedOperations = true, true
		return q
	case *kmsg.OffsetCommitRequest:
		return commitRequest(f.group, f.topic, f.id, 0, 7, "metadata")
	case *kmsg.OffsetFetchRequest:
		q.Group = f.group
		old := kmsg.NewOffsetFetchRequestTopic()
		old.Topic, old.Partitions = f.topic, []int32{0, 1}
		q.Topics = append(q.Topics, old)
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group = f.group
		to := kmsg.NewOffsetFetchRequestGroupTopic()
		to.Topic, to.TopicID, to.Partitions = f.topic, f.id, []int32{0, 1}
		g.Topics = append(g.Topics, to)
		q.Groups = append(q.Groups, g)
		return q
	case *kmsg.FindCoordinatorRequest:
		q.CoordinatorKey, q.CoordinatorKeys = f.group, []string{f.group, "another"}
		return q
	case *kmsg.JoinGroupRequest:
		f.made++ // a group for each: members of one would wait for each other
		return joinRequest(fmt.Sprintf("%s-%d", f.group, f.made))
	case *kmsg.HeartbeatRequest:
		q.Group, q.MemberID, q.Generation = f.group, "nobody", 3
		return q
	case *kmsg.LeaveGroupRequest:
		q.Group, q.MemberID = f.group, "nobody"
		m := kmsg.NewLeaveGroupRequestMember()
		m.MemberID, m.Reason = "nobody", kmsg.StringPtr("interop")
		q.Members = append(q.Members, m)
		return q
	case *kmsg.SyncGroupRequest:
		q.Group, q.MemberID, q.Generation = f.group, "nobody", 3
		q.ProtocolType, q.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
		a := kmsg.NewSyncGroupRequestGroupAssignment()
		a.MemberID, a.MemberAssignment = "nobody", []byte{0, 1}
		q.GroupAssignment = append(q.GroupAssignment, a)
		return q
	case *kmsg.DescribeGroupsRequest:
		q.Groups, q.IncludeAuthorizedOperations = []string{f.group, "unknown"}, true
		return q
	case *kmsg.ListGroupsRequest:
		q.StatesFilter, q.TypesFilter = []string{"Empty", "Stable"}, []string{"classic"}
		return q
	case *kmsg.ApiVersionsRequest:
		return apiVersions()
	}
	if q := f.txnRequest(key); q != nil {
		return q
	}
	return f.adminRequest(t, key)
}

// adminRequest is request for the APIs of administrators.
func (f *filled) adminRequest(t *testing.T, key kmsg.Key) kmsg.Request {
	t.Helper()
	f.made++
	unique := fmt.Sprintf("%s-%d", f.topic, f.made)
	switch q := key.Request().(type) {
	case *kmsg.CreateTopicsRequest:
		to := newTopicRequest(unique, 2)
		config := kmsg.NewCreateTopicsRequestTopicConfig()
		config.Name, config.Value = "retention.ms", kmsg.StringPtr("1000000")
		to.Configs = append(to.Configs, config)
		q.Topics, q.TimeoutMillis = append(q.Topics, to), 10_000
		return q
	case *kmsg.DeleteTopicsRequest:
		create(t, unique, 1)
		q.TopicNames, q.TimeoutMillis = []string{unique, "unknown"}, 10_000
		to := kmsg.NewDeleteTopicsRequestTopic()
		to.Topic = &unique
		q.Topics = append(q.Topics, to)
		return q
	case *kmsg.DeleteRecordsRequest:
		return deleteRecordsRequest(f.topic, 0, 1)
	case *kmsg.InitProducerIDRequest:
		return q
	case *kmsg.OffsetForLeaderEpochRequest:
		return epochRequest(f.topic, 0, -1, 0)
	case *kmsg.DescribeConfigsRequest:
		r := kmsg.NewDescribeConfigsRequestResource()
		r.ResourceType, r.ResourceName, r.ConfigNames = kmsg.ConfigResourceTypeTopic, f.topic, nil
		q.Resources, q.IncludeSynonyms, q.IncludeDocumentation = append(q.Resources, r), true, true
		return q
	case *kmsg.AlterConfigsRequest:
		return replaceRequest(f.topic, map[string]string{"retention.ms": "2000000", "segment.bytes": "2097152"})
	case *kmsg.DescribeLogDirsRequest:
		to := kmsg.NewDescribeLogDirsRequestTopic()
		to.Topic, to.Partitions = f.topic, []int32{0, 1}
		q.Topics = append(q.Topics, to)
		return q
	case *kmsg.CreatePartitionsRequest:
		create(t, unique, 1)
		return partitionsRequest(unique, 3)
	case *kmsg.DeleteGroupsRequest:
		q.Groups = []string{"unknown"}
		return q
	case *kmsg.IncrementalAlterConfigsRequest:
		return alterRequest(f.topic, kmsg.IncrementalAlterConfigOpSet, "retention.ms", "3000000")
	case *kmsg.OffsetDeleteRequest:
		return offsetDeleteRequest(f.group, f.topic, 1)
	case *kmsg.DescribeClusterRequest:
		q.IncludeClusterAuthorizedOperations = true
		return q
	case *kmsg.DescribeProducersRequest:
		to := kmsg.NewDescribeProducersRequestTopic()
		to.Topic, to.Partitions = f.topic, []int32{0, 1, 2}
		q.Topics = append(q.Topics, to)
		return q
	case *kmsg.ConsumerGroupHeartbeatRequest:
		q.Group, q.MemberID, q.RebalanceTimeoutMillis = topicOf(t, "members"), "member", 1000
		q.SubscribedTopicNames, q.Topics = []string{f.topic}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		return q
	case *kmsg.ConsumerGroupDescribeRequest:
		q.Groups, q.IncludeAuthorizedOperations = []string{f.group, "unknown"}, true
		return q
	case *kmsg.GetTelemetrySubscriptionsRequest:
		q.ClientInstanceID = f.id
		return q
	case *kmsg.PushTelemetryRequest:
		q.ClientInstanceID, q.SubscriptionID, q.CompressionType, q.Metrics = f.id, 1, 4, []byte{1}
		return q
	case *kmsg.ShareGroupHeartbeatRequest:
		q.GroupID, q.MemberID, q.SubscribedTopicNames = topicOf(t, "shares"), "member", []string{f.topic}
		return q
	case *kmsg.ShareGroupDescribeRequest:
		q.GroupIDs, q.IncludeAuthorizedOperations = []string{topicOf(t, "shares"), f.group, "unknown"}, true
		return q
	case *kmsg.ShareFetchRequest:
		group, member := topicOf(t, "shares"), "member"
		q.GroupID, q.MemberID, q.MaxBytes, q.MaxRecords = &group, &member, 1<<20, 10
		q.Topics = []kmsg.ShareFetchRequestTopic{{TopicID: f.id, Partitions: []kmsg.ShareFetchRequestTopicPartition{{Partition: 0}}}}
		return q
	case *kmsg.ShareAcknowledgeRequest:
		group, member := topicOf(t, "shares"), "member"
		q.GroupID, q.MemberID, q.ShareSessionEpoch = &group, &member, 1
		return q
	case *kmsg.InitializeShareGroupStateRequest:
		q.GroupID = topicOf(t, "states")
		q.Topics = []kmsg.InitializeShareGroupStateRequestTopic{{TopicID: f.id, Partitions: []kmsg.InitializeShareGroupStateRequestTopicPartition{{Partition: 0, StartOffset: 1}, {Partition: 99}}}}
		return q
	case *kmsg.ReadShareGroupStateRequest:
		q.GroupID = topicOf(t, "states")
		q.Topics = []kmsg.ReadShareGroupStateRequestTopic{{TopicID: f.id, Partitions: []kmsg.ReadShareGroupStateRequestTopicPartition{{Partition: 0}, {Partition: 99}}}}
		return q
	case *kmsg.WriteShareGroupStateRequest:
		q.GroupID = topicOf(t, "states")
		q.Topics = []kmsg.WriteShareGroupStateRequestTopic{{TopicID: f.id, Partitions: []kmsg.WriteShareGroupStateRequestTopicPartition{{
			Partition: 0, StartOffset: 2, StateBatches: []kmsg.WriteShareGroupStateRequestTopicPartitionStateBatch{{FirstOffset: 3, LastOffset: 4, DeliveryState: 2, DeliveryCount: 1}},
		}}}}
		return q
	case *kmsg.DeleteShareGroupStateRequest:
		q.GroupID = topicOf(t, "states")
		q.Topics = []kmsg.DeleteShareGroupStateRequestTopic{{TopicID: f.id, Partitions: []kmsg.DeleteShareGroupStateRequestTopicPartition{{Partition: 0}}}}
		return q
	case *kmsg.ReadShareGroupStateSummaryRequest:
		q.GroupID = topicOf(t, "states")
		q.Topics = []kmsg.ReadShareGroupStateSummaryRequestTopic{{TopicID: f.id, Partitions: []kmsg.ReadShareGroupStateSummaryRequestTopicPartition{{Partition: 0}, {Partition: 99}}}}
		return q
	case *kmsg.DescribeShareGroupOffsetsRequest:
		q.Groups = []kmsg.DescribeShareGroupOffsetsRequestGroup{
			{GroupID: topicOf(t, "altered"), Topics: []kmsg.DescribeShareGroupOffsetsRequestGroupTopic{{Topic: f.topic, Partitions: []int32{0}}, {Topic: "unknown", Partitions: []int32{0}}}},
			{GroupID: topicOf(t, "altered")},
		}
		return q
	case *kmsg.AlterShareGroupOffsetsRequest:
		q.GroupID = topicOf(t, "altered")
		q.Topics = []kmsg.AlterShareGroupOffsetsRequestTopic{{Topic: f.topic, Partitions: []kmsg.AlterShareGroupOffsetsRequestTopicPartition{{Partition: 0, StartOffset: 1}, {Partition: 99}}}}
		return q
	case *kmsg.DeleteShareGroupOffsetsRequest:
		q.GroupID = topicOf(t, "altered")
		q.Topics = []kmsg.DeleteShareGroupOffsetsRequestTopic{{Topic: f.topic}, {Topic: "unknown"}}
		return q
	case *kmsg.StreamsGroupHeartbeatRequest:
		q.Group, q.MemberID, q.RebalanceTimeoutMillis = topicOf(t, "streams"), "member", 1000
		q.Topology = &kmsg.StreamsGroupHeartbeatRequestTopology{Subtopologies: []kmsg.StreamsGroupHeartbeatRequestTopologySubtopology{{SubtopologyID: "0", SourceTopics: []string{f.topic}}}}
		q.ActiveTasks, q.StandbyTasks, q.WarmupTasks = []kmsg.TaskIDs{}, []kmsg.TaskIDs{}, []kmsg.TaskIDs{}
		q.UserEndpoint = &kmsg.StreamsGroupHeartbeatRequestUserEndpoint{Host: "host", Port: 1}
		q.ClientTags = []kmsg.StreamsGroupHeartbeatRequestClientTag{{Key: "key", Value: "value"}}
		return q
	case *kmsg.StreamsGroupDescribeRequest:
		q.Groups, q.IncludeAuthorizedOperations = []string{topicOf(t, "streams"), f.group, "unknown"}, true
		return q
	case *kmsg.DescribeTopicPartitionsRequest:
		for _, name := range []string{f.topic, "unknown"} {
			to := kmsg.NewDescribeTopicPartitionsRequestTopic()
			to.Topic = name
			q.Topics = append(q.Topics, to)
		}
		q.ResponsePartitionLimit = 1
		return q
	}
	if q := adminRequests()[key]; q != nil {
		return q()
	}
	t.Fatalf("no filled request for %s", key.Name())
	return nil
}
