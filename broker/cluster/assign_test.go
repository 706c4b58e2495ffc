package cluster

import (
	"errors"
	"reflect"
	"testing"
)

// The table in the comment of Kafka's AdminUtils.assignReplicasToBrokers: 10 partitions,
// 5 brokers, replication factor 3.
//
//	broker-0  broker-1  broker-2  broker-3  broker-4
//	p0        p1        p2        p3        p4       (1st replica)
//	p5        p6        p7        p8        p9       (1st replica)
//	p4        p0        p1        p2        p3       (2nd replica)
//	p8        p9        p5        p6        p7       (2nd replica)
//	p3        p4        p0        p1        p2       (3rd replica)
//	p7        p8        p9        p5        p6       (3rd replica)
func TestAssignIsKafkasRule(t *testing.T) {
	got, err := Assign([]int32{4, 2, 0, 1, 3}, 10, 3, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := [][]int32{
		{0, 1, 2}, {1, 2, 3}, {2, 3, 4}, {3, 4, 0}, {4, 0, 1},
		{0, 2, 3}, {1, 3, 4}, {2, 4, 0}, {3, 0, 1}, {4, 1, 2},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestAssignSpreads(t *testing.T) {
	for _, c := range []struct{ brokers, partitions, replicas, start int }{
		{1, 7, 1, 0}, {1, 1, 1, 3}, {3, 9, 3, 1}, {5, 100, 3, 4}, {6, 30, 2, 17}, {12, 10_000, 3, 5},
	} {
		ids := make([]int32, c.brokers)
		for i := range ids {
			ids[i] = int32(10 * i)
		}
		list, err := Assign(ids, c.partitions, c.replicas, c.start)
		if err != nil {
			t.Fatal(err)
		}
		leaders, all := map[int32]int{}, map[int32]int{}
		for p, replicas := range list {
			seen := map[int32]bool{}
			for _, id := range replicas {
				if seen[id] {
					t.Fatalf("%+v: partition %d twice on broker %d", c, p, id)
				}
				seen[id] = true
				all[id]++
			}
			leaders[replicas[0]]++
		}
		for _, id := range ids {
			if even := c.partitions / c.brokers; leaders[id] < even || leaders[id] > even+1 {
				t.Errorf("%+v: broker %d leads %d of %d", c, id, leaders[id], c.partitions)
			}
		}
	}
}

func TestAssignRefusesTheImpossible(t *testing.T) {
	for _, c := range []struct {
		brokers                     []int32
		partitions, replicas, start int
	}{
		{nil, 1, 1, 0}, {[]int32{1}, 1, 2, 0}, {[]int32{1}, 0, 1, 0}, {[]int32{1}, -1, 1, 0},
		{[]int32{1}, 1, 0, 0}, {[]int32{1}, 1, 1, -1}, {[]int32{1}, MaxPartitions + 1, 1, 0},
	} {
		if _, err := Assign(c.brokers, c.partitions, c.replicas, c.start); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v, want ErrInvalid", c, err)
		}
	}
}
