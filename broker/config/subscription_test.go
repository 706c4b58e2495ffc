package config

import (
	"errors"
	"slices"
	"testing"
	"time"
)

func TestSubscriptionsAreReadAsTheyAreChecked(t *testing.T) { // KIP-714
	s, err := ParseSubscription(map[string]string{
		"metrics": "org.apache.kafka.producer., org.apache.kafka.consumer.", "interval.ms": " 1000",
		"match": `client_id=a|b, client_software_version = 11\.1.*`,
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"org.apache.kafka.producer.", "org.apache.kafka.consumer."}; !slices.Equal(s.Metrics, want) || s.Interval != time.Second {
		t.Errorf("%v every %v", s.Metrics, s.Interval)
	}
	for _, c := range []struct {
		name, value string
		want        bool
	}{
		{MatchClientID, "a", true},
		{MatchClientID, "b", true},
		{MatchClientID, "ab", false}, // as a whole, each side of the bar
		{MatchSoftwareVersion, "11.1.7", true},
		{MatchSoftwareVersion, "11.2", false},
		{MatchSoftwareVersion, "111.1", false},
	} {
		if got := s.Match[c.name].MatchString(c.value); got != c.want {
			t.Errorf("%s of %s: %v", c.name, c.value, got)
		}
	}
	if s, err := ParseSubscription(nil); err != nil || len(s.Metrics) != 0 || s.Interval != 5*time.Minute || len(s.Match) != 0 {
		t.Errorf("of nothing: %+v, %v", s, err)
	}
	for _, bad := range []map[string]string{{"interval.ms": "soon"}, {"match": "client_id=["}} {
		if _, err := ParseSubscription(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}
