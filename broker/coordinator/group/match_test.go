package group

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// reading subscribes a heartbeat to a pattern alone.
func reading(pattern string) func(*kmsg.ConsumerGroupHeartbeatRequest) {
	return func(r *kmsg.ConsumerGroupHeartbeatRequest) {
		r.SubscribedTopicNames, r.SubscribedTopicRegex = nil, &pattern
	}
}

// match ends the matching that is under way, of which there must be one.
func (l *life) match() {
	l.t.Helper()
	if len(l.matches) != 1 {
		l.t.Fatalf("%d rounds of matching are under way, want one", len(l.matches))
	}
	m := l.matches[0]
	l.matches = nil
	if err := m.Find(atOnce); err != nil {
		l.t.Fatal(err)
	}
	l.take(l.g.Matched(l.now, m))
}

// TestAPatternStandsForNothingUntilItIsMatched: KIP-848 resolves patterns beside the
// group, one round at a time, and raises the group's epoch once it is known what they
// stand for.
func TestAPatternStandsForNothingUntilItIsMatched(t *testing.T) {
	l := newLife(t)
	if got := l.beat("a", 0, nil, reading("t.*")); got.ErrorCode != 0 || got.MemberEpoch != 1 || len(partitionsOf(got)) != 0 {
		t.Fatalf("a joins: code %d, epoch %d, %v", got.ErrorCode, got.MemberEpoch, partitionsOf(got))
	}
	first := l.matches
	l.beat("b", 0, nil, reading("[t]"))
	l.beat("c", 0, nil, reading("t.*"))
	if !slices.Equal(l.matches, first) {
		t.Fatalf("%d rounds of matching are under way", len(l.matches))
	}
	l.match()
	if got := l.beat("a", 1, nil, reading("t.*")); got.MemberEpoch != 2 || len(partitionsOf(got)) != 2 {
		t.Errorf("a after its pattern is matched: epoch %d, %v", got.MemberEpoch, partitionsOf(got))
	}
	l.match() // the pattern that came meanwhile
	if got := l.beat("b", 1, nil, reading("[t]")); got.MemberEpoch != 3 {
		t.Errorf("b after its pattern is matched: epoch %d", got.MemberEpoch)
	}
	if l.beat("d", 0, nil, reading("[t]")); l.g.consumer.state.epoch != 4 || len(l.matches) != 0 {
		t.Errorf("d with a pattern that is known: epoch %d, %d rounds", l.g.consumer.state.epoch, len(l.matches))
	}
}

// TestPatternsAreMatchedAnewWhereThereAreOtherTopics, not more often than once in a
// regexPause, and after group.consumer.regex.refresh.interval.ms in any case.
func TestPatternsAreMatchedAnewWhereThereAreOtherTopics(t *testing.T) {
	l := newLife(t)
	l.setting.SessionTimeout = 1 << 40
	metadata := metadataOf(map[string]int32{"t": 4})
	l.limits.Metadata = func() Metadata { return metadata }
	l.beat("a", 0, nil, reading("t.*"))
	l.match()
	l.beat("a", 1, nil, reading("t.*"))
	metadata = metadata.set("t2", 1)
	if l.beat("a", 2, []int32{0, 1, 2, 3}, reading("t.*")); len(l.matches) != 0 {
		t.Fatal("matched anew within the pause")
	}
	l.at(regexPause)
	l.beat("a", 2, []int32{0, 1, 2, 3}, reading("t.*"))
	l.match()
	if got := l.beat("a", 2, []int32{0, 1, 2, 3}, reading("t.*")); got.MemberEpoch != 3 || len(got.Assignment.Topics) != 2 {
		t.Errorf("with the new topic: epoch %d, %v", got.MemberEpoch, got.Assignment)
	}
	if l.beat("a", 3, []int32{0, 1, 2, 3}, reading("t.*")); len(l.matches) != 0 {
		t.Fatal("matched anew for nothing")
	}
	l.at(l.setting.RegexRefresh)
	l.beat("a", 3, []int32{0, 1, 2, 3}, reading("t.*"))
	l.match()
	if got := l.g.consumer.state.epoch; got != 3 {
		t.Errorf("the same topics raise the epoch to %d", got)
	}
}

// TestWhatIsFoundTooLateIsDropped: the member, or the group, may be another by then.
func TestWhatIsFoundTooLateIsDropped(t *testing.T) {
	for _, c := range []struct {
		name      string
		meanwhile func(l *life)
		patterns  int
	}{
		{"the member reads something else", func(l *life) { l.beat("a", 1, nil, reading("")) }, 0},
		{"the member has left", func(l *life) { l.beat("a", epochLeave, nil) }, 0},
		{"the group is deleted", func(l *life) {
			l.beat("a", epochLeave, nil)
			l.take(l.g.Delete(l.now, l.ticket()))
		}, 0},
		{"the group is another one", func(l *life) {
			l.g = New("g", &l.limits, l.now)
			l.beat("a", 0, nil, reading("t.*"))
			l.matches = l.matches[:1]
		}, 0},
		{"the group has loaded", func(l *life) { l.g.consumer.matching = nil }, 0},
		{"nothing happens", func(*life) {}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLife(t)
			l.beat("a", 0, nil, reading("t.*"))
			c.meanwhile(l)
			l.match()
			if n := len(l.g.consumer.state.regexes); n != c.patterns {
				t.Errorf("%d patterns are known, want %d", n, c.patterns)
			}
		})
	}
}

// TestAPatternThatWasNotStoredIsMatchedAgain: the log refuses what was found.
func TestAPatternThatWasNotStoredIsMatchedAgain(t *testing.T) {
	l := newLife(t)
	l.beat("a", 0, nil, reading("t.*"))
	m := l.matches[0]
	l.matches = nil
	if err := m.Find(atOnce); err != nil {
		t.Fatal(err)
	}
	for _, a := range l.g.Matched(l.now, m).Appends {
		l.take(l.g.Appended(l.now, a, coordinatorNotAvailable))
	}
	l.at(regexPause)
	l.beat("a", 1, nil, reading("t.*"))
	l.match()
	if got := l.beat("a", 1, nil, reading("t.*")); len(partitionsOf(got)) != 4 {
		t.Errorf("the member reads %v", partitionsOf(got))
	}
}

// TestMatchingEndsWhereItsTurnsEnd, and takes a turn for few topics at a time.
func TestMatchingEndsWhereItsTurnsEnd(t *testing.T) {
	names := map[string]int32{}
	for i := range 10 * matchPart {
		names[strings.Repeat("t", i+1)] = 1
	}
	ended, turns := errors.New("ended"), 0
	m := &Match{patterns: []string{"t*"}, metadata: metadataOf(names)}
	err := m.Find(func(part func()) error {
		if turns++; turns == 4 {
			return ended
		}
		part()
		return nil
	})
	if !errors.Is(err, ended) || turns != 4 || len(m.found["t*"].topics) != 2*matchPart {
		t.Errorf("%v after %d turns and %d topics", err, turns, len(m.found["t*"].topics))
	}
}

// TestPatternsAreBounded: what a pattern costs to match is known before it is compiled.
func TestPatternsAreBounded(t *testing.T) {
	for _, c := range []struct {
		name, pattern string
		refused       bool
	}{
		{"a list of names as long as can be", strings.Repeat("topic-000|", maxString/10), false},
		{"all letters", `\pL+`, false},
		{"as often as can be", "x{1000}", false},
		{"much, and often", "(" + strings.Repeat("abcdefgh", 20) + "){1000}", true},
		{"all letters, and often", strings.Repeat(`\pL`, 1000), true},
		{"more often than can be", "(x{1000}){1000}", true},
		{"unclosed", "(", true},
		{"closes what it has not opened", "a)|(b", true},
		{"longer than a record can hold", strings.Repeat("x", maxString+1), true},
	} {
		r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		r.Version, r.Group, r.MemberID, r.MemberEpoch, r.SubscribedTopicRegex = 1, "g", "a", 1, &c.pattern
		f := ValidateConsumerHeartbeat(r, []string{"range"})
		if (f != nil) != c.refused || f != nil && f.Code != invalidRegularExpression {
			t.Errorf("%s: %+v", c.name, f)
		}
	}
}
