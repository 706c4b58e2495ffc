package cluster

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/varvelog/varve/tiering"
)

func intent(key string) tiering.Intent {
	return tiering.Intent{ID: uuid.New(), Key: key, Epoch: 0, Created: 1}
}

// tiered is a node with a topic of one partition, which it leads.
func tiered(t *testing.T, o Options) (*node, tiering.PartitionID, tiering.Fence) {
	n := launch(t, o)
	n.register()
	topic := n.create("a", 1)
	return n, tiering.PartitionID{Topic: topic.ID}, fenceOf(topic)
}

func fenceOf(topic *Topic) tiering.Fence {
	p := topic.Partitions[0]
	return tiering.Fence{LeaderRevision: p.LeaderRevision, Epoch: p.LeaderEpoch}
}

func pointer(seq int64) tiering.Pointer {
	return tiering.Pointer{Root: fmt.Sprintf("root-%d", seq), RootCRC: 7, RootSize: 100, Seq: seq, End: 10 * seq}
}

func TestTierCommitSwingsThePointerAndSettlesIntents(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		n, p, fence := tiered(t, o)
		ctx, tier := t.Context(), n.Tier()
		at, err := tier.Pointer(ctx, p)
		if err != nil || at != (tiering.Pointer{}) {
			t.Fatalf("first pointer %+v, %v", at, err)
		}
		for seq := int64(1); seq <= 3; seq++ {
			a, b := intent("a"), intent("b")
			for range 2 { // repeating is harmless
				if err := errors.Join(tier.PutIntent(ctx, p, fence, a), tier.PutIntent(ctx, p, fence, b)); err != nil {
					t.Fatal(err)
				}
			}
			open, err := tier.Intents(ctx, p)
			if err != nil || len(open) != 2 {
				t.Fatalf("intents %v, %v", open, err)
			}
			next, err := tier.Commit(ctx, p, fence, at, pointer(seq), []uuid.UUID{a.ID, b.ID})
			if err != nil {
				t.Fatal(err)
			}
			read, err := tier.Pointer(ctx, p)
			if err != nil || read != next || read.Revision <= at.Revision || read.Seq != seq {
				t.Fatalf("pointer %+v, committed %+v, %v", read, next, err)
			}
			if open, err := tier.Intents(ctx, p); err != nil || len(open) != 0 {
				t.Fatalf("intents after the commit %v, %v", open, err)
			}
			at = next
		}
		if _, err := tier.Commit(ctx, p, fence, tiering.Pointer{}, pointer(9), nil); !errors.Is(err, tiering.ErrConflict) {
			t.Errorf("from an old pointer: %v, want ErrConflict", err)
		}
		stale := intent("other")
		stale.ID = uuid.New()
		if err := tier.PutIntent(ctx, p, fence, stale); err != nil {
			t.Fatal(err)
		}
		stale.Key = "another"
		if err := tier.PutIntent(ctx, p, fence, stale); !errors.Is(err, tiering.ErrConflict) {
			t.Errorf("same id for another object: %v, want ErrConflict", err)
		}
	})
}

func TestTierCommitOfManyIntentsFitsATransaction(t *testing.T) {
	n, p, fence := tiered(t, Options{NodeID: 1, Dir: t.TempDir()})
	var ids []uuid.UUID
	for range MaxCommitIntents {
		in := intent("k")
		if err := n.Tier().PutIntent(t.Context(), p, fence, in); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, in.ID)
	}
	if _, err := n.Tier().Commit(t.Context(), p, fence, tiering.Pointer{}, pointer(1), ids); err != nil {
		t.Error(err)
	}
	if _, err := n.Tier().Commit(t.Context(), p, fence, tiering.Pointer{}, pointer(1), append(ids, uuid.New())); !errors.Is(err, ErrInvalid) {
		t.Errorf("one more: %v, want ErrInvalid", err)
	}
}

// Invariant I5: a process whose leader epoch is not current cannot change the pointer.
func TestStaleLeaderCannotCommit(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		n, p, old := tiered(t, o)
		ctx, tier := t.Context(), n.Tier()
		in := intent("k")
		if err := tier.PutIntent(ctx, p, old, in); err != nil {
			t.Fatal(err)
		}
		// Another epoch of the partition begins.
		topic, _ := n.Image().TopicByID(p.Topic)
		if err := n.takeOver(ctx, *n.session.broker.Load(), []takeover{{topic: p.Topic, from: topic.Partitions[0]}}); err != nil {
			t.Fatal(err)
		}
		checkFenced(t, tier, p, old, in)
	})
}

// checkFenced tries every fenced write with a fence of the past.
func checkFenced(t *testing.T, tier tiering.Metadata, p tiering.PartitionID, old tiering.Fence, in tiering.Intent) {
	t.Helper()
	ctx := context.Background()
	before, err := tier.Pointer(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	if err := tier.PutIntent(ctx, p, old, intent("late")); !errors.Is(err, tiering.ErrFenced) {
		t.Errorf("intent: %v, want ErrFenced", err)
	}
	if err := tier.DropIntent(ctx, p, old, in.ID); !errors.Is(err, tiering.ErrFenced) {
		t.Errorf("drop: %v, want ErrFenced", err)
	}
	for _, intents := range [][]uuid.UUID{nil, {in.ID}} {
		if _, err := tier.Commit(ctx, p, old, before, pointer(before.Seq+1), intents); !errors.Is(err, tiering.ErrFenced) {
			t.Errorf("commit: %v, want ErrFenced", err)
		}
	}
	if after, err := tier.Pointer(ctx, p); err != nil || after != before {
		t.Errorf("pointer %+v became %+v, %v", before, after, err)
	}
	if open, err := tier.Intents(ctx, p); err != nil || len(open) != 1 {
		t.Errorf("intents %v, %v, want the one", open, err)
	}
}

// I5 for a restart after which no leader key was written: the old process of the same
// broker is fenced by the broker epoch.
func TestOldProcessOfTheSameBrokerCannotCommit(t *testing.T) {
	endpoints := externalEtcd(t)
	dir := t.TempDir()
	old, p, fence := tiered(t, Options{NodeID: 1, Endpoints: endpoints, Dir: dir})
	in := intent("k")
	if err := old.Tier().PutIntent(t.Context(), p, fence, in); err != nil {
		t.Fatal(err)
	}
	zombie := *old.session.broker.Load()
	if err := old.Deregister(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := old.Tier().PutIntent(t.Context(), p, fence, intent("after")); !errors.Is(err, tiering.ErrFenced) {
		t.Errorf("after Deregister: %v, want ErrFenced", err)
	}
	if err := old.dir.close(); err != nil { // its lock, as at exit; the process lingers on
		t.Fatal(err)
	}
	old.dir = nil
	now := launch(t, Options{NodeID: 1, Endpoints: endpoints, Dir: dir})
	now.register()
	topic, _ := now.Image().TopicByID(p.Topic)
	if fenceOf(topic) != fence {
		t.Fatal("the leader key was written: the test shows nothing")
	}
	old.session.broker.Store(&zombie) // it never heard of its end
	checkFenced(t, old.Tier(), p, fence, in)
	old.session.broker.Store(nil)
	if _, err := now.Tier().Commit(t.Context(), p, fence, tiering.Pointer{}, pointer(1), []uuid.UUID{in.ID}); err != nil {
		t.Errorf("the new process: %v", err)
	}
}

func TestTierOfADeletedTopicIsFenced(t *testing.T) {
	n, p, fence := tiered(t, Options{NodeID: 1, Dir: t.TempDir()})
	in := intent("k")
	if err := n.Tier().PutIntent(t.Context(), p, fence, in); err != nil {
		t.Fatal(err)
	}
	if err := n.DeleteTopic(t.Context(), p.Topic); err != nil {
		t.Fatal(err)
	}
	checkFenced(t, n.Tier(), p, fence, in)
}

func TestTierNeedsARegisteredBroker(t *testing.T) {
	n := launch(t, Options{NodeID: 1, Dir: t.TempDir()})
	topic := n.create("a", 1)
	p := tiering.PartitionID{Topic: topic.ID}
	if err := n.Tier().PutIntent(t.Context(), p, fenceOf(topic), intent("k")); !errors.Is(err, tiering.ErrFenced) {
		t.Errorf("intent: %v, want ErrFenced", err)
	}
	if _, err := n.Tier().Pointer(t.Context(), p); err != nil {
		t.Errorf("reading: %v", err)
	}
}

// Invariant I8: after an intent was removed no commit naming its object succeeds.
func TestCommitWithoutItsIntentIsFenced(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		n, p, fence := tiered(t, o)
		ctx, tier := t.Context(), n.Tier()
		kept, dropped := intent("kept"), intent("dropped")
		if err := errors.Join(tier.PutIntent(ctx, p, fence, kept), tier.PutIntent(ctx, p, fence, dropped)); err != nil {
			t.Fatal(err)
		}
		for range 2 { // dropping again is harmless
			if err := tier.DropIntent(ctx, p, fence, dropped.ID); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := tier.Commit(ctx, p, fence, tiering.Pointer{}, pointer(1), []uuid.UUID{kept.ID, dropped.ID}); !errors.Is(err, tiering.ErrFenced) {
			t.Errorf("commit: %v, want ErrFenced", err)
		}
		if at, err := tier.Pointer(ctx, p); err != nil || at.Revision != 0 {
			t.Errorf("pointer %+v, %v", at, err)
		}
		if open, err := tier.Intents(ctx, p); err != nil || len(open) != 1 {
			t.Errorf("intents %v, %v: a refused commit must settle none", open, err)
		}
	})
}

// Invariants I9 and I10: a lost answer is an unknown outcome, whether the commit was
// applied or not; repeating the very commit settles it, and applies it once.
func TestUnknownOutcomeIsSettledByRepeating(t *testing.T) {
	for _, kind := range []fault{failBefore, failAfter} {
		n, p, fence := tiered(t, Options{NodeID: 1, Dir: t.TempDir()})
		ctx, tier := t.Context(), n.Tier()
		in := intent("k")
		if err := tier.PutIntent(ctx, p, fence, in); err != nil {
			t.Fatal(err)
		}
		n.inject(func(i int) fault {
			if i == 0 {
				return kind
			}
			return pass
		})
		_, err := tier.Commit(ctx, p, fence, tiering.Pointer{}, pointer(1), []uuid.UUID{in.ID})
		if !errors.Is(err, tiering.ErrUnknownOutcome) {
			t.Fatalf("fault %d: %v, want ErrUnknownOutcome", kind, err)
		}
		at, err := tier.Commit(ctx, p, fence, tiering.Pointer{}, pointer(1), []uuid.UUID{in.ID})
		if err != nil {
			t.Fatalf("fault %d: repeated: %v", kind, err)
		}
		// And once more: still the same commit.
		again, err := tier.Commit(ctx, p, fence, tiering.Pointer{}, pointer(1), []uuid.UUID{in.ID})
		if err != nil || again != at {
			t.Fatalf("fault %d: third time %+v, %v; second %+v", kind, again, err, at)
		}
		if read, err := tier.Pointer(ctx, p); err != nil || read != at || read.Seq != 1 {
			t.Fatalf("fault %d: pointer %+v, %v", kind, read, err)
		}
	}
}

// A commit that was applied is reported as such even to a leader that lost its
// leadership before it could ask again.
func TestUnknownOutcomeIsSettledAfterFencing(t *testing.T) {
	n, p, fence := tiered(t, Options{NodeID: 1, Dir: t.TempDir()})
	ctx, tier := t.Context(), n.Tier()
	n.inject(func(i int) fault {
		if i == 0 {
			return failAfter
		}
		return pass
	})
	if _, err := tier.Commit(ctx, p, fence, tiering.Pointer{}, pointer(1), nil); !errors.Is(err, tiering.ErrUnknownOutcome) {
		t.Fatalf("%v, want ErrUnknownOutcome", err)
	}
	topic, _ := n.Image().TopicByID(p.Topic)
	if err := n.takeOver(ctx, *n.session.broker.Load(), []takeover{{topic: p.Topic, from: topic.Partitions[0]}}); err != nil {
		t.Fatal(err)
	}
	if at, err := tier.Commit(ctx, p, fence, tiering.Pointer{}, pointer(1), nil); err != nil || at.Revision == 0 {
		t.Errorf("repeated: %+v, %v", at, err)
	}
	if _, err := tier.Commit(ctx, p, fence, tiering.Pointer{}, pointer(2), nil); !errors.Is(err, tiering.ErrFenced) {
		t.Errorf("another commit: %v, want ErrFenced", err)
	}
}

// An ended context leaves the outcome unknown, too.
func TestCommitPastItsDeadlineIsUnknown(t *testing.T) {
	n, p, fence := tiered(t, Options{NodeID: 1, Dir: t.TempDir()})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.Tier().Commit(ctx, p, fence, tiering.Pointer{}, pointer(1), nil); !errors.Is(err, tiering.ErrUnknownOutcome) {
		t.Errorf("%v, want ErrUnknownOutcome", err)
	}
}

func TestFinishedTopicAcceptsNoTierWrites(t *testing.T) {
	n, p, fence := tiered(t, Options{NodeID: 1, Dir: t.TempDir()})
	if err := errors.Join(n.DeleteTopic(t.Context(), p.Topic), n.FinishDelete(t.Context(), p.Topic)); err != nil {
		t.Fatal(err)
	}
	if err := n.Tier().PutIntent(t.Context(), p, fence, intent("k")); !errors.Is(err, tiering.ErrFenced) {
		t.Errorf("intent: %v, want ErrFenced", err)
	}
	if _, err := n.Tier().Commit(t.Context(), p, fence, tiering.Pointer{}, pointer(1), nil); !errors.Is(err, tiering.ErrFenced) {
		t.Errorf("commit: %v, want ErrFenced", err)
	}
}
