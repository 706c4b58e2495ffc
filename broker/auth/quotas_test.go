package auth

import "testing"

// The levels as in Kafka's documentation, the first that is set counts (KIP-55).
func TestMostSpecificQuotaApplies(t *testing.T) {
	u, c := Named("u"), Named("c")
	levels := []struct {
		entity, shared Entity
	}{
		{Entity{User: u, ClientID: c}, Entity{User: u, ClientID: c}},
		{Entity{User: u, ClientID: Default}, Entity{User: u, ClientID: c}},
		{Entity{User: u}, Entity{User: u}},
		{Entity{User: Default, ClientID: c}, Entity{User: u, ClientID: c}},
		{Entity{User: Default, ClientID: Default}, Entity{User: u, ClientID: c}},
		{Entity{User: Default}, Entity{User: u}},
		{Entity{ClientID: c}, Entity{ClientID: c}},
		{Entity{ClientID: Default}, Entity{ClientID: c}},
	}
	for i, want := range levels {
		set := map[Entity]map[string]float64{{User: Named("other")}: {"producer_byte_rate": 1000}, {ClientID: Named("other")}: {"producer_byte_rate": 1000}}
		for j := i; j < len(levels); j++ {
			set[levels[j].entity] = map[string]float64{"producer_byte_rate": float64(j), "no.such": 1}
		}
		got, ok := NewQuotas(set).ofClient(ProducerBytes, "u", "c")
		if !ok || got != (limit{float64(i), want.shared}) {
			t.Errorf("level %d: got %+v (%v), want %d shared by %+v", i, got, ok, i, want.shared)
		}
		if _, ok := NewQuotas(set).ofClient(ConsumerBytes, "u", "c"); ok {
			t.Errorf("level %d: there is a quota of another kind", i)
		}
	}
	if _, ok := new(Quotas).ofClient(ProducerBytes, "u", "c"); ok {
		t.Error("there is a quota though none is set")
	}
}

// A name that looks like a default is a name.
func TestNoNameIsTheDefault(t *testing.T) {
	q := NewQuotas(map[Entity]map[string]float64{{User: Default}: {"producer_byte_rate": 1}, {User: Named("")}: {"producer_byte_rate": 2}})
	for user, want := range map[string]float64{"": 2, "<default>": 1} {
		if got, _ := q.ofClient(ProducerBytes, user, ""); got.rate != want {
			t.Errorf("user %q: rate %v, want %v", user, got.rate, want)
		}
	}
}

func TestAddressesAreComparedAsAddresses(t *testing.T) { // KIP-612
	const key = "connection_creation_rate"
	q := NewQuotas(map[Entity]map[string]float64{
		{IP: Named("127.0.0.1")}: {key: 1}, {IP: Named("::0:1")}: {key: 2}, {IP: Default}: {key: 3},
	})
	for ip, want := range map[string]float64{"127.0.0.1": 1, "::ffff:127.0.0.1": 1, "::1": 2, "10.0.0.1": 3, "no address": 3} {
		if got, ok := q.ofAddress(ConnectionCreation, ip); !ok || got.rate != want {
			t.Errorf("%s: rate %v (%v), want %v", ip, got.rate, ok, want)
		}
	}
	if _, ok := new(Quotas).ofAddress(ConnectionCreation, "::1"); ok {
		t.Error("there is a quota though none is set")
	}
}
