//go:build chaos

package chaos

import (
	"testing"
	"time"

	"github.com/varvelog/varve/test/chaos/load"
	"github.com/varvelog/varve/test/harness"
)

// TestTransactionalLoadsOnApacheKafka runs W3 to W6 and W8 on Apache Kafka, which is to
// pass: a checker that convicts it is wrong about the protocol.
func TestTransactionalLoadsOnApacheKafka(t *testing.T) {
	k := harness.StartKafka(t, "group.min.session.timeout.ms=1000")
	eager, consumer := load.W8(), load.W8()
	eager.Eager, consumer.Consumer = true, true
	for _, c := range []struct {
		name  string
		shape load.Shape
	}{{"w3", load.W3()}, {"w4", load.W4()}, {"w5", load.W5()}, {"w6", load.W6()}, {"w8", load.W8()}, {"w8-eager", eager}, {"w8-consumer", consumer}} {
		t.Run(c.name, func(t *testing.T) {
			l := load.Start(t, k.Address, c.name, c.shape)
			for more := until(t, 5*time.Second, 1); more(); {
				l.Wait(ackLimit, 200)
				if c.shape.Money {
					if err := l.Snapshot(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
			}
			if c.shape.Copiers > 0 {
				l.StopProducing()
				l.WaitCopied(ackLimit)
			}
			h := l.Finish()
			t.Logf("%d sends, %d reads, %d transactions, %d commits", len(h.Sends), len(h.Reads), len(h.Txns), len(h.Commits))
			judge(t, h)
		})
	}
}
