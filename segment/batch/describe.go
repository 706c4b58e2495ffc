package batch

import "fmt"

// Description is the header of a batch as values: to compare, to print, to encode.
type Description struct {
	BaseOffset      int64  `json:"base_offset"`
	LastOffset      int64  `json:"last_offset"`
	Count           int32  `json:"count"`
	Size            int    `json:"size"` // bytes
	LeaderEpoch     int32  `json:"leader_epoch"`
	CRC             uint32 `json:"crc"`
	CRCValid        bool   `json:"crc_valid"`
	Attributes      int16  `json:"attributes"`
	Codec           string `json:"codec"`
	LogAppendTime   bool   `json:"log_append_time"`
	Transactional   bool   `json:"transactional"`
	Control         bool   `json:"control"`
	DeleteHorizon   int64  `json:"delete_horizon"` // ms; -1: none
	LastOffsetDelta int32  `json:"last_offset_delta"`
	BaseTimestamp   int64  `json:"base_timestamp"` // ms
	MaxTimestamp    int64  `json:"max_timestamp"`  // ms
	ProducerID      int64  `json:"producer_id"`
	ProducerEpoch   int16  `json:"producer_epoch"`
	BaseSequence    int32  `json:"base_sequence"`
	LastSequence    int32  `json:"last_sequence"`
}

// Describe reads every field of b's header and checks the CRC.
func Describe(b Batch) Description {
	d := Description{
		BaseOffset:      b.BaseOffset(),
		LastOffset:      b.LastOffset(),
		Count:           b.Count(),
		Size:            b.Size(),
		LeaderEpoch:     b.LeaderEpoch(),
		CRC:             b.CRC(),
		CRCValid:        b.CheckCRC() == nil,
		Attributes:      b.Attributes(),
		Codec:           b.Codec().String(),
		LogAppendTime:   b.LogAppendTime(),
		Transactional:   b.Transactional(),
		Control:         b.Control(),
		DeleteHorizon:   -1,
		LastOffsetDelta: b.LastOffsetDelta(),
		BaseTimestamp:   b.BaseTimestamp(),
		MaxTimestamp:    b.MaxTimestamp(),
		ProducerID:      b.ProducerID(),
		ProducerEpoch:   b.ProducerEpoch(),
		BaseSequence:    b.BaseSequence(),
		LastSequence:    b.LastSequence(),
	}
	if ms, ok := b.DeleteHorizon(); ok {
		d.DeleteHorizon = ms
	}
	return d
}

// String is one line with the fields of Kafka's kafka-dump-log.sh, in its order.
func (d Description) String() string {
	timestamp := "CreateTime"
	if d.LogAppendTime {
		timestamp = "LogAppendTime"
	}
	horizon := "none"
	if d.DeleteHorizon >= 0 {
		horizon = fmt.Sprint(d.DeleteHorizon)
	}
	return fmt.Sprintf("baseOffset: %d lastOffset: %d count: %d baseSequence: %d lastSequence: %d producerId: %d producerEpoch: %d "+
		"partitionLeaderEpoch: %d isTransactional: %t isControl: %t deleteHorizonMs: %s %s: %d size: %d magic: %d compresscodec: %s crc: %d isvalid: %t",
		d.BaseOffset, d.LastOffset, d.Count, d.BaseSequence, d.LastSequence, d.ProducerID, d.ProducerEpoch,
		d.LeaderEpoch, d.Transactional, d.Control, horizon, timestamp, d.MaxTimestamp, d.Size, Magic, d.Codec, d.CRC, d.CRCValid)
}
