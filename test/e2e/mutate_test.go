//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/test/harness"
)

// TestMutatedFrames records what real clients send, changes it at random and sends it
// again, 20,000 frames and more on many connections. The broker may answer what it
// likes; it lives, its memory is bounded, and a healthy client sees nothing of it.
func TestMutatedFrames(t *testing.T) {
	frames := envBytes(t, "VARVE_E2E_MUTATIONS", 20_000)
	rng := harness.Seeded(t)
	b := harness.StartBroker(t, append(quick(),
		"max.connection.creation.rate=100000", "max.connections.per.ip=20000",
		"auto.create.topics.enable=false")...)
	recorded := record(t, b)
	kinds := map[int16]int{}
	for _, f := range recorded {
		kinds[key(f)]++
	}
	t.Logf("%d recorded frames of %d APIs", len(recorded), len(kinds))
	if len(kinds) < 20 {
		t.Fatalf("too few APIs: %v", kinds)
	}
	withHealthy(t, b, badMemory, func(t *testing.T) {
		var left, answers, closes atomic.Int64
		left.Store(frames)
		var workers sync.WaitGroup
		for range 8 {
			own := rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64()))
			workers.Go(func() {
				v := &villain{b: b}
				defer v.hangUp()
				for left.Add(-1) >= 0 {
					v.throw(mutate(own, recorded))
				}
				answers.Add(v.answers)
				closes.Add(v.closes)
			})
		}
		workers.Wait()
		t.Logf("%d frames: %d answered, %d closed the connection", frames, answers.Load(), closes.Load())
		if answers.Load() < frames/20 || closes.Load() < frames/20 {
			t.Error("nearly all frames have the same fate: the mutations are too strong or too weak")
		}
	})
}

// villain is a connection to a broker that is made again whenever the broker closes it.
type villain struct {
	b               *harness.Broker
	conn            net.Conn
	in              raw
	answers, closes int64
}

// villainPatience is how long an answer is waited for: some frames have none, and some
// ask for a long wait.
const villainPatience = 15 * time.Millisecond

func (v *villain) throw(frame []byte) {
	if v.conn == nil {
		conn, err := net.Dial("tcp", v.b.Address)
		if err != nil {
			return // the broker's health is judged by others
		}
		v.conn, v.in = conn, raw{conn: conn, in: newReader(conn)}
	}
	_ = v.conn.SetDeadline(time.Now().Add(villainPatience)) // of a socket that is open
	_, err := v.conn.Write(frame)
	if err == nil {
		_, err = v.in.read()
	}
	var timeout net.Error
	switch {
	case err == nil:
		v.answers++
	case errors.As(err, &timeout) && timeout.Timeout():
		v.hangUp()
	default:
		v.closes++
		v.hangUp()
	}
}

func (v *villain) hangUp() {
	if v.conn != nil {
		v.conn.Close()
		v.conn = nil
	}
}

func key(frame []byte) int16 { return int16(binary.BigEndian.Uint16(frame[4:])) }

// creates are the APIs whose numbers are left alone: a partition count of 10,000 is
// legal, and a few of them are work for minutes.
var creates = map[int16]bool{19: true, 37: true}

// extremes are numbers that break what was not thought of.
var extremes = []uint32{0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, math.MaxInt32, 1 << 31, math.MaxUint32, 0x0fffffff}

// mutate returns a changed copy of one of the frames; its length is right most of the time.
func mutate(rng *rand.Rand, recorded [][]byte) []byte {
	f := bytes.Clone(recorded[rng.IntN(len(recorded))])
	const body = 8 // behind length, key and version
	for range 1 + rng.IntN(3) {
		at := body + rng.IntN(len(f)-body)
		n := 1 + rng.IntN(min(32, len(f)-at))
		op := rng.IntN(8)
		if creates[key(f)] {
			op = 4 + op%3
		}
		switch op {
		case 0:
			f[at] ^= 1 << rng.IntN(8)
		case 1:
			f[at] = byte(rng.Uint32())
		case 2:
			if at+4 <= len(f) {
				binary.BigEndian.PutUint32(f[at:], extremes[rng.IntN(len(extremes))])
			}
		case 3: // a varint that goes on
			for i := at; i < at+min(n, 5); i++ {
				f[i] |= 0x80
			}
		case 4:
			f = append(f[:at:at], f[at+n:]...)
		case 5:
			f = append(f[:at:at], append(bytes.Clone(f[at:at+n]), f[at:]...)...)
		case 6:
			f = f[:at:at]
		case 7: // the body of one API under another's version
			binary.BigEndian.PutUint16(f[6:], uint16(rng.IntN(14)))
		}
		if len(f) <= body {
			break
		}
	}
	size := len(f) - 4
	if rng.IntN(20) == 0 {
		size += rng.IntN(64) - 32
	}
	binary.BigEndian.PutUint32(f, uint32(size))
	return f
}

// recorder is a connection that keeps what is written to it.
type recorder struct {
	net.Conn
	mu  *sync.Mutex
	out *bytes.Buffer
}

func (r recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	r.out.Write(p)
	r.mu.Unlock()
	return r.Conn.Write(p)
}

// record lets clients do what clients do and returns the frames they sent, and one
// frame of each API that they did not use.
func record(t *testing.T, b *harness.Broker) [][]byte {
	t.Helper()
	var mu sync.Mutex
	var streams []*bytes.Buffer
	dialer := kgo.Dialer(func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		streams = append(streams, &bytes.Buffer{})
		return recorder{c, &mu, streams[len(streams)-1]}, nil
	})
	createTopic(t, b, "recorded", 2, map[string]string{"max.message.bytes": "65536"})
	for codec := range codecs {
		c := client(t, b, dialer, kgo.DefaultProduceTopic("recorded"), kgo.ProducerBatchCompression(codecs[codec]),
			kgo.ConsumeTopics("recorded"), kgo.ConsumerGroup("recorded-"+codec), kgo.FetchMaxWait(100*time.Millisecond))
		ctx := within(t, time.Minute)
		var records []*kgo.Record
		for range 20 {
			records = append(records, &kgo.Record{Key: []byte("key"), Value: bytes.Repeat([]byte("value "), 20), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}}})
		}
		if err := c.ProduceSync(ctx, records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		for n := 0; n < 20; {
			f := c.PollFetches(ctx)
			if err := f.Err(); err != nil {
				t.Fatal(err)
			}
			n += f.NumRecords()
		}
		if err := c.CommitUncommittedOffsets(ctx); err != nil {
			t.Fatal(err)
		}
		c.LeaveGroup()
		c.Close()
	}
	mu.Lock()
	defer mu.Unlock()
	var frames [][]byte
	seen := map[int16]bool{}
	for _, s := range streams {
		for s.Len() > 4 {
			f := s.Bytes()
			f = bytes.Clone(f[:4+binary.BigEndian.Uint32(f)])
			if _, err := io.CopyN(io.Discard, s, int64(len(f))); err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			seen[key(f)] = true
			frames = append(frames, f)
		}
	}
	for _, q := range []kmsg.Request{
		createPartitions("recorded"), listed("recorded"), describeProducers("recorded"), fetchRequest("recorded", 0, 0, 1<<20, 1<<20),
		deleteTopics("nothing"), deleteRecordsRequest("recorded"), describeConfigs("recorded"), alterConfigs("recorded"),
	} {
		seen[q.Key()] = true
		frames = append(frames, frame(q, 1))
	}
	for _, api := range ask[*kmsg.ApiVersionsResponse](dial(t, b), kmsg.NewPtrApiVersionsRequest()).ApiKeys {
		if !seen[api.ApiKey] {
			q := kmsg.RequestForKey(api.ApiKey)
			q.SetVersion(api.MaxVersion)
			frames = append(frames, append(frame(q, 1), 0, 0, 0, 1, 0, 1, 'x', 0))
		}
	}
	return frames
}

func createPartitions(topic string) kmsg.Request {
	q := kmsg.NewPtrCreatePartitionsRequest()
	q.Version = 3
	t := kmsg.NewCreatePartitionsRequestTopic()
	t.Topic, t.Count = topic, 3
	q.Topics = append(q.Topics, t)
	return q
}

func listed(topic string) kmsg.Request {
	q := kmsg.NewPtrListOffsetsRequest()
	q.Version, q.ReplicaID = 8, -1
	t, p := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
	p.Timestamp = -1
	t.Topic, t.Partitions = topic, append(t.Partitions, p)
	q.Topics = append(q.Topics, t)
	return q
}

func deleteTopics(topic string) kmsg.Request {
	q := kmsg.NewPtrDeleteTopicsRequest()
	q.Version = 6
	t := kmsg.NewDeleteTopicsRequestTopic()
	t.Topic = &topic
	q.Topics = append(q.Topics, t)
	return q
}

func deleteRecordsRequest(topic string) kmsg.Request {
	q := kmsg.NewPtrDeleteRecordsRequest()
	q.Version = 2
	t, p := kmsg.NewDeleteRecordsRequestTopic(), kmsg.NewDeleteRecordsRequestTopicPartition()
	t.Topic, t.Partitions = topic, append(t.Partitions, p)
	q.Topics = append(q.Topics, t)
	return q
}

func describeConfigs(topic string) kmsg.Request {
	q := kmsg.NewPtrDescribeConfigsRequest()
	q.Version = 4
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	q.Resources = append(q.Resources, r)
	return q
}

func alterConfigs(topic string) kmsg.Request {
	q := kmsg.NewPtrIncrementalAlterConfigsRequest()
	q.Version = 1
	r, c := kmsg.NewIncrementalAlterConfigsRequestResource(), kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	c.Name, c.Value = "retention.ms", kmsg.StringPtr("86400000")
	r.ResourceType, r.ResourceName, r.Configs = kmsg.ConfigResourceTypeTopic, topic, append(r.Configs, c)
	q.Resources = append(q.Resources, r)
	return q
}
