package verify_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/test/verify"
)

// TestAJournalKeepsWhatWasBegun adopts the journal of a process that was killed: what it
// had begun is unknown, what it had been told counts, and nothing is there twice.
func TestAJournalKeepsWhatWasBegun(t *testing.T) {
	parent := verify.NewRecorder(0)
	var journal bytes.Buffer
	child := verify.NewJournal(&journal, parent.Begin(), 100)
	producer := child.Number()
	txn := child.Txn(verify.Txn{ID: 7, Producer: producer})
	first := child.Send(verify.Send{Value: 1, Producer: producer, Txn: 7})
	child.Send(verify.Send{Value: 2, Producer: producer, Txn: 7})
	child.Sent(first, verify.OK, 40)
	child.Session(verify.Session{ID: child.Number(), Committed: true}, map[int32]int64{0: 40})
	child.Read(verify.Read{Value: 1, Session: 102, Offset: 40})
	child.Ending(txn, verify.Commit)
	child.Incident(verify.Incident{Process: "client", Kind: "something odd"})
	if err := parent.Adopt(strings.NewReader(journal.String())); err != nil {
		t.Fatal(err)
	}
	h, err := parent.History()
	if err != nil {
		t.Fatal(err)
	}
	if len(h.Sends) != 2 || h.Sends[0].Outcome != verify.OK || h.Sends[0].Offset != 40 || h.Sends[1].Outcome != verify.Info {
		t.Errorf("sends: %+v", h.Sends)
	}
	if len(h.Txns) != 1 || h.Txns[0].End != verify.Commit || h.Txns[0].Outcome != verify.Info || h.Txns[0].Producer != 101 {
		t.Errorf("transactions: %+v", h.Txns)
	}
	if len(h.Reads) != 1 || len(h.Sessions) != 1 || len(h.Assignments) != 1 || len(h.Incidents) != 1 {
		t.Errorf("%d reads, %d sessions, %d assignments, %d incidents", len(h.Reads), len(h.Sessions), len(h.Assignments), len(h.Incidents))
	}
	if now := parent.Now(); h.Sends[0].Begun <= 0 || h.Sends[0].Begun > now || now-h.Sends[0].Begun > int64(time.Minute) {
		t.Errorf("the child's moment is %d, the parent's %d", h.Sends[0].Begun, now)
	}
	if err := parent.Adopt(strings.NewReader("PASS\n")); err == nil {
		t.Error("a line that is none was taken")
	}
}
