package segment

import (
	"bytes"
	"testing"

	"github.com/varvelog/varve/segment/vfs"
)

func FuzzRecover(f *testing.F) {
	b := makeBatch(f, 0, 1, 3, 20, 5)
	f.Add([]byte(b), []byte{}, false)
	f.Add(append(bytes.Clone(b), b[:40]...), []byte("\x00\x00\x00\x02\x00\x00\x00\x01"), true)
	f.Add(make([]byte, 100), make([]byte, 24), true)
	f.Fuzz(func(t *testing.T, log, side []byte, clean bool) {
		mem := vfs.NewMem()
		mem.MkdirAll("/data/t-0")
		for _, suffix := range []string{logSuffix, offsetSuffix, timeSuffix, abortedSuffix} {
			p := side
			if suffix == logSuffix {
				p = log
			}
			writeMem(t, mem, "/data/t-0/"+fileName(0, suffix), p)
		}
		o := testOptions(mem)
		o.Clean, o.RecoveryPoint = clean, int64(len(side))
		l, _, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, l); !bytes.HasPrefix(log, got) {
			t.Fatal("recovered is not a prefix")
		}
		if _, err := l.Aborted(0, 1<<40); err != nil {
			t.Fatal(err)
		}
		if end := l.Offsets().End; end < 1<<30 {
			appendN(t, l, 1, seeded(1))
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzTextFiles(f *testing.F) {
	f.Add([]byte("0\n1\nt 0 5\n"))
	f.Add([]byte("0\n2\n1 0\n5 10\n"))
	f.Add([]byte("version: 0\ntopic_id: AQAAAAAAAAAAAAAAAAAAAA"))
	f.Fuzz(func(t *testing.T, p []byte) {
		if m, err := parseOffsets(p); err == nil {
			if again, err := parseOffsets(encodeOffsets(m)); err != nil || len(again) != len(m) {
				t.Fatal(m, again, err)
			}
		}
		if e, err := parseEpochs(p); err == nil {
			if again, err := parseEpochs(e.encode()); err != nil || len(again) != len(e) {
				t.Fatal(e, again, err)
			}
		}
		if id, err := parseMetadata(p); err == nil {
			if again, err := parseMetadata(encodeMetadata(id)); err != nil || again != id {
				t.Fatal(id, again, err)
			}
		}
		_, _ = parseProperties(p)
	})
}

func FuzzSnapshot(f *testing.F) {
	f.Add(EncodeSnapshot(nil))
	f.Add(EncodeSnapshot([]ProducerState{{ProducerID: 1, CurrentTxnFirst: -1}}))
	f.Fuzz(func(t *testing.T, p []byte) {
		if s, err := ParseSnapshot(p); err == nil && !bytes.Equal(EncodeSnapshot(s), p) {
			t.Fatal("does not round trip")
		}
	})
}
