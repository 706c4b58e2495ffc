package batch

import "fmt"

// Records calls yield for each record in order until it returns false. Record and
// what it points to are valid during the call only, and belong to Records: what the
// caller keeps it copies. At most maxDecompressed bytes of a compressed batch are
// decompressed, and one record, or 64 KiB, is held at a time.
//
// Records does not check the CRC, nor what only a producer must obey. It returns
// ErrInvalid for records that do not parse, ErrCompression for a codec that does not
// exist and ErrTooLarge beyond maxDecompressed; records before the fault have been
// yielded.
func Records(b Batch, maxDecompressed int64, yield func(*Record) bool) error {
	var r Record
	return walk(b, maxDecompressed, func(p []byte) (more bool, reason string) {
		if reason := r.parse(b, p); reason != "" {
			return false, reason
		}
		return yield(&r), ""
	})
}

// walk calls take with the bytes of each record after its size, in order, while it wants
// more. A reason says what is wrong with the record. Errors and limits are those of Records.
func walk(b Batch, maxDecompressed int64, take func(p []byte) (more bool, reason string)) error {
	if b.Count() < 0 {
		return fmt.Errorf("%w: record count %d", ErrInvalid, b.Count())
	}
	if b.Count() == 0 && len(b) == HeaderSize {
		return nil // compaction leaves such a batch to remember its producer by
	}
	var in input
	defer in.close()
	if err := in.open(b, maxDecompressed); err != nil {
		return err
	}
	for i := range b.Count() {
		size, ok := in.size()
		if !ok {
			return in.fault(i, "its size is missing or malformed")
		}
		p := in.take(size)
		if p == nil && size > 0 {
			return in.fault(i, "its size does not fit the batch")
		}
		more, reason := take(p)
		if reason != "" {
			return in.fault(i, reason)
		}
		if !more {
			return nil
		}
	}
	return in.end()
}
