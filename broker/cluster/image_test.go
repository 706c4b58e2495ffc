package cluster

import (
	"slices"
	"testing"
)

func TestBrokersAreFoundByID(t *testing.T) {
	i := &Image{brokers: []Broker{{ID: 0}, {ID: 3}, {ID: 1000}}}
	for _, id := range []int32{0, 3, 1000} {
		if b, ok := i.Broker(id); !ok || b.ID != id {
			t.Errorf("broker %d: %v, %v", id, b, ok)
		}
	}
	for _, id := range []int32{-1, 1, 1001} {
		if b, ok := i.Broker(id); ok {
			t.Errorf("broker %d, which is not registered, is %v", id, b)
		}
	}
	if ids := i.BrokerIDs(); !slices.Equal(ids, []int32{0, 3, 1000}) {
		t.Errorf("ids %v", ids)
	}
}
