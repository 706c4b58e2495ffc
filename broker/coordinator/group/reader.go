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

func (r *reader) int8() int8 {
	if p := r.take(1); p != nil {
		return int8(p[0])
	}
	return 0
}

func (r *reader) uuid() (id [16]byte) {
	copy(id[:], r.take(len(id)))
	return id
}

// strings are as many as there are: a length is believed one string at a time.
func (r *reader) strings() []string {
	all := []string{}
	for n := r.length(false); n > 0 && !r.bad; n-- {
		all = append(all, r.string())
	}
	return all
}

func (r *reader) int32s() []int32 {
	var all []int32
	for n := r.length(false); n > 0 && !r.bad; n-- {
		all = append(all, r.int32())
	}
	return all
}

// tag0 ends a structure: it gives the tagged field of tag 0 to read, where there is one
// and read is not nil. A field that read finds cut short makes r bad.
func (r *reader) tag0(read func(*reader)) {
	r.tags(func(tag int, p []byte) {
		if tag != 0 || read == nil {
			return
		}
		field := &reader{p: p, flexible: true}
		read(field)
		r.bad = r.bad || field.bad
	})
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
