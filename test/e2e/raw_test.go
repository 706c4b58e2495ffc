//go:build e2e

package e2e

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/test/harness"
)

// rawLimit bounds every read and write of a raw connection.
const rawLimit = time.Minute

// raw is a connection that sends what a well-behaved client would not.
type raw struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
	next int32 // correlation id
}

func dial(t testing.TB, b *harness.Broker) *raw {
	t.Helper()
	conn, err := net.DialTimeout("tcp", b.Address, rawLimit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &raw{t: t, conn: conn, in: bufio.NewReader(conn)}
}

var formatter = kmsg.NewRequestFormatter(kmsg.FormatterClientID("raw"))

// frame is a request with its length and header.
func frame(q kmsg.Request, correlation int32) []byte {
	return formatter.AppendRequest(nil, q, correlation)
}

// framed puts a length before bytes.
func framed(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

// write sends bytes as they are.
func (r *raw) write(b []byte) error {
	if err := r.conn.SetDeadline(time.Now().Add(rawLimit)); err != nil {
		return err
	}
	_, err := r.conn.Write(b)
	return err
}

// read returns the next response frame; io.EOF where the broker has closed.
func (r *raw) read() ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r.in, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > 256<<20 {
		return nil, fmt.Errorf("response of %d bytes", n)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r.in, b)
	return b, err
}

// try sends a request and returns its answer.
func (r *raw) try(q kmsg.Request) (kmsg.Response, error) {
	r.next++
	if err := r.write(frame(q, r.next)); err != nil {
		return nil, err
	}
	b, err := r.read()
	if err != nil {
		return nil, err
	}
	return decode(q, r.next, b)
}

func decode(q kmsg.Request, correlation int32, b []byte) (kmsg.Response, error) {
	if len(b) < 4 || int32(binary.BigEndian.Uint32(b)) != correlation {
		return nil, fmt.Errorf("answer of %d bytes to another request than %d", len(b), correlation)
	}
	b = b[4:]
	if q.IsFlexible() && q.Key() != 18 {
		if len(b) == 0 || b[0] != 0 {
			return nil, errors.New("response header with tags")
		}
		b = b[1:]
	}
	p := q.ResponseKind()
	return p, p.ReadFrom(b)
}

// ask is try where an answer has to come.
func ask[P kmsg.Response](r *raw, q kmsg.Request) P {
	r.t.Helper()
	p, err := r.try(q)
	if err != nil {
		r.t.Fatalf("%s version %d: %v", kmsg.NameForKey(q.Key()), q.GetVersion(), err)
	}
	return p.(P)
}

// closed reports nil if the broker closes the connection without a further answer.
func (r *raw) closed() error {
	if err := r.conn.SetReadDeadline(time.Now().Add(rawLimit)); err != nil {
		return err
	}
	b, err := r.read()
	var timeout net.Error
	switch {
	case err == nil:
		return fmt.Errorf("an answer of %d bytes came instead of a close", len(b))
	case errors.As(err, &timeout) && timeout.Timeout():
		return errors.New("the connection stays open")
	}
	return nil
}

func errorName(code int16) string {
	if code == 0 {
		return "none"
	}
	if e := kerr.TypedErrorForCode(code); e != nil {
		return e.Message
	}
	return fmt.Sprint(code)
}

// produced is the answer to one partition of a Produce request.
type produced = kmsg.ProduceResponseTopicPartition

// produceRequest sends records to one partition, by name.
func produceRequest(topic string, partition int32, acks int16, records []byte) *kmsg.ProduceRequest {
	q := kmsg.NewPtrProduceRequest()
	q.Version, q.Acks, q.TimeoutMillis = 11, acks, 10_000
	t, p := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, records
	t.Topic, t.Partitions = topic, append(t.Partitions, p)
	q.Topics = append(q.Topics, t)
	return q
}

func (r *raw) produce(topic string, partition int32, records []byte) produced {
	r.t.Helper()
	return ask[*kmsg.ProduceResponse](r, produceRequest(topic, partition, -1, records)).Topics[0].Partitions[0]
}

// build makes a batch.
func build(t testing.TB, o batch.Builder, records ...batch.Record) []byte {
	t.Helper()
	b, err := o.Build(0, -1, records)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// now is the time of a record.
func now() int64 { return time.Now().UnixMilli() }

// fetchRequest asks for one partition, by name.
func fetchRequest(topic string, partition int32, offset int64, partitionBytes, maxBytes int32) *kmsg.FetchRequest {
	q := kmsg.NewPtrFetchRequest()
	q.Version, q.MaxWaitMillis, q.MinBytes, q.MaxBytes, q.SessionEpoch = 12, 5000, 1, maxBytes, -1
	t, p := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = partition, offset, partitionBytes, -1
	t.Topic, t.Partitions = topic, append(t.Partitions, p)
	q.Topics = append(q.Topics, t)
	return q
}

// fetch reads once. Records of the bucket may need more than one request: the first may
// end with nothing when its time is over.
func (r *raw) fetch(topic string, partition int32, offset int64, maxBytes int32) kmsg.FetchResponseTopicPartition {
	r.t.Helper()
	p := ask[*kmsg.FetchResponse](r, fetchRequest(topic, partition, offset, maxBytes, 64<<20))
	if p.ErrorCode != 0 || len(p.Topics) != 1 || len(p.Topics[0].Partitions) != 1 {
		r.t.Fatalf("fetch of %s-%d at %d: %s, %+v", topic, partition, offset, errorName(p.ErrorCode), p.Topics)
	}
	return p.Topics[0].Partitions[0]
}

// listOffset answers ListOffsets of version 11.
func (r *raw) listOffset(topic string, partition int32, timestamp int64) kmsg.ListOffsetsResponseTopicPartition {
	r.t.Helper()
	q := kmsg.NewPtrListOffsetsRequest()
	q.Version, q.ReplicaID, q.TimeoutMillis = 11, -1, 10_000
	t, p := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
	p.Partition, p.Timestamp, p.CurrentLeaderEpoch = partition, timestamp, -1
	t.Topic, t.Partitions = topic, append(t.Partitions, p)
	q.Topics = append(q.Topics, t)
	return ask[*kmsg.ListOffsetsResponse](r, q).Topics[0].Partitions[0]
}

// fetched is the one partition of an answer to fetchRequest.
func fetched(p kmsg.Response) kmsg.FetchResponseTopicPartition {
	f := p.(*kmsg.FetchResponse)
	if f.ErrorCode != 0 || len(f.Topics) == 0 {
		return kmsg.FetchResponseTopicPartition{ErrorCode: f.ErrorCode}
	}
	return f.Topics[0].Partitions[0]
}

func newReader(c net.Conn) *bufio.Reader { return bufio.NewReader(c) }
