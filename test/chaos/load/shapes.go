package load

import (
	"cmp"
	"time"
)

// Shape is what a load does. The zero value of a field is none of it.
type Shape struct {
	Topics, Partitions int // of each topic
	Configs            map[string]string
	Producers          int
	Rate               int     // records a second of all producers together
	Records            int     // of all producers together; 0 for no end
	MinSize, MaxSize   int     // bytes of a value
	Plain              bool    // producers are not idempotent
	Keys               int     // the topics are compacted: so many keys in each partition
	Tombstones         float64 // share of records without a value
	Readers            int     // each reads everything from the beginning
	// RandomReaders begin anew at a random offset after a few polls.
	RandomReaders int
	Members       int // of one group that reads everything and commits
	// Transactors send Rate transactions a second together, or transfers of money between
	// the partitions, or else Copiers copy topic 0 to topic 1; readers then read committed.
	Transactors int
	Money       bool
	Copiers     int
	V1          bool          // transactions of clients that do not know version 2 (KIP-890)
	Once        bool          // transactional clients send nothing twice: an outcome may stay unknown
	Aborts      float64       // share of transactions that are aborted; 0 for abortShare
	Timeout     time.Duration // of transactions; 0 for txnTimeout
	Consumer    bool          // members speak the consumer protocol (KIP-848)
	Eager       bool          // members of the classic protocol give everything back at each rebalance
	Stay        time.Duration // of a member, on average; 0 for memberStay
	Static      int           // how many of the members are static (KIP-345)
	Session     time.Duration // session timeout of members in the classic protocol; 0 for the client's
	// Idle is how many connections stand beside it and do nothing.
	Idle int
}

// Partition counts of different topics are told apart in a history by their number:
// topic times Partitions, plus partition.

// W1 is the load of most tests: acks=all, idempotent, five requests in flight.
func W1() Shape {
	return Shape{Topics: 3, Partitions: 4, Producers: 4, Rate: 2000, MinSize: 100, MaxSize: 1024, Readers: 2}
}

// W2 is one producer of one partition, for order.
func W2() Shape {
	return Shape{Topics: 1, Partitions: 1, Producers: 1, Rate: 500, MinSize: 100, MaxSize: 1024, Readers: 1}
}

// W3 is transactions of a few sends and polls, a tenth of them aborted.
func W3() Shape {
	return Shape{Topics: 1, Partitions: 10, Transactors: 8, Rate: 200, MinSize: 100, MaxSize: 200, Readers: 2}
}

// W4 is consume, transform, produce: two copiers of one group. WaitCopied ends it.
func W4() Shape {
	return Shape{Topics: 2, Partitions: 3, Producers: 1, Rate: 4000, MinSize: 100, MaxSize: 200, Readers: 1, Copiers: 2}
}

// W5 is money: ten accounts, fifty transfers a second.
func W5() Shape {
	return Shape{Topics: 1, Partitions: 10, Transactors: 5, Rate: 50, MinSize: 100, MaxSize: 200, Readers: 1, Money: true}
}

// transactional tells whether readers read committed.
func (s *Shape) transactional() bool { return s.Transactors > 0 || s.Copiers > 0 }

func (s *Shape) timeout() time.Duration { return cmp.Or(s.Timeout, txnTimeout) }

// produced is how many partitions plain producers send to: not those that copiers do.
func (s *Shape) produced() int {
	if s.Copiers > 0 {
		return s.Partitions
	}
	return s.Topics * s.Partitions
}

// W6 is compaction that never rests: a thousand keys, a tenth of all records tombstones.
func W6() Shape {
	return Shape{
		Topics: 1, Partitions: 4, Producers: 4, Rate: 4000, MinSize: 100, MaxSize: 1024, Readers: 1, Keys: 250, Tombstones: 0.1,
		Configs: map[string]string{"cleanup.policy": "compact", "segment.bytes": "1048576", "min.cleanable.dirty.ratio": "0.01"},
	}
}

// W7 is a tiered load: small segments that leave the disk at once, one reader that
// follows and others that jump about across the seam.
func W7() Shape {
	return Shape{
		Topics: 1, Partitions: 4, Producers: 4, Rate: 3000, MinSize: 500, MaxSize: 2000, Readers: 1, RandomReaders: 4,
		Configs: map[string]string{"segment.bytes": "1048576", "local.retention.bytes": "2097152", "remote.storage.enable": "true"},
	}
}

// W7Transactions is W7 in transactions, a fifth of them aborted.
func W7Transactions() Shape {
	s := W7()
	s.Producers, s.Transactors, s.Rate, s.Aborts = 0, 4, 200, 0.2
	s.MinSize, s.MaxSize = 4000, 16000
	return s
}

// W8 is a group whose members come and go, with commits by hand.
func W8() Shape {
	return Shape{Topics: 1, Partitions: 8, Producers: 2, Rate: 500, MinSize: 100, MaxSize: 200, Members: 8, Static: 2}
}

// W10 is wide: many partitions, many connections, little traffic.
func W10() Shape {
	return Shape{Topics: 4, Partitions: 500, Producers: 2, Rate: 200, MinSize: 100, MaxSize: 1024, Readers: 1, Idle: 900}
}
