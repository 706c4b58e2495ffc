package segment

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
)

var errMetadata = errors.New("corrupt metadata file")

// String is the id as Kafka writes it: URL-safe base64 without padding.
func (t TopicID) String() string { return base64.RawURLEncoding.EncodeToString(t[:]) }

// ParseTopicID is the inverse of String.
func ParseTopicID(s string) (t TopicID, err error) {
	p, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(p) != len(t) {
		return t, fmt.Errorf("topic id %.40q is not 16 bytes of base64", s)
	}
	return TopicID(p), nil
}

// partition.metadata: two lines of text.

func encodeMetadata(id TopicID) []byte { return []byte("version: 0\ntopic_id: " + id.String()) }

func parseMetadata(p []byte) (TopicID, error) {
	lines := strings.Split(strings.TrimRight(string(p), "\n"), "\n")
	if len(lines) != 2 || strings.TrimSpace(lines[0]) != "version: 0" {
		return TopicID{}, fmt.Errorf("%w: not version 0", errMetadata)
	}
	text, ok := strings.CutPrefix(lines[1], "topic_id: ")
	if !ok {
		return TopicID{}, fmt.Errorf("%w: no topic id", errMetadata)
	}
	id, err := ParseTopicID(strings.TrimSpace(text))
	if err != nil {
		return TopicID{}, fmt.Errorf("%w: %w", errMetadata, err)
	}
	return id, nil
}

// properties is meta.properties: a Java properties file, of which the simple part is
// read: comments, and key=value.
type properties map[string]string

func parseProperties(p []byte) (properties, error) {
	m := properties{}
	for line := range strings.Lines(string(p)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return nil, fmt.Errorf("%w: line %.100q", errMetadata, line)
		}
		m[strings.TrimSpace(key)] = strings.TrimSpace(value)
	}
	return m, nil
}

// directoryID returns a random directory id (KIP-858), a version 4 UUID.
func directoryID(random io.Reader) (string, error) {
	var id TopicID
	if _, err := io.ReadFull(random, id[:]); err != nil {
		return "", fmt.Errorf("make directory id: %w", err)
	}
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id.String(), nil
}
