package telemetry

import (
	"errors"
	"math"
	"strings"
	"time"
)

// series is a metric of a client with its labels.
type series struct {
	identity
	counter bool
	value   float64
	seen    time.Time // when it was last pushed
}

// The labels of a client, which are part of each of its series.
const (
	labelClientID        = "client_id"
	labelInstanceID      = "client_instance_id"
	labelSoftwareName    = "client_software_name"
	labelSoftwareVersion = "client_software_version"
	labelSourceAddress   = "client_source_address"
)

// ownLabels are those that stand whatever the client pushes.
func ownLabels(c *Client) []label {
	var own []label
	for _, l := range []label{
		{labelClientID, c.ClientID}, {labelInstanceID, c.InstanceID.String()},
		{labelSoftwareName, c.Software}, {labelSoftwareVersion, c.Version},
	} {
		if l.value = strings.Clone(labelValue(l.value)); l.value != "" { // and not the whole of a long one
			own = append(own, l)
		}
	}
	return own
}

// keep puts what a client has pushed in place of what it has pushed before.
func (r *Receiver) keep(i *instance, now time.Time, d *decoder) {
	r.stats.LeftOut += int64(d.leftOut)
	i.member = strings.Clone(labelValue(d.member))
	for _, p := range d.points {
		if !r.set(i, now, &p) {
			r.stats.LeftOut++
		}
	}
}

// set keeps a point, unless there is no room for its series.
func (r *Receiver) set(i *instance, now time.Time, p *point) bool {
	id := identify(p.name, i.own, p.labels)
	s := i.series[id.key]
	if s == nil {
		if len(id.key) > maxSeries || len(i.series) >= r.options.MaxSeriesPerClient || r.series >= r.options.MaxSeries {
			return false
		}
		s = &series{identity: id}
		i.series[id.key] = s
		r.series++
	}
	s.seen, s.counter = now, p.counter
	s.value = next(s.value, p)
	return true
}

// next is the value of a series after a point. A delta that is no number would spoil the
// sum for ever, and one below zero is not one of what only grows.
func next(before float64, p *point) float64 {
	switch {
	case !p.delta:
		return p.value
	case math.IsNaN(p.value) || math.IsInf(p.value, 0) || p.counter && p.value < 0:
		return before
	default:
		return before + p.value
	}
}

// Kind is the type of a metric, as Prometheus is told it.
type Kind uint8

// The kinds of metrics.
const (
	Gauge   Kind = iota
	Counter      // it only grows, until it begins again
	Untyped      // clients do not agree
)

// Sample is the newest value of a series. Its slices are not changed any more.
type Sample struct {
	Name           string // begins with Prefix
	Kind           Kind   // the same for all samples of the name
	Labels, Values []string
	Value          float64
}

// Samples returns the newest value of every series, and who the clients are that have
// any. No two have the same name and labels.
func (r *Receiver) Samples() []Sample {
	samples := r.copied()
	kinds := make(map[string]Kind)
	for i := range samples {
		if kind, known := kinds[samples[i].Name]; !known {
			kinds[samples[i].Name] = samples[i].Kind
		} else if kind != samples[i].Kind {
			kinds[samples[i].Name] = Untyped
		}
	}
	for i := range samples {
		samples[i].Kind = kinds[samples[i].Name]
	}
	return samples
}

func (r *Receiver) copied() []Sample {
	r.mu.Lock()
	defer r.mu.Unlock()
	samples := make([]Sample, 0, r.series+len(r.clients))
	for _, i := range r.clients {
		if len(i.series) == 0 {
			continue
		}
		info := identify(infoName, i.own, []label{{labelSourceAddress, i.address}, {attributeMember, i.member}})
		samples = append(samples, Sample{Name: infoName, Kind: Gauge, Labels: info.names, Values: info.values, Value: 1})
		for _, s := range i.series {
			kind := Gauge
			if s.counter {
				kind = Counter
			}
			samples = append(samples, Sample{Name: s.name, Kind: kind, Labels: s.names, Values: s.values, Value: s.value})
		}
	}
	return samples
}

// Stats are counts of a Receiver.
type Stats struct {
	Clients, Series int64
	Pushes          int64 // that were taken
	Bytes           int64 // of those, as they came
	LeftOut         int64 // data points that were not kept, since a limit was reached
	Refused         [len(refusals)]int64
}

// refusals are the reasons why requests are refused, by their names in metrics.
var refusals = [...]struct {
	err  error
	name string
}{
	{ErrInvalidRequest, "invalid_request"},
	{ErrThrottled, "throttled"},
	{ErrUnknownSubscription, "unknown_subscription"},
	{ErrUnsupportedCompression, "unsupported_compression"},
	{ErrTooLarge, "too_large"},
	{ErrInvalidRecord, "invalid_record"},
}

func (s *Stats) count(err error) {
	for i := range refusals {
		if errors.Is(err, refusals[i].err) {
			s.Refused[i]++
		}
	}
}

// EachRefusal calls yield with each reason to refuse requests and its count.
func (s *Stats) EachRefusal(yield func(reason string, count int64)) {
	for i := range refusals {
		yield(refusals[i].name, s.Refused[i])
	}
}

// Stats returns the counts as they are now.
func (r *Receiver) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Clients, s.Series = int64(len(r.clients)), int64(r.series)
	return s
}
