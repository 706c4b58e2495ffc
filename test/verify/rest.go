package verify

import (
	"cmp"
	"slices"
	"strings"
)

// unequal checks C13: where two replicas both have offsets, they have the same batches.
func unequal(v *view, add report) {
	order := sorted(len(v.Batches), func(a, b int32) int {
		if c := cmp.Compare(v.Batches[a].Partition, v.Batches[b].Partition); c != 0 {
			return c
		}
		return cmp.Compare(v.Batches[a].Replica, v.Batches[b].Replica)
	})
	samePartition := func(a, b int32) bool { return v.Batches[a].Partition == v.Batches[b].Partition }
	sameReplica := func(a, b int32) bool { return v.Batches[a].Replica == v.Batches[b].Replica }
	groups(order, samePartition, func(all []int32) {
		var first []int32
		groups(all, sameReplica, func(list []int32) {
			if first == nil {
				first = list
				return
			}
			v.compareReplicas(first, list, add)
		})
	})
}

// compareReplicas walks the offsets that both have.
func (v *view) compareReplicas(x, y []int32, add report) {
	at := func(list []int32) *Batch { return &v.Batches[list[0]] }
	for len(x) > 0 && len(y) > 0 {
		a, b := at(x), at(y)
		switch {
		case a.Next <= b.Base:
			x = x[1:]
			continue
		case b.Next <= a.Base:
			y = y[1:]
			continue
		case a.Base != b.Base || a.Next != b.Next || a.CRC != b.CRC:
			add("partition %d: replica %d has [%d, %d) with CRC %08x, replica %d [%d, %d) with %08x",
				a.Partition, a.Replica, a.Base, a.Next, a.CRC, b.Replica, b.Base, b.Next, b.CRC)
		}
		x, y = x[1:], y[1:]
	}
}

// misplaced checks C14 by what the manifests say and what a listing of the bucket has.
func misplaced(v *view, add report) {
	if len(v.Manifests) == 0 && len(v.Objects) == 0 {
		return
	}
	listed := make(map[string]Object, len(v.Objects))
	for _, o := range v.Objects {
		listed[o.Key] = o
	}
	named := map[string]bool{}
	for _, p := range v.Manifests {
		p.contiguous(add)
		for _, s := range p.Segments {
			named[s.Key] = true
			s.held(listed, add)
		}
	}
	for _, o := range v.Objects {
		if strings.Contains(o.Key, segmentPart) && !named[o.Key] && o.Age > v.Grace {
			add("%s: %d bytes that no manifest names, for %d ns", o.Key, o.Size, o.Age)
		}
	}
}

// held compares a manifest's segment with the object of its name, whose batches are
// followed by indexes.
func (s *Segment) held(listed map[string]Object, add report) {
	switch o, found := listed[s.Key]; {
	case !found:
		add("%s: not in the bucket", s.Key)
	case o.Size <= s.Size:
		add("%s: %d bytes, its batches alone have %d", s.Key, o.Size, s.Size)
	case s.Digest != "" && o.Digest != "" && s.Digest != o.Digest:
		add("%s: SHA-256 %s, the manifest says %s", s.Key, o.Digest, s.Digest)
	}
}

// The limits of C16, in nanoseconds.
const (
	stallLimit   = 10e9 // while the broker is well
	restartLimit = 30e9 // after all brokers have started again
)

// stuck checks C16: no producer waits long for an acknowledgement, and no reader for a
// record that is there, but for the time of faults.
func stuck(v *view, add report) {
	faults := mergeFaults(v.Faults)
	list := sorted(len(v.Sends), func(a, b int32) int {
		if c := cmp.Compare(v.Sends[a].Producer, v.Sends[b].Producer); c != 0 {
			return c
		}
		return cmp.Compare(v.Sends[a].Partition, v.Sends[b].Partition)
	})
	same := func(a, b int32) bool {
		return v.Sends[a].Producer == v.Sends[b].Producer && v.Sends[a].Partition == v.Sends[b].Partition
	}
	groups(list, same, func(sends []int32) { v.stuckProducer(sends, faults, add) })
	v.stuckReaders(faults, add)
}

// stuckProducer walks the acknowledgements of one producer and partition: while it had
// something in flight, one came every so often.
func (v *view) stuckProducer(sends []int32, faults []Disturbance, add report) {
	byEnd := slices.Clone(sends)
	byEnd = slices.DeleteFunc(byEnd, func(i int32) bool { return v.Sends[i].Outcome != OK })
	slices.SortFunc(byEnd, func(a, b int32) int { return cmp.Compare(v.Sends[a].Ended, v.Sends[b].Ended) })
	free := int64(0) // when it last had an answer
	for _, i := range byEnd {
		s := &v.Sends[i]
		if wait, limit := longestCalm(max(free, s.Begun), s.Ended, faults); wait > limit {
			add("producer %d, partition %d: %d ms without an acknowledgement before value %d", s.Producer, s.Partition, wait/1e6, s.Value)
		}
		free = s.Ended
	}
}

// stuckReaders walks the reads of each session and partition: a record that had been
// acknowledged came soon after the one before.
func (v *view) stuckReaders(faults []Disturbance, add report) {
	last := map[[2]int32]int64{}
	for i := range v.Reads {
		r := &v.Reads[i]
		if r.At == 0 {
			continue
		}
		key := [2]int32{r.Session, r.Partition}
		free, seen := last[key]
		if !seen {
			free = v.from[key].At
		}
		last[key] = r.At
		s := v.source(int32(i))
		if s == nil || s.Outcome != OK || free == 0 {
			continue
		}
		there := s.Ended
		if t := v.txns[s.Txn]; t != nil {
			there = max(there, t.Ended)
		}
		if wait, limit := longestCalm(max(free, there), r.At, faults); wait > limit {
			add("session %d, partition %d: %d ms before offset %d came", r.Session, r.Partition, wait/1e6, r.Offset)
		}
	}
}

// mergeFaults sorts faults and joins those that overlap.
func mergeFaults(faults []Disturbance) []Disturbance {
	list := slices.Clone(faults)
	slices.SortFunc(list, func(a, b Disturbance) int { return cmp.Compare(a.Begun, b.Begun) })
	var merged []Disturbance
	for _, f := range list {
		if n := len(merged); n > 0 && f.Begun <= merged[n-1].Ended {
			merged[n-1].Ended = max(merged[n-1].Ended, f.Ended)
			merged[n-1].Restart = merged[n-1].Restart || f.Restart
			continue
		}
		merged = append(merged, f)
	}
	return merged
}

// longestCalm returns the stretch of [from, to) without a fault that lies worst beyond
// its limit, and that limit. Faults are sorted and do not overlap.
func longestCalm(from, to int64, faults []Disturbance) (wait, limit int64) {
	limit = stallLimit
	if to-from <= limit { // nearly always
		return to - from, limit
	}
	first, _ := slices.BinarySearchFunc(faults, from, func(f Disturbance, at int64) int { return cmp.Compare(f.Ended, at) })
	allowed := int64(stallLimit)
	consider := func(until int64) {
		if w := until - from; w-allowed > wait-limit || wait == 0 {
			wait, limit = w, allowed
		}
	}
	for _, f := range faults[first:] {
		if f.Begun >= to {
			break
		}
		consider(max(f.Begun, from))
		from, allowed = min(f.Ended, to), stallLimit
		if f.Restart {
			allowed = restartLimit
		}
	}
	consider(to)
	return wait, limit
}

// The limits of C17.
const (
	moreGoroutines  = 10
	moreFiles       = 10
	moreResident    = 0.15 // of what was resident before
	heapWindow      = 30 * 60e9
	heapGrowth      = 0.01 // of the live heap, in each heapGrowthEvery
	heapGrowthEvery = 10 * 60e9
)

// leaked checks C17: a broker at rest holds what it held before, and its heap does not
// grow in the last half hour of a soak.
func leaked(v *view, add report) {
	if a, b := v.After, v.Before; a != nil && b != nil {
		if a.Goroutines > b.Goroutines+moreGoroutines {
			add("%d goroutines, %d before", a.Goroutines, b.Goroutines)
		}
		if a.Files > b.Files+moreFiles {
			add("%d files, %d before", a.Files, b.Files)
		}
		if float64(a.Resident) > float64(b.Resident)*(1+moreResident) {
			add("%d bytes resident, %d before", a.Resident, b.Resident)
		}
	}
	if len(v.Heap) == 0 {
		return
	}
	last := v.Heap[len(v.Heap)-1].At
	window := slices.DeleteFunc(slices.Clone(v.Heap), func(s HeapSample) bool { return s.At < last-heapWindow })
	if span := last - window[0].At; span < heapGrowthEvery {
		return // too short for a slope
	}
	if slope, mean := trend(window); slope*heapGrowthEvery > heapGrowth*mean {
		add("the live heap of %.0f bytes grows by %.0f every ten minutes", mean, slope*heapGrowthEvery)
	}
}

// trend is the slope, in bytes a nanosecond, of the straight line through samples.
func trend(samples []HeapSample) (slope, mean float64) {
	var at float64
	for _, s := range samples {
		at += float64(s.At-samples[0].At) / float64(len(samples))
		mean += float64(s.Bytes) / float64(len(samples))
	}
	var covariance, variance float64
	for _, s := range samples {
		d := float64(s.At-samples[0].At) - at
		covariance += d * (float64(s.Bytes) - mean)
		variance += d * d
	}
	if variance == 0 {
		return 0, mean
	}
	return covariance / variance, mean
}

// unhealthy checks C18.
func unhealthy(v *view, add report) {
	for _, i := range v.Incidents {
		if !slices.Contains(v.Allowed, i.Kind) {
			add("%s: %s", i.Process, i.Kind)
		}
	}
}

// signs of ill health in what a Go process prints.
var signs = []struct{ text, kind string }{
	{"WARNING: DATA RACE", "race"},
	{"panic: ", "panic"},
	{"fatal error: ", "fatal"},
}

// Health lists the incidents that a process's output tells of.
func Health(process, output string) []Incident {
	var found []Incident
	for _, s := range signs {
		if strings.Contains(output, s.text) {
			found = append(found, Incident{process, s.kind})
		}
	}
	return found
}

// void checks C20: a run in which nothing went wrong, or nothing went on, proves
// nothing.
func void(v *view, add report) {
	if v.Expect == nil {
		return
	}
	if len(v.Faults) < v.Expect.Faults {
		add("%d of %d planned faults were injected", len(v.Faults), v.Expect.Faults)
	}
	first := int64(0)
	for i, f := range v.Faults {
		if i == 0 || f.Begun < first {
			first = f.Begun
		}
	}
	before := 0
	for i := range v.Sends {
		if s := &v.Sends[i]; s.Outcome == OK && (len(v.Faults) == 0 || s.Ended < first) {
			before++
		}
	}
	if before < v.Expect.Before {
		add("%d sends were acknowledged before the first fault, %d are wanted", before, v.Expect.Before)
	}
	v.progress(add)
}

// progress counts operations while faults last that promise progress.
func (v *view) progress(add report) {
	var ended []int64
	for i := range v.Sends {
		if v.Sends[i].Outcome == OK {
			ended = append(ended, v.Sends[i].Ended)
		}
	}
	for i := range v.Reads {
		if v.Reads[i].At != 0 {
			ended = append(ended, v.Reads[i].At)
		}
	}
	slices.Sort(ended)
	for _, f := range v.Faults {
		from, _ := slices.BinarySearch(ended, f.Begun)
		to, _ := slices.BinarySearch(ended, f.Ended)
		if n := to - from; f.Progress && n < v.Expect.During {
			add("%d operations during %s, %d are wanted", n, f.Kind, v.Expect.During)
		}
	}
}
