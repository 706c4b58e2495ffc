package load

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/varvelog/varve/test/verify"
)

// Spec is a load in a process of its own, that can be killed. What it may have done is in
// its journal however it ended. It makes no topics.
type Spec struct {
	Address, Name string
	Shape         Shape
	Begun         time.Time // when the history began that takes the journal
	Number        int       // tells children apart, from 1 on
	// Workers is what transactional ids begin with: a child that has those of a dead one
	// fences it at once, another one leaves its transactions to their timeouts.
	Workers string
}

// Values and numbers of children are kept apart from each other and from the load's.
const (
	childValues  = 1 << 32
	childNumbers = 1 << 20
)

// Spec is the spec of a child of a load.
func (l *Load) Spec(number int, workers string, shape Shape) Spec {
	return Spec{Address: l.address, Name: l.name, Shape: shape, Begun: l.Recorder.Begin(), Number: number, Workers: workers}
}

// Child runs until ctx ends.
func Child(ctx context.Context, journal io.Writer, s Spec) error {
	l := newLoad(s.Address, s.Name, s.Shape, verify.NewJournal(journal, s.Begun, int32(s.Number*childNumbers)))
	l.value, l.workers = uint64(s.Number*childValues), s.Workers
	l.run()
	<-ctx.Done()
	l.abandon()
	_, err := l.Recorder.History()
	return err
}

// Adopt takes what a child has written into the history of a load. A last line that the
// child did not finish is left out: nothing was done before its line was whole.
func (l *Load) Adopt(journal string) error {
	return l.Recorder.Adopt(strings.NewReader(journal[:strings.LastIndexByte(journal, '\n')+1]))
}
