//go:build e2e

package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"reflect"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/test/harness"
)

// badMemory is what the broker may hold of its own after any amount of bad input.
const badMemory = 192 << 20

// header is a request header, version 1, with a client id, or 2 with an empty tag section.
func header(key, version int16, flexible bool) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = binary.BigEndian.AppendUint32(b, 77)
	b = append(b, 0, 3, 'b', 'a', 'd')
	if flexible {
		b = append(b, 0)
	}
	return b
}

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func length(n int32) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }

// TestBadFrames sends frames and headers that break the protocol (B1 to B9): each
// connection is closed without an answer.
func TestBadFrames(t *testing.T) {
	b := harness.StartBroker(t, append(quick(), "max.connection.creation.rate=100000")...)
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0x07} // unsigned varint 2^31-1
	manyTags := append(header(18, 3, false), binary.AppendUvarint(nil, 1_000_000)...)
	for i := range uint64(1_000_000) {
		manyTags = append(binary.AppendUvarint(manyTags, i), 0)
	}
	withHealthy(t, b, badMemory, func(t *testing.T) {
		for _, c := range []struct {
			name  string
			bytes []byte
		}{
			{"B1 length -1", length(-1)},
			{"B1 least length", length(math.MinInt32)},
			{"B2 above the limit", length(100<<20 + 1)},
			{"B2 greatest length", length(math.MaxInt32)},
			{"B3 length 0", length(0)},
			{"B3 shorter than a header", framed([]byte{0, 18, 0, 0})},
			{"B3 client id beyond the frame", framed([]byte{0, 3, 0, 1, 0, 0, 0, 1, 0x7f, 0xff, 'x'})},
			{"B5 unknown key", framed(header(9999, 0, false))},
			{"B5 negative key", framed(header(-1, 0, false))},
			{"B6 Produce version 99", framed(header(0, 99, true))},
			{"B6 Fetch version -1", framed(header(1, -1, false))},
			{"B6 Metadata version 99", framed(header(3, 99, true))},
			{"B7 null topic name", framed(cat(header(3, 1, false), length(1), []byte{0xff, 0xff}))},
			{"B7 null array of CreateTopics", framed(cat(header(19, 2, false), length(-1), length(1000), []byte{0}))},
			{"B8 huge count", framed(cat(header(3, 1, false), length(math.MaxInt32), make([]byte, 64)))},
			{"B8 huge compact count", framed(cat(header(3, 12, true), huge, make([]byte, 64)))},
			{"B8 count as large as the frame", framed(cat(header(3, 1, false), length(1<<20), make([]byte, 1<<20)))},
			{"B8 huge string", framed(cat(header(3, 12, true), []byte{2}, make([]byte, 16), huge))},
			{"B9 a million tags", framed(manyTags)},
			{"B9 tag twice", framed(append(header(18, 3, false), 2, 7, 0, 7, 0))},
			{"B9 tags fall", framed(append(header(18, 3, false), 2, 7, 0, 6, 0))},
			{"B9 tag cut", framed(append(header(18, 3, false), 1, 7, 100))},
			{"TLS hello", []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}},
			{"HTTP", []byte("GET / HTTP/1.1\r\nHost: varve\r\n\r\n")},
			{"body cut", framed(frame(kmsg.NewPtrMetadataRequest(), 1)[4:10])},
		} {
			t.Run(c.name, func(t *testing.T) {
				r := dial(t, b)
				if err := r.write(c.bytes); err != nil && len(c.bytes) < 1<<16 {
					t.Fatal(err)
				}
				if err := r.closed(); err != nil {
					t.Error(err)
				}
			})
		}
		t.Run("B6 ApiVersions version 99", func(t *testing.T) {
			r := dial(t, b)
			if err := r.write(framed(header(18, 99, true))); err != nil {
				t.Fatal(err)
			}
			body, err := r.read()
			p := kmsg.NewPtrApiVersionsResponse() // version 0
			if err == nil && len(body) > 4 {
				err = p.ReadFrom(body[4:])
			}
			if err != nil || p.ErrorCode != kerr.UnsupportedVersion.Code {
				t.Fatalf("%v, %+v", err, p)
			}
			ask[*kmsg.ApiVersionsResponse](r, kmsg.NewPtrApiVersionsRequest()) // the connection goes on (KIP-511)
		})
	})
}

// TestPartialFramesHoldNoMemory declares frames of 100 MiB and sends a few bytes of
// them, on many connections (B4, B32), beside connections that send nothing.
func TestPartialFramesHoldNoMemory(t *testing.T) {
	b := harness.StartBroker(t, append(quick(), "max.connection.creation.rate=100000")...)
	withHealthy(t, b, badMemory, func(t *testing.T) {
		_, before := b.Memory(t)
		const connections = 800
		var open []*raw
		for i := range connections {
			r := dial(t, b)
			open = append(open, r)
			if i%2 == 0 {
				if err := r.write(cat(length(100<<20), header(0, 3, false), make([]byte, 1000))); err != nil {
					t.Fatal(err)
				}
			}
		}
		ask[*kmsg.MetadataResponse](dial(t, b), kmsg.NewPtrMetadataRequest())
		_, now := b.Memory(t)
		t.Logf("%d connections, half of them with a partial frame: %d KiB each", connections, (now-before)>>10/connections)
		if now-before > connections*(64<<10)+(8<<20) {
			t.Errorf("%d bytes of memory for %d connections", now-before, connections)
		}
		for _, r := range open {
			r.conn.Close()
		}
	})
}

// TestConnectionFlood opens more connections than one address may have (B33): those
// above are refused, the others and the healthy client go on, and when they are closed
// new ones come in.
func TestConnectionFlood(t *testing.T) {
	b := harness.StartBroker(t, append(quick(), "max.connections.per.ip=200", "max.connection.creation.rate=100000")...)
	withHealthy(t, b, badMemory, func(t *testing.T) {
		var open []*raw
		refused := 0
		for range 400 {
			r := dial(t, b)
			open = append(open, r)
			if _, err := r.try(kmsg.NewPtrApiVersionsRequest()); err != nil {
				refused++
			}
		}
		t.Logf("%d of %d connections refused with a limit of 200", refused, len(open))
		if refused < 200 || refused > 220 {
			t.Errorf("%d connections were refused", refused)
		}
		for _, r := range open {
			r.conn.Close()
		}
		harness.Until(t, time.Minute, "a new connection", func() error {
			conn, err := net.Dial("tcp", b.Address)
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = (&raw{t: t, conn: conn, in: newReader(conn)}).try(kmsg.NewPtrApiVersionsRequest())
			return err
		})
	})
}

// TestExtremeFieldsInEveryAPI sends every API in every version, with nothing in it and
// with every field at an extreme and every array twice the same element (B36). Any
// answer is fine, and none; the broker lives.
func TestExtremeFieldsInEveryAPI(t *testing.T) {
	b := harness.StartBroker(t, append(quick(), "max.connection.creation.rate=100000", "auto.create.topics.enable=false", "max.connections.per.ip=20000")...)
	withHealthy(t, b, badMemory, func(t *testing.T) {
		r := dial(t, b)
		served := ask[*kmsg.ApiVersionsResponse](r, kmsg.NewPtrApiVersionsRequest())
		sent, answered := 0, 0
		for _, api := range served.ApiKeys {
			for version := api.MinVersion; version <= api.MaxVersion; version++ {
				for _, extreme := range []int64{0, -1, -9, math.MaxInt64, math.MinInt64} {
					q := kmsg.RequestForKey(api.ApiKey)
					q.SetVersion(version)
					if extreme != 0 {
						exaggerate(reflect.ValueOf(q).Elem(), extreme, 0)
						q.SetVersion(version)
					}
					sent++
					r := dial(t, b)
					if err := r.conn.SetDeadline(time.Now().Add(rawLimit)); err != nil {
						t.Fatal(err)
					}
					if err := r.write(frame(q, 1)); err != nil {
						continue
					}
					if err := r.conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
						t.Fatal(err)
					}
					if body, err := r.read(); err == nil {
						answered++
						if _, err := decode(q, 1, body); err != nil {
							t.Errorf("%s version %d with %d: %v", kmsg.NameForKey(api.ApiKey), version, extreme, err)
						}
					}
					r.conn.Close()
				}
			}
		}
		t.Logf("%d requests of %d APIs, %d answers", sent, len(served.ApiKeys), answered)
	})
}

// exaggerate sets every field of a request: numbers to n, strings to a topic that
// exists, arrays to two equal elements.
func exaggerate(v reflect.Value, n int64, depth int) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Name != "Version" && f.Name != "UnknownTags" {
				exaggerate(v.Field(i), n, depth)
			}
		}
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(min(max(n, -1<<(v.Type().Bits()-1)), 1<<(v.Type().Bits()-1)-1))
	case reflect.String:
		v.SetString(healthyTopic)
	case reflect.Bool:
		v.SetBool(n < 0)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		exaggerate(v.Elem(), n, depth)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte("bytes"))
			return
		}
		if depth > 6 {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		exaggerate(v.Index(0), n, depth+1)
		exaggerate(v.Index(1), n, depth+1)
	}
}

// TestWideRequests asks for far more than a response may hold (B26, B37).
func TestWideRequests(t *testing.T) {
	b := harness.StartBroker(t, append(quick(), "auto.create.topics.enable=false", "fetch.max.bytes=4194304")...)
	createTopic(t, b, "wide", 8, map[string]string{"remote.storage.enable": "false"})
	for range 4 {
		fill(t, b, "wide", 2<<20, nil)
	}
	withHealthy(t, b, badMemory, func(t *testing.T) {
		r := dial(t, b)
		q := fetchRequest("wide", 0, 0, math.MaxInt32, math.MaxInt32)
		for range 10_000 {
			p := q.Topics[0].Partitions[0]
			p.Partition = int32(len(q.Topics[0].Partitions) % 8)
			q.Topics[0].Partitions = append(q.Topics[0].Partitions, p)
		}
		for range 20 {
			if err := r.write(frame(q, 5)); err != nil {
				t.Fatal(err)
			}
			body, err := r.read()
			if err != nil {
				break // refusing is fine, too
			}
			if len(body) > 4<<20+1<<20+10_001*64 {
				t.Fatalf("a response of %d bytes with fetch.max.bytes=4 MiB", len(body))
			}
		}
		m := kmsg.NewPtrMetadataRequest()
		m.Version = 9
		for i := range 100_000 {
			topic := kmsg.NewMetadataRequestTopic()
			topic.Topic = kmsg.StringPtr(fmt.Sprint("unknown-", i))
			m.Topics = append(m.Topics, topic)
		}
		if p := ask[*kmsg.MetadataResponse](dial(t, b), m); len(p.Topics) != 100_000 || p.Topics[7].ErrorCode != kerr.UnknownTopicOrPartition.Code {
			t.Errorf("%d topics, %s", len(p.Topics), errorName(p.Topics[7].ErrorCode))
		}
		create := kmsg.NewPtrCreateTopicsRequest()
		create.Version, create.TimeoutMillis = 7, 10_000
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "million", 1_000_000, 1
		create.Topics = append(create.Topics, topic)
		code := ask[*kmsg.CreateTopicsResponse](dial(t, b), create).Topics[0].ErrorCode
		if code != kerr.InvalidPartitions.Code && code != kerr.PolicyViolation.Code {
			t.Errorf("a topic with a million partitions: %s", errorName(code))
		}
	})
}
