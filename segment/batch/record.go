package batch

// Record is one record of a batch; its slices are views.
type Record struct {
	Offset    int64
	Timestamp int64  // ms
	Key       []byte // nil: null
	Value     []byte // nil: null
	Headers   []Header
}

// Header is one record header.
type Header struct {
	Key   string
	Value []byte // nil: null
}

// A record as it lies in a batch, after decompression (KIP-98):
//
//	length           varint   bytes after this field
//	attributes       int8     unused
//	timestamp delta  varlong  from base timestamp
//	offset delta     varint   from base offset
//	key length       varint   -1: null
//	key
//	value length     varint   -1: null
//	value
//	header count     varint
//	headers                   each key length varint, key, value length varint (-1: null), value

// appendRecord appends the record with the given deltas to p.
func appendRecord(p []byte, r *Record, timestampDelta int64, offsetDelta int32) []byte {
	size := 1 + VarintSize(timestampDelta) + VarintSize(int64(offsetDelta)) +
		bytesSize(r.Key) + bytesSize(r.Value) + VarintSize(int64(len(r.Headers)))
	for i := range r.Headers {
		h := &r.Headers[i]
		size += VarintSize(int64(len(h.Key))) + len(h.Key) + bytesSize(h.Value)
	}
	p = AppendVarint(p, int64(size))
	p = append(p, 0)
	p = AppendVarint(p, timestampDelta)
	p = AppendVarint(p, int64(offsetDelta))
	p = appendBytes(p, r.Key)
	p = appendBytes(p, r.Value)
	p = AppendVarint(p, int64(len(r.Headers)))
	for i := range r.Headers {
		h := &r.Headers[i]
		p = AppendVarint(p, int64(len(h.Key)))
		p = append(p, h.Key...)
		p = appendBytes(p, h.Value)
	}
	return p
}

func bytesSize(v []byte) int {
	if v == nil {
		return 1
	}
	return VarintSize(int64(len(v))) + len(v)
}

func appendBytes(p, v []byte) []byte {
	if v == nil {
		return AppendVarint(p, -1)
	}
	return append(AppendVarint(p, int64(len(v))), v...)
}

// parser takes the fields of one record off a slice. The first field that does not
// fit stops it: what comes after reads as zero, and bad names the field.
type parser struct {
	p   []byte
	bad string
}

func (s *parser) fail(field string) {
	if s.bad == "" {
		s.bad = field
	}
	s.p = nil
}

// byte drops one byte.
func (s *parser) byte(field string) {
	if len(s.p) == 0 {
		s.fail(field)
		return
	}
	s.p = s.p[1:]
}

func (s *parser) varint(field string) int64 {
	v, n := Varint(s.p)
	if n == 0 {
		s.fail(field)
		return 0
	}
	s.p = s.p[n:]
	return v
}

func (s *parser) varint32(field string) int32 {
	v, n := Varint32(s.p)
	if n == 0 {
		s.fail(field)
		return 0
	}
	s.p = s.p[n:]
	return v
}

// bytes takes a length and as many bytes; a negative length is null.
func (s *parser) bytes(field string) []byte {
	n := s.varint32(field)
	if n < 0 {
		return nil
	}
	if int(n) > len(s.p) {
		s.fail(field)
		return nil
	}
	v := s.p[:n:n]
	s.p = s.p[n:]
	if v == nil { // empty is not null, whatever it was cut from
		v = []byte{}
	}
	return v
}

// parse reads the record whose bytes after the length are p into r, with offset and
// timestamp as they count from b's base. r's header slice is used again. It returns
// what is wrong, "" where nothing is.
func (r *Record) parse(b Batch, p []byte) (reason string) {
	s := parser{p: p}
	s.byte("attributes")
	timestampDelta := s.varint("timestamp delta")
	r.Offset = b.BaseOffset() + int64(s.varint32("offset delta"))
	r.Timestamp = b.BaseTimestamp() + timestampDelta
	if b.LogAppendTime() {
		r.Timestamp = b.MaxTimestamp()
	}
	r.Key = s.bytes("key")
	r.Value = s.bytes("value")
	r.Headers = r.Headers[:0]
	r.parseHeaders(&s)
	if s.bad != "" {
		return "malformed " + s.bad
	}
	if len(s.p) > 0 {
		return "bytes are left over at its end"
	}
	return ""
}

func (r *Record) parseHeaders(s *parser) {
	n := s.varint32("header count")
	if n < 0 || int(n) > len(s.p)/2 { // a header takes two bytes at least
		s.fail("header count")
		return
	}
	for ; n > 0 && s.bad == ""; n-- {
		key := s.bytes("header key")
		if key == nil {
			s.fail("header key")
			return
		}
		r.Headers = append(r.Headers, Header{Key: string(key), Value: s.bytes("header value")})
	}
}
