package partition

import (
	"errors"

	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
)

// Located is a batch of what a read has found: its header, and where it lies.
type Located struct {
	batch.Batch       // valid during the call; a control batch is whole, of others there is the header
	Region      int   // of the records' regions
	Position    int64 // in the region's file, bytes
	Bytes       int64
}

// Batches calls yield with each batch of records in order, until it returns false.
func Batches(records segment.Records, yield func(Located) bool) error {
	window := make([]byte, windowBytes)
	enough := errors.New("enough")
	for i, r := range records.Regions {
		position := r.Position
		err := walkRegion(r, window, func(b batch.Batch) error {
			size, err := batch.PeekSize(b)
			if err != nil {
				return err
			}
			if !yield(Located{Batch: b, Region: i, Position: position, Bytes: size}) {
				return enough
			}
			position += size
			return nil
		})
		if errors.Is(err, enough) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}
