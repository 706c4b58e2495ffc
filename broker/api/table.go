package api

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/wire"
	"github.com/varvelog/varve/broker/wire/shape"
)

// row is one API key of the table below: the table is the dispatch, the answer to
// ApiVersions and the documentation.
type row struct {
	key      int16
	name     string
	min, max int16 // versions answered
	// advertised is the minimum that ApiVersions shows where it is lower than min:
	// librdkafka compresses only if Produce is offered from version 0 (KAFKA-18659).
	advertised int16
	start      starter
	offered    func(*Server) bool // nil: always; where not, the key is as one that does not exist
}

// starter begins a request in the connection's reading goroutine.
type starter func(ctx context.Context, s *Server, c *call) (wire.Pending, error)

const keyApiVersions = 18

// maxKey is the largest API key of the table.
const maxKey = 92

// table lists what is served. The versions are those of Apache Kafka 4.3.0. It is
// filled in by init since one of its rows, ApiVersions, answers with the table itself.
var table []row

func init() {
	table = []row{
		{key: 0, name: "Produce", min: 3, max: 13, start: started(kmsg.NewPtrProduceRequest, (*Server).produce)},
		{key: 1, name: "Fetch", min: 4, max: 18, advertised: 4, start: startFetch},
		{key: 2, name: "ListOffsets", min: 1, max: 11, advertised: 1, start: works(kmsg.NewPtrListOffsetsRequest, (*Server).listOffsets)},
		{key: 3, name: "Metadata", min: 0, max: 13, start: works(kmsg.NewPtrMetadataRequest, (*Server).metadata)},
		{key: 8, name: "OffsetCommit", min: 2, max: 10, advertised: 2, start: started(kmsg.NewPtrOffsetCommitRequest, (*Server).offsetCommit)},
		{key: 9, name: "OffsetFetch", min: 1, max: 10, advertised: 1, start: quick(kmsg.NewPtrOffsetFetchRequest, (*Server).offsetFetch)},
		{key: 10, name: "FindCoordinator", min: 0, max: 6, start: waits(kmsg.NewPtrFindCoordinatorRequest, (*Server).findCoordinator)},
		{key: 11, name: "JoinGroup", min: 0, max: 9, start: started(kmsg.NewPtrJoinGroupRequest, (*Server).joinGroup)},
		{key: 12, name: "Heartbeat", min: 0, max: 4, start: quick(kmsg.NewPtrHeartbeatRequest, (*Server).heartbeat)},
		{key: 13, name: "LeaveGroup", min: 0, max: 5, start: quick(kmsg.NewPtrLeaveGroupRequest, (*Server).leaveGroup)},
		{key: 14, name: "SyncGroup", min: 0, max: 5, start: started(kmsg.NewPtrSyncGroupRequest, (*Server).syncGroup)},
		{key: 15, name: "DescribeGroups", min: 0, max: 6, start: quick(kmsg.NewPtrDescribeGroupsRequest, (*Server).describeGroups)},
		{key: 16, name: "ListGroups", min: 0, max: 5, start: quick(kmsg.NewPtrListGroupsRequest, (*Server).listGroups)},
		{key: 17, name: "SaslHandshake", min: 0, max: 1, start: quick(kmsg.NewPtrSASLHandshakeRequest, (*Server).saslHandshake)},
		{key: keyApiVersions, name: "ApiVersions", min: 0, max: 4, start: quick(kmsg.NewPtrApiVersionsRequest, (*Server).apiVersions)},
		{key: 19, name: "CreateTopics", min: 2, max: 7, advertised: 2, start: waits(kmsg.NewPtrCreateTopicsRequest, (*Server).createTopics)},
		{key: 20, name: "DeleteTopics", min: 1, max: 6, advertised: 1, start: waits(kmsg.NewPtrDeleteTopicsRequest, (*Server).deleteTopics)},
		{key: 21, name: "DeleteRecords", min: 0, max: 2, start: waits(kmsg.NewPtrDeleteRecordsRequest, (*Server).deleteRecords)},
		{key: 22, name: "InitProducerId", min: 0, max: 5, start: waits(kmsg.NewPtrInitProducerIDRequest, (*Server).initProducerID)},
		{key: 23, name: "OffsetForLeaderEpoch", min: 2, max: 4, advertised: 2, start: waits(kmsg.NewPtrOffsetForLeaderEpochRequest, (*Server).offsetForLeaderEpoch)},
		{key: 24, name: "AddPartitionsToTxn", min: 0, max: 5, start: waits(kmsg.NewPtrAddPartitionsToTxnRequest, (*Server).addPartitionsToTxn)},
		{key: 25, name: "AddOffsetsToTxn", min: 0, max: 4, start: waits(kmsg.NewPtrAddOffsetsToTxnRequest, (*Server).addOffsetsToTxn)},
		{key: 26, name: "EndTxn", min: 0, max: 5, start: waits(kmsg.NewPtrEndTxnRequest, (*Server).endTxn)},
		{key: 27, name: "WriteTxnMarkers", min: 1, max: 2, advertised: 1, start: waits(kmsg.NewPtrWriteTxnMarkersRequest, (*Server).writeTxnMarkers)},
		{key: 28, name: "TxnOffsetCommit", min: 0, max: 5, start: waits(kmsg.NewPtrTxnOffsetCommitRequest, (*Server).txnOffsetCommit)},
		{key: 29, name: "DescribeAcls", min: 1, max: 3, advertised: 1, start: quick(kmsg.NewPtrDescribeACLsRequest, (*Server).describeACLs)},
		{key: 30, name: "CreateAcls", min: 1, max: 3, advertised: 1, start: quick(kmsg.NewPtrCreateACLsRequest, (*Server).createACLs)},
		{key: 31, name: "DeleteAcls", min: 1, max: 3, advertised: 1, start: quick(kmsg.NewPtrDeleteACLsRequest, (*Server).deleteACLs)},
		{key: 32, name: "DescribeConfigs", min: 1, max: 4, advertised: 1, start: quick(kmsg.NewPtrDescribeConfigsRequest, (*Server).describeConfigs)},
		{key: 33, name: "AlterConfigs", min: 0, max: 2, start: waits(kmsg.NewPtrAlterConfigsRequest, (*Server).alterConfigs)},
		{key: 34, name: "AlterReplicaLogDirs", min: 1, max: 2, advertised: 1, start: waits(kmsg.NewPtrAlterReplicaLogDirsRequest, (*Server).alterReplicaLogDirs)},
		{key: 35, name: "DescribeLogDirs", min: 1, max: 5, advertised: 1, start: works(kmsg.NewPtrDescribeLogDirsRequest, (*Server).describeLogDirs)},
		{key: 36, name: "SaslAuthenticate", min: 0, max: 2, start: quick(kmsg.NewPtrSASLAuthenticateRequest, (*Server).saslAuthenticate)},
		{key: 37, name: "CreatePartitions", min: 0, max: 3, start: waits(kmsg.NewPtrCreatePartitionsRequest, (*Server).createPartitions)},
		{key: 38, name: "CreateDelegationToken", min: 1, max: 3, advertised: 1, start: quick(kmsg.NewPtrCreateDelegationTokenRequest, (*Server).createDelegationToken)},
		{key: 39, name: "RenewDelegationToken", min: 1, max: 2, advertised: 1, start: quick(kmsg.NewPtrRenewDelegationTokenRequest, (*Server).renewDelegationToken)},
		{key: 40, name: "ExpireDelegationToken", min: 1, max: 2, advertised: 1, start: quick(kmsg.NewPtrExpireDelegationTokenRequest, (*Server).expireDelegationToken)},
		{key: 41, name: "DescribeDelegationToken", min: 1, max: 3, advertised: 1, start: quick(kmsg.NewPtrDescribeDelegationTokenRequest, (*Server).describeDelegationToken)},
		{key: 42, name: "DeleteGroups", min: 0, max: 2, start: started(kmsg.NewPtrDeleteGroupsRequest, (*Server).deleteGroups)},
		{key: 43, name: "ElectLeaders", min: 0, max: 2, start: quick(kmsg.NewPtrElectLeadersRequest, (*Server).electLeaders)},
		{key: 44, name: "IncrementalAlterConfigs", min: 0, max: 1, start: waits(kmsg.NewPtrIncrementalAlterConfigsRequest, (*Server).incrementalAlterConfigs)},
		{key: 45, name: "AlterPartitionReassignments", min: 0, max: 1, start: quick(kmsg.NewPtrAlterPartitionAssignmentsRequest, (*Server).alterPartitionReassignments)},
		{key: 46, name: "ListPartitionReassignments", min: 0, max: 0, start: quick(kmsg.NewPtrListPartitionReassignmentsRequest, (*Server).listPartitionReassignments)},
		{key: 47, name: "OffsetDelete", min: 0, max: 0, start: started(kmsg.NewPtrOffsetDeleteRequest, (*Server).offsetDelete)},
		{key: 48, name: "DescribeClientQuotas", min: 0, max: 1, start: quick(kmsg.NewPtrDescribeClientQuotasRequest, (*Server).describeClientQuotas)},
		{key: 49, name: "AlterClientQuotas", min: 0, max: 1, start: waits(kmsg.NewPtrAlterClientQuotasRequest, (*Server).alterClientQuotas)},
		{key: 50, name: "DescribeUserScramCredentials", min: 0, max: 0, start: quick(kmsg.NewPtrDescribeUserSCRAMCredentialsRequest, (*Server).describeUserSCRAMCredentials)},
		{key: 51, name: "AlterUserScramCredentials", min: 0, max: 0, start: waits(kmsg.NewPtrAlterUserSCRAMCredentialsRequest, (*Server).alterUserSCRAMCredentials)},
		{key: 55, name: "DescribeQuorum", min: 0, max: 2, start: quick(kmsg.NewPtrDescribeQuorumRequest, (*Server).describeQuorum)},
		{key: 57, name: "UpdateFeatures", min: 0, max: 2, start: waits(kmsg.NewPtrUpdateFeaturesRequest, (*Server).updateFeatures)},
		{key: 60, name: "DescribeCluster", min: 0, max: 2, start: quick(kmsg.NewPtrDescribeClusterRequest, (*Server).describeCluster)},
		{key: 61, name: "DescribeProducers", min: 0, max: 0, start: quick(kmsg.NewPtrDescribeProducersRequest, (*Server).describeProducers)},
		{key: 64, name: "UnregisterBroker", min: 0, max: 0, start: quick(kmsg.NewPtrUnregisterBrokerRequest, (*Server).unregisterBroker)},
		{key: 65, name: "DescribeTransactions", min: 0, max: 0, start: quick(kmsg.NewPtrDescribeTransactionsRequest, (*Server).describeTransactions)},
		{key: 66, name: "ListTransactions", min: 0, max: 2, start: quick(kmsg.NewPtrListTransactionsRequest, (*Server).listTransactions)},
		{key: 68, name: "ConsumerGroupHeartbeat", min: 0, max: 1, start: started(kmsg.NewPtrConsumerGroupHeartbeatRequest, (*Server).consumerGroupHeartbeat)},
		{key: 69, name: "ConsumerGroupDescribe", min: 0, max: 1, start: quick(kmsg.NewPtrConsumerGroupDescribeRequest, (*Server).consumerGroupDescribe)},
		{key: 71, name: "GetTelemetrySubscriptions", min: 0, max: 0, start: quick(kmsg.NewPtrGetTelemetrySubscriptionsRequest, (*Server).getTelemetrySubscriptions), offered: (*Server).receivesMetrics},
		{key: 72, name: "PushTelemetry", min: 0, max: 0, start: works(kmsg.NewPtrPushTelemetryRequest, (*Server).pushTelemetry), offered: (*Server).receivesMetrics},
		{key: 74, name: "ListConfigResources", min: 0, max: 1, start: quick(kmsg.NewPtrListConfigResourcesRequest, (*Server).listConfigResources)},
		{key: 75, name: "DescribeTopicPartitions", min: 0, max: 0, start: quick(kmsg.NewPtrDescribeTopicPartitionsRequest, (*Server).describeTopicPartitions)},
		{key: 76, name: "ShareGroupHeartbeat", min: 1, max: 1, advertised: 1, start: started(kmsg.NewPtrShareGroupHeartbeatRequest, (*Server).shareGroupHeartbeat)},
		{key: 77, name: "ShareGroupDescribe", min: 1, max: 1, advertised: 1, start: quick(kmsg.NewPtrShareGroupDescribeRequest, (*Server).shareGroupDescribe)},
		{key: 78, name: "ShareFetch", min: 1, max: 2, advertised: 1, start: startShareFetch},
		{key: 79, name: "ShareAcknowledge", min: 1, max: 2, advertised: 1, start: waits(kmsg.NewPtrShareAcknowledgeRequest, (*Server).shareAcknowledge)},
		{key: 83, name: "InitializeShareGroupState", min: 0, max: 0, start: started(kmsg.NewPtrInitializeShareGroupStateRequest, (*Server).initializeShareGroupState)},
		{key: 84, name: "ReadShareGroupState", min: 0, max: 0, start: started(kmsg.NewPtrReadShareGroupStateRequest, (*Server).readShareGroupState)},
		{key: 85, name: "WriteShareGroupState", min: 0, max: 1, start: started(kmsg.NewPtrWriteShareGroupStateRequest, (*Server).writeShareGroupState)},
		{key: 86, name: "DeleteShareGroupState", min: 0, max: 0, start: started(kmsg.NewPtrDeleteShareGroupStateRequest, (*Server).deleteShareGroupState)},
		{key: 87, name: "ReadShareGroupStateSummary", min: 0, max: 1, start: started(kmsg.NewPtrReadShareGroupStateSummaryRequest, (*Server).readShareGroupStateSummary)},
		{key: 88, name: "StreamsGroupHeartbeat", min: 0, max: 0, start: started(kmsg.NewPtrStreamsGroupHeartbeatRequest, (*Server).streamsGroupHeartbeat)},
		{key: 89, name: "StreamsGroupDescribe", min: 0, max: 0, start: quick(kmsg.NewPtrStreamsGroupDescribeRequest, (*Server).streamsGroupDescribe)},
		{key: 90, name: "DescribeShareGroupOffsets", min: 0, max: 1, start: waits(kmsg.NewPtrDescribeShareGroupOffsetsRequest, (*Server).describeShareGroupOffsets)},
		{key: 91, name: "AlterShareGroupOffsets", min: 0, max: 0, start: started(kmsg.NewPtrAlterShareGroupOffsetsRequest, (*Server).alterShareGroupOffsets)},
		{key: 92, name: "DeleteShareGroupOffsets", min: 0, max: 0, start: started(kmsg.NewPtrDeleteShareGroupOffsetsRequest, (*Server).deleteShareGroupOffsets)},
	}
}

// decode reads a request of c's version. Its strings and bytes are views of the frame.
func decode(c *call, q kmsg.Request) error {
	if _, err := shape.Check(c.Key, c.Version, c.Body); err != nil {
		return err // before anything is allocated by counts that the bytes merely claim
	}
	q.SetVersion(c.Version)
	if err := q.ReadFrom(c.Body); err != nil {
		return fmt.Errorf("decode %s version %d: %w", kmsg.NameForKey(c.Key), c.Version, err)
	}
	return nil
}

// quick makes a starter of a handler that answers from memory, at once.
func quick[Q kmsg.Request, P kmsg.Response](newRequest func() Q, handle func(*Server, *call, Q) P) starter {
	return func(_ context.Context, s *Server, c *call) (wire.Pending, error) {
		q := newRequest()
		if err := decode(c, q); err != nil {
			return nil, err
		}
		p := handle(s, c, q)
		c.Ready = wire.Immediately
		return func(context.Context) (*wire.Response, error) { return encode(c, p), nil }, nil
	}
}

// waits makes a starter of a handler that may wait for disk, metadata or bucket: it
// runs when the answers before it have left.
func waits[Q kmsg.Request, P kmsg.Response](newRequest func() Q, handle func(*Server, context.Context, *call, Q) P) starter {
	return func(_ context.Context, s *Server, c *call) (wire.Pending, error) {
		q := newRequest()
		if err := decode(c, q); err != nil {
			return nil, err
		}
		return func(ctx context.Context) (*wire.Response, error) { return encode(c, handle(s, ctx, c, q)), nil }, nil
	}
}

// works makes a starter as waits does, of a handler that computes or reads more than it
// waits: its time is its client's (KIP-124).
func works[Q kmsg.Request, P kmsg.Response](newRequest func() Q, handle func(*Server, context.Context, *call, Q) P) starter {
	return waits(newRequest, func(s *Server, ctx context.Context, c *call, q Q) P {
		defer s.charge(c, s.Now())
		return handle(s, ctx, c, q)
	})
}

// started makes a starter of a handler that acts at once, in the order of requests,
// and returns what waits for the outcome. A nil response is not sent.
func started[Q kmsg.Request, P kmsg.Response](newRequest func() Q, handle func(*Server, *call, Q) func(context.Context) (P, error)) starter {
	return func(_ context.Context, s *Server, c *call) (wire.Pending, error) {
		q := newRequest()
		if err := decode(c, q); err != nil {
			return nil, err
		}
		wait := handle(s, c, q)
		return func(ctx context.Context) (*wire.Response, error) {
			p, err := wait(ctx)
			if err != nil {
				return nil, err
			}
			return encode(c, p), nil
		}, nil
	}
}
