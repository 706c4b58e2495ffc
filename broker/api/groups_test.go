package api

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestOffsetsOfPartitionsThatATopicHasNotAreUnknown(t *testing.T) { // KIP-496
	asked := kmsg.OffsetDeleteRequestTopic{Topic: "t"}
	for _, index := range []int32{-1, 0, 1, 2} {
		asked.Partitions = append(asked.Partitions, kmsg.OffsetDeleteRequestTopicPartition{Partition: index})
	}
	known, absent := splitByPresence(asked, 2)
	if len(known.Partitions) != 2 || known.Partitions[0].Partition != 0 || known.Partitions[1].Partition != 1 {
		t.Errorf("of partitions -1 to 2 of a topic with two %v are known", known.Partitions)
	}
	if len(absent.Partitions) != 2 || absent.Partitions[0].Partition != -1 || absent.Partitions[1].Partition != 2 {
		t.Errorf("of partitions -1 to 2 of a topic with two %v are not", absent.Partitions)
	}
}

// An answer of v10 for an id that no topic has says as much of a partition as any other:
// clients may take the metadata for text that is always there.
func TestOffsetsOfUnknownTopicIDsHaveEmptyMetadata(t *testing.T) {
	asked := kmsg.OffsetFetchRequestGroupTopic{TopicID: [16]byte{1}, Partitions: []int32{0}}
	p := unknownOffsets([]kmsg.OffsetFetchRequestGroupTopic{asked})[0].Partitions[0]
	if p.Metadata == nil || *p.Metadata != "" || p.Offset != -1 {
		t.Errorf("offset %d with metadata %v", p.Offset, p.Metadata)
	}
}
