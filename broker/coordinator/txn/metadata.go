package txn

import (
	"cmp"
	"maps"
	"math"
	"slices"
)

// Version is the transaction version of a client, or of the cluster's feature
// transaction.version (KIP-890).
type Version int16

// The transaction versions.
const (
	V0 Version = 0 // clients add partitions by themselves and keep their epoch
	V2 Version = 2 // every end raises the epoch, and the broker adds partitions
)

// None is a producer id, a producer epoch or a time that there is not.
const None = -1

// lastEpoch is the last epoch a producer is given: one more is kept back, so that it can
// always be fenced.
const lastEpoch = math.MaxInt16 - 1

// Partition is a partition that a transaction writes to.
type Partition struct {
	Topic     string
	Partition int32
}

func (p Partition) compare(o Partition) int {
	return cmp.Or(cmp.Compare(p.Topic, o.Topic), cmp.Compare(p.Partition, o.Partition))
}

// Metadata is what the log holds of a transactional id. It is a value: steps make a new
// one. Times are ms since the Unix epoch.
type Metadata struct {
	ProducerID     int64
	PrevProducerID int64 // held it before the last step, None: nobody
	NextProducerID int64 // takes over when the transaction is complete, None: nobody
	ProducerEpoch  int16
	LastEpoch      int16 // the epoch before, as far as the producer has seen it; not stored
	Timeout        int32 // ms
	State          State
	Partitions     map[Partition]struct{} // of the transaction; shared between values, never changed
	Started        int64                  // None: no transaction yet
	Updated        int64
	ClientVersion  Version
}

// next is a step from m to a state.
func (m *Metadata) next(now int64, to State) *Metadata {
	n := *m
	n.PrevProducerID, n.State, n.Updated = m.ProducerID, to, now
	return &n
}

// exhausted reports whether the producer can be given no further epoch.
func (m *Metadata) exhausted() bool { return m.ProducerEpoch >= lastEpoch }

// Holder is the producer that goes on once the transaction is complete.
func (m *Metadata) Holder() (id int64, epoch int16) {
	if m.State.Preparing() && m.ClientVersion >= V2 && m.NextProducerID != None {
		return m.NextProducerID, 0
	}
	return m.ProducerID, m.ProducerEpoch
}

// Sorted lists the partitions by topic and number.
func (m *Metadata) Sorted() []Partition {
	return slices.SortedFunc(maps.Keys(m.Partitions), Partition.compare)
}
