package main

import (
	"slices"
	"time"
)

// median returns the middle value, or the mean of the two in the middle.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// percentile returns the smallest value that at least the share p of all do not exceed.
// sorted is in ascending order and not empty.
func percentile(sorted []time.Duration, p float64) time.Duration {
	i := int(p*float64(len(sorted))+0.9999999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// latencies adds the percentiles of a set of latencies to f, in milliseconds.
func (f figures) latencies(prefix metric, all []time.Duration) {
	if len(all) == 0 {
		return
	}
	slices.Sort(all)
	for suffix, p := range map[metric]float64{" p50": 0.50, " p99": 0.99, " p99.9": 0.999} {
		f[prefix+suffix] = float64(percentile(all, p)) / float64(time.Millisecond)
	}
}
