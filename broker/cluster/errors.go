package cluster

import (
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// Errors that callers choose by.
var (
	ErrTopicExists  = errors.New("topic exists")
	ErrUnknownTopic = errors.New("unknown topic")
	ErrNodeIDTaken  = errors.New("another running broker has this node id")
	ErrConflict     = errors.New("metadata changed meanwhile")
	ErrInvalid      = errors.New("invalid metadata change")
	ErrUnavailable  = errors.New("metadata store unavailable")
	// ErrLocked: another process uses the metadata directory.
	ErrLocked = errors.New("metadata directory is in use by another process")
	// ErrWrongCluster: the metadata belongs to another cluster, or to a newer Varve.
	ErrWrongCluster = errors.New("metadata of another cluster")
	// ErrRegressed: the store lost changes that it had confirmed. Restart the broker.
	ErrRegressed = errors.New("metadata store went back in time")
	// ErrCorrupt: a key or value of the metadata cannot be understood.
	ErrCorrupt = errors.New("corrupt metadata")
)

const adviceNoSpace = "etcd is out of space (NOSPACE alarm): " +
	"restart the broker to compact and defragment its embedded etcd; " +
	"with an external etcd run compact, defrag and alarm disarm of etcdctl, or raise --quota-backend-bytes"

// unavailable says that op could not be carried out, and what an operator can do. Whether
// a write was applied is unknown, unless refused says so.
func unavailable(op string, err error) error {
	if errors.Is(err, rpctypes.ErrNoSpace) {
		return fmt.Errorf("%s: %w: %s", op, ErrUnavailable, adviceNoSpace)
	}
	return fmt.Errorf("%s: %w: %w", op, ErrUnavailable, err)
}

// refused reports whether err means that etcd did not even propose the request.
func refused(err error) bool {
	for _, e := range []error{
		rpctypes.ErrNoSpace, rpctypes.ErrTooManyOps, rpctypes.ErrDuplicateKey, rpctypes.ErrRequestTooLarge,
		rpctypes.ErrTooManyRequests, rpctypes.ErrLeaseNotFound, rpctypes.ErrPermissionDenied,
		rpctypes.ErrAuthFailed, rpctypes.ErrInvalidAuthToken,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
