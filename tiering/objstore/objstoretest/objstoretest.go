// Package objstoretest holds the one suite that every driver of objstore.Bucket
// passes, and the bodies it passes it with. What an object store promises to tiering
// is what this suite asks for; it is for tests only.
package objstoretest

import (
	"testing"

	"github.com/varvelog/varve/tiering/objstore"
)

// Suite is a driver and how much to ask of it.
type Suite struct {
	// Open returns an empty bucket; several of one test run may share a server.
	Open func(*testing.T) objstore.Bucket
	// PartSize is where the bucket starts to upload in parts, in bytes; 64 KiB if 0.
	// Bodies of a little more than two parts are put.
	PartSize int64
	// Keys is how many objects the paging of List and Delete is tried with; 10,000 if 0.
	// Slow servers are asked for fewer, but always for more than a page of 1,000; short
	// runs ask nobody for more than two pages.
	Keys int
}

// Run runs every rule as a subtest, each on a bucket of its own.
func Run(t *testing.T, s Suite) {
	if s.PartSize == 0 {
		s.PartSize = 64 << 10
	}
	if s.Keys == 0 {
		s.Keys = 10_000
	}
	if testing.Short() {
		s.Keys = min(s.Keys, 1100)
	}
	rules := []struct {
		name string
		test func(*testing.T, Suite, objstore.Bucket)
	}{
		{"PutThenGetReturnsTheSameBytes", testPutGet},
		{"PutOfTheSameBytesTwiceIsOneObject", testPutTwice},
		{"GetReturnsExactlyTheRange", testRanges},
		{"GetOfAnEmptyObjectIsErrRange", testEmptyObject},
		{"MissingKeyIsErrNotFound", testMissing},
		{"IllegalKeyIsErrBadKey", testBadKeys},
		{"LegalKeysKeepTheirNames", testLegalKeys},
		{"DeleteRemovesKeysAndForgivesMissingOnes", testDelete},
		{"ListIsInByteOrderAndBoundByPrefix", testListOrder},
		{"ListAndDeletePageThroughManyKeys", testMany},
		{"ListStopsWhenYieldSaysSo", testListStops},
		{"CallsRunConcurrently", testConcurrency},
		{"CancelledContextReturnsAtOnceWithoutEffect", testCancelled},
		{"DeadlineEndsAPutThatWaits", testDeadline},
		{"FailingBodyLeavesNoObject", testFailingBody},
		{"ShortBodyLeavesNoObject", testShortBody},
		{"AbortUploadsForgivesWhenThereAreNone", testAbortNone},
		{"LocalFileIsTheObject", testLocal},
		{"CheckAcceptsAWorkingBucket", testCheck},
		{"NameIsNotEmpty", testName},
	}
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) { rule.test(t, s, s.Open(t)) })
	}
}
