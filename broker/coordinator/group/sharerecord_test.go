package group

import "testing"

// FuzzShareRecord: bytes of a log are refused or read, and what is read is written and read
// back as the same.
func FuzzShareRecord(f *testing.F) {
	s := newShareState()
	s.epoch, s.hash, s.targetTime = 3, 4, 5
	s.members["m"] = &shareMember{id: "m", clientID: "c", clientHost: "/h", topics: []string{"t"}, epoch: 3, previous: 2, assigned: assignment{{1}: {0, 2}}}
	s.target["m"] = assignment{{1}: {0, 2}}
	s.partitions = &sharePartitions{
		initializing: map[TopicID]shareTopic{{2}: {name: "u", partitions: []int32{1}}},
		initialized:  map[TopicID]shareTopic{{1}: {name: "t", partitions: []int32{0, 2}}},
		deleting:     map[TopicID]string{{3}: "v"},
	}
	for _, k := range s.goneKeys() {
		f.Add(k.kind, s.value(k))
	}
	f.Fuzz(func(t *testing.T, kind int16, value []byte) {
		k := stateKey{kind: kind, name: "m"}
		if !k.share() || value == nil {
			return
		}
		read := newShareState()
		if read.replay(k, value) != nil {
			return
		}
		again := newShareState()
		if err := again.replay(k, read.value(k)); err != nil {
			t.Fatalf("what was written is not read: %v", err)
		}
		if keys := shareChanges(read, again); len(keys) > 0 {
			t.Fatalf("read back with other %v", keys)
		}
	})
}
