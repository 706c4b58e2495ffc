package config

import (
	"fmt"
	"regexp"
	"regexp/syntax"
)

// maxPattern bounds the instructions that a pattern compiles to: every list of names that a
// record or a config can hold (32 KiB) is below, and what repeats much of itself many times,
// which would take hundreds of megabytes and seconds for one name, is not. The largest takes
// a few MB, and a tenth of a second for a topic's name.
const maxPattern = 1 << 16

// CompilePattern makes a pattern that holds for the whole of what it is held against. Kafka's
// are those of RE2/J (KIP-714, KIP-848), which is the syntax of Go's.
func CompilePattern(pattern string) (*regexp.Regexp, error) {
	alone, err := syntax.Parse(pattern, syntax.Perl) // a ")" might close our group
	if err != nil {
		return nil, err
	}
	if n := patternSize(alone); n > maxPattern {
		return nil, fmt.Errorf("written out it has %d steps, and at most %d are allowed", n, maxPattern)
	}
	return regexp.Compile(`\A(?:` + pattern + `)\z`)
}

// patternSize is no less than the instructions that a pattern compiles to, repetitions being
// written out, and the ranges of its classes. The parser has bounded their product and the depth.
func patternSize(re *syntax.Regexp) int {
	n := max(len(re.Rune), 1)
	for _, sub := range re.Sub {
		n += patternSize(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return n
}
