package retention

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// keyMap holds of each key the largest offset, in memory of a fixed size: not the key,
// but 96 bits of its SipHash-2-4 under a random secret. Two keys that fall together make
// one of them vanish, so this must not happen by chance nor by design: with n keys in
// one pass chance is n²/2^97, 10^-11 for a billion keys, and without the secret nobody
// can look for two such keys, as anybody can for MD5, which Kafka uses. A slot takes 16
// bytes against Kafka's 24. Offsets count from the first dirty one, so a pass ends after
// 2^32 of them.
//
// It is open-addressed with linear probing from the start of a line of the processor's
// cache, which holds four slots. It starts small and grows up to its limit. With a
// million keys it is larger than the cache, and waiting for memory is what it takes: so
// keys are put in many at a time, which wait together.
//
// While it is filled it notes of which offsets the key has come again, one bit each, so
// that nobody looks for the keys of those a second time.
type keyMap struct {
	secret  [2]uint64
	limit   int   // slots at most
	base    int64 // what offsets count from
	slots   []slot
	used    int
	dead    []uint64 // a bit for each offset from base on, for as many as there is room
	queue   [queued]slot
	n       int    // of the queue
	end     int64  // offset of the first key that did not fit, math.MaxInt64: all did
	touched uint32 // keeps settle's reads from being left out
}

// slot is empty where offset is 0.
type slot struct {
	a      uint64
	b      uint32
	offset uint32 // offset - base + 1
}

const (
	slotBytes = 16
	lineSlots = 64 / slotBytes
	// loadPercent is how full the map gets: at 80 % a miss looks at 13 slots, at 90, as
	// in Kafka, at 50. Slots are smaller, so as many keys fit all the same.
	loadPercent = 80
	firstSlots  = 1 << 14
	// growth: the last step but one is a quarter of the limit, so that both together,
	// while they are moved, take no more than 1.25 times the limit.
	growth = 4
	// deadShare: one part in so many of the memory is for the bits of dead offsets, of 8
	// records for each that has a slot.
	deadShare = 16
	// queued is more than a processor waits for at once (some 20 lines); their slots stay
	// in its first cache until they are settled.
	queued = 64
)

// newKeyMap returns a map of at most bytes, at least one slot, for offsets of [base, bound).
func newKeyMap(bytes, base, bound int64, secret [2]uint64) *keyMap {
	words := min((bound-base+63)/64, bytes/deadShare/8)
	limit := int(max(2, min((bytes-8*words)/slotBytes, math.MaxInt32)))
	first := limit
	for first > firstSlots {
		first = max(first/growth, firstSlots)
	}
	return &keyMap{secret: secret, limit: limit, base: base, slots: make([]slot, first), dead: make([]uint64, words), end: math.MaxInt64}
}

// put notes a key's offset, which is larger than any before, at the latest with settle.
// It returns false where the map is full, or offset too far from the first: end says
// then from where on nothing was noted.
func (m *keyMap) put(key []byte, offset int64) bool {
	if offset-m.base >= math.MaxUint32 {
		m.settle()
		m.end = min(m.end, offset)
		return false
	}
	a, b := m.hash(key)
	m.queue[m.n] = slot{a, b, uint32(offset-m.base) + 1}
	m.n++
	return m.n < queued || m.settle()
}

// settle takes in what was put. It returns false where that did not fit.
func (m *keyMap) settle() bool {
	q := m.queue[:m.n]
	m.n = 0
	// Reads that do not depend on each other: the processor does not wait for one before
	// it asks for the next.
	touched := uint32(0)
	for i := range q {
		touched |= m.slots[m.home(q[i].a)].offset
	}
	m.touched = touched
	for i := range q {
		if m.end != math.MaxInt64 || !m.insert(&q[i]) {
			m.end = min(m.end, m.base+int64(q[i].offset)-1)
			return false
		}
	}
	return true
}

func (m *keyMap) insert(x *slot) bool {
	s := m.find(x.a, x.b)
	if s.offset != 0 {
		if i := s.offset - 1; int(i/64) < len(m.dead) {
			m.dead[i/64] |= 1 << (i % 64)
		}
		s.offset = x.offset
		return true
	}
	if (m.used+1)*100 > len(m.slots)*loadPercent {
		if !m.grow() {
			return false
		}
		s = m.find(x.a, x.b)
	}
	*s = *x
	m.used++
	return true
}

// dies tells whether a key has come again after offset, of all that was settled.
func (m *keyMap) dies(key []byte, offset int64) bool {
	if i := uint64(offset - m.base); i/64 < uint64(len(m.dead)) {
		return m.dead[i/64]>>(i%64)&1 != 0
	}
	last, ok := m.get(key)
	return ok && offset < last
}

// get returns the largest offset of a key; false where it is not in the map.
func (m *keyMap) get(key []byte) (offset int64, ok bool) {
	if m.used == 0 {
		return 0, false
	}
	s := m.find(m.hash(key))
	return m.base + int64(s.offset) - 1, s.offset != 0
}

// home is where the search for a hash begins.
func (m *keyMap) home(a uint64) uint64 {
	i, _ := bits.Mul64(a, uint64(len(m.slots)))
	return i &^ (lineSlots - 1)
}

// find returns the slot of a hash, or the empty one where it would go. There always is
// an empty one.
func (m *keyMap) find(a uint64, b uint32) *slot {
	for i := m.home(a); ; {
		s := &m.slots[i]
		if s.offset == 0 || s.a == a && s.b == b {
			return s
		}
		if i++; i == uint64(len(m.slots)) {
			i = 0
		}
	}
}

func (m *keyMap) grow() bool {
	if len(m.slots) >= m.limit {
		return false
	}
	old := m.slots
	size := m.limit
	for size/growth > len(old) {
		size /= growth
	}
	m.slots = make([]slot, size)
	for i := range old {
		if old[i].offset != 0 {
			*m.find(old[i].a, old[i].b) = old[i]
		}
	}
	return true
}

func (m *keyMap) hash(key []byte) (a uint64, b uint32) {
	a, rest := sipHash128(m.secret[0], m.secret[1], key)
	return a, uint32(rest)
}

// sipHash128 is SipHash-2-4 with 128 bits of output (Aumasson and Bernstein, 2012): a
// pseudorandom function of short inputs.
func sipHash128(k0, k1 uint64, p []byte) (lo, hi uint64) {
	v0, v1, v2, v3 := k0^0x736f6d6570736575, k1^0x646f72616e646f6d^0xee, k0^0x6c7967656e657261, k1^0x7465646279746573
	round := func() {
		v0 += v1
		v2 += v3
		v1 = bits.RotateLeft64(v1, 13) ^ v0
		v3 = bits.RotateLeft64(v3, 16) ^ v2
		v0 = bits.RotateLeft64(v0, 32)
		v2 += v1
		v0 += v3
		v1 = bits.RotateLeft64(v1, 17) ^ v2
		v3 = bits.RotateLeft64(v3, 21) ^ v0
		v2 = bits.RotateLeft64(v2, 32)
	}
	last := uint64(len(p)) << 56
	for ; len(p) >= 8; p = p[8:] {
		m := binary.LittleEndian.Uint64(p)
		v3 ^= m
		round()
		round()
		v0 ^= m
	}
	for i, c := range p {
		last |= uint64(c) << (8 * i)
	}
	v3 ^= last
	round()
	round()
	v0 ^= last
	v2 ^= 0xee
	round()
	round()
	round()
	round()
	lo = v0 ^ v1 ^ v2 ^ v3
	v1 ^= 0xdd
	round()
	round()
	round()
	round()
	return lo, v0 ^ v1 ^ v2 ^ v3
}
