package wire

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Header versions of every key and version are Apache Kafka's.
func TestHeaderVersionsAreKafkas(t *testing.T) {
	f, err := os.Open("shape/testdata/kafka-4.3.0-requests.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	compared := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		parts := strings.Split(lines.Text(), " ")
		key, err := strconv.Atoi(parts[0])
		if err != nil {
			continue
		}
		version, _ := strconv.Atoi(parts[1])
		flexible, known := flexibleFrom(int16(key))
		if !known || (int16(version) >= flexible) != (parts[2] == "2") {
			t.Errorf("key %d v%d: header v%s, flexible from %d", key, version, parts[2], flexible)
		}
		compared++
	}
	if compared < 250 {
		t.Fatalf("compared %d", compared)
	}
}

func TestParseHeaderReadsWhatClientsSend(t *testing.T) {
	formatter := kmsg.NewRequestFormatter(kmsg.FormatterClientID("rdkafka"))
	for key := range int16(93) {
		r := kmsg.RequestForKey(key)
		for version := range r.MaxVersion() + 1 {
			if key == keyControlledShutdown && version == 0 {
				continue // kmsg sends that without a body
			}
			r.SetVersion(version)
			frame := formatter.AppendRequest(nil, r, 77)[4:]
			h, err := parseHeader(frame)
			if err != nil {
				t.Fatalf("key %d v%d: %v", key, version, err)
			}
			if h.key != key || h.version != version || h.correlationID != 77 {
				t.Errorf("key %d v%d: %+v", key, version, h)
			}
			if client := string(h.clientID); client != "rdkafka" {
				t.Errorf("key %d v%d: client id %q", key, version, client)
			}
			if body := r.AppendTo(nil); !bytes.Equal(frame[h.size:], body) {
				t.Errorf("key %d v%d: header of %d bytes, body %x, want %x", key, version, h.size, frame[h.size:], body)
			}
		}
	}
}

func head(key, version int16, rest ...byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	return append(append(b, 0, 0, 0, 1), rest...)
}

func TestParseHeaderRefusals(t *testing.T) {
	many := append([]byte{0, 0, 0x81, 1}, bytes.Repeat([]byte{1, 0}, 129)...)
	long := append([]byte{0x7f, 0xff}, make([]byte, 40<<10)...)
	for name, c := range map[string]struct {
		frame []byte
		want  error
	}{
		"seven bytes":                        {make([]byte, 7), ErrHeader},
		"unknown key (B5)":                   {head(1000, 0, 0, 0), ErrUnknownKey},
		"negative key":                       {head(-1, 0, 0, 0), ErrUnknownKey},
		"no client id":                       {head(3, 1), ErrHeader},
		"client id longer than the frame":    {head(3, 1, 0, 9, 'a'), ErrHeader},
		"client id of -2":                    {head(3, 1, 0xff, 0xfe), ErrHeader},
		"header above 8 KiB":                 {head(3, 1, long...), ErrHeader},
		"no tag section":                     {head(3, 9, 0, 0), ErrHeader},
		"129 tags (B9)":                      {head(3, 9, many...), ErrHeader},
		"a billion tags":                     {head(3, 9, 0, 0, 0xff, 0xff, 0xff, 0xff, 3), ErrHeader},
		"tags out of order":                  {head(3, 9, 0, 0, 2, 5, 0, 4, 0), ErrHeader},
		"the same tag twice":                 {head(3, 9, 0, 0, 2, 5, 0, 5, 0), ErrHeader},
		"tag longer than the frame":          {head(3, 9, 0, 0, 1, 5, 10), ErrHeader},
		"tags above 8 KiB":                   {head(3, 9, append([]byte{0, 0, 1, 5, 0x80, 0x80, 1}, make([]byte, 20<<10)...)...), ErrHeader},
		"null client id, tags, body follows": {head(3, 9, 0xff, 0xff, 1, 5, 2, 1, 2, 3, 4), nil},
		"unsupported version of ApiVersions": {head(18, 99, 0, 0, 0), nil},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := parseHeader(c.frame)
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if err == nil && h.size > len(c.frame) {
				t.Fatalf("header of %d bytes in a frame of %d", h.size, len(c.frame))
			}
		})
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add(head(3, 9, 0, 0, 1, 5, 1, 1))
	f.Add(head(18, 3, 0, 3, 'k', 'g', 'o', 0))
	f.Add(head(0, 0, 0xff, 0xff))
	f.Fuzz(func(t *testing.T, frame []byte) {
		h, err := parseHeader(frame)
		if err != nil {
			return
		}
		if h.size < minFrameBytes || h.size > len(frame) || h.size > maxHeaderBytes+2 {
			t.Fatalf("header of %d bytes in a frame of %d", h.size, len(frame))
		}
	})
}
