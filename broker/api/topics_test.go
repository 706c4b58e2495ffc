package api

import (
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
)

func TestTopicNames(t *testing.T) { // RELIABILITY.md B24
	for _, name := range []string{"a", "test", "quickstart-events", "a.b_c-9", strings.Repeat("x", 249), "...", "__consumer_offsets"} {
		if err := checkTopicName(name); err != nil {
			t.Errorf("%q is refused: %v", name, err)
		}
	}
	for _, name := range []string{"", ".", "..", "../x", "a/b", "a b", "a\x00", "ä", "а", strings.Repeat("x", 250), "a\n", "a:b"} {
		if err := checkTopicName(name); !errors.Is(err, kerr.InvalidTopicException) {
			t.Errorf("%q: got %v, want INVALID_TOPIC_EXCEPTION", name, err)
		}
	}
}
