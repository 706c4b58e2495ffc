// Package shape looks at a request's bytes before kmsg decodes them, and refuses what
// would make the decoder allocate out of proportion or accept what the protocol forbids.
//
// kmsg, as Kafka's own generated readers, takes an array's count as true when there are
// that many bytes left, and allocates all elements at once. An element of one byte on the
// wire can be a hundred in memory, so a frame of 100 MiB could cost 10 GiB
// (CVE-2026-111108), and tag sections are stored in maps, one for each element
// (CVE-2026-111115). Check walks the body by the layout of its key and version, without
// allocating, and says what decoding will cost.
//
// It is not a decoder and does not judge values. What always holds: a body that Check
// passes is decoded by kmsg without error, and decoding it allocates at most the cost
// that Check returned.
//
// The layouts in table.go are read out of kmsg's decoders by internal/gen; a test holds
// them against those of Apache Kafka.
package shape

//go:generate go run ./internal/gen

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
)

// MaxTags is how many tagged fields one section may have. Kafka's schemas define at
// most four; KIP-482 leaves room for what clients may add.
const MaxTags = 128

// maxCost is what decoding a body of size bytes may allocate. Four times is what honest
// requests of many partitions reach; the constant lets a request be all tiny elements,
// such as a Metadata request that names 200,000 topics, and bounds a hostile one.
func maxCost(size int) int { return 4*size + 16<<20 }

// ErrUnknownKey is returned for a key or version that kmsg cannot decode.
var ErrUnknownKey = errors.New("unknown API key or version")

// MalformedError says where a body leaves its layout.
type MalformedError struct {
	Key, Version int16
	Position     int // in the body
	Reason       string
}

func (e *MalformedError) Error() string {
	return fmt.Sprintf("malformed %s request v%d: %s at byte %d", Name(e.Key), e.Version, e.Reason, e.Position)
}

// Result is what Check found.
type Result struct {
	Consumed int // bytes of the body that the layout covers; Kafka ignores what follows
	Cost     int // bytes that kmsg's ReadFrom will allocate, at most
}

// Check walks body, which is what follows the request header. It returns ErrUnknownKey,
// or a *MalformedError for a body that must not be decoded. It allocates nothing for a
// body that passes, and takes time in proportion to the body without its record bytes.
func Check(key, version int16, body []byte) (Result, error) {
	p := lookup(key, version)
	if p == nil {
		return Result{}, ErrUnknownKey
	}
	w := walker{body: body, budget: maxCost(len(body))}
	if !w.walk(p.ops) {
		return Result{}, &MalformedError{Key: key, Version: version, Position: w.position, Reason: w.reason}
	}
	return Result{Consumed: w.position, Cost: w.cost}, nil
}

// Name is the API's name, or its key as a number.
func Name(key int16) string {
	if key >= 0 && int(key) < len(requests) && requests[key].name != "" {
		return requests[key].name
	}
	return fmt.Sprintf("key %d", key)
}

// Layout, as the generated table has it.

// forever is the max of a field that no version dropped.
const forever = 127

type request struct {
	name     string
	newest   int8 // newest version kmsg knows
	flexible int8 // first version of KIP-482
	fields   []field
}

type field struct {
	kind         kind
	min, max     int8 // versions that carry it
	tagged       bool
	tag          uint8
	nullable     bool
	nullableFrom int8
	size         int     // array: bytes of one element in memory; nullable object: bytes in memory
	fields       []field // object: its fields; array: its element
}

type kind uint8

const (
	fixed1 kind = iota
	fixed2
	fixed4
	fixed8
	fixed16
	text // string
	blob // bytes, records
	array
	object
)

// Programs: a layout at one version, with runs of fixed fields merged.

type program struct{ ops []op }

type op struct {
	code     code
	nullable bool  // at this version
	pointer  bool  // the decoder makes a pointer of it
	size     int   // skip: bytes; array: bytes of one element in memory; object: bytes in memory
	minimum  int   // array: least encoded bytes of one element
	exact    bool  // array: every element has minimum bytes
	ops      []op  // of an element, of an object
	tags     []tag // known tags
}

type tag struct {
	number uint32
	ops    []op
}

type code uint8

const (
	skip code = iota
	shortText
	compactText
	longBlob
	compactBlob
	longArray
	compactArray
	presence // nullable object
	tags
)

// programs holds what lookup compiled, by key and version.
var programs [len(requests)][32]atomic.Pointer[program]

func lookup(key, version int16) *program {
	if key < 0 || int(key) >= len(requests) || requests[key].name == "" || version < 0 || version > int16(requests[key].newest) {
		return nil
	}
	slot := &programs[key][version]
	if p := slot.Load(); p != nil {
		return p
	}
	r := &requests[key]
	v := int8(version)
	p := &program{ops: compile(r.fields, v, v >= r.flexible)}
	slot.Store(p) // compiled twice at worst
	return p
}

// compile is the program of a struct's fields.
func compile(fields []field, version int8, flexible bool) []op {
	var ops []op
	section := op{code: tags}
	for i := range fields {
		f := &fields[i]
		if f.tagged {
			section.tags = append(section.tags, tag{number: uint32(f.tag), ops: compileOne(f, version, flexible)})
			continue
		}
		if version < f.min || version > f.max {
			continue
		}
		for _, next := range compileOne(f, version, flexible) {
			if last := len(ops) - 1; next.code == skip && last >= 0 && ops[last].code == skip {
				ops[last].size += next.size
				continue
			}
			ops = append(ops, next)
		}
	}
	if flexible {
		ops = append(ops, section)
	}
	return ops
}

// compileOne is the program of one field.
func compileOne(f *field, version int8, flexible bool) []op {
	nullable := f.nullable && version >= f.nullableFrom
	pick := func(plain, compact code) code {
		if flexible {
			return compact
		}
		return plain
	}
	switch f.kind {
	case fixed1, fixed2, fixed4, fixed8, fixed16:
		return []op{{code: skip, size: 1 << f.kind}}
	case text:
		return []op{{code: pick(shortText, compactText), nullable: nullable, pointer: f.nullable}}
	case blob:
		return []op{{code: pick(longBlob, compactBlob), nullable: nullable}}
	case array:
		o := op{code: pick(longArray, compactArray), nullable: nullable, size: f.size}
		o.ops = compileOne(&f.fields[0], version, flexible)
		o.minimum, o.exact = least(o.ops)
		return []op{o}
	case object:
		ops := compile(f.fields, version, flexible)
		if nullable {
			return []op{{code: presence, size: f.size, ops: ops}}
		}
		return ops
	}
	panic(fmt.Sprintf("shape: kind %d", f.kind))
}

// least is how many bytes ops read at least, and whether they never read more.
func least(ops []op) (n int, exact bool) {
	exact = true
	for i := range ops {
		switch ops[i].code {
		case skip:
			n += ops[i].size
			continue
		case shortText:
			n += 2
		case longBlob, longArray:
			n += 4
		case compactText, compactBlob, compactArray, presence, tags:
			n++
		}
		exact = false
	}
	return n, exact
}

// walker goes over a body. Methods return false after setting reason.
type walker struct {
	body     []byte
	position int
	cost     int
	budget   int
	reason   string
}

func (w *walker) fail(reason string) bool {
	w.reason = reason
	return false
}

func (w *walker) remaining() int { return len(w.body) - w.position }

func (w *walker) walk(ops []op) bool {
	for i := range ops {
		o := &ops[i]
		switch o.code {
		case skip:
			if !w.skip(o.size) {
				return false
			}
		case shortText, compactText, longBlob, compactBlob:
			n, ok := w.length(o)
			if !ok || !w.skip(n) {
				return false
			}
			if o.code == shortText || o.code == compactText { // blobs stay in the frame
				if !w.spend((n + 15) &^ 15) {
					return false
				}
				if o.pointer && !w.spend(16) {
					return false
				}
			}
		case longArray, compactArray:
			if !w.array(o) {
				return false
			}
		case presence:
			if w.remaining() < 1 {
				return w.fail("body ends")
			}
			present := int8(w.body[w.position]) != -1
			w.position++
			if present && (!w.spend(o.size) || !w.walk(o.ops)) {
				return false
			}
		case tags:
			if !w.tags(o) {
				return false
			}
		}
	}
	return true
}

func (w *walker) skip(n int) bool {
	if n > w.remaining() {
		return w.fail("body ends")
	}
	w.position += n
	return true
}

// spend counts what the decoder will allocate.
func (w *walker) spend(n int) bool {
	w.cost += n
	if w.cost > w.budget {
		return w.fail("too many elements")
	}
	return true
}

// length reads the length of a text, a blob or an array; null is 0.
func (w *walker) length(o *op) (int, bool) {
	var n int
	switch o.code {
	case shortText:
		if w.remaining() < 2 {
			return 0, w.fail("body ends")
		}
		n = int(int16(binary.BigEndian.Uint16(w.body[w.position:])))
		w.position += 2
	case longBlob, longArray:
		if w.remaining() < 4 {
			return 0, w.fail("body ends")
		}
		n = int(int32(binary.BigEndian.Uint32(w.body[w.position:])))
		w.position += 4
	default:
		u, ok := w.uvarint()
		if !ok {
			return 0, false
		}
		n = int(u) - 1
	}
	if n >= 0 {
		return n, true
	}
	if n < -1 {
		return 0, w.fail("negative length")
	}
	if !o.nullable {
		return 0, w.fail("null where none is allowed")
	}
	return 0, true
}

// uvarint reads an unsigned variable-length integer of at most 32 bits (KIP-482).
func (w *walker) uvarint() (uint32, bool) {
	if w.position < len(w.body) {
		if b := w.body[w.position]; b < 0x80 {
			w.position++
			return uint32(b), true
		}
	}
	u, n := binary.Uvarint(w.body[w.position:min(len(w.body), w.position+5)])
	if n <= 0 || u > 1<<31-1 {
		return 0, w.fail("bad length")
	}
	w.position += n
	return uint32(u), true
}

func (w *walker) array(o *op) bool {
	count, ok := w.length(o)
	if !ok {
		return false
	}
	if count > w.remaining()/o.minimum {
		return w.fail("array longer than the body")
	}
	if !w.spend(count * o.size) {
		return false
	}
	if o.exact {
		w.position += count * o.minimum
		return true
	}
	for range count {
		if !w.walk(o.ops) {
			return false
		}
	}
	return true
}

// tags walks a section of tagged fields: a count, then tag, size and bytes of each, the
// tags strictly increasing (KIP-482).
func (w *walker) tags(o *op) bool {
	count, ok := w.uvarint()
	if !ok {
		return false
	}
	if count == 0 {
		return true
	}
	if count > MaxTags {
		return w.fail("too many tagged fields")
	}
	// kmsg keeps unknown tags in a map: its header and its buckets as they double.
	if !w.spend(384 + int(count)*192) {
		return false
	}
	previous := int64(-1)
	for range count {
		number, ok := w.uvarint()
		if !ok {
			return false
		}
		if int64(number) <= previous {
			return w.fail("tagged fields out of order")
		}
		previous = int64(number)
		size, ok := w.uvarint()
		if !ok {
			return false
		}
		if int(size) > w.remaining() {
			return w.fail("body ends")
		}
		end := w.position + int(size)
		if !w.known(o, number, end) {
			return false
		}
		w.position = end
	}
	return true
}

// known walks a tagged field that the layout knows, within its own bytes.
func (w *walker) known(o *op, number uint32, end int) bool {
	for i := range o.tags {
		if o.tags[i].number != number {
			continue
		}
		body := w.body
		w.body = body[:end]
		ok := w.walk(o.tags[i].ops)
		w.body = body
		if ok && w.position != end {
			return w.fail("tagged field with bytes left over")
		}
		return ok
	}
	return true
}
