package batch

import "errors"

// Faults after which the walk goes on, to see whether a worse one follows.
var (
	errUnkeyed  = errors.New("no key")
	errMistimed = errors.New("timestamp out of range")
)

// recordChecker walks records field by field without holding them: keys, values and
// headers are skipped, so a record may be larger than any buffer. It is the check of
// what Record.parse accepts.
type recordChecker struct {
	in        *input
	base      int64 // base timestamp, ms
	oldest    int64 // ms, inclusive, as is newest
	newest    int64
	compacted bool

	left int    // bytes left of the record
	bad  string // the first field of the record that does not fit; "": none
}

// next checks record i. It returns errUnkeyed or errMistimed where the record is
// whole but breaks that rule; any other error ends the walk.
func (c *recordChecker) next(i int32) (timestamp int64, err error) {
	size, ok := c.in.size()
	if !ok {
		return 0, c.in.fault(i, "its size is missing or malformed")
	}
	c.left, c.bad = size, ""
	c.skip(1, "attributes")
	timestampDelta := c.varint("timestamp delta")
	offsetDelta := c.varint32("offset delta")
	keySize := c.varint32("key size")
	c.skip(int(keySize), "key")
	c.skip(int(c.varint32("value size")), "value")
	if headers := c.varint32("header count"); headers != 0 {
		c.headers(headers)
	}
	if c.bad != "" {
		return 0, c.in.fault(i, "malformed "+c.bad)
	}
	if c.left > 0 {
		return 0, c.in.fault(i, "bytes are left over at its end")
	}
	if offsetDelta != i {
		return 0, c.in.fault(i, "its offset delta is not its place in the batch")
	}
	timestamp = c.base + timestampDelta
	switch {
	case overflows(c.base, timestampDelta):
		return 0, c.in.fault(i, "its timestamp overflows")
	case c.compacted && keySize < 0:
		return timestamp, errUnkeyed
	case (timestamp < c.oldest || timestamp > c.newest) && timestamp != noTimestamp:
		return timestamp, errMistimed
	}
	return timestamp, nil
}

func (c *recordChecker) headers(n int32) {
	if n < 0 || int(n) > c.left/2 { // a header takes two bytes at least
		c.fail("header count")
		return
	}
	for ; n > 0 && c.bad == ""; n-- {
		keySize := c.varint32("header key size")
		if keySize < 0 {
			c.fail("header key size")
			return
		}
		c.skip(int(keySize), "header key")
		c.skip(int(c.varint32("header value size")), "header value")
	}
}

func (c *recordChecker) fail(field string) {
	if c.bad == "" {
		c.bad = field
	}
	c.left = 0
}

func (c *recordChecker) varint(field string) int64 {
	if v, ok := c.shortVarint(); ok {
		return v
	}
	in := c.in
	if in.w-in.r < maxVarintSize {
		in.fill(maxVarintSize)
	}
	v, n := Varint(in.buf[in.r:in.w])
	return c.taken(v, n, field)
}

func (c *recordChecker) varint32(field string) int32 {
	if v, ok := c.shortVarint(); ok {
		return int32(v)
	}
	in := c.in
	if in.w-in.r < maxVarint32Size {
		in.fill(maxVarint32Size)
	}
	v, n := Varint32(in.buf[in.r:in.w])
	return int32(c.taken(int64(v), n, field))
}

// shortVarint takes a varint of one byte, as most are; small, so that it is inlined.
func (c *recordChecker) shortVarint() (v int64, ok bool) {
	in := c.in
	if c.left == 0 || in.r >= in.w || in.buf[in.r] >= 0x80 {
		return 0, false
	}
	u := in.buf[in.r]
	in.r++
	c.left--
	return int64(u>>1) ^ -int64(u&1), true
}

// taken accounts for a varint v of n bytes that was read but not taken yet.
func (c *recordChecker) taken(v int64, n int, field string) int64 {
	if n == 0 || n > c.left {
		c.fail(field)
		return 0
	}
	c.in.r += n
	c.left -= n
	return v
}

// skip passes over n bytes; a negative n, null, is none.
func (c *recordChecker) skip(n int, field string) {
	if n <= 0 {
		return
	}
	if n > c.left || !c.in.skip(n) {
		c.fail(field)
		return
	}
	c.left -= n
}

// overflows reports whether a+b does not fit 64 bits.
func overflows(a, b int64) bool { return (a^(a+b))&(b^(a+b)) < 0 }
