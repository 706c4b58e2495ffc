package segment

import (
	"fmt"
	"maps"
)

// cleaner-offset-checkpoint holds of each compacted log the offset below which it has
// been compacted. One that is too low costs a repetition; one that is too high, as of a
// log that was truncated, leaves duplicates below it; neither loses a record.

// Cleaned returns the offset below which a log has been compacted, 0 where it has not.
func (d *Dir) Cleaned(topic string, partition int32) int64 {
	d.files.Lock()
	defer d.files.Unlock()
	return d.cleaned[partitionKey(topic, partition)]
}

// SetCleaned writes that offset down, durably.
func (d *Dir) SetCleaned(topic string, partition int32, offset int64) error {
	d.files.Lock()
	defer d.files.Unlock()
	cleaned := maps.Clone(d.cleaned)
	if cleaned == nil {
		cleaned = map[string]int64{}
	}
	cleaned[partitionKey(topic, partition)] = offset
	return d.writeCleaned(cleaned)
}

// forgetCleaned takes a name out. Caller holds files.
func (d *Dir) forgetCleaned(key string) error {
	if _, ok := d.cleaned[key]; !ok {
		return nil
	}
	cleaned := maps.Clone(d.cleaned)
	delete(cleaned, key)
	return d.writeCleaned(cleaned)
}

func (d *Dir) writeCleaned(cleaned map[string]int64) error {
	if err := WriteFile(d.o.FS, d.o.Path, cleanedName, encodeOffsets(cleaned)); err != nil {
		return fmt.Errorf("write cleaner offsets: %w", err)
	}
	d.cleaned = cleaned
	return nil
}
