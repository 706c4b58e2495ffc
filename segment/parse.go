package segment

// ParseEpochs reads the bytes of a leader-epoch-checkpoint (KIP-101).
func ParseEpochs(p []byte) ([]EpochStart, error) { return parseEpochs(p) }

// ParseOffsets reads the bytes of a checkpoint of a log directory, as
// recovery-point-offset-checkpoint: offsets by <topic>-<partition>.
func ParseOffsets(p []byte) (map[string]int64, error) { return parseOffsets(p) }
