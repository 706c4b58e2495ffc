// Package batch reads and changes a Kafka record batch (magic 2, KIP-98) where it
// lies, as bytes. It is not a codec into structs: the bytes of a batch are the same
// from the producer's socket to the bucket and to the consumer's socket, save for
// base offset and partition leader epoch (and, with LogAppendTime, the timestamps).
//
//	 0  base offset             int64
//	 8  batch length            int32   bytes after this field
//	12  partition leader epoch  int32
//	16  magic                   int8    2
//	17  CRC32C                  uint32  of all that follows
//	21  attributes              int16
//	23  last offset delta       int32
//	27  base timestamp          int64   ms since the Unix epoch
//	35  max timestamp           int64
//	43  producer id             int64   -1: none
//	51  producer epoch          int16
//	53  base sequence           int32
//	57  record count            int32
//	61  records                         compressed together where attributes say so
package batch

// HeaderSize is the size of a batch without its records, in bytes.
const HeaderSize = 61

// LogOverhead is the size of base offset and batch length, in bytes: what has to
// be read to know where the next batch begins.
const LogOverhead = 12

// Batch is one whole record batch: a view of somebody else's bytes. A Batch made by
// Next or Split has a plausible length and magic 2; nothing else is checked.
type Batch []byte
