package api

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/share"
	"github.com/varvelog/varve/broker/wire"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/vfs"
)

// The hand-written encoder is held against kmsg's decoder in every version.
func TestShareFetchResponseDecodesInEveryVersion(t *testing.T) {
	fs := vfs.NewMem()
	f, err := fs.Create("records")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("0123456789abcdef"), 0); err != nil {
		t.Fatal(err)
	}
	file := segment.NewFile(f)
	defer file.Release()
	for version := int16(1); version <= 2; version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			for range 2 { // one reference for each region
				if !file.Acquire() {
					t.Fatal("the file is closed")
				}
			}
			records := segment.Records{Regions: []segment.Region{{File: file, Position: 2, Size: 3}, {File: file, Position: 10, Size: 4}}, Size: 7}
			parts := []*sharePart{
				{TopicPartition: share.TopicPartition{Topic: segment.TopicID{1}, Index: 3}, taken: share.Taken{
					Records: records, Acquired: []share.Range{{First: 5, Next: 8, Deliveries: 1}, {First: 9, Next: 10, Deliveries: 2}},
				}},
				{TopicPartition: share.TopicPartition{Topic: segment.TopicID{1}, Index: 4}, err: kerr.NotLeaderForPartition},
				{TopicPartition: share.TopicPartition{Topic: segment.TopicID{2}}, acked: true, ackErr: share.ErrRecordState},
			}
			r := encodeShareFetch(&call{Request: &wire.Request{Key: 78, Version: version}}, 30*time.Second, parts)
			body := assemble(t, r)
			r.Release()
			p := kmsg.NewPtrShareFetchResponse()
			p.Version = version
			if err := p.ReadFrom(body); err != nil {
				t.Fatal(err)
			}
			if again := p.AppendTo(nil); !bytes.Equal(again, body) {
				t.Errorf("kmsg encodes what it read as\n%x, we sent\n%x", again, body)
			}
			if p.AcquisitionLockTimeoutMillis != 30000 || len(p.Topics) != 2 || len(p.Topics[0].Partitions) != 2 {
				t.Fatalf("%+v", p)
			}
			first := p.Topics[0].Partitions[0]
			if string(first.Records) != "234abcd" || fmt.Sprint(first.AcquiredRecords) != "[{5 7 1 {map[]}} {9 9 2 {map[]}}]" {
				t.Errorf("records %q, acquired %v", first.Records, first.AcquiredRecords)
			}
			if p.Topics[0].Partitions[1].ErrorCode != kerr.NotLeaderForPartition.Code || p.Topics[1].Partitions[0].AcknowledgeErrorCode != kerr.InvalidRecordState.Code {
				t.Errorf("errors: %+v", p.Topics)
			}
		})
	}
}
