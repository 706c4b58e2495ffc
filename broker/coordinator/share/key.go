package share

import (
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
)

// String is the key as FindCoordinator has it, and as Kafka hashes it: "group:topic
// id:partition", with the id in base64 for URLs.
func (k Key) String() string {
	return k.Group + ":" + base64.RawURLEncoding.EncodeToString(k.Topic[:]) + ":" + strconv.Itoa(int(k.Partition))
}

// ParseKey reads what String writes. The group's id may have colons itself, but not be
// empty.
func ParseKey(s string) (k Key, err error) {
	before, partition, ok := cutLast(s)
	id, topic, two := cutLast(before)
	if !ok || !two || id == "" {
		return k, errors.New("no group, topic id and partition between colons")
	}
	raw, err := base64.RawURLEncoding.DecodeString(topic)
	if err != nil || len(raw) != len(k.Topic) {
		return k, errors.New("the topic id is not a UUID in base64")
	}
	n, err := strconv.ParseInt(partition, 10, 32)
	if err != nil || n < 0 {
		return k, errors.New("the partition is not a number")
	}
	return Key{Group: id, Topic: [16]byte(raw), Partition: int32(n)}, nil
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}
