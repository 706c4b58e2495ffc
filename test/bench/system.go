package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/test/harness"
)

// system is a broker under measurement. Its address and directory stay the same from
// Start to Start.
type system interface {
	Name() string
	Address() string
	// Start starts the process with the settings that the system was made with and
	// returns the time from there to the first answered Metadata request.
	Start() time.Duration
	// Stop ends the process cleanly.
	Stop()
	// EmptyCaches makes the system forget what it keeps of remote segments, if it keeps
	// any; it may restart the process.
	EmptyCaches()
	Process() *harness.Process
}

// poll is the pause between two looks at something that is to come true.
const poll = 2 * time.Millisecond

// awaitAnswer waits until a broker answers a Metadata request in which every partition
// of the given topics has a leader. Any topics have to exist already.
func awaitAnswer(ctx context.Context, address string, topics ...string) error {
	for {
		err := answers(ctx, address, topics)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no answer from the broker: %w", err)
		case <-time.After(poll):
		}
	}
}

func answers(ctx context.Context, address string, topics []string) error {
	c, err := dial(ctx, address)
	if err != nil {
		return err
	}
	defer c.Close()
	req := kmsg.NewPtrMetadataRequest()
	req.SetVersion(12)
	req.Topics = []kmsg.MetadataRequestTopic{} // none
	for _, name := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	answer, err := c.request(req)
	if err != nil {
		return err
	}
	resp := answer.(*kmsg.MetadataResponse)
	if len(resp.Brokers) == 0 {
		return fmt.Errorf("no broker in the metadata")
	}
	for _, t := range resp.Topics {
		if t.ErrorCode != 0 {
			return fmt.Errorf("topic error %d", t.ErrorCode)
		}
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 || p.Leader < 0 {
				return fmt.Errorf("partition %d has no leader", p.Partition)
			}
		}
	}
	return nil
}

// topic is a topic to create, with the same configs in both systems.
type topic struct {
	name       string
	partitions int
	configs    map[string]string
}

// createTopic creates a topic and waits until all its partitions have leaders.
func createTopic(e *env, s system, t topic) {
	e.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.Address()))
	e.check(err)
	defer client.Close()
	configs := map[string]*string{}
	for k, v := range t.configs {
		configs[k] = &v
	}
	_, err = kadm.NewClient(client).CreateTopic(e.ctx, int32(t.partitions), 1, configs, t.name)
	e.check(err)
	e.check(awaitAnswer(e.ctx, s.Address(), t.name))
}

func deleteTopic(e *env, s system, name string) {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.Address()))
	e.check(err)
	defer client.Close()
	_, err = kadm.NewClient(client).DeleteTopic(e.ctx, name)
	e.check(err)
}

// Timestamps that ask ListOffsets for an end of the log.
const (
	endOffset        = -1
	localStartOffset = -4 // first offset on the broker's own disk (KIP-405)
)

// listOffsets asks for one offset of each partition.
func listOffsets(ctx context.Context, address string, t topic, timestamp int64) ([]int64, error) {
	c, err := dial(ctx, address)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	req := kmsg.NewPtrListOffsetsRequest()
	req.SetVersion(8)
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = t.name
	for p := range t.partitions {
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Partition, rp.Timestamp = int32(p), timestamp
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	answer, err := c.request(req)
	if err != nil {
		return nil, err
	}
	offsets := make([]int64, t.partitions)
	for _, rt := range answer.(*kmsg.ListOffsetsResponse).Topics {
		for _, p := range rt.Partitions {
			if p.ErrorCode != 0 {
				return nil, fmt.Errorf("list offsets of partition %d: error code %d", p.Partition, p.ErrorCode)
			}
			offsets[p.Partition] = p.Offset
		}
	}
	return offsets, nil
}
