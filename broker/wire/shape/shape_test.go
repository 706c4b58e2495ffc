package shape

import (
	"bufio"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// every calls f for every key and version that kmsg can decode.
func every(t testing.TB, f func(key, version int16)) {
	t.Helper()
	seen := 0
	for key := range int16(len(requests)) {
		r := kmsg.RequestForKey(key)
		if r == nil {
			t.Fatalf("key %d: kmsg has no request", key)
		}
		for version := range r.MaxVersion() + 1 {
			f(key, version)
			seen++
		}
	}
	if seen < 250 {
		t.Fatalf("walked %d versions, want all of them", seen)
	}
}

func TestCheckAcceptsEveryDefaultRequestWhole(t *testing.T) {
	every(t, func(key, version int16) {
		r := kmsg.RequestForKey(key)
		r.SetVersion(version)
		mustPass(t, key, version, r.AppendTo(nil))
	})
}

func TestCheckAcceptsEveryFilledRequestWhole(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	every(t, func(key, version int16) {
		for range 20 {
			mustPass(t, key, version, filled(random, key, version))
		}
	})
}

func mustPass(t *testing.T, key, version int16, body []byte) {
	t.Helper()
	result, err := Check(key, version, body)
	if err != nil {
		t.Fatalf("%s v%d: %v\n%x", Name(key), version, err, body)
	}
	if result.Consumed != len(body) {
		t.Fatalf("%s v%d: consumed %d of %d bytes", Name(key), version, result.Consumed, len(body))
	}
}

// filled is an encoded request with random values in every field.
func filled(random *rand.Rand, key, version int16) []byte {
	r := kmsg.RequestForKey(key)
	fill(random, reflect.ValueOf(r).Elem())
	r.SetVersion(version)
	return r.AppendTo(nil)
}

func fill(random *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		if tags, ok := v.Addr().Interface().(*kmsg.Tags); ok {
			for range random.IntN(3) {
				tags.Set(100+random.Uint32N(1000), make([]byte, random.IntN(200)))
			}
			return
		}
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(random, v.Field(i))
			}
		}
	case reflect.Pointer:
		if random.IntN(4) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(random, v.Elem())
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), random.IntN(4), 4))
		for i := range v.Len() {
			fill(random, v.Index(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(random, v.Index(i))
		}
	case reflect.String:
		v.SetString(strings.Repeat("x", random.IntN(200)))
	case reflect.Bool:
		v.SetBool(random.IntN(2) == 1)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(random.Int64())
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		v.SetUint(random.Uint64())
	case reflect.Float64:
		v.SetFloat(random.Float64())
	default:
		panic(v.Type().String())
	}
}

func TestCheckRefusesEveryTruncatedRequest(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	every(t, func(key, version int16) {
		body := filled(random, key, version)
		for n := range min(len(body), 300) {
			if _, err := Check(key, version, body[:n]); err == nil {
				t.Fatalf("%s v%d: accepted %d of %d bytes", Name(key), version, n, len(body))
			}
		}
	})
}

// Layouts are held against Apache Kafka's, so that a wrong reading of kmsg's source, or a
// wrong kmsg, cannot go unseen. Left out: what is tagged, because kmsg reads known tags
// at every version.
func TestLayoutsAreKafkas(t *testing.T) {
	f, err := os.Open("testdata/kafka-4.3.0-requests.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	compared := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		parts := strings.SplitN(lines.Text(), " ", 5)
		key, _ := strconv.Atoi(parts[0])
		version, _ := strconv.Atoi(parts[1])
		r := &requests[key]
		if version > int(r.newest) {
			t.Logf("%s v%d is newer than kmsg", r.name, version)
			continue
		}
		flexible := int8(version) >= r.flexible
		want := kafkaLayout(parts[4])
		if got := layout(r.fields, int8(version), flexible); got != want {
			t.Errorf("%s v%d:\n  is    %s\n  Kafka %s", r.name, version, got, want)
		}
		if wantFlexible := parts[2] == "2"; flexible != wantFlexible {
			t.Errorf("%s v%d: flexible is %v", r.name, version, flexible)
		}
		compared++
	}
	if compared < 250 {
		t.Fatalf("compared %d layouts", compared)
	}
}

// kafkaLayout brings a layout of testdata into the notation of layout.
func kafkaLayout(s string) string {
	for depth, start, i := 0, 0, 0; i < len(s); i++ { // drop what stands between < and >
		switch s[i] {
		case '<':
			if depth == 0 {
				start = i
			}
			depth++
		case '>':
			if depth--; depth == 0 {
				s = s[:start+1] + s[i:]
				i = start + 1
			}
		}
	}
	words := strings.NewReplacer("COMPACT_", "", "NULLABLE_", "?", "C?[", "?[", "C[", "[", "RECORDS", "BYTES",
		"BOOLEAN", "1", "UINT16", "2", "INT8", "1", "INT16", "2", "INT32", "4", "INT64", "8", "FLOAT64", "8", "UUID", "16")
	return words.Replace(s)
}

// layout prints a struct as testdata has it.
func layout(fields []field, version int8, flexible bool) string {
	var words []string
	for i := range fields {
		f := &fields[i]
		if f.tagged || version < f.min || version > f.max {
			continue
		}
		words = append(words, layoutOne(f, version, flexible))
	}
	if flexible {
		words = append(words, "<>")
	}
	return "{" + strings.Join(words, " ") + "}"
}

func layoutOne(f *field, version int8, flexible bool) string {
	null := ""
	if f.nullable && version >= f.nullableFrom {
		null = "?"
	}
	switch f.kind {
	case text:
		return null + "STRING"
	case blob:
		return null + "BYTES"
	case array:
		return null + "[" + layoutOne(&f.fields[0], version, flexible) + "]"
	case object:
		return null + layout(f.fields, version, flexible)
	}
	return strconv.Itoa(1 << f.kind)
}

func TestCheckRefusesCountsBeyondTheBody(t *testing.T) {
	metadata := func(count uint32, topics ...string) []byte { // v0: an array of names
		b := binary.BigEndian.AppendUint32(nil, count)
		for _, topic := range topics {
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(topic))), topic...)
		}
		return b
	}
	produce := binary.BigEndian.AppendUint32([]byte{0xff, 0xff, 0, 1, 0, 0, 0, 0}, 1<<20)
	for name, c := range map[string]struct {
		key, version int16
		body         []byte
		reason       string
	}{
		"count above what is left":          {3, 0, metadata(4, "a", "b"), "array longer than the body"},
		"count by bytes but not by minimum": {3, 0, append(metadata(5), 0, 0, 0, 0, 0, 0, 0, 0), "array longer than the body"},
		"count 2^31-1":                      {3, 0, metadata(1<<31-1, "a"), "array longer than the body"},
		"count -2":                          {3, 0, metadata(1<<32 - 2), "negative length"},
		"null array where none is allowed":  {3, 0, metadata(1<<32 - 1), "null where none is allowed"},
		"null text where none is allowed":   {3, 0, append(metadata(1), 0xff, 0xff), "null where none is allowed"},
		"produce, a million topics":         {0, 3, append(produce, make([]byte, 1<<20)...), "array longer than the body"},
		"length of six bytes":               {3, 9, []byte{0x80, 0x80, 0x80, 0x80, 0x80, 1}, "bad length"},
		"129 tags":                          {18, 3, append([]byte{1, 1, 0x81, 1}, make([]byte, 400)...), "too many tagged fields"},
		"4 billion tags":                    {18, 3, []byte{1, 1, 0xff, 0xff, 0xff, 0xff, 0xf}, "bad length"},
		"tags out of order":                 {18, 3, []byte{1, 1, 2, 9, 0, 8, 0}, "tagged fields out of order"},
		"the same tag twice":                {18, 3, []byte{1, 1, 2, 9, 0, 9, 0}, "tagged fields out of order"},
		"tag longer than the body":          {18, 3, []byte{1, 1, 1, 9, 200, 1}, "body ends"},
		"empty body":                        {0, 3, nil, "body ends"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Check(c.key, c.version, c.body)
			var malformed *MalformedError
			if !errors.As(err, &malformed) || malformed.Reason != c.reason {
				t.Fatalf("got %v, want %q", err, c.reason)
			}
		})
	}
}

func TestCheckRefusesUnknownKeysAndVersions(t *testing.T) {
	for _, c := range [][2]int16{{-1, 0}, {93, 0}, {32767, 0}, {0, -1}, {0, 32767}, {3, 100}} {
		if _, err := Check(c[0], c[1], make([]byte, 100)); !errors.Is(err, ErrUnknownKey) {
			t.Errorf("key %d version %d: %v", c[0], c[1], err)
		}
	}
}

// B8: a body made of the smallest elements there are is refused, or decoded within the
// cost that Check names.
func TestDecodingAllocatesWithinCost(t *testing.T) {
	hostile := func(key, version int16, prefix []byte, element []byte, size int) []byte {
		n := size / len(element)
		body := binary.AppendUvarint(prefix, uint64(n)+1)
		for range n {
			body = append(body, element...)
		}
		return body
	}
	for name, c := range map[string]struct {
		key, version int16
		body         []byte
		refused      bool
	}{
		"Metadata v9, 100,000 empty names":   {3, 9, append(hostile(3, 9, nil, []byte{1, 0}, 200_000), 0, 0, 0, 0), false},
		"Metadata v9, 4,000,000 empty names": {3, 9, append(hostile(3, 9, nil, []byte{1, 0}, 8_000_000), 0, 0, 0, 0), true},
		"Metadata v9, each with two tags":    {3, 9, append(hostile(3, 9, nil, []byte{1, 2, 5, 0, 6, 0}, 60_000), 0, 0, 0, 0), false},
		"Metadata v9, a million with tags":   {3, 9, append(hostile(3, 9, nil, []byte{1, 1, 5, 0}, 4_000_000), 0, 0, 0, 0), true},
		"DeleteTopics v6, null names":        {20, 6, append(hostile(20, 6, nil, append(make([]byte, 17), 0), 1_800_000), 0, 0, 0, 0, 0), false},
		"FindCoordinator v4, one-byte keys":  {10, 4, append(hostile(10, 4, []byte{0}, []byte{1}, 500_000), 0), false},
	} {
		t.Run(name, func(t *testing.T) {
			result, err := Check(c.key, c.version, c.body)
			if c.refused {
				if err == nil {
					t.Fatalf("accepted at a cost of %d", result.Cost)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			allocated := decodeAllocates(t, c.key, c.version, c.body)
			if limit := raceFactor * (result.Cost + 8192); allocated > uint64(limit) {
				t.Errorf("decoding %d bytes allocated %d, Check said %d", len(c.body), allocated, result.Cost)
			}
			if result.Cost > maxCost(len(c.body)) {
				t.Errorf("cost %d above the limit", result.Cost)
			}
		})
	}
	random := rand.New(rand.NewPCG(5, 6))
	every(t, func(key, version int16) {
		body := filled(random, key, version)
		result, err := Check(key, version, body)
		if err != nil {
			t.Fatal(err)
		}
		if allocated := decodeAllocates(t, key, version, body); allocated > uint64(raceFactor*(result.Cost+8192)) {
			t.Errorf("%s v%d: %d bytes allocated %d, Check said %d", Name(key), version, len(body), allocated, result.Cost)
		}
	})
}

// decodeAllocates returns how many bytes decoding allocates: the least of some times,
// since the runtime's own goroutines may allocate beside it.
func decodeAllocates(t *testing.T, key, version int16, body []byte) uint64 {
	t.Helper()
	least := uint64(math.MaxUint64)
	for range 5 {
		r := kmsg.RequestForKey(key)
		r.SetVersion(version)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := r.ReadFrom(body)
		runtime.ReadMemStats(&after)
		if err != nil {
			t.Fatalf("%s v%d: passed the guard but not kmsg: %v", Name(key), version, err)
		}
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least
}

func TestCheckDoesNotAllocate(t *testing.T) {
	body := filled(rand.New(rand.NewPCG(7, 8)), 1, 12)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := Check(1, 12, body); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Whatever the bytes, Check does not panic, and what it passes kmsg decodes.
func FuzzCheckThenDecode(f *testing.F) {
	random := rand.New(rand.NewPCG(9, 10))
	every(f, func(key, version int16) {
		f.Add(key, version, filled(random, key, version))
	})
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) {
		result, err := Check(key, version, body)
		if err != nil {
			return
		}
		if result.Consumed > len(body) || result.Cost > maxCost(len(body)) {
			t.Fatalf("%+v for %d bytes", result, len(body))
		}
		r := kmsg.RequestForKey(key)
		r.SetVersion(version)
		if err := r.ReadFrom(body); err != nil {
			t.Fatalf("%s v%d passed the guard but not kmsg: %v", Name(key), version, err)
		}
	})
}

func BenchmarkCheckProduce(b *testing.B) {
	r := kmsg.NewPtrProduceRequest()
	r.SetVersion(9)
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic = "orders"
	for i := range int32(16) {
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition, p.Records = i, make([]byte, 16<<10)
		topic.Partitions = append(topic.Partitions, p)
	}
	r.Topics = append(r.Topics, topic)
	body := r.AppendTo(nil)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Check(0, 9, body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheckFetch(b *testing.B) {
	r := kmsg.NewPtrFetchRequest()
	r.SetVersion(12)
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic = "orders"
	for range 1000 {
		topic.Partitions = append(topic.Partitions, kmsg.NewFetchRequestTopicPartition())
	}
	r.Topics = append(r.Topics, topic)
	body := r.AppendTo(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Check(1, 12, body); err != nil {
			b.Fatal(err)
		}
	}
}
