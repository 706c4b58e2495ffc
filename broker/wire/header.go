package wire

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Limits of a request header. Kafka's clients send 50 bytes; a client id may be 32 KiB
// in the protocol, and the longest that was seen is under 200 bytes.
const (
	maxHeaderBytes = 8 << 10
	maxHeaderTags  = 128
	minFrameBytes  = 8 // key, version, correlation id: header v0
)

// API keys whose headers do not follow the rule.
const (
	keyControlledShutdown = 7
	keyApiVersions        = 18
)

// header is a request header.
//
//	v0: key int16, version int16, correlation id int32        (ControlledShutdown v0)
//	v1: v0, client id nullable string
//	v2: v1, tagged fields                                      (flexible versions, KIP-482)
type header struct {
	key, version  int16
	correlationID int32
	clientID      []byte // nil when null; of the frame
	size          int    // bytes of the frame it took
}

// parseHeader reads the header of a frame. Tagged fields are skipped. It returns
// ErrUnknownKey for a key the protocol does not have and ErrHeader for anything else.
// Versions are not judged: the answer to an unsupported one is the handler's (KIP-511).
func parseHeader(frame []byte) (header, error) {
	var h header
	if len(frame) < minFrameBytes {
		return h, fmt.Errorf("%w: %d bytes", ErrHeader, len(frame))
	}
	h.key = int16(binary.BigEndian.Uint16(frame))
	h.version = int16(binary.BigEndian.Uint16(frame[2:]))
	h.correlationID = int32(binary.BigEndian.Uint32(frame[4:]))
	h.size = minFrameBytes
	flexible, known := flexibleFrom(h.key)
	if !known {
		return h, fmt.Errorf("%w %d", ErrUnknownKey, h.key)
	}
	if h.key == keyControlledShutdown && h.version == 0 {
		return h, nil
	}
	rest := frame[h.size:min(len(frame), maxHeaderBytes)]
	if len(rest) < 2 {
		return h, fmt.Errorf("%w: ends in the client id", ErrHeader)
	}
	length := int(int16(binary.BigEndian.Uint16(rest)))
	rest = rest[2:]
	h.size += 2
	if length < -1 || length > len(rest) {
		return h, fmt.Errorf("%w: client id of %d bytes", ErrHeader, length)
	}
	if length >= 0 {
		h.clientID = rest[:length:length]
		rest = rest[length:]
		h.size += length
	}
	if h.version < flexible {
		return h, nil
	}
	n, err := skipTags(rest)
	h.size += n
	return h, err
}

// skipTags goes over a section of tagged fields without keeping any, and returns its size.
func skipTags(b []byte) (int, error) {
	position := 0
	next := func() (int64, bool) {
		u, n := binary.Uvarint(b[position:min(len(b), position+5)])
		if n <= 0 || u > 1<<31-1 {
			return 0, false
		}
		position += n
		return int64(u), true
	}
	count, ok := next()
	if !ok || count > maxHeaderTags {
		return position, fmt.Errorf("%w: count of tagged fields", ErrHeader)
	}
	previous := int64(-1)
	for range count {
		tag, ok := next()
		size, ok2 := next()
		if !ok || !ok2 || tag <= previous || size > int64(len(b)-position) {
			return position, fmt.Errorf("%w: tagged field", ErrHeader)
		}
		previous = tag
		position += int(size)
	}
	return position, nil
}

// flexibleFrom is the first version of key whose header is v2.
func flexibleFrom(key int16) (version int16, known bool) {
	table := flexibleVersions()
	if key < 0 || int(key) >= len(table) || table[key] < 0 {
		return 0, false
	}
	return table[key], true
}

// flexibleVersions is kmsg's knowledge as a table: -1 is a key that does not exist.
var flexibleVersions = sync.OnceValue(func() []int16 {
	table := make([]int16, kmsg.MaxKey+1)
	for key := range table {
		table[key] = -1
		r := kmsg.RequestForKey(int16(key))
		if r == nil {
			continue
		}
		for table[key] = 0; table[key] < 1<<15-1; table[key]++ {
			if r.SetVersion(table[key]); r.IsFlexible() {
				break
			}
			if table[key] > r.MaxVersion() {
				table[key] = 1<<15 - 1 // never: SaslHandshake
				break
			}
		}
	}
	return table
})

// Response framing.
//
//	length int32 (of what follows), correlation id int32, [tag section: 0x00], body
const maxResponseHead = 9

// appendResponseHead appends what precedes a body of size bytes.
func appendResponseHead(b []byte, correlationID int32, flexible bool, size int64) []byte {
	length := 4 + size
	if flexible {
		length++
	}
	b = binary.BigEndian.AppendUint32(b, uint32(length))
	b = binary.BigEndian.AppendUint32(b, uint32(correlationID))
	if flexible {
		b = append(b, 0)
	}
	return b
}
