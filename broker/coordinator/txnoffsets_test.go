package coordinator

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/coordinator/txn"
)

func txnCommit(groupID string, producerID int64, partition int32, offset int64) *kmsg.TxnOffsetCommitRequest {
	r := kmsg.NewPtrTxnOffsetCommitRequest()
	r.Version, r.Group, r.ProducerID, r.Generation = 5, groupID, producerID, -1
	p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset = partition, offset
	r.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{p}}}
	return r
}

func txnCommitCode(t *testing.T, p Pending[*kmsg.TxnOffsetCommitResponse]) int16 {
	t.Helper()
	return must(t, p).Topics[0].Partitions[0].ErrorCode
}

func marker(t *testing.T, g *Groups, producerID int64, commit bool) {
	t.Helper()
	wait, err := g.EndTransaction(0, Marker{Producer: txn.Producer{ID: producerID, Epoch: 1}, Commit: commit, Version: txn.V2})
	if err == nil {
		err = wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestOffsetsOfATransactionCountOnceItIsCommitted: KIP-98, and what must be stable is not
// read meanwhile (KIP-447). The same is read back from the log.
func TestOffsetsOfATransactionCountOnceItIsCommitted(t *testing.T) {
	for _, reload := range []bool{false, true} {
		inBubble(t, func(t *testing.T, g *Groups, l *memoryLog) {
			epoch := int32(1)
			check := func(what string, offset int64, code int16, stable bool) {
				t.Helper()
				if reload {
					epoch++
					if err := g.Load(t.Context(), 0, epoch, l); err != nil {
						t.Fatal(err)
					}
				}
				if got, c := fetch(g, "g", 0, stable); c != code || code == 0 && got != offset {
					t.Errorf("%s: offset %d, code %d, want %d, %d", what, got, c, offset, code)
				}
			}
			if code := txnCommitCode(t, g.CommitTransaction(txnCommit("g", 7, 0, 5), 0)); code != 0 {
				t.Fatal(code)
			}
			check("open", -1, 0, false)
			check("open, stable", -1, kerr.UnstableOffsetCommit.Code, true)
			marker(t, g, 8, true)
			check("another producer's end", -1, 0, false)
			marker(t, g, 7, true)
			check("committed", 5, 0, true)
			txnCommitCode(t, g.CommitTransaction(txnCommit("g", 7, 0, 9), 0))
			marker(t, g, 7, false)
			check("aborted", 5, 0, true)

			// A transaction that ends late does not take back what was committed after its offset.
			txnCommitCode(t, g.CommitTransaction(txnCommit("g", 7, 0, 10), 0))
			must(t, g.Commit(commitRequest("g", 0, 20)))
			marker(t, g, 7, true)
			check("later plain commit", 20, 0, true)
			txnCommitCode(t, g.CommitTransaction(txnCommit("g", 7, 0, 30), 0))
			marker(t, g, 7, true)
			check("later transaction", 30, 0, true)
		})
	}
}

func TestAnOffsetOnItsWayIsNotStable(t *testing.T) {
	inBubble(t, func(t *testing.T, g *Groups, l *memoryLog) {
		l.change(func() { l.held = true })
		p := g.CommitTransaction(txnCommit("g", 7, 0, 5), 0)
		if _, code := fetch(g, "g", 0, true); code != kerr.UnstableOffsetCommit.Code {
			t.Errorf("code %d", code)
		}
		l.change(func() { l.held = false })
		if code := txnCommitCode(t, p); code != 0 {
			t.Errorf("code %d", code)
		}
	})
}

func TestWhoMayCommitInATransaction(t *testing.T) {
	inBubble(t, func(t *testing.T, g *Groups, l *memoryLog) {
		j := must(t, member(t, g))
		must(t, g.Sync(Client{}, syncRequest(j, map[string]string{j.MemberID: "p0"})))
		for name, c := range map[string]struct {
			set  func(*kmsg.TxnOffsetCommitRequest)
			want int16
		}{
			"the member":           {func(r *kmsg.TxnOffsetCommitRequest) { r.MemberID, r.Generation = j.MemberID, j.Generation }, 0},
			"nobody in particular": {func(*kmsg.TxnOffsetCommitRequest) {}, 0},
			"an older client":      {func(r *kmsg.TxnOffsetCommitRequest) { r.Version, r.MemberID, r.Generation = 2, "?", 9 }, 0},
			"a stranger":           {func(r *kmsg.TxnOffsetCommitRequest) { r.MemberID, r.Generation = "?", j.Generation }, kerr.UnknownMemberID.Code},
			"a former generation":  {func(r *kmsg.TxnOffsetCommitRequest) { r.MemberID, r.Generation = j.MemberID, 0 }, kerr.IllegalGeneration.Code},
			"a generation of what is no group": {func(r *kmsg.TxnOffsetCommitRequest) {
				r.Group, r.MemberID, r.Generation = "other", j.MemberID, 1
			}, kerr.IllegalGeneration.Code},
			"no group": {func(r *kmsg.TxnOffsetCommitRequest) { r.Group = "" }, kerr.InvalidGroupID.Code},
			"long metadata": {func(r *kmsg.TxnOffsetCommitRequest) {
				long := string(make([]byte, 4097))
				r.Topics[0].Partitions[0].Metadata = &long
			}, kerr.OffsetMetadataTooLarge.Code},
		} {
			r := txnCommit("g", 7, 0, 5)
			c.set(r)
			if code := txnCommitCode(t, g.CommitTransaction(r, 0)); code != c.want {
				t.Errorf("%s: code %d, want %d", name, code, c.want)
			}
		}
	})
}

func TestAnOffsetThatIsNotStoredIsNotPending(t *testing.T) {
	inBubble(t, func(t *testing.T, g *Groups, l *memoryLog) {
		txnCommitCode(t, g.CommitTransaction(txnCommit("g", 7, 0, 5), 0))
		l.change(func() { l.fail = kerr.InvalidProducerEpoch })
		if code := txnCommitCode(t, g.CommitTransaction(txnCommit("g", 7, 0, 6), 0)); code != kerr.InvalidProducerEpoch.Code {
			t.Errorf("code %d, want the log's own", code)
		}
		l.change(func() { l.fail = nil })
		marker(t, g, 7, true)
		if got, _ := fetch(g, "g", 0, true); got != 5 {
			t.Errorf("offset %d, want 5", got)
		}
	})
}

func TestAMarkerThatWaitsLearnsThatThePartitionHasMoved(t *testing.T) {
	inBubble(t, func(t *testing.T, g *Groups, l *memoryLog) {
		l.change(func() { l.held = true })
		wait, err := g.EndTransaction(0, Marker{Producer: txn.Producer{ID: 7}})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		g.Unload(0)
		if err := wait(t.Context()); !errors.Is(err, kerr.NotCoordinator) {
			t.Errorf("%v", err)
		}
		if _, err := g.EndTransaction(0, Marker{}); !errors.Is(err, kerr.NotCoordinator) {
			t.Errorf("%v", err)
		}
	})
}
