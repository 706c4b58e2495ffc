package segment

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// EpochStart is an entry of leader-epoch-checkpoint: the first offset of an epoch (KIP-101).
type EpochStart struct {
	Epoch int32
	Start int64
}

// epochs is the lineage of a log: epochs and starts both ascend strictly. Values are
// never changed in place, so that a reader may keep one.
type epochs []EpochStart

// assign returns the lineage with epoch beginning at start. What contradicts it goes:
// epochs that are not smaller, and starts that are not.
func (e epochs) assign(epoch int32, start int64) epochs {
	n := len(e)
	if n > 0 && e[n-1].Epoch == epoch && e[n-1].Start <= start {
		return e
	}
	for n > 0 && (e[n-1].Epoch >= epoch || e[n-1].Start >= start) {
		n--
	}
	return append(e[:n:n], EpochStart{epoch, start})
}

// latest returns the newest epoch, -1 where there is none.
func (e epochs) latest() int32 {
	if len(e) == 0 {
		return -1
	}
	return e[len(e)-1].Epoch
}

// below returns the lineage of the records below end.
func (e epochs) below(end int64) epochs {
	n := len(e)
	for n > 0 && e[n-1].Start >= end {
		n--
	}
	return e[:n:n]
}

// from returns the lineage of the records at and above start.
func (e epochs) from(start int64) epochs {
	i := 0
	for i < len(e) && e[i].Start <= start {
		i++
	}
	if i == 0 || (i == 1 && e[0].Start == start) {
		return e
	}
	kept := slices.Clone(e[i-1:])
	kept[0].Start = start
	return kept
}

// end answers OffsetForLeaderEpoch.
func (e epochs) end(epoch int32, logEnd int64) (int32, int64) {
	if epoch < 0 || len(e) == 0 {
		return -1, -1
	}
	if e.latest() == epoch {
		return epoch, logEnd
	}
	i, _ := slices.BinarySearchFunc(e, epoch+1, func(a EpochStart, b int32) int { return int(int64(a.Epoch) - int64(b)) })
	switch {
	case i == len(e):
		return -1, -1
	case i == 0:
		return epoch, e[0].Start
	}
	return e[i-1].Epoch, e[i].Start
}

func (e epochs) encode() []byte {
	lines := make([]string, len(e))
	for i, s := range e {
		lines[i] = fmt.Sprintf("%d %d", s.Epoch, s.Start)
	}
	return encodeCheckpoint(lines)
}

func parseEpochs(p []byte) (epochs, error) {
	lines, err := parseCheckpoint(p)
	if err != nil {
		return nil, err
	}
	var e epochs
	for _, line := range lines {
		a, b, ok := strings.Cut(line, " ")
		epoch, err1 := strconv.ParseInt(a, 10, 32)
		start, err2 := strconv.ParseInt(b, 10, 64)
		if !ok || err1 != nil || err2 != nil || epoch < 0 || start < 0 {
			return nil, fmt.Errorf("%w: malformed line %q", errCheckpoint, line)
		}
		e = e.assign(int32(epoch), start)
	}
	return e, nil
}

// Epochs returns the leader epochs in order.
func (l *Log) Epochs() []EpochStart {
	l.pub.Lock()
	defer l.pub.Unlock()
	return slices.Clone(l.epochs)
}

// AssignEpoch records that epoch begins at the log end; a no-op when it is already
// known. It is durable before any record of the epoch is acknowledged.
func (l *Log) AssignEpoch(epoch int32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if epoch < 0 {
		return fmt.Errorf("leader epoch %d is negative", epoch)
	}
	l.pub.Lock()
	defer l.pub.Unlock()
	if epoch > l.epochs.latest() {
		l.setEpochs(l.epochs.assign(epoch, l.end))
	}
	return nil
}

// SetEpochs replaces the lineage (a replica that starts from the tier).
func (l *Log) SetEpochs(e []EpochStart) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	var lineage epochs
	for _, s := range e {
		if s.Epoch <= lineage.latest() || s.Start < 0 || (len(lineage) > 0 && s.Start <= lineage[len(lineage)-1].Start) {
			return fmt.Errorf("leader epoch %d at %d does not follow %v", s.Epoch, s.Start, lineage)
		}
		lineage = append(lineage, s)
	}
	l.pub.Lock()
	l.setEpochs(lineage)
	l.pub.Unlock()
	return l.writeEpochs()
}

// setEpochs publishes a lineage that has yet to be written. Caller holds pub.
func (l *Log) setEpochs(e epochs) {
	if !slices.Equal(e, l.epochs) {
		l.epochs = e
		l.epochsDirty = true
	}
}

// EpochEnd answers OffsetForLeaderEpoch (KIP-101): the largest epoch <= epoch and where
// it ends; -1, -1 where unknown. An epoch before the first known one ends, under its
// own number, where the first begins, as Kafka answers.
func (l *Log) EpochEnd(epoch int32) (int32, int64) {
	l.pub.Lock()
	defer l.pub.Unlock()
	return l.epochs.end(epoch, l.end)
}

// writeEpochs makes leader-epoch-checkpoint durable where it has changed.
func (l *Log) writeEpochs() error {
	l.epochFile.Lock()
	defer l.epochFile.Unlock()
	l.pub.Lock()
	dirty, e := l.epochsDirty, l.epochs
	l.epochsDirty = false
	l.pub.Unlock()
	if !dirty {
		return nil
	}
	if err := WriteFile(l.fs, l.dir, epochsName, e.encode()); err != nil {
		l.oweEpochs()
		return l.refuse(fmt.Errorf("write leader epochs: %w", err))
	}
	return nil
}

// oweEpochs says that the lineage has still to be written.
func (l *Log) oweEpochs() {
	l.pub.Lock()
	l.epochsDirty = true
	l.pub.Unlock()
}
