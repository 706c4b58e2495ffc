//go:build interop

package interop

import (
	"fmt"
	"math"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// What the differential test asks, by subject.

func adminProbes() []adminProbe {
	all := aclProbes()
	all = append(all, tokenProbes()...)
	all = append(all, scramProbes()...)
	all = append(all, quotaProbes()...)
	all = append(all, filterProbes()...)
	all = append(all, placementProbes()...)
	all = append(all, electionProbes()...)
	all = append(all, featureProbes()...)
	all = append(all, resourceProbes()...)
	all = append(all, loginProbes()...)
	return append(all, clusterProbes()...)
}

func aclFilter(change ...func(*kmsg.DescribeACLsRequest)) func() kmsg.Request {
	return made(kmsg.NewPtrDescribeACLsRequest, func(q *kmsg.DescribeACLsRequest) {
		q.ResourceType, q.ResourcePatternType = kmsg.ACLResourceTypeTopic, kmsg.ACLResourcePatternTypeLiteral
		q.Operation, q.PermissionType = kmsg.ACLOperationRead, kmsg.ACLPermissionTypeAllow
		q.ResourceName, q.Principal, q.Host = kmsg.StringPtr(adminTopic), kmsg.StringPtr("User:alice"), kmsg.StringPtr("*")
		for _, f := range change {
			f(q)
		}
	})
}

func aclBinding(topic string) kmsg.CreateACLsRequestCreation {
	b := kmsg.NewCreateACLsRequestCreation()
	b.ResourceType, b.ResourceName, b.ResourcePatternType = kmsg.ACLResourceTypeTopic, topic, kmsg.ACLResourcePatternTypeLiteral
	b.Principal, b.Host, b.Operation, b.PermissionType = "User:alice", "*", kmsg.ACLOperationRead, kmsg.ACLPermissionTypeAllow
	return b
}

func aclProbes() []adminProbe {
	deleteFilter := func(topic string) kmsg.DeleteACLsRequestFilter {
		f := kmsg.NewDeleteACLsRequestFilter()
		f.ResourceType, f.ResourceName, f.ResourcePatternType = kmsg.ACLResourceTypeTopic, &topic, kmsg.ACLResourcePatternTypeMatch
		f.Operation, f.PermissionType = kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
		return f
	}
	return []adminProbe{
		{name: "describe ACLs", key: kmsg.DescribeACLs, request: aclFilter()},
		{name: "describe all ACLs", key: kmsg.DescribeACLs, request: aclFilter(func(q *kmsg.DescribeACLsRequest) {
			q.ResourceType, q.ResourcePatternType = kmsg.ACLResourceTypeAny, kmsg.ACLResourcePatternTypeAny
			q.Operation, q.PermissionType = kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
			q.ResourceName, q.Principal, q.Host = nil, nil, nil
		})},
		{name: "create an ACL", key: kmsg.CreateACLs, request: made(kmsg.NewPtrCreateACLsRequest, func(q *kmsg.CreateACLsRequest) {
			q.Creations = append(q.Creations, aclBinding(adminTopic))
		})},
		{name: "create two ACLs", key: kmsg.CreateACLs, request: made(kmsg.NewPtrCreateACLsRequest, func(q *kmsg.CreateACLsRequest) {
			q.Creations = append(q.Creations, aclBinding(adminTopic), aclBinding(""))
		})},
		{name: "create no ACL", key: kmsg.CreateACLs, request: made(kmsg.NewPtrCreateACLsRequest, func(*kmsg.CreateACLsRequest) {})},
		{name: "delete ACLs", key: kmsg.DeleteACLs, request: made(kmsg.NewPtrDeleteACLsRequest, func(q *kmsg.DeleteACLsRequest) {
			q.Filters = append(q.Filters, deleteFilter(adminTopic), deleteFilter("nowhere"))
		})},
		{name: "delete no ACLs", key: kmsg.DeleteACLs, request: made(kmsg.NewPtrDeleteACLsRequest, func(*kmsg.DeleteACLsRequest) {})},
	}
}

func tokenProbes() []adminProbe {
	renewer := func(kind, name string) kmsg.CreateDelegationTokenRequestRenewer {
		r := kmsg.NewCreateDelegationTokenRequestRenewer()
		r.PrincipalType, r.PrincipalName = kind, name
		return r
	}
	return []adminProbe{
		{name: "create a token", key: kmsg.CreateDelegationToken, request: made(kmsg.NewPtrCreateDelegationTokenRequest, func(q *kmsg.CreateDelegationTokenRequest) {
			q.Renewers, q.MaxLifetimeMillis = append(q.Renewers, renewer("User", "alice")), -1
		})},
		{name: "create a token for somebody else", key: kmsg.CreateDelegationToken, from: 3, request: made(kmsg.NewPtrCreateDelegationTokenRequest, func(q *kmsg.CreateDelegationTokenRequest) {
			q.OwnerPrincipalType, q.OwnerPrincipalName, q.MaxLifetimeMillis = kmsg.StringPtr("User"), kmsg.StringPtr("bob"), 1000
		})},
		{name: "create a token for nobody", key: kmsg.CreateDelegationToken, from: 3, request: made(kmsg.NewPtrCreateDelegationTokenRequest, func(q *kmsg.CreateDelegationTokenRequest) {
			q.OwnerPrincipalType, q.OwnerPrincipalName, q.MaxLifetimeMillis = kmsg.StringPtr("User"), kmsg.StringPtr(""), 1000
		})},
		{name: "create a token with a renewer of another type", key: kmsg.CreateDelegationToken, request: made(kmsg.NewPtrCreateDelegationTokenRequest, func(q *kmsg.CreateDelegationTokenRequest) {
			q.Renewers = append(q.Renewers, renewer("Group", "all"))
		})},
		{name: "renew a token", key: kmsg.RenewDelegationToken, request: made(kmsg.NewPtrRenewDelegationTokenRequest, func(q *kmsg.RenewDelegationTokenRequest) {
			q.HMAC, q.RenewTimeMillis = []byte{1, 2}, -1
		})},
		{name: "expire a token", key: kmsg.ExpireDelegationToken, request: made(kmsg.NewPtrExpireDelegationTokenRequest, func(q *kmsg.ExpireDelegationTokenRequest) {
			q.HMAC, q.ExpiryPeriodMillis = []byte{1, 2}, -1
		})},
		{name: "describe all tokens", key: kmsg.DescribeDelegationToken, request: made(kmsg.NewPtrDescribeDelegationTokenRequest, func(q *kmsg.DescribeDelegationTokenRequest) {
			q.Owners = nil
		})},
		{name: "describe somebody's tokens", key: kmsg.DescribeDelegationToken, request: made(kmsg.NewPtrDescribeDelegationTokenRequest, func(q *kmsg.DescribeDelegationTokenRequest) {
			o := kmsg.NewDescribeDelegationTokenRequestOwner()
			o.PrincipalType, o.PrincipalName = "User", "alice"
			q.Owners = append(q.Owners, o)
		})},
	}
}

func upsertion(user string, mechanism int8, iterations int32) kmsg.AlterUserSCRAMCredentialsRequestUpsertion {
	u := kmsg.NewAlterUserSCRAMCredentialsRequestUpsertion()
	u.Name, u.Mechanism, u.Iterations, u.Salt, u.SaltedPassword = user, mechanism, iterations, []byte("salt"), []byte("salted password")
	return u
}

func scramAlter(change func(*kmsg.AlterUserSCRAMCredentialsRequest)) func() kmsg.Request {
	return made(kmsg.NewPtrAlterUserSCRAMCredentialsRequest, change)
}

func scramProbes() []adminProbe {
	describe := func(users ...string) func() kmsg.Request {
		return made(kmsg.NewPtrDescribeUserSCRAMCredentialsRequest, func(q *kmsg.DescribeUserSCRAMCredentialsRequest) {
			for _, name := range users {
				u := kmsg.NewDescribeUserSCRAMCredentialsRequestUser()
				u.Name = name
				q.Users = append(q.Users, u)
			}
		})
	}
	drop := func(user string, mechanism int8) kmsg.AlterUserSCRAMCredentialsRequestDeletion {
		d := kmsg.NewAlterUserSCRAMCredentialsRequestDeletion()
		d.Name, d.Mechanism = user, mechanism
		return d
	}
	set := func(all ...kmsg.AlterUserSCRAMCredentialsRequestUpsertion) func() kmsg.Request {
		return scramAlter(func(q *kmsg.AlterUserSCRAMCredentialsRequest) { q.Upsertions = all })
	}
	deletion := func(all ...kmsg.AlterUserSCRAMCredentialsRequestDeletion) func() kmsg.Request {
		return scramAlter(func(q *kmsg.AlterUserSCRAMCredentialsRequest) { q.Deletions = all })
	}
	const describing, altering = kmsg.DescribeUserSCRAMCredentials, kmsg.AlterUserSCRAMCredentials
	return []adminProbe{
		{name: "describe all SCRAM users", key: describing, request: made(kmsg.NewPtrDescribeUserSCRAMCredentialsRequest, func(*kmsg.DescribeUserSCRAMCredentialsRequest) {})},
		{name: "describe an unknown SCRAM user", key: describing, request: describe("nobody")},
		{name: "describe SCRAM users twice", key: describing, request: describe("nobody", "somebody", "nobody")},
		{name: "delete a credential that is not there", key: altering, request: deletion(drop("nobody", 1))},
		{name: "delete a credential of no user", key: altering, request: deletion(drop("", 1))},
		{name: "delete a credential of an unknown mechanism", key: altering, request: deletion(drop("nobody", 9))},
		{name: "delete a credential twice", key: altering, request: deletion(drop("nobody", 1), drop("nobody", 1))},
		{name: "set a credential of no user", key: altering, request: set(upsertion("", 1, 4096))},
		{name: "set a credential of an unknown mechanism", key: altering, request: set(upsertion("nobody", 0, 4096))},
		{name: "set a credential with few iterations", key: altering, request: set(upsertion("nobody", 1, 4095))},
		{name: "set a credential with many iterations", key: altering, request: set(upsertion("nobody", 2, 16385))},
		{name: "set a credential twice", key: altering, request: set(upsertion("nobody", 1, 4096), upsertion("nobody", 2, 4096))},
		{name: "delete and set a credential", key: altering, request: scramAlter(func(q *kmsg.AlterUserSCRAMCredentialsRequest) {
			q.Deletions, q.Upsertions = append(q.Deletions, drop("nobody", 1)), append(q.Upsertions, upsertion("nobody", 1, 4096))
		})},
		{name: "alter no credential", key: altering, request: set()},
		{name: "set credentials", key: altering, request: set(upsertion(adminTopic, 1, 4096), upsertion("admin-second", 2, 16384), upsertion("admin-third", 2, 1))},
		{name: "set a credential of another mechanism", key: altering, request: set(upsertion(adminTopic, 2, 5000))},
		{name: "describe SCRAM users", key: describing, request: describe("admin-second", adminTopic, "admin-third")},
		{name: "describe all SCRAM users", key: describing, request: made(kmsg.NewPtrDescribeUserSCRAMCredentialsRequest, func(*kmsg.DescribeUserSCRAMCredentialsRequest) {})},
		{name: "delete a credential", key: altering, request: deletion(drop(adminTopic, 2))},
		{name: "delete a credential and set another's", key: altering, request: scramAlter(func(q *kmsg.AlterUserSCRAMCredentialsRequest) {
			q.Deletions, q.Upsertions = append(q.Deletions, drop("admin-second", 2)), append(q.Upsertions, upsertion(adminTopic, 1, 8192))
		})},
		{name: "delete a credential and set it", key: altering, request: scramAlter(func(q *kmsg.AlterUserSCRAMCredentialsRequest) {
			q.Deletions, q.Upsertions = append(q.Deletions, drop(adminTopic, 1)), append(q.Upsertions, upsertion(adminTopic, 1, 4096))
		})},
		{name: "describe what is left of SCRAM users", key: describing, request: describe("admin-second", adminTopic)},
	}
}

// forget removes what a broker has stored of the tests' credentials, quotas and
// subscriptions.
func forget(t testing.TB, address string) {
	t.Helper()
	c := dial(t, address)
	for user, mechanism := range map[string]int8{adminTopic: 1, "admin-second": 2, "alice": 1} {
		ask[*kmsg.AlterUserSCRAMCredentialsResponse](t, c, 0, scramAlter(func(q *kmsg.AlterUserSCRAMCredentialsRequest) {
			d := kmsg.NewAlterUserSCRAMCredentialsRequestDeletion()
			d.Name, d.Mechanism = user, mechanism
			q.Deletions = append(q.Deletions, d)
		})())
	}
	for _, key := range []string{"interval.ms", "match", "metrics"} {
		unsubscribe := alterRequest("m", kmsg.IncrementalAlterConfigOpDelete, key, "")
		unsubscribe.Resources[0].ResourceType = kmsg.ConfigResourceTypeClientMetrics
		ask[*kmsg.IncrementalAlterConfigsResponse](t, c, 1, unsubscribe)
	}
	all := ask[*kmsg.DescribeClientQuotasResponse](t, c, 0, made(kmsg.NewPtrDescribeClientQuotasRequest, func(*kmsg.DescribeClientQuotasRequest) {})())
	for _, e := range all.Entries {
		var entity []kmsg.AlterClientQuotasRequestEntryEntity
		for _, of := range e.Entity {
			entity = append(entity, kmsg.AlterClientQuotasRequestEntryEntity{Type: of.Type, Name: of.Name})
		}
		for _, v := range e.Values {
			op := quotaOp(v.Key, 0)
			op.Remove = true
			ask[*kmsg.AlterClientQuotasResponse](t, c, 0, quotas(entity, op)())
		}
	}
}

func quotaEntity(names ...string) []kmsg.AlterClientQuotasRequestEntryEntity {
	var all []kmsg.AlterClientQuotasRequestEntryEntity
	for i := 0; i < len(names); i += 2 {
		e := kmsg.NewAlterClientQuotasRequestEntryEntity()
		e.Type = names[i]
		if names[i+1] != "<default>" {
			e.Name = &names[i+1]
		}
		all = append(all, e)
	}
	return all
}

func quotaOp(key string, value float64) kmsg.AlterClientQuotasRequestEntryOp {
	op := kmsg.NewAlterClientQuotasRequestEntryOp()
	op.Key, op.Value = key, value
	return op
}

func quotas(entity []kmsg.AlterClientQuotasRequestEntryEntity, ops ...kmsg.AlterClientQuotasRequestEntryOp) func() kmsg.Request {
	return made(kmsg.NewPtrAlterClientQuotasRequest, func(q *kmsg.AlterClientQuotasRequest) {
		e := kmsg.NewAlterClientQuotasRequestEntry()
		e.Entity, e.Ops = entity, ops
		q.Entries = append(q.Entries, e)
	})
}

func quotaProbes() []adminProbe {
	alice := quotaEntity("user", adminTopic)
	const rate = "producer_byte_rate"
	gone := quotaOp(rate, 0)
	gone.Remove = true
	var all []adminProbe
	for _, p := range []adminProbe{
		{name: "quota of nobody", request: quotas(nil, quotaOp(rate, 1))},
		{name: "quota of an unknown type", request: quotas(quotaEntity("group", "g"), quotaOp(rate, 1))},
		{name: "quota of an empty name", request: quotas(quotaEntity("user", ""), quotaOp(rate, 1))},
		{name: "quota of user and address", request: quotas(quotaEntity("user", "u", "ip", "127.0.0.1"), quotaOp("connection_creation_rate", 1))},
		{name: "quota of no address", request: quotas(quotaEntity("ip", "not an address"), quotaOp("connection_creation_rate", 1))},
		{name: "unknown quota", request: quotas(alice, quotaOp("patience", 1))},
		{name: "quota of an address for a user", request: quotas(alice, quotaOp("connection_creation_rate", 1))},
		{name: "quota of a user for an address", request: quotas(quotaEntity("ip", "127.0.0.1"), quotaOp(rate, 1))},
		{name: "quota of 0", request: quotas(alice, quotaOp(rate, 0))},
		{name: "quota below 0", request: quotas(alice, quotaOp("request_percentage", -1))},
		{name: "quota with a fraction", request: quotas(alice, quotaOp(rate, 1.5))},
		{name: "quota just below a whole number", request: quotas(alice, quotaOp(rate, 999.9999999))},
		{name: "quota too large", request: quotas(alice, quotaOp(rate, 1e30))},
		{name: "quota of connections too large", request: quotas(quotaEntity("ip", "<default>"), quotaOp("connection_creation_rate", math.MaxInt32+1))},
		{name: "quota twice", request: quotas(alice, quotaOp(rate, 1), quotaOp(rate, 2))},
		{name: "removal of a quota that is not there", request: quotas(alice, gone)},
		{name: "removal of an unknown quota", request: quotas(alice, kmsg.AlterClientQuotasRequestEntryOp{Key: "patience", Remove: true})},
		{name: "no quota", request: quotas(alice)},
		{name: "quota, validated only", request: made(kmsg.NewPtrAlterClientQuotasRequest, func(q *kmsg.AlterClientQuotasRequest) {
			e := kmsg.NewAlterClientQuotasRequestEntry()
			e.Entity, e.Ops = alice, append(e.Ops, quotaOp(rate, 1000))
			q.Entries, q.ValidateOnly = append(q.Entries, e), true
		})},
		{name: "quota", request: quotas(alice, quotaOp(rate, 1000), quotaOp("request_percentage", 0.5))},
		{name: "quota of a user's client", request: quotas(quotaEntity("user", adminTopic, "client-id", "c"), quotaOp("consumer_byte_rate", 2000))},
		{name: "quota of a user's other clients", request: quotas(quotaEntity("user", adminTopic, "client-id", "<default>"), quotaOp("controller_mutation_rate", 1.5))},
		{name: "quota of an address", request: quotas(quotaEntity("ip", "10.1.2.3"), quotaOp("connection_creation_rate", 5))},
		{name: "one of two quotas", request: quotas(alice, gone, quotaOp("request_percentage", 1))},
		{name: "quota, and one that is wrong", request: quotas(alice, quotaOp(rate, 7), quotaOp("consumer_byte_rate", 0))},
	} {
		p.key = kmsg.AlterClientQuotas
		all = append(all, p)
	}
	return all
}

func filterProbes() []adminProbe {
	filter := func(kind string, match kmsg.QuotasMatchType, name *string) kmsg.DescribeClientQuotasRequestComponent {
		f := kmsg.NewDescribeClientQuotasRequestComponent()
		f.EntityType, f.MatchType, f.Match = kind, match, name
		return f
	}
	const exact, fallback, anyone = kmsg.QuotasMatchTypeExact, kmsg.QuotasMatchTypeDefault, kmsg.QuotasMatchTypeAny
	name, alice := kmsg.StringPtr("nobody"), kmsg.StringPtr(adminTopic)
	var all []adminProbe
	for _, p := range []struct {
		name    string
		filters []kmsg.DescribeClientQuotasRequestComponent
	}{
		{"all quotas", nil},
		{"quotas of a user who has some", []kmsg.DescribeClientQuotasRequestComponent{filter("user", exact, alice)}},
		{"quotas of a user's clients", []kmsg.DescribeClientQuotasRequestComponent{filter("user", exact, alice), filter("client-id", anyone, nil)}},
		{"quotas of a user's default client", []kmsg.DescribeClientQuotasRequestComponent{filter("user", exact, alice), filter("client-id", fallback, nil)}},
		{"quotas of clients", []kmsg.DescribeClientQuotasRequestComponent{filter("client-id", anyone, nil)}},
		{"quotas of a user", []kmsg.DescribeClientQuotasRequestComponent{filter("user", exact, name)}},
		{"quotas of all users and the default client", []kmsg.DescribeClientQuotasRequestComponent{filter("user", anyone, nil), filter("client-id", fallback, nil)}},
		{"quotas of all addresses", []kmsg.DescribeClientQuotasRequestComponent{filter("ip", anyone, nil)}},
		{"quotas of no type", []kmsg.DescribeClientQuotasRequestComponent{filter("", anyone, nil)}},
		{"quotas of an unknown type", []kmsg.DescribeClientQuotasRequestComponent{filter("group", anyone, nil)}},
		{"quotas of a type twice", []kmsg.DescribeClientQuotasRequestComponent{filter("user", anyone, nil), filter("user", exact, name)}},
		{"quotas of exactly nobody", []kmsg.DescribeClientQuotasRequestComponent{filter("user", exact, nil)}},
		{"quotas of the default, with a name", []kmsg.DescribeClientQuotasRequestComponent{filter("user", fallback, name)}},
		{"quotas of anybody, with a name", []kmsg.DescribeClientQuotasRequestComponent{filter("user", anyone, name)}},
		{"quotas of an unknown match", []kmsg.DescribeClientQuotasRequestComponent{filter("user", 7, nil)}},
		{"quotas of users and addresses", []kmsg.DescribeClientQuotasRequestComponent{filter("user", anyone, nil), filter("ip", anyone, nil)}},
	} {
		for _, strict := range []bool{false, true} {
			all = append(all, adminProbe{name: fmt.Sprintf("%s, strict %v", p.name, strict), key: kmsg.DescribeClientQuotas, request: made(kmsg.NewPtrDescribeClientQuotasRequest, func(q *kmsg.DescribeClientQuotasRequest) {
				q.Components, q.Strict = p.filters, strict
			})})
		}
	}
	return all
}

// moving asks for the replicas of one partition. nil: the reassignment is given up.
func moving(topic string, partition int32, replicas []int32, change ...func(*kmsg.AlterPartitionAssignmentsRequest)) func() kmsg.Request {
	return made(kmsg.NewPtrAlterPartitionAssignmentsRequest, func(q *kmsg.AlterPartitionAssignmentsRequest) {
		to := kmsg.NewAlterPartitionAssignmentsRequestTopic()
		to.Topic = topic
		p := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
		p.Partition, p.Replicas = partition, replicas
		to.Partitions = append(to.Partitions, p)
		q.Topics = append(q.Topics, to)
		for _, f := range change {
			f(q)
		}
	})
}

func logMove(dir, topic string, partition int32) func() kmsg.Request {
	return made(kmsg.NewPtrAlterReplicaLogDirsRequest, func(q *kmsg.AlterReplicaLogDirsRequest) {
		d := kmsg.NewAlterReplicaLogDirsRequestDir()
		d.Dir = dir
		to := kmsg.NewAlterReplicaLogDirsRequestDirTopic()
		to.Topic, to.Partitions = topic, []int32{partition}
		d.Topics = append(d.Topics, to)
		q.Dirs = append(q.Dirs, d)
	})
}

func placementProbes() []adminProbe {
	fixed := func(q *kmsg.AlterPartitionAssignmentsRequest) { q.AllowReplicationFactorChange = false }
	listing := func(topic string, partitions ...int32) func() kmsg.Request {
		return made(kmsg.NewPtrListPartitionReassignmentsRequest, func(q *kmsg.ListPartitionReassignmentsRequest) {
			to := kmsg.NewListPartitionReassignmentsRequestTopic()
			to.Topic, to.Partitions = topic, partitions
			q.Topics = append(q.Topics, to)
		})
	}
	const move, list, dirs = kmsg.AlterPartitionAssignments, kmsg.ListPartitionReassignments, kmsg.AlterReplicaLogDirs
	return []adminProbe{
		{name: "reassign to where it is", key: move, request: moving(adminTopic, 0, []int32{0})},
		{name: "reassign to an unknown broker", key: move, request: moving(adminTopic, 0, []int32{7})},
		{name: "reassign to a negative broker", key: move, request: moving(adminTopic, 0, []int32{-1})},
		{name: "reassign to one broker twice", key: move, request: moving(adminTopic, 0, []int32{0, 0})},
		{name: "reassign to no broker", key: move, request: moving(adminTopic, 0, []int32{})},
		{name: "reassign to more brokers than allowed", key: move, from: 1, request: moving(adminTopic, 0, []int32{0, 7}, fixed)},
		{name: "reassign to no broker, where that many are not allowed", key: move, from: 1, request: moving(adminTopic, 0, []int32{}, fixed)},
		{name: "reassign to where it is, keeping the factor", key: move, from: 1, request: moving(adminTopic, 0, []int32{0}, fixed)},
		{name: "reassign an unknown topic", key: move, request: moving("nowhere", 0, []int32{0})},
		{name: "reassign a partition beyond", key: move, request: moving(adminTopic, 9, []int32{0})},
		{name: "reassign a negative partition", key: move, request: moving(adminTopic, -1, []int32{0})},
		{name: "cancel a reassignment", key: move, request: moving(adminTopic, 1, nil)},
		{name: "cancel a reassignment of an unknown topic", key: move, request: moving("nowhere", 1, nil)},
		{name: "reassign nothing", key: move, request: made(kmsg.NewPtrAlterPartitionAssignmentsRequest, func(*kmsg.AlterPartitionAssignmentsRequest) {})},
		{name: "list all reassignments", key: list, request: made(kmsg.NewPtrListPartitionReassignmentsRequest, func(q *kmsg.ListPartitionReassignmentsRequest) { q.Topics = nil })},
		{name: "list reassignments", key: list, request: listing(adminTopic, 0, 1, 2)},
		{name: "list reassignments of an unknown topic", key: list, request: listing("nowhere", 0)},
		{name: "move a log to an unknown directory", key: dirs, request: logMove("/nowhere", adminTopic, 0)},
		{name: "move a log to a directory without a name", key: dirs, request: logMove("", adminTopic, 0)},
		{name: "move a log to a relative directory", key: dirs, request: logMove("nowhere", adminTopic, 0)},
		{name: "move no log", key: dirs, request: made(kmsg.NewPtrAlterReplicaLogDirsRequest, func(*kmsg.AlterReplicaLogDirsRequest) {})},
	}
}

// electing asks for elections; no partitions: of all topics.
func electing(kind int8, topic string, partitions ...int32) func() kmsg.Request {
	return made(kmsg.NewPtrElectLeadersRequest, func(q *kmsg.ElectLeadersRequest) {
		q.ElectionType, q.Topics = kind, nil
		if partitions == nil {
			return
		}
		to := kmsg.NewElectLeadersRequestTopic()
		to.Topic, to.Partitions = topic, partitions
		q.Topics = append(q.Topics, to)
	})
}

func electionProbes() []adminProbe {
	const key = kmsg.ElectLeaders
	return []adminProbe{
		{name: "elect the preferred leader", key: key, request: electing(0, adminTopic, 0, 1)},
		{name: "elect an unclean leader", key: key, from: 1, request: electing(1, adminTopic, 0)},
		{name: "elect by an unknown rule", key: key, from: 1, request: electing(2, adminTopic, 0)},
		{name: "elect a leader of an unknown topic", key: key, request: electing(0, "nowhere", 0)},
		{name: "elect a leader of a partition beyond", key: key, request: electing(0, adminTopic, 0, 9)},
		{name: "elect a leader of a negative partition", key: key, request: electing(0, adminTopic, -1)},
		{name: "elect nobody", key: key, request: made(kmsg.NewPtrElectLeadersRequest, func(q *kmsg.ElectLeadersRequest) { q.Topics = []kmsg.ElectLeadersRequestTopic{} })},
	}
}

func featureUpdate(name string, level int16, kind int8) kmsg.UpdateFeaturesRequestFeatureUpdate {
	u := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
	u.Feature, u.MaxVersionLevel, u.UpgradeType, u.AllowDowngrade = name, level, kind, kind > 1
	return u
}

func featureChange(validateOnly bool, updates ...kmsg.UpdateFeaturesRequestFeatureUpdate) func() kmsg.Request {
	return made(kmsg.NewPtrUpdateFeaturesRequest, func(q *kmsg.UpdateFeaturesRequest) {
		q.FeatureUpdates, q.ValidateOnly = updates, validateOnly
	})
}

func featureProbes() []adminProbe {
	const group, txn = "group.version", "transaction.version"
	var all []adminProbe
	for _, p := range []adminProbe{
		{name: "a feature to its own level", request: featureChange(false, featureUpdate(group, 1, 1))},
		{name: "two features to their own levels", request: featureChange(false, featureUpdate(group, 1, 1), featureUpdate(txn, 2, 1))},
		{name: "a feature above its range", request: featureChange(false, featureUpdate(txn, 9, 1))},
		{name: "a feature below 0", request: featureChange(false, featureUpdate(txn, -1, 2))},
		{name: "an unknown feature", request: featureChange(false, featureUpdate("no.such", 1, 1))},
		{name: "a feature down, upwards", request: featureChange(false, featureUpdate(txn, 1, 1))},
		{name: "a feature up, downwards", request: featureChange(false, featureUpdate(txn, 9, 2))},
		{name: "a feature by an unknown way", from: 1, request: featureChange(false, featureUpdate(txn, 1, 7))},
		{name: "a feature by no way", from: 1, request: featureChange(false, featureUpdate(txn, 1, 0))},
		{name: "a feature and an unknown one", request: featureChange(false, featureUpdate(group, 1, 1), featureUpdate("no.such", 1, 1))},
		{name: "a feature down, validated only", from: 1, request: featureChange(true, featureUpdate(group, 0, 2))},
		{name: "no feature", request: featureChange(false)},
	} {
		p.key = kmsg.UpdateFeatures
		all = append(all, p)
	}
	return all
}

// resourceProbes ask for configs of what is neither topic nor broker; none of them by name.
func resourceProbes() []adminProbe {
	describe := func(kind kmsg.ConfigResourceType, name string) func() kmsg.Request {
		return made(kmsg.NewPtrDescribeConfigsRequest, func(q *kmsg.DescribeConfigsRequest) {
			r := kmsg.NewDescribeConfigsRequestResource()
			r.ResourceType, r.ResourceName, r.ConfigNames = kind, name, []string{"no.such"}
			q.Resources = append(q.Resources, r)
		})
	}
	const set, del = kmsg.IncrementalAlterConfigOpSet, kmsg.IncrementalAlterConfigOpDelete
	alter := func(kind kmsg.ConfigResourceType, name string, op kmsg.IncrementalAlterConfigOp, key, value string) func() kmsg.Request {
		return func() kmsg.Request {
			q := alterRequest(name, op, key, value)
			q.Resources[0].ResourceType, q.ValidateOnly = kind, true
			if op == del {
				q.Resources[0].Configs[0].Value = nil
			}
			return q
		}
	}
	replace := func(kind kmsg.ConfigResourceType, name string) func() kmsg.Request {
		return func() kmsg.Request {
			q := replaceRequest(name, nil)
			q.Resources[0].ResourceType, q.ValidateOnly = kind, true
			return q
		}
	}
	everything := func(request func() kmsg.Request) func() kmsg.Request {
		return func() kmsg.Request {
			q := request().(*kmsg.DescribeConfigsRequest)
			q.Resources[0].ConfigNames, q.IncludeSynonyms = nil, true
			return q
		}
	}
	subscribe := func(op kmsg.IncrementalAlterConfigOp, key, value string) func() kmsg.Request {
		return func() kmsg.Request {
			q := alterRequest("m", op, key, value)
			q.Resources[0].ResourceType = kmsg.ConfigResourceTypeClientMetrics
			return q
		}
	}
	const logger, metrics, group = kmsg.ConfigResourceTypeBrokerLogger, kmsg.ConfigResourceTypeClientMetrics, kmsg.ConfigResourceTypeGroupConfig
	var all []adminProbe
	for _, r := range []struct {
		kind kmsg.ConfigResourceType
		name string
	}{{0, "x"}, {99, "x"}, {logger, "0"}, {logger, "7"}, {logger, ""}, {logger, "x"}, {metrics, "m"}, {metrics, ""}, {group, "g"}, {group, ""}} {
		what := fmt.Sprintf("%q of type %d", r.name, r.kind)
		all = append(all,
			adminProbe{name: "describe " + what, key: kmsg.DescribeConfigs, request: describe(r.kind, r.name)},
			adminProbe{name: "set an unknown config of " + what, key: kmsg.IncrementalAlterConfigs, request: alter(r.kind, r.name, set, "no.such", "1")},
			adminProbe{name: "unset a config of " + what, key: kmsg.IncrementalAlterConfigs, request: alter(r.kind, r.name, del, "no.such", "")},
			adminProbe{name: "replace the configs of " + what, key: kmsg.AlterConfigs, request: replace(r.kind, r.name)},
		)
	}
	return append(all,
		adminProbe{name: "have clients' metrics sent, validated only", key: kmsg.IncrementalAlterConfigs, request: alter(metrics, "m", set, "interval.ms", "1000")},
		adminProbe{name: "have clients' metrics sent", key: kmsg.IncrementalAlterConfigs, request: subscribe(set, "interval.ms", "1000")},
		adminProbe{name: "have metrics of some clients sent", key: kmsg.IncrementalAlterConfigs, request: subscribe(set, "match", "client_software_name=apache-kafka-java, client_id = a.*")},
		adminProbe{name: "have metrics of nobody sent", key: kmsg.IncrementalAlterConfigs, request: subscribe(set, "match", "nobody=a.*")},
		adminProbe{name: "have metrics of a broken pattern sent", key: kmsg.IncrementalAlterConfigs, request: subscribe(set, "match", "client_id=[")},
		adminProbe{name: "have metrics sent at no interval", key: kmsg.IncrementalAlterConfigs, request: subscribe(set, "interval.ms", "soon")},
		adminProbe{name: "append to an interval", key: kmsg.IncrementalAlterConfigs, request: subscribe(kmsg.IncrementalAlterConfigOpAppend, "interval.ms", "1")},
		adminProbe{name: "have one more metric sent", key: kmsg.IncrementalAlterConfigs, request: subscribe(kmsg.IncrementalAlterConfigOpAppend, "metrics", "org.apache.kafka.producer.")},
		adminProbe{name: "describe a subscription", key: kmsg.DescribeConfigs, request: everything(describe(metrics, "m"))},
		adminProbe{name: "describe a subscription that is not there", key: kmsg.DescribeConfigs, request: everything(describe(metrics, "nothing"))},
		adminProbe{name: "list subscriptions", key: kmsg.ListConfigResources, request: made(kmsg.NewPtrListConfigResourcesRequest, func(q *kmsg.ListConfigResourcesRequest) {
			q.ResourceTypes = []int8{int8(metrics)}
		})},
		adminProbe{name: "have clients' metrics sent too often", key: kmsg.IncrementalAlterConfigs, request: alter(metrics, "m", set, "interval.ms", "1")},
		adminProbe{name: "have no metrics sent", key: kmsg.IncrementalAlterConfigs, request: alter(metrics, "m", del, "interval.ms", "")},
		adminProbe{name: "set a logger's level", key: kmsg.IncrementalAlterConfigs, request: alter(logger, "0", set, "root", "INFO")},
		adminProbe{name: "set a logger's level to what is none", key: kmsg.IncrementalAlterConfigs, request: alter(logger, "0", set, "root", "LOUD")},
		adminProbe{name: "unset the level of the root logger", key: kmsg.IncrementalAlterConfigs, request: alter(logger, "0", del, "root", "")},
	)
}

func quorumOf(topic string, partitions ...int32) func() kmsg.Request {
	return made(kmsg.NewPtrDescribeQuorumRequest, func(q *kmsg.DescribeQuorumRequest) {
		to := kmsg.NewDescribeQuorumRequestTopic()
		to.Topic = topic
		for _, p := range partitions {
			to.Partitions = append(to.Partitions, kmsg.DescribeQuorumRequestTopicPartition{Partition: p})
		}
		q.Topics = append(q.Topics, to)
	})
}

func clusterProbes() []adminProbe {
	resources := func(kinds ...kmsg.ConfigResourceType) func() kmsg.Request {
		return made(kmsg.NewPtrListConfigResourcesRequest, func(q *kmsg.ListConfigResourcesRequest) {
			for _, k := range kinds {
				q.ResourceTypes = append(q.ResourceTypes, int8(k))
			}
		})
	}
	remove := func(id int32) func() kmsg.Request {
		return made(kmsg.NewPtrUnregisterBrokerRequest, func(q *kmsg.UnregisterBrokerRequest) { q.BrokerID = id })
	}
	return []adminProbe{
		{name: "handshake where nobody is authenticated", key: kmsg.SASLHandshake, request: made(kmsg.NewPtrSASLHandshakeRequest, func(q *kmsg.SASLHandshakeRequest) { q.Mechanism = "PLAIN" })},
		{name: "authenticate where nobody is", key: kmsg.SASLAuthenticate, request: made(kmsg.NewPtrSASLAuthenticateRequest, func(q *kmsg.SASLAuthenticateRequest) { q.SASLAuthBytes = []byte("\x00u\x00p") })},
		{name: "quorum of another topic", key: kmsg.DescribeQuorum, request: quorumOf(adminTopic, 0)},
		{name: "quorum of an unknown topic", key: kmsg.DescribeQuorum, request: quorumOf("nowhere", 0)},
		{name: "quorum of another partition", key: kmsg.DescribeQuorum, request: quorumOf("__cluster_metadata", 1)},
		{name: "quorum of two partitions", key: kmsg.DescribeQuorum, request: quorumOf("__cluster_metadata", 0, 1)},
		{name: "quorum of nothing", key: kmsg.DescribeQuorum, request: made(kmsg.NewPtrDescribeQuorumRequest, func(*kmsg.DescribeQuorumRequest) {})},
		{name: "unregister an unknown broker", key: kmsg.UnregisterBroker, request: remove(7)},
		{name: "unregister a negative broker", key: kmsg.UnregisterBroker, request: remove(-1)},
		{name: "list clients' metrics", key: kmsg.ListConfigResources, request: resources(kmsg.ConfigResourceTypeClientMetrics)},
		{name: "list brokers", key: kmsg.ListConfigResources, from: 1, request: resources(kmsg.ConfigResourceTypeBroker)},
		{name: "list an unknown type", key: kmsg.ListConfigResources, from: 1, request: resources(99)},
		{name: "list brokers and an unknown type", key: kmsg.ListConfigResources, from: 1, request: resources(kmsg.ConfigResourceTypeBroker, 1)},
		{name: "list loggers", key: kmsg.ListConfigResources, from: 1, request: resources(kmsg.ConfigResourceTypeBrokerLogger)},
	}
}

// adminRequests are requests that mean something, one of each API of the probes.
func adminRequests() map[kmsg.Key]func() kmsg.Request {
	filled := make(map[kmsg.Key]func() kmsg.Request)
	for _, p := range adminProbes() {
		if p.from == 0 && filled[p.key] == nil {
			filled[p.key] = p.request
		}
	}
	filled[kmsg.DescribeQuorum] = quorumOf("__cluster_metadata", 0)
	return filled
}
