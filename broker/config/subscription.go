package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// What a pattern of a subscription's match may be held against (KIP-714).
const (
	MatchInstanceID      = "client_instance_id"
	MatchClientID        = "client_id"
	MatchSoftwareName    = "client_software_name"
	MatchSoftwareVersion = "client_software_version"
	MatchSourceAddress   = "client_source_address"
	MatchSourcePort      = "client_source_port"
)

// DefaultPushInterval is how often a client pushes where no subscription says so.
const DefaultPushInterval = 5 * time.Minute

// Subscription is a subscription to clients' metrics, typed.
type Subscription struct {
	Metrics  []string // prefixes of names; "*" is all
	Interval time.Duration
	Match    map[string]*regexp.Regexp // by what is matched; each holds for the whole of it
}

// ParseSubscription reads the configs of a subscription. What CheckClientMetrics has
// taken has no error.
func ParseSubscription(configs map[string]string) (Subscription, error) {
	s := Subscription{Metrics: splitList(configs["metrics"]), Interval: DefaultPushInterval, Match: make(map[string]*regexp.Regexp)}
	if value, set := configs["interval.ms"]; set {
		ms, err := strconv.Atoi(strings.TrimSpace(value))
		if err != nil {
			return Subscription{}, fmt.Errorf("%w: interval.ms=%s", ErrInvalid, value)
		}
		s.Interval = time.Duration(ms) * time.Millisecond
	}
	for _, pattern := range splitList(configs["match"]) {
		name, expression, _ := strings.Cut(pattern, "=")
		whole, err := CompilePattern(strings.TrimSpace(expression))
		if err != nil {
			return Subscription{}, fmt.Errorf("%w: match=%s: %w", ErrInvalid, pattern, err)
		}
		s.Match[strings.TrimSpace(name)] = whole
	}
	return s, nil
}
