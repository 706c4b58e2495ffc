package api

import "github.com/twmb/franz-go/pkg/kmsg"

// features are what clients ask for by feature instead of API version (KIP-584). All
// are finalized at their highest level: what a broker of this version serves, every
// broker of its cluster serves.
var features = []struct {
	name     string
	min, max int16
}{
	{"group.version", 0, 1},       // the consumer protocol (KIP-848)
	{"transaction.version", 0, 2}, // an epoch for each transaction (KIP-890)
}

// showFeatures puts the table into an answer to ApiVersions.
func showFeatures(p *kmsg.ApiVersionsResponse) {
	for _, f := range features {
		supported := kmsg.NewApiVersionsResponseSupportedFeature()
		supported.Name, supported.MinVersion, supported.MaxVersion = f.name, f.min, f.max
		p.SupportedFeatures = append(p.SupportedFeatures, supported)
		finalized := kmsg.NewApiVersionsResponseFinalizedFeature()
		finalized.Name, finalized.MinVersionLevel, finalized.MaxVersionLevel = f.name, f.max, f.max
		p.FinalizedFeatures = append(p.FinalizedFeatures, finalized)
	}
}
