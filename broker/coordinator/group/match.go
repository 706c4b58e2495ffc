package group

import (
	"maps"
	"regexp"
	"slices"

	"github.com/varvelog/varve/broker/config"
)

// Topics can be subscribed to by pattern (KIP-848). What a pattern stands for is found
// beside the group, since it takes the longer the more topics there are and the more a
// pattern asks for: until then it stands for no topics, or for those it did before.

const (
	// regexPause is the least time, ms, between two rounds of matching all topics with a
	// group's patterns because there are other topics.
	regexPause = 1000

	// matchPart is how many topics are matched in one go, see Match.Find.
	matchPart = 16
)

// resolvedRegex is the topics that a pattern stands for, as of a version of the
// metadata.
type resolvedRegex struct {
	topics  []string // sorted
	version int64
	time    int64 // ms
}

func (r *resolvedRegex) equal(o *resolvedRegex) bool {
	if r == nil || o == nil {
		return r == o
	}
	return r.version == o.version && r.time == o.time && slices.Equal(r.topics, o.topics)
}

// sameTopics reports whether both stand for the same topics; nil is one that stands for
// none yet.
func (r *resolvedRegex) sameTopics(o *resolvedRegex) bool {
	if r == nil {
		return len(o.topics) == 0
	}
	return slices.Equal(r.topics, o.topics)
}

// Match is patterns of a group whose topics are to be found: Find does it, needs no lock
// and may take long. Then Group.Matched is to be called.
type Match struct {
	patterns []string
	metadata Metadata
	time     int64                     // ms
	found    map[string]*resolvedRegex // by pattern
}

// Find finds the topics of the patterns. It does so in parts, each within a call of turn,
// whose error ends it. A pattern that cannot be read, from a log, stands for no topics.
func (m *Match) Find(turn func(part func()) error) error {
	m.found = make(map[string]*resolvedRegex, len(m.patterns))
	for _, pattern := range m.patterns {
		r := &resolvedRegex{topics: []string{}, version: m.metadata.Version(), time: m.time}
		m.found[pattern] = r
		var re *regexp.Regexp
		if err := turn(func() { re, _ = config.CompilePattern(pattern) }); err != nil {
			return err
		}
		if re == nil {
			continue
		}
		for names := range slices.Chunk(m.metadata.Names(), matchPart) {
			err := turn(func() {
				for _, name := range names {
					if re.MatchString(name) {
						r.topics = append(r.topics, name)
					}
				}
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// Matched takes over what m.Find has found.
func (g *Group) Matched(now int64, m *Match) Output {
	var out Output
	c := g.consumer
	if c == nil || c.matching != m {
		return out // of a group that there is no more
	}
	c.matching = nil
	if g.state == Dead {
		return out
	}
	p := g.newStep(now)
	other := false
	for _, pattern := range p.patterns(true) {
		found := m.found[pattern]
		if found == nil {
			continue // it came meanwhile
		}
		old := p.state.regexes[pattern]
		changed := !old.sameTopics(found)
		if other = other || changed; changed || old == nil {
			p.edit().regexes[pattern] = found
		}
	}
	p.rehash(other)
	p.match(false) // those that came meanwhile
	p.finish(&out, nil, nil)
	return out
}

// patterns lists those that members subscribe to: all of them, or the ones of which it is
// not known what they stand for.
func (p *consumerStep) patterns(all bool) []string {
	wanted := map[string]struct{}{}
	for _, m := range p.state.members {
		if m.regex != "" && (all || p.state.regexes[m.regex] == nil) {
			wanted[m.regex] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(wanted))
}

// matchPatterns has patterns matched that are new, or all of them where there are other
// topics or the last time is long ago. One matching is under way at a time: what comes
// meanwhile follows.
func (p *consumerStep) matchPatterns(resubscribed bool) {
	c := p.g.consumer
	if c.matching != nil {
		return
	}
	version := p.metadata.Version()
	all := p.now-c.matchedAt >= p.settings.RegexRefresh || version != c.matched && p.now-c.matchedAt >= regexPause
	if all {
		c.matched, c.matchedAt = version, p.now
	}
	if all || resubscribed {
		p.match(all)
	}
}

// match begins to match all patterns, or the new ones.
func (p *consumerStep) match(all bool) {
	if patterns := p.patterns(all); len(patterns) > 0 {
		p.g.consumer.matching = &Match{patterns: patterns, metadata: p.metadata, time: p.now}
		p.begun = p.g.consumer.matching
	}
}

// forgetPatterns drops those that no member has any more.
func (p *consumerStep) forgetPatterns() {
	used := p.patterns(true)
	for pattern := range p.state.regexes {
		if _, ok := slices.BinarySearch(used, pattern); !ok {
			delete(p.edit().regexes, pattern)
		}
	}
}
