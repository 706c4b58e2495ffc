package objstore

import (
	"errors"
	"path"
	"strings"
	"testing"
)

func TestCheckKeyAllowsOnlyWhatEveryStoreTakes(t *testing.T) {
	tests := []struct {
		key  string
		want error
	}{
		{"a", nil},
		{"cluster/topic_ID-1/00007/seg/00000000000000000042-0000000003-9f1c.log", nil},
		{strings.Repeat("a/", 511) + "bc", nil},
		{strings.Repeat("a", 255), nil},
		{"", ErrBadKey},
		{"/a", ErrBadKey},
		{"a/", ErrBadKey},
		{"a//b", ErrBadKey},
		{".", ErrBadKey},
		{"..", ErrBadKey},
		{"a/../b", ErrBadKey},
		{"a/.tmp", ErrBadKey},
		{"a b", ErrBadKey},
		{"a\\b", ErrBadKey},
		{"a\x00b", ErrBadKey},
		{"a%2fb", ErrBadKey},
		{"ä", ErrBadKey},
		{strings.Repeat("a", 256), ErrBadKey},
		{strings.Repeat("a/", 512) + "b", ErrBadKey},
	}
	for _, tt := range tests {
		if err := CheckKey(tt.key); !errors.Is(err, tt.want) {
			t.Errorf("CheckKey(%.40q) = %v, want %v", tt.key, err, tt.want)
		}
	}
}

func TestCheckPrefixAllowsTheBeginningOfAKey(t *testing.T) {
	for _, prefix := range []string{"", "a", "a/", "a/b", "a/b-"} {
		if err := CheckPrefix(prefix); err != nil {
			t.Errorf("CheckPrefix(%q) = %v, want nil", prefix, err)
		}
	}
	for _, prefix := range []string{"/", "a//", "..", "../", "a/.", "a b"} {
		if err := CheckPrefix(prefix); !errors.Is(err, ErrBadKey) {
			t.Errorf("CheckPrefix(%q) = %v, want ErrBadKey", prefix, err)
		}
	}
}

// FuzzCheckKey holds that an allowed key names a path below the root, and only one.
func FuzzCheckKey(f *testing.F) {
	for _, key := range []string{"a/b", "../a", "a/./b", "a//b", ".x", "a/..", "a\x00"} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if CheckKey(key) != nil {
			return
		}
		if joined := path.Join("/root", key); joined != "/root/"+key {
			t.Fatalf("key %q leaves the root or has two spellings: %q", key, joined)
		}
		if err := CheckPrefix(key); err != nil {
			t.Fatalf("key %q is no prefix of itself: %v", key, err)
		}
	})
}
