package batch

import "errors"

// Errors of parsing and validation; what is returned wraps one of them with the
// reason. api maps each to one protocol code.
var (
	ErrTruncated   = errors.New("record batch is cut short")           // CORRUPT_MESSAGE
	ErrCorrupt     = errors.New("corrupt record batch")                // CORRUPT_MESSAGE
	ErrMagic       = errors.New("record batch has an old magic")       // UNSUPPORTED_FOR_MESSAGE_FORMAT
	ErrInvalid     = errors.New("invalid record batch")                // INVALID_RECORD
	ErrTimestamp   = errors.New("record timestamp out of range")       // INVALID_TIMESTAMP
	ErrCompression = errors.New("unsupported compression type")        // UNSUPPORTED_COMPRESSION_TYPE
	ErrTooLarge    = errors.New("record batch decompresses too large") // MESSAGE_TOO_LARGE
)
