package batch

import "strconv"

// Codec is the compression of a batch's records: attributes bits 0-2.
type Codec uint8

// The codecs of the Kafka protocol.
const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

var codecNames = [...]string{None: "none", Gzip: "gzip", Snappy: "snappy", LZ4: "lz4", Zstd: "zstd"}

// String returns Kafka's name of the codec, as in compression.type.
func (c Codec) String() string {
	if int(c) < len(codecNames) {
		return codecNames[c]
	}
	return "unknown(" + strconv.Itoa(int(c)) + ")"
}
