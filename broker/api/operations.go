package api

// Authorized operations as bit fields (KIP-430). Without an authorizer every operation
// that a resource supports is allowed, as in Kafka.
const (
	opRead = 1 << (iota + 3)
	opWrite
	opCreate
	opDelete
	opAlter
	opDescribe
	opClusterAction
	opDescribeConfigs
	opAlterConfigs
	opIdempotentWrite
)

const (
	topicOperations   = opRead | opWrite | opCreate | opDelete | opAlter | opDescribe | opDescribeConfigs | opAlterConfigs
	clusterOperations = opCreate | opAlter | opDescribe | opClusterAction | opDescribeConfigs | opAlterConfigs | opIdempotentWrite
	groupOperations   = opRead | opDelete | opDescribe | opDescribeConfigs | opAlterConfigs

	// notReported stands where operations were not asked for: INT_MIN.
	notReported = -1 << 31
)

// operations returns the bit field of a resource if it was asked for.
func operations(asked bool, supported int32) int32 {
	if asked {
		return supported
	}
	return notReported
}
