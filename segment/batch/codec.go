package batch

import (
	"slices"
	"strconv"
)

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

// CodecOf returns the codec that compression.type names: Kafka says uncompressed there.
func CodecOf(compressionType string) (c Codec, ok bool) {
	if compressionType == "uncompressed" {
		return None, true
	}
	i := slices.Index(codecNames[:], compressionType)
	return Codec(max(i, 0)), i > int(None)
}

// String returns Kafka's name of the codec, as in compression.type.
func (c Codec) String() string {
	if int(c) < len(codecNames) {
		return codecNames[c]
	}
	return "unknown(" + strconv.Itoa(int(c)) + ")"
}
