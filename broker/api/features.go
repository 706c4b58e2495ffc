package api

import "github.com/twmb/franz-go/pkg/kmsg"

// feature is what clients ask for by name and level instead of API version (KIP-584).
type feature struct {
	name     string
	min, max int16 // levels that this version serves
}

// features are all of them. One that nobody has set is finalized at its highest level:
// what a broker of this version serves, every broker of its cluster serves.
//
// A level below the highest acts on clients, which read it and then keep to older
// versions of the APIs; group.version 0 also has the consumer protocol refused,
// streams.version 0 the streams protocol, share.version 0 share groups.
var features = []feature{
	{groupVersion, 0, 1},          // the consumer protocol (KIP-848)
	{shareVersion, 0, 1},          // share groups (KIP-932)
	{streamsVersion, 0, 1},        // the streams protocol (KIP-1071)
	{"transaction.version", 0, 2}, // an epoch for each transaction (KIP-890)
}

const (
	groupVersion   = "group.version"
	streamsVersion = "streams.version"
	shareVersion   = "share.version"
)

// level returns a feature's finalized level of those that were set.
func (f *feature) level(set map[string]int16) int16 {
	if level, ok := set[f.name]; ok {
		return min(level, f.max) // a later version may have set more
	}
	return f.max
}

// featureLevel is the finalized level of a feature by its name, 0 if there is none.
func featureLevel(name string, set map[string]int16) int16 {
	for i := range features {
		if features[i].name == name {
			return features[i].level(set)
		}
	}
	return 0
}

// showFeatures puts the table, with the levels that were set, into an answer to
// ApiVersions. Older clients cannot read a range that begins at 0 and are told of
// finalized levels only (KAFKA-17492). Level 0 is not finalized.
func showFeatures(p *kmsg.ApiVersionsResponse, version int16, set map[string]int16) {
	for i := range features {
		f := &features[i]
		if version >= 4 || f.min > 0 {
			supported := kmsg.NewApiVersionsResponseSupportedFeature()
			supported.Name, supported.MinVersion, supported.MaxVersion = f.name, f.min, f.max
			p.SupportedFeatures = append(p.SupportedFeatures, supported)
		}
		if level := f.level(set); level > 0 {
			finalized := kmsg.NewApiVersionsResponseFinalizedFeature()
			finalized.Name, finalized.MinVersionLevel, finalized.MaxVersionLevel = f.name, level, level
			p.FinalizedFeatures = append(p.FinalizedFeatures, finalized)
		}
	}
}
