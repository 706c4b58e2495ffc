package group

import "encoding/binary"

// reader takes fields off a record's value. What does not fit makes it bad: every
// later field is then zero. It allocates nothing by a length that is only claimed.
type reader struct {
	p        []byte
	flexible bool // varint lengths and tagged fields
	bad      bool
}

// take cuts n bytes off.
func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.p) {
		r.bad, r.p = true, nil
		return nil
	}
	v := r.p[:n:n]
	r.p = r.p[n:]
	return v
}

func (r *reader) int16() int16 {
	if p := r.take(2); p != nil {
		return int16(binary.BigEndian.Uint16(p))
	}
	return 0
}

func (r *reader) int32() int32 {
	if p := r.take(4); p != nil {
		return int32(binary.BigEndian.Uint32(p))
	}
	return 0
}

func (r *reader) int64() int64 {
	if p := r.take(8); p != nil {
		return int64(binary.BigEndian.Uint64(p))
	}
	return 0
}

func (r *reader) uvarint() int {
	v, n := binary.Uvarint(r.p)
	if n <= 0 || v > 1<<31 {
		r.take(-1)
		return 0
	}
	r.p = r.p[n:]
	return int(v)
}

// length is that of a string where short is set, else of bytes or an array; -1: null.
func (r *reader) length(short bool) int {
	switch {
	case r.flexible:
		return r.uvarint() - 1
	case short:
		return int(r.int16())
	}
	return int(r.int32())
}

func (r *reader) nullableString() *string {
	n := r.length(true)
	if n < 0 {
		return nil
	}
	s := string(r.take(n))
	return &s
}

// string is one that may not be null.
func (r *reader) string() string {
	s := r.nullableString()
	if s == nil {
		r.take(-1)
		return ""
	}
	return *s
}

// bytes are a copy; null bytes are none.
func (r *reader) bytes() []byte {
	n := r.length(false)
	if n < 0 {
		return []byte{}
	}
	return cloneBytes(r.take(n))
}

// tags gives each tagged field to yield.
func (r *reader) tags(yield func(tag int, p []byte)) {
	if !r.flexible {
		return
	}
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		tag := r.uvarint()
		if p := r.take(r.uvarint()); !r.bad {
			yield(tag, p)
		}
	}
}
