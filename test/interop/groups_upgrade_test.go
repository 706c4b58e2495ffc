//go:build interop

package interop

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/test/harness"
)

// TestGroupsChangeTheirProtocolInUse (KIP-848's online migration): while members of both
// protocols are in a group it is one of the consumer protocol, and both read their part;
// with the last member of that protocol gone it is a classic group, and read still.
func TestGroupsChangeTheirProtocolInUse(t *testing.T) {
	t.Parallel()
	eager := []kgo.Opt{kgo.Balancers(kgo.RangeBalancer())}
	cooperative := []kgo.Opt{kgo.Balancers(kgo.CooperativeStickyBalancer())}
	static := []kgo.Opt{kgo.Balancers(kgo.CooperativeStickyBalancer()), kgo.InstanceID("static")}
	modern := []kgo.Opt{kgo.ServerSideBalancer()}
	for _, c := range []struct {
		name          string
		first, second []kgo.Opt
		leaves        int // the member of the consumer protocol
	}{
		{"eager-upgraded", eager, modern, 1},
		{"cooperative-upgraded", cooperative, modern, 1},
		{"static-upgraded", static, modern, 1},
		{"eager-downgraded", modern, eager, 0},
		{"cooperative-downgraded", modern, cooperative, 0},
		{"static-downgraded", modern, static, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			topic, group := topicOf(t), topicOf(t, "g")
			create(t, topic, 4)
			admin, writer := kadm.NewClient(client(t)), client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
			common := []kgo.Opt{
				kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
				kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
			}
			members := []*groupMember{startMember(t, append(c.first, common...)...)}
			readOf := func(round string, members ...*groupMember) {
				t.Helper()
				for p := range int32(4) {
					produce(t, writer, &kgo.Record{Topic: topic, Partition: p, Value: fmt.Appendf(nil, "%s %d", round, p)})
				}
				harness.Until(t, testLimit, round, func() error { return allRead(round, members) })
			}
			readOf("alone", members...)

			members = append(members, startMember(t, append(c.second, common...)...))
			awaitMembers(t, admin, group, 2)
			readOf("both protocols", members...)
			for i, m := range members {
				if m.count("both protocols") == 0 {
					t.Errorf("member %d of 2 has read nothing", i)
				}
			}

			members[c.leaves].client.Close()
			harness.Until(t, testLimit, "a classic group of one member", func() error {
				described, err := admin.DescribeGroups(within(t), group)
				if err != nil {
					return err
				}
				if d := described[group]; d.Err != nil || d.State != "Stable" || len(d.Members) != 1 {
					return fmt.Errorf("%+v", d)
				}
				return nil
			})
			readOf("classic again", members[1-c.leaves])
		})
	}
}

// groupMember reads what it is given, and keeps the values.
type groupMember struct {
	client *kgo.Client
	mu     sync.Mutex
	read   map[string]bool // guarded by mu
}

func startMember(t testing.TB, opts ...kgo.Opt) *groupMember {
	m := &groupMember{client: client(t, opts...), read: map[string]bool{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			f := m.client.PollFetches(context.Background())
			if f.IsClientClosed() {
				return
			}
			m.mu.Lock()
			f.EachRecord(func(r *kgo.Record) { m.read[string(r.Value)] = true })
			m.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		m.client.Close()
		<-done
	})
	return m
}

// has reports whether the member has read a round's record of a partition.
func (m *groupMember) has(round string, partition int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.read[fmt.Sprintf("%s %d", round, partition)]
}

// count is the partitions of which the member has read a round's record.
func (m *groupMember) count(round string) (n int) {
	for p := range 4 {
		if m.has(round, p) {
			n++
		}
	}
	return n
}

// allRead tells which record of a round none of the members has read.
func allRead(round string, members []*groupMember) error {
	for p := range 4 {
		read := false
		for _, m := range members {
			read = read || m.has(round, p)
		}
		if !read {
			return fmt.Errorf("nobody has read the record %q of partition %d", round, p)
		}
	}
	return nil
}
