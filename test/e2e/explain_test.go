//go:build e2e

package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/broker"
	"github.com/varvelog/varve/test/harness"
	"github.com/varvelog/varve/test/stores"
	"github.com/varvelog/varve/tiering/objstore"
)

func explained(t *testing.T, b *harness.Broker, topic string) broker.TierExplanation {
	t.Helper()
	r, err := http.NewRequestWithContext(within(t, time.Minute), http.MethodGet, "http://"+b.HTTP+"/tier/explain?topic="+topic, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var all []broker.TierExplanation
	if err := json.NewDecoder(answer.Body).Decode(&all); err != nil || len(all) != 1 {
		t.Fatalf("%s: %d partitions, %v", answer.Status, len(all), err)
	}
	return all[0]
}

// TestDryRunNamesWhatLeavesTheBucket (N8): a dry run against a built broker and a real
// store names the segments that a shorter retention removes, from disk and from the
// bucket; the change removes these and no others.
func TestDryRunNamesWhatLeavesTheBucket(t *testing.T) {
	store := minioAt(stores.MinIO(t).Endpoint)
	b := harness.StartBroker(t, store.sets()...)
	createTopic(t, b, "t", 1, tiered())
	fill(t, b, "t", 8<<20, nil)
	var before broker.TierExplanation
	harness.Until(t, time.Minute, "every sealed segment in the bucket", func() error {
		before = explained(t, b, "t")
		if i := slices.IndexFunc(before.Segments, func(s broker.SegmentExplanation) bool { return !s.Active && s.Where == "local" }); i >= 0 {
			return fmt.Errorf("%+v is not", before.Segments[i])
		}
		return nil
	})
	change := []string{"topic", "alter", "t", "--config", "retention.bytes=3145728"}
	var dry []broker.Rehearsal
	if err := json.Unmarshal([]byte(b.Run(append(change, "--dry-run", "--http", b.HTTP, "--json")...)), &dry); err != nil || len(dry) != 1 {
		t.Fatal(dry, err)
	}
	var named, left []string
	for _, x := range dry[0].Touched {
		if x.Action == "expire" { // a segment that leaves the disk may do so without the change
			named = append(named, fmt.Sprintf("%d-%d %d", x.Base, x.Next, x.Size))
		}
	}
	b.Run(change...)
	var after broker.TierExplanation
	harness.Until(t, time.Minute, "the change", func() error {
		after = explained(t, b, "t")
		if n := len(before.Segments) - len(after.Segments); n < len(named) {
			return fmt.Errorf("%d of %d segments are gone", n, len(named))
		}
		return nil
	})
	var gone []string // what their keys contain
	for _, s := range before.Segments {
		if !slices.ContainsFunc(after.Segments, func(o broker.SegmentExplanation) bool { return o.Base == s.Base }) {
			left = append(left, fmt.Sprintf("%d-%d %d", s.Base, s.Next, s.Size))
			gone = append(gone, fmt.Sprintf("/seg/%020d-", s.Base))
		}
	}
	if len(named) < 2 || !slices.Equal(named, left) {
		t.Errorf("the dry run named %q, the change removed %q", named, left)
	}
	bucket := store.open(t)
	harness.Until(t, time.Minute, "their objects are gone", func() error {
		var still error
		err := bucket.List(within(t, time.Minute), "", func(o objstore.Object) bool {
			if slices.ContainsFunc(gone, func(part string) bool { return strings.Contains(o.Key, part) }) {
				still = fmt.Errorf("%s is there", o.Key)
			}
			return true
		})
		return cmp.Or(err, still)
	})
}
