package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Everything that is written in an argument is read here, by functions from strings to
// values. Their errors are usage errors.

// parsePair reads key=value. The value may hold further equal signs.
func parsePair(flag, s string) (key, value string, err error) {
	key, value, ok := strings.Cut(s, "=")
	if !ok || key == "" {
		return "", "", usagef("--%s %s is not of the form key=value", flag, s)
	}
	return key, value, nil
}

// parseConfigs reads the values of a repeated --config.
func parseConfigs(pairs []string) (map[string]string, error) {
	configs := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		key, value, err := parsePair("config", pair)
		if err != nil {
			return nil, err
		}
		if _, twice := configs[key]; twice {
			return nil, usagef("--config names %s twice", key)
		}
		configs[key] = value
	}
	return configs, nil
}

// parseHeaders reads the values of a repeated --header. A key may come several times.
func parseHeaders(pairs []string) ([]kgo.RecordHeader, error) {
	var headers []kgo.RecordHeader
	for _, pair := range pairs {
		key, value, err := parsePair("header", pair)
		if err != nil {
			return nil, err
		}
		headers = append(headers, kgo.RecordHeader{Key: key, Value: []byte(value)})
	}
	return headers, nil
}

// timeLayouts are those in which a time may be written, the zone being UTC where the
// layout has none.
var timeLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02"}

// parseTime reads a time as milliseconds since the Unix epoch: a number, or a date.
func parseTime(s string) (ms int64, err error) {
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil {
		if ms < 0 {
			return 0, usagef("time %s is before 1970", s)
		}
		return ms, nil
	}
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			if t.Before(time.UnixMilli(0)) {
				return 0, usagef("time %s is before 1970", s)
			}
			return t.UnixMilli(), nil
		}
	}
	return 0, usagef("time %q is neither milliseconds since 1970 nor like 2006-01-02T15:04:05Z", s)
}

// topicPartitions is an argument topic[:partition,...]; no partitions stand for all.
type topicPartitions struct {
	topic      string
	partitions []int32
}

func parseTopicPartitions(s string) (t topicPartitions, err error) {
	name, list, some := strings.Cut(s, ":")
	if name == "" {
		return t, usagef("--topic %q names no topic", s)
	}
	t.topic = name
	if !some {
		return t, nil
	}
	for text := range strings.SplitSeq(list, ",") {
		p, err := strconv.ParseInt(text, 10, 32)
		if err != nil || p < 0 {
			return t, usagef("--topic %s: %q is not a partition", s, text)
		}
		t.partitions = append(t.partitions, int32(p))
	}
	return t, nil
}

// place is where in a partition to begin: what --offset and the flags of reset-offsets
// name.
type place struct {
	kind placeKind
	n    int64 // offset, count of records, or ms
}

type placeKind int8

const (
	atEarliest placeKind = iota
	atLatest
	atOffset // n
	atLast   // n records before the end
	atTime   // the first record at or after n, in ms
	atShift  // n records from the present offset; negative is back
)

// parsePlace reads earliest, latest, an offset, -N for the last N records, or @time.
func parsePlace(s string) (place, error) {
	switch s {
	case "earliest", "beginning":
		return place{kind: atEarliest}, nil
	case "latest", "end":
		return place{kind: atLatest}, nil
	}
	if t, ok := strings.CutPrefix(s, "@"); ok {
		ms, err := parseTime(t)
		return place{atTime, ms}, err
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n == -1<<63 {
		return place{}, usagef("offset %q is none of: earliest, latest, a number, -N for the last N records, @time", s)
	}
	if n < 0 || s == "-0" {
		return place{atLast, -n}, nil
	}
	return place{atOffset, n}, nil
}

// bounds is what a place is looked up in: one partition.
type bounds struct {
	earliest, latest int64
	present          int64 // of a group; -1: none
	byTime           int64 // the first offset at or after the place's time; -1: none
}

// in returns the offset of the place in a partition. It always lies within the
// partition: places before its beginning are its beginning, those behind its end its
// end. ok is false where the place had to be moved, or is a shift from nowhere.
func (p place) in(b bounds) (offset int64, ok bool) {
	switch p.kind {
	case atEarliest:
		return b.earliest, true
	case atLatest:
		return b.latest, true
	case atLast:
		return max(b.earliest, b.latest-min(p.n, b.latest)), true
	case atTime:
		if b.byTime < 0 {
			return b.latest, true
		}
		return min(max(b.byTime, b.earliest), b.latest), true
	case atShift:
		if b.present < 0 {
			return b.latest, false
		}
		offset = shift(b.present, p.n)
	case atOffset:
		offset = p.n
	}
	clamped := min(max(offset, b.earliest), b.latest)
	return clamped, clamped == offset
}

// shift adds without overflow; offset is not negative.
func shift(offset, by int64) int64 {
	if sum := offset + by; by <= 0 || sum >= offset {
		return sum
	}
	return 1<<63 - 1
}

// fields is the set of --print.
type fields struct{ timestamp, partition, offset, headers, key, value bool }

func parseFields(s string) (f fields, err error) {
	names := map[string]*bool{
		"timestamp": &f.timestamp, "partition": &f.partition, "offset": &f.offset,
		"headers": &f.headers, "key": &f.key, "value": &f.value,
	}
	f.value = s == ""
	for name := range strings.SplitSeq(s, ",") {
		switch p := names[strings.TrimSpace(name)]; {
		case p != nil:
			*p = true
		case s != "":
			return f, usagef("--print %s: %q is none of: key, headers, timestamp, partition, offset, value", s, name)
		}
	}
	return f, nil
}

// parseAcks reads --acks.
func parseAcks(s string) (kgo.Acks, error) {
	switch s {
	case "all", "-1":
		return kgo.AllISRAcks(), nil
	case "1":
		return kgo.LeaderAck(), nil
	case "0":
		return kgo.NoAck(), nil
	}
	return kgo.Acks{}, usagef("--acks %s is none of: all, 1, 0", s)
}

// parseCodec reads --compression.
func parseCodec(s string) (kgo.CompressionCodec, error) {
	switch s {
	case "none":
		return kgo.NoCompression(), nil
	case "gzip":
		return kgo.GzipCompression(), nil
	case "snappy":
		return kgo.SnappyCompression(), nil
	case "lz4":
		return kgo.Lz4Compression(), nil
	case "zstd":
		return kgo.ZstdCompression(), nil
	}
	return kgo.CompressionCodec{}, usagef("--compression %s is none of: none, gzip, snappy, lz4, zstd", s)
}

// parseIsolation reads --isolation-level.
func parseIsolation(s string) (kgo.IsolationLevel, error) {
	switch s {
	case "read_committed":
		return kgo.ReadCommitted(), nil
	case "read_uncommitted":
		return kgo.ReadUncommitted(), nil
	}
	return kgo.IsolationLevel{}, usagef("--isolation-level %s is none of: read_uncommitted, read_committed", s)
}

// unescape reads \t, \n, \r, \0 and \\ in a separator, as shells do not.
func unescape(flag, s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		i++
		if i == len(s) {
			return "", usagef("--%s %q ends with a backslash", flag, s)
		}
		at := strings.IndexByte(`tnr0\`, s[i])
		if at < 0 {
			return "", usagef("--%s %q: \\%c is none of: \\t \\n \\r \\0 \\\\", flag, s, s[i])
		}
		b.WriteByte("\t\n\r\x00\\"[at])
	}
	return b.String(), nil
}

// millis writes a time in ms as people read it.
func millis(ms int64) string {
	if ms < 0 {
		return "-"
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}

// partitionName writes topic-partition as log directories do.
func partitionName(topic string, partition int32) string {
	return fmt.Sprintf("%s-%d", topic, partition)
}
