package api

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/partition"
	"github.com/varvelog/varve/broker/wire"
	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/vfs"
)

// The hand-written encoder is held against kmsg's decoder in every version.
func TestFetchResponseDecodesInEveryVersion(t *testing.T) {
	content := []byte("0123456789abcdef")
	fs := vfs.NewMem()
	f, err := fs.Create("records")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(content, 0); err != nil {
		t.Fatal(err)
	}
	file := segment.NewFile(f)
	defer file.Release()
	for version := int16(4); version <= 18; version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			parts, results := fetchFixture(t, file)
			r := encodeFetch(&call{Request: &wire.Request{Key: 1, Version: version}}, 77, parts, results)
			body := assemble(t, r)
			r.Release()
			p := kmsg.NewPtrFetchResponse()
			p.Version = version
			if err := p.ReadFrom(body); err != nil {
				t.Fatal(err)
			}
			if again := p.AppendTo(nil); !bytes.Equal(again, body) {
				t.Errorf("kmsg encodes what it read as\n%x, we sent\n%x", again, body)
			}
			checkFetch(t, version, p)
		})
	}
}

// fetchFixture is records in two regions with an aborted transaction, an error, and a
// diverging epoch in a second topic.
func fetchFixture(t *testing.T, file *segment.File) ([]*fetchPart, []fetched) {
	t.Helper()
	for range 2 { // one reference for each region
		if !file.Acquire() {
			t.Fatal("the file is closed")
		}
	}
	a := fetchKey{topic: "a", id: segment.TopicID{1}}
	b := fetchKey{topic: "b", id: segment.TopicID{2}, index: 3}
	a1 := a
	a1.index = 1
	return []*fetchPart{{fetchKey: a}, {fetchKey: a1}, {fetchKey: b}}, []fetched{
		{ReadResult: partition.ReadResult{
			Records: segment.Records{Size: 9, Regions: []segment.Region{{File: file, Position: 2, Size: 5}, {File: file, Position: 10, Size: 4}}},
			Offsets: partition.Offsets{LogStart: 1, LastStable: 8, HighWatermark: 9},
			Aborted: []index.AbortedTxn{{ProducerID: 5, FirstOffset: 6}},
		}},
		{err: kerr.NotLeaderForPartition},
		{ReadResult: partition.ReadResult{Diverging: &segment.EpochStart{Epoch: 4, Start: 44}}},
	}
}

func assemble(t *testing.T, r *wire.Response) []byte {
	t.Helper()
	var body []byte
	for _, c := range r.Chunks {
		if c.File == nil {
			body = append(body, c.Bytes...)
			continue
		}
		p := make([]byte, c.Size)
		if _, err := c.File.ReadAt(p, c.Position); err != nil {
			t.Fatal(err)
		}
		body = append(body, p...)
	}
	return body
}

func checkFetch(t *testing.T, version int16, p *kmsg.FetchResponse) {
	t.Helper()
	if version >= 7 && p.SessionID != 77 {
		t.Errorf("session %d", p.SessionID)
	}
	if len(p.Topics) != 2 || len(p.Topics[0].Partitions) != 2 || len(p.Topics[1].Partitions) != 1 {
		t.Fatalf("topics: %+v", p.Topics)
	}
	first, second, third := p.Topics[0].Partitions[0], p.Topics[0].Partitions[1], p.Topics[1].Partitions[0]
	if string(first.RecordBatches) != "23456abcd" {
		t.Errorf("records %q", first.RecordBatches)
	}
	if first.HighWatermark != 9 || first.LastStableOffset != 8 || version >= 5 && first.LogStartOffset != 1 {
		t.Errorf("offsets: %+v", first)
	}
	if len(first.AbortedTransactions) != 1 || !reflect.DeepEqual(first.AbortedTransactions[0].FirstOffset, int64(6)) || second.AbortedTransactions != nil {
		t.Errorf("aborted: %+v and %+v", first.AbortedTransactions, second.AbortedTransactions)
	}
	// The zero value would send consumers to broker 0.
	if first.PreferredReadReplica != -1 {
		t.Errorf("preferred read replica %d", first.PreferredReadReplica)
	}
	if second.ErrorCode != kerr.NotLeaderForPartition.Code || second.HighWatermark != -1 || third.Partition != 3 {
		t.Errorf("second %+v, third %+v", second, third)
	}
	if version >= 12 && (third.DivergingEpoch.Epoch != 4 || third.DivergingEpoch.EndOffset != 44) {
		t.Errorf("diverging epoch %+v", third.DivergingEpoch)
	}
}
