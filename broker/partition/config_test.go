package partition

import (
	"testing"
	"time"

	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/tiering"
)

func TestJitterShortensTheSegmentAgeAndStaysTheSame(t *testing.T) {
	c := defaults()
	c.SegmentAge, c.SegmentJitter = time.Hour, 10*time.Minute
	ages := map[time.Duration]bool{}
	for i := range int32(100) {
		id := tiering.PartitionID{Topic: segment.TopicID{7}, Partition: i}
		age := LogConfig(c, id).SegmentAge
		if age > time.Hour || age < 50*time.Minute || age != LogConfig(c, id).SegmentAge {
			t.Fatalf("partition %d: %v", i, age)
		}
		ages[age] = true
	}
	if len(ages) < 90 {
		t.Errorf("only %d different ages", len(ages))
	}
	c.SegmentJitter = 0
	if age := LogConfig(c, tiering.PartitionID{}).SegmentAge; age != time.Hour {
		t.Errorf("without jitter: %v", age)
	}
}
