package cluster

import (
	"fmt"
	"slices"
)

// Assign spreads replicas over brokers as Kafka does without racks: leaders go round
// robin from the start-th broker (of the ids in order); the second replica lies one
// broker on, the third two, and so forth; and each time the leaders come round, all
// followers shift by one broker more, so that the load of a lost broker spreads over all
// others (AdminUtils.assignReplicasToBrokers). start also begins the shift, as Kafka's
// fixed start index does. Pure.
//
// It returns ErrInvalid where there are fewer brokers than replicas, or none asked for.
func Assign(brokers []int32, partitions, replicationFactor, start int) ([][]int32, error) {
	switch {
	case partitions <= 0 || partitions > MaxPartitions:
		return nil, fmt.Errorf("%w: %d partitions, between 1 and %d are possible", ErrInvalid, partitions, MaxPartitions)
	case replicationFactor <= 0:
		return nil, fmt.Errorf("%w: replication factor %d", ErrInvalid, replicationFactor)
	case start < 0:
		return nil, fmt.Errorf("%w: start at broker %d", ErrInvalid, start)
	case replicationFactor > len(brokers):
		return nil, fmt.Errorf("%w: replication factor %d is larger than the %d available brokers", ErrInvalid, replicationFactor, len(brokers))
	}
	ids := slices.Sorted(slices.Values(brokers))
	n := len(ids)
	shift := start
	out := make([][]int32, partitions)
	for p := range out {
		if p > 0 && p%n == 0 {
			shift++
		}
		leader := (p + start) % n
		replicas := make([]int32, replicationFactor)
		replicas[0] = ids[leader]
		for j := range replicas[1:] {
			replicas[j+1] = ids[(leader+1+(shift+j)%(n-1))%n]
		}
		out[p] = replicas
	}
	return out, nil
}
