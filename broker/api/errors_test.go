package api

import (
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
)

func TestEachErrorHasItsCode(t *testing.T) {
	for _, c := range codes {
		wrapped := fmt.Errorf("append to x-0: %w", c.err)
		if got := code(wrapped); got != c.code.Code {
			t.Errorf("%v: code %d, want %s", c.err, got, c.code.Message)
		}
	}
	if got := code(nil); got != 0 {
		t.Errorf("no error has code %d", got)
	}
	if got := code(errors.New("news")); got != kerr.UnknownServerError.Code {
		t.Errorf("an unknown error has code %d", got)
	}
	if got := code(refuse(kerr.InvalidPartitions, "why")); got != kerr.InvalidPartitions.Code {
		t.Errorf("a refusal has code %d", got)
	}
}

func TestSentencesDoNotRepeatTheirCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{kerr.UnknownTopicOrPartition, "This server does not host this topic-partition."},
		{refuse(kerr.UnknownTopicOrPartition, "no such topic"), "no such topic"},
		{fmt.Errorf("append to x-0: %w", errors.New("news")), "append to x-0: news"},
	} {
		if got := text(c.err); got == nil || *got != c.want {
			t.Errorf("%v: got %v, want %q", c.err, got, c.want)
		}
	}
	if got := text(nil); got != nil {
		t.Errorf("no error has the sentence %q", *got)
	}
}
