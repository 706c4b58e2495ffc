package batch

import "testing"

func TestBuildThenNextGivesTheSameBatch(t *testing.T) {
	b, err := Builder{ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1}.Build(7, 3, []Record{{Timestamp: 5, Value: []byte("a")}, {Timestamp: 9}})
	if err != nil {
		t.Fatal(err)
	}
	got, rest, err := Next(b)
	if err != nil || len(rest) != 0 || got.CheckCRC() != nil || got.LastOffset() != 8 || got.MaxTimestamp() != 9 {
		t.Fatalf("%v %v %v", got, rest, err)
	}
	if err := Validate(got, &Rules{}); err != nil {
		t.Fatal(err)
	}
}
