//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/test/harness"
)

// quotaHour is the length of a sample in these tests: they are over before it is, so what
// they are told to wait follows from bytes alone.
const quotaHour = 3600

func hourly() []string {
	return []string{
		"quota.window.num=2", fmt.Sprint("quota.window.size.seconds=", quotaHour),
		"controller.quota.window.num=1", fmt.Sprint("controller.quota.window.size.seconds=", quotaHour),
	}
}

// setQuota sets a quota of an entity, given as type and name; 0 removes it.
func setQuota(t *testing.T, b *harness.Broker, kind, name, key string, value float64) {
	t.Helper()
	q := kmsg.NewPtrAlterClientQuotasRequest()
	q.Version = 1
	e, of, op := kmsg.NewAlterClientQuotasRequestEntry(), kmsg.NewAlterClientQuotasRequestEntryEntity(), kmsg.NewAlterClientQuotasRequestEntryOp()
	of.Type, of.Name = kind, &name
	op.Key, op.Value, op.Remove = key, value, value == 0
	e.Entity, e.Ops = append(e.Entity, of), append(e.Ops, op)
	q.Entries = append(q.Entries, e)
	c := dial(t, b)
	defer c.conn.Close()
	if p := ask[*kmsg.AlterClientQuotasResponse](c, q); p.Entries[0].ErrorCode != 0 {
		t.Fatalf("set %s of %s: %s", key, name, errorName(p.Entries[0].ErrorCode))
	}
}

// waitOf wants a throttle time, in seconds, of between least and most.
func waitOf(t *testing.T, what string, millis int32, least, most float64) {
	t.Helper()
	if s := float64(millis) / 1000; s < least || s > most {
		t.Errorf("%s: throttled for %.3f s, want %.3f to %.3f", what, s, least, most)
	}
}

// TestQuotasHoldClientsUp: each kind of quota of a client is told in throttle_time_ms, and
// what the client sends meanwhile is not read (KIP-13, KIP-124, KIP-219, KIP-599).
func TestQuotasHoldClientsUp(t *testing.T) {
	b := harness.StartBroker(t, append(quick(), hourly()...)...)
	createTopic(t, b, "q", 1, nil)
	const size = 20_000
	records := build(t, batch.NoProducer, batch.Record{Timestamp: now(), Value: bytes.Repeat([]byte{'v'}, size)})
	produce := func(r *raw) *kmsg.ProduceResponse {
		return ask[*kmsg.ProduceResponse](r, produceRequest("q", 0, -1, records))
	}
	fetch := func(r *raw) *kmsg.FetchResponse {
		return ask[*kmsg.FetchResponse](r, fetchRequest("q", 0, 0, 1<<20, 1<<20))
	}

	t.Run("producer_byte_rate", func(t *testing.T) {
		setQuota(t, b, "client-id", "raw", "producer_byte_rate", 1)
		r := dial(t, b)
		p := produce(r)
		if part := p.Topics[0].Partitions[0]; part.ErrorCode != 0 {
			t.Fatalf("produce: %s", errorName(part.ErrorCode))
		}
		waitOf(t, "the first request", p.ThrottleMillis, size-2*quotaHour, size+1000-quotaHour)
		list := kmsg.NewPtrListTransactionsRequest() // which nobody else sends
		if err := r.write(frame(list, 100)); err != nil {
			t.Fatal(err)
		}
		waitOf(t, "the second", produce(dial(t, b)).ThrottleMillis, 2*size-2*quotaHour, 2*(size+1000)-quotaHour)
		metrics, err := b.HTTPGet("/metrics")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(metrics), `varve_requests_total{api="ListTransactions"}`) {
			t.Error("a request was read though its connection is muted")
		}
		if want := `varve_quota_throttles_total{quota="producer_byte_rate"} 2`; !strings.Contains(string(metrics), want) {
			t.Errorf("metrics have no %s", want)
		}
		setQuota(t, b, "user", "ANONYMOUS", "producer_byte_rate", 1e9)
		waitOf(t, "under the user's quota, which comes first", produce(dial(t, b)).ThrottleMillis, 0, 0)
		setQuota(t, b, "user", "ANONYMOUS", "producer_byte_rate", 0)
		setQuota(t, b, "client-id", "raw", "producer_byte_rate", 0)
		waitOf(t, "without a quota", produce(dial(t, b)).ThrottleMillis, 0, 0)
	})

	t.Run("consumer_byte_rate", func(t *testing.T) {
		setQuota(t, b, "client-id", "raw", "consumer_byte_rate", 1)
		p := fetch(dial(t, b))
		if got := len(fetched(p).RecordBatches); got < size {
			t.Errorf("%d bytes of a batch that is larger than all windows grant", got)
		}
		waitOf(t, "the first request", p.ThrottleMillis, 0, 0)
		p = fetch(dial(t, b))
		if len(p.Topics) != 0 || p.ErrorCode != 0 {
			t.Errorf("the second was answered %s with %d topics", errorName(p.ErrorCode), len(p.Topics))
		}
		waitOf(t, "the second", p.ThrottleMillis, 2*size-2*quotaHour, 2*(size+1000)-quotaHour)
		setQuota(t, b, "client-id", "raw", "consumer_byte_rate", 0)
		if p = fetch(dial(t, b)); len(fetched(p).RecordBatches) < size {
			t.Error("no records without a quota")
		}
	})

	t.Run("request_percentage", func(t *testing.T) {
		setQuota(t, b, "client-id", "raw", "request_percentage", 1e-9)
		waitOf(t, "metadata", ask[*kmsg.MetadataResponse](dial(t, b), allTopics()).ThrottleMillis, 1, quotaHour)
		waitOf(t, "fetch", fetch(dial(t, b)).ThrottleMillis, 1, quotaHour)
		waitOf(t, "produce", produce(dial(t, b)).ThrottleMillis, 1, quotaHour)
		setQuota(t, b, "client-id", "raw", "request_percentage", 0)
		waitOf(t, "without a quota", ask[*kmsg.MetadataResponse](dial(t, b), allTopics()).ThrottleMillis, 0, 0)
	})

	t.Run("controller_mutation_rate", func(t *testing.T) {
		setQuota(t, b, "client-id", "raw", "controller_mutation_rate", 0.001) // 3.6 partitions in an hour
		create := func(version int16, topic string, want *kerr.Error) {
			t.Helper()
			q := kmsg.NewPtrCreateTopicsRequest()
			q.Version, q.TimeoutMillis = version, 30_000
			to := kmsg.NewCreateTopicsRequestTopic()
			to.Topic, to.NumPartitions, to.ReplicationFactor = topic, 10, 1
			q.Topics = append(q.Topics, to)
			p := ask[*kmsg.CreateTopicsResponse](dial(t, b), q)
			expectCode(t, topic, p.Topics[0].ErrorCode, want)
			least := 5.0 * quotaHour
			if topic == "m1" {
				least = 0
			}
			waitOf(t, topic, p.ThrottleMillis, min(least, 6000), 10*quotaHour)
		}
		create(7, "m1", nil)
		create(7, "m2", kerr.ThrottlingQuotaExceeded)
		create(5, "m3", nil)
		q := kmsg.NewPtrDeleteTopicsRequest()
		q.Version, q.TopicNames, q.TimeoutMillis = 5, []string{"m1"}, 30_000
		expectCode(t, "delete", ask[*kmsg.DeleteTopicsResponse](dial(t, b), q).Topics[0].ErrorCode, kerr.ThrottlingQuotaExceeded)
		more := kmsg.NewPtrCreatePartitionsRequest()
		to := kmsg.NewCreatePartitionsRequestTopic()
		to.Topic, to.Count = "m1", 11
		more.Version, more.Topics, more.TimeoutMillis = 3, append(more.Topics, to), 30_000
		expectCode(t, "more partitions", ask[*kmsg.CreatePartitionsResponse](dial(t, b), more).Topics[0].ErrorCode, kerr.ThrottlingQuotaExceeded)
		setQuota(t, b, "client-id", "raw", "controller_mutation_rate", 0)
		gone := kmsg.NewPtrDeleteTopicsRequest()
		gone.Version, gone.TopicNames, gone.TimeoutMillis = 5, []string{"m1"}, 30_000
		expectCode(t, "delete without a quota", ask[*kmsg.DeleteTopicsResponse](dial(t, b), gone).Topics[0].ErrorCode, nil)
	})

	t.Run("after a restart", func(t *testing.T) {
		setQuota(t, b, "client-id", "raw", "producer_byte_rate", 1)
		b.Kill()
		b.Start()
		waitOf(t, "produce", produce(dial(t, b)).ThrottleMillis, size-2*quotaHour, size+1000-quotaHour)
	})
}

func allTopics() *kmsg.MetadataRequest {
	q := kmsg.NewPtrMetadataRequest()
	q.Version, q.Topics = 9, nil
	return q
}

func expectCode(t *testing.T, what string, code int16, want *kerr.Error) {
	t.Helper()
	wanted := int16(0)
	if want != nil {
		wanted = want.Code
	}
	if code != wanted {
		t.Errorf("%s: %s, want %s", what, errorName(code), errorName(wanted))
	}
}

// TestAddressesConnectAtTheirQuota: of many connections at once the first are served, and
// the others are closed unanswered (KIP-612).
func TestAddressesConnectAtTheirQuota(t *testing.T) {
	b := harness.StartBroker(t, quick()...)
	setQuota(t, b, "ip", "127.0.0.1", "connection_creation_rate", 1)
	const many = 200
	var conns []net.Conn
	begin := time.Now()
	for range many {
		c, err := net.DialTimeout("tcp", b.Address, rawLimit)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	q := kmsg.NewPtrApiVersionsRequest()
	served := 0
	for _, c := range conns {
		if err := c.SetDeadline(time.Now().Add(rawLimit)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(frame(q, 1)); err != nil {
			continue
		}
		if _, err := io.ReadFull(c, make([]byte, 4)); err == nil {
			served++
		}
	}
	// 11 samples grant 11 connections, and each second that this has taken one more.
	if most := 12 + int(time.Since(begin).Seconds()); served == 0 || served > most {
		t.Errorf("%d of %d connections were served, want 1 to %d", served, many, most)
	}
}
