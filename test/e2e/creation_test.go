//go:build e2e

package e2e

import (
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/test/harness"
)

// TestTopicThatManyNeedIsCreatedOnce: members of share groups that all join a new broker at
// once need the topic of their coordinator, and producers a new one of theirs. One request
// creates each; the metadata change by that much only.
func TestTopicThatManyNeedIsCreatedOnce(t *testing.T) {
	const (
		many   = 100
		writes = 20 // revisions that a creation may take, by far
	)
	b := harness.StartBroker(t, append(quick(), "num.partitions=100")...)
	for _, need := range []struct {
		name string
		ask  func(c *kgo.Client) error
	}{
		{"share group's", func(c *kgo.Client) error {
			q := kmsg.NewPtrFindCoordinatorRequest()
			q.CoordinatorType, q.CoordinatorKeys = 2, []string{"g:AAAAAAAAAAAAAAAAAAAAAQ:0"}
			p, err := q.RequestWith(within(t, time.Minute), c)
			if err != nil {
				return err
			}
			return kerr.ErrorForCode(p.Coordinators[0].ErrorCode)
		}},
		{"producers'", func(c *kgo.Client) error {
			q, name := kmsg.NewPtrMetadataRequest(), "wide"
			q.AllowAutoTopicCreation, q.Topics = true, []kmsg.MetadataRequestTopic{{Topic: &name}}
			p, err := q.RequestWith(within(t, time.Minute), c)
			if err != nil {
				return err
			}
			return kerr.ErrorForCode(p.Topics[0].ErrorCode)
		}},
	} {
		t.Run(need.name, func(t *testing.T) {
			clients := make([]*kgo.Client, many)
			for i := range clients {
				clients[i] = client(t, b)
				if err := clients[i].Ping(within(t, time.Minute)); err != nil {
					t.Fatal(err)
				}
			}
			before := revision(t, clients[0])
			var all sync.WaitGroup
			for _, c := range clients {
				all.Go(func() {
					if err := need.ask(c); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if n := revision(t, clients[0]) - before; n == 0 || n > writes {
				t.Errorf("the metadata have had %d changes", n)
			}
		})
	}
}

// revision is that of the metadata, which a broker shows as the epoch of the features.
func revision(t *testing.T, c *kgo.Client) int64 {
	t.Helper()
	p, err := kmsg.NewPtrApiVersionsRequest().RequestWith(within(t, time.Minute), c)
	if err != nil {
		t.Fatal(err)
	}
	return p.FinalizedFeaturesEpoch
}
