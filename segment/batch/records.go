package batch

import "fmt"

// Records calls yield for each record in order until it returns false. Record and
// what it points to are valid during the call only.
func Records(b Batch, maxDecompressed int64, yield func(*Record) bool) error {
	if b.Codec() != None {
		return fmt.Errorf("%w: %s", ErrCompression, b.Codec())
	}
	var r Record
	p := []byte(b[HeaderSize:])
	for i := range b.Count() {
		size, n := Varint32(p)
		if n == 0 || size < 0 || int64(size) > int64(len(p)-n) {
			return fmt.Errorf("%w: size of record %d does not fit the batch", ErrInvalid, i)
		}
		if err := r.parse(b, p[n:n+int(size)]); err != nil {
			return err
		}
		if !yield(&r) {
			return nil
		}
		p = p[n+int(size):]
	}
	if len(p) > 0 {
		return fmt.Errorf("%w: %d bytes after the last record", ErrInvalid, len(p))
	}
	return nil
}
