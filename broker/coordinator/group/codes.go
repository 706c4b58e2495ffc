package group

import "github.com/twmb/franz-go/pkg/kerr"

// Codes of the protocol that a group answers.
var (
	unknownServerError        = kerr.UnknownServerError.Code
	offsetMetadataTooLarge    = kerr.OffsetMetadataTooLarge.Code
	coordinatorNotAvailable   = kerr.CoordinatorNotAvailable.Code
	invalidGroupID            = kerr.InvalidGroupID.Code
	illegalGeneration         = kerr.IllegalGeneration.Code
	inconsistentGroupProtocol = kerr.InconsistentGroupProtocol.Code
	unknownMemberID           = kerr.UnknownMemberID.Code
	rebalanceInProgress       = kerr.RebalanceInProgress.Code
	memberIDRequired          = kerr.MemberIDRequired.Code
	groupMaxSizeReached       = kerr.GroupMaxSizeReached.Code
	fencedInstanceID          = kerr.FencedInstanceID.Code
	nonEmptyGroup             = kerr.NonEmptyGroup.Code
	groupIDNotFound           = kerr.GroupIDNotFound.Code
	groupSubscribedToTopic    = kerr.GroupSubscribedToTopic.Code
	unstableOffsetCommit      = kerr.UnstableOffsetCommit.Code
	invalidRequest            = kerr.InvalidRequest.Code
	unsupportedVersion        = kerr.UnsupportedVersion.Code
	fencedMemberEpoch         = kerr.FencedMemberEpoch.Code
	staleMemberEpoch          = kerr.StaleMemberEpoch.Code
	unreleasedInstanceID      = kerr.UnreleasedInstanceID.Code
	unsupportedAssignor       = kerr.UnsupportedAssignor.Code
	unknownTopicID            = kerr.UnknownTopicID.Code
	unknownTopicOrPartition   = kerr.UnknownTopicOrPartition.Code
	streamsInvalidTopology    = kerr.StreamsInvalidTopology.Code
	invalidRegularExpression  = kerr.InvalidRegularExpression.Code
)
