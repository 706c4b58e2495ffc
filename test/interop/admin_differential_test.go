//go:build interop

package interop

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/test/harness"
)

// adminProbe is a request of an administrator, which is sent in every version. Both
// brokers have the topic adminTopic, of 2 partitions.
type adminProbe struct {
	name    string
	key     kmsg.Key
	from    int16 // the first version that can say it
	request func() kmsg.Request
	// differs says why Apache Kafka's answer is another, where it is; ours then has want in it.
	differs, want string
}

const adminTopic = "admin-differential"

// TestAdminAnswersEqualApacheKafkas sends the same requests to varve and to Apache Kafka
// 4.3, in every version. The answers must be equal in everything but their sentences and
// the order of lists, or the table says why not.
func TestAdminAnswersEqualApacheKafkas(t *testing.T) {
	ours, theirs := broker(t).Address, apache(t).Address
	for _, address := range []string{ours, theirs} {
		createOn(t, address, adminTopic, 2)
		harness.Until(t, testLimit, "leaders on "+address, func() error { return led(t, address, adminTopic) })
	}
	t.Cleanup(func() {
		forget(t, theirs)
		forget(t, ours)
	})
	settle := settling(t, theirs)
	for _, p := range adminProbes() {
		t.Run(p.name, func(t *testing.T) {
			i := slices.IndexFunc(served, func(s servedKey) bool { return s.key == p.key })
			for version := max(served[i].min, p.from); version <= served[i].max; version++ {
				got, want := p.ask(ours, version), p.ask(theirs, version)
				settle(p.key)
				switch {
				case p.differs == "" && got != want:
					t.Errorf("version %d:\nvarve: %s\nKafka: %s", version, got, want)
				case p.differs != "" && !strings.Contains(got, p.want):
					t.Errorf("version %d: no %s in %s", version, p.want, got)
				case p.differs != "" && strings.Contains(want, p.want):
					t.Errorf("version %d: Apache Kafka says %s as well: this is no difference any more", version, p.want)
				}
			}
		})
	}
}

// led is nil once every partition of a topic has its leader, and that one knows it: Apache
// Kafka tells of a leader before it leads.
func led(t testing.TB, address, topic string) error {
	q := kmsg.NewPtrMetadataRequest()
	to := kmsg.NewMetadataRequestTopic()
	to.Topic = &topic
	q.Topics = append(q.Topics, to)
	c, err := dialFor(address)
	if err != nil {
		return err
	}
	defer c.Close()
	all := ask[*kmsg.MetadataResponse](t, c, 9, q).Topics[0]
	if all.ErrorCode != 0 || len(all.Partitions) == 0 {
		return fmt.Errorf("%d partitions: %s", len(all.Partitions), codeName(all.ErrorCode))
	}
	for _, p := range all.Partitions {
		if p.ErrorCode != 0 || p.Leader < 0 {
			return fmt.Errorf("partition %d: %s", p.Partition, codeName(p.ErrorCode))
		}
		end := ask[*kmsg.ListOffsetsResponse](t, c, 7, listRequest(topic, p.Partition, -1)).Topics[0].Partitions[0]
		if end.ErrorCode != 0 {
			return fmt.Errorf("partition %d: %s", p.Partition, codeName(end.ErrorCode))
		}
	}
	return nil
}

// ask sends a probe on a connection of its own; that it was closed is an answer, too.
func (p *adminProbe) ask(address string, version int16) string {
	c, err := dialFor(address)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	q := p.request()
	q.SetVersion(version)
	answer, err := c.exchange(q)
	switch {
	case err != nil && (strings.Contains(err.Error(), "EOF") || strings.Contains(err.Error(), "reset")):
		return "connection closed"
	case err != nil:
		return err.Error()
	}
	return canonical(answer)
}

// canonical writes an answer without what may differ: its sentences, throttling, times,
// and the order of its lists.
func canonical(p kmsg.Response) string {
	raw, err := json.Marshal(p)
	if err != nil {
		return err.Error()
	}
	var fields any
	if err := json.Unmarshal(raw, &fields); err != nil {
		return err.Error()
	}
	return render(fields)
}

// render writes a value as JSON does, but error codes by their names.
func render(v any) string {
	switch v := v.(type) {
	case map[string]any:
		var parts []string
		for name, field := range v {
			switch name {
			case "ErrorMessage", "ThrottleMillis", "UnknownTags", "Version":
				continue
			case "ErrorCode":
				parts = append(parts, codeName(int16(field.(float64))))
				continue
			}
			parts = append(parts, name+":"+render(field))
		}
		slices.Sort(parts)
		return "{" + strings.Join(parts, " ") + "}"
	case []any:
		var parts []string
		for _, e := range v {
			parts = append(parts, render(e))
		}
		slices.Sort(parts)
		return "[" + strings.Join(parts, " ") + "]"
	case nil:
		return "null"
	}
	return fmt.Sprint(v)
}

// made makes a request and has it filled in, anew each time.
func made[Q kmsg.Request](fresh func() Q, fill func(Q)) func() kmsg.Request {
	return func() kmsg.Request {
		q := fresh()
		fill(q)
		return q
	}
}
