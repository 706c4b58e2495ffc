package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
)

// write puts bytes into a file with a name.
func write(t *testing.T, name string, p []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, p, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// dumped runs log dump over a file with this name and content.
func dumped(t *testing.T, name string, p []byte, args ...string) result {
	t.Helper()
	r := varve(t.Context(), "", append([]string{"log", "dump", write(t, name, p)}, args...)...)
	if _, rest, ok := strings.Cut(r.out, "\n"); ok && strings.HasPrefix(r.out, "Dumping ") {
		r.out = rest
	}
	return r
}

func build(t *testing.T, base int64, records ...batch.Record) batch.Batch {
	t.Helper()
	b, err := batch.NoProducer.Build(base, 3, records)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestLogDumpPrintsBatchesAndRecords(t *testing.T) {
	first := build(t, 10, batch.Record{Timestamp: 5, Key: []byte("k"), Value: []byte("plain text"), Headers: []batch.Header{{Key: "h"}, {Key: "i"}}}, batch.Record{Timestamp: 6, Value: []byte("\x00\xff")})
	marker, err := batch.Marker{Commit: true, CoordinatorEpoch: 4}.Build(12, 3, 77, 1, 8)
	if err != nil {
		t.Fatal(err)
	}
	file := append(bytes.Clone(first), marker...)
	const name = "00000000000000000010.log"

	r := dumped(t, name, file)
	lines := strings.Split(r.out, "\n")
	if r.code != exitDone || len(lines) != 3 || !strings.HasPrefix(lines[0], "baseOffset: 10 lastOffset: 11 count: 2 ") || !strings.HasSuffix(lines[0], "isvalid: true position: 0") ||
		!strings.HasSuffix(lines[1], fmt.Sprintf("position: %d", first.Size())) || !strings.Contains(lines[1], "isControl: true") {
		t.Errorf("batches: %v", r)
	}
	r = dumped(t, name, file, "--records")
	for _, want := range []string{
		"\n| offset: 10 CreateTime: 5 keySize: 1 valueSize: 10 headerKeys: [h,i] key: k payload: plain text\n",
		"\n| offset: 11 CreateTime: 6 keySize: -1 valueSize: 2 headerKeys: [] key: null payload: \"\\x00\\xff\"\n",
		"endTxnMarker: COMMIT coordinatorEpoch: 4\n",
	} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%q is not in\n%s", want, r.out)
		}
	}
	all := stream[dumpedBatch](t, dumped(t, name, file, "--records", "--output", "json").out)
	if len(all) != 2 || all[0].BaseOffset != 10 || len(all[0].Records) != 2 || all[0].Records[0].Value != "plain text" || all[1].Position != int64(first.Size()) {
		t.Errorf("JSON: %+v", all)
	}
	if r = dumped(t, name, append(bytes.Clone(file), make([]byte, 200)...)); r.code != exitDone {
		t.Errorf("a preallocated file: %v", r)
	}
}

func TestLogDumpSaysWhereALogIsCorrupt(t *testing.T) {
	b := build(t, 0, batch.Record{Value: []byte("x")})
	flipped := bytes.Clone(b)
	flipped[len(flipped)-1] ^= 1
	for _, c := range []struct {
		name string
		file []byte
		why  string
	}{
		{"torn", append(bytes.Clone(b), b[:30]...), fmt.Sprintf("at position %d: ", len(b))},
		{"torn in the header", build(t, 1<<60, batch.Record{})[:10], "at position 0: "},
		{"garbage", append(bytes.Clone(b), bytes.Repeat([]byte("garbage"), 30)...), fmt.Sprintf("at position %d: ", len(b))},
		{"flipped", append(flipped, b...), "1 batches are corrupt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := dumped(t, "00000000000000000000.log", c.file, "--records")
			r.fails(t, exitFailed, c.why)
			if c.name != "torn in the header" && !strings.HasPrefix(r.out, "baseOffset: 0 ") {
				t.Errorf("what is before the fault is shown: %s", r.out)
			}
		})
	}
}

func TestLogDumpPrintsIndexesSnapshotsAndCheckpoints(t *testing.T) {
	var offsets, times []byte
	for i := range int64(3) {
		offsets = index.AppendOffset(offsets, 100, index.Position{Offset: 110 + i, Position: 4096 * (i + 1)})
		times = index.AppendTime(times, 100, index.Time{Timestamp: 1700000000000 + i, Offset: 110 + i})
	}
	aborted := index.AbortedTxn{ProducerID: 7, FirstOffset: 1, LastOffset: 5, LastStableOffset: 6}.Append(nil)
	snapshot := segment.EncodeSnapshot([]segment.ProducerState{{ProducerID: 9, ProducerEpoch: 1, LastSequence: 4, LastOffset: 40, OffsetDelta: 2, Timestamp: 8, CoordinatorEpoch: -1, CurrentTxnFirst: -1}})
	for _, c := range []struct {
		name string
		file []byte
		want string
		code int
	}{
		{"00000000000000000100.index", offsets, "offset: 110 position: 4096\noffset: 111 position: 8192\noffset: 112 position: 12288\n", 0},
		{"00000000000000000100.index", append(bytes.Clone(offsets[:8]), make([]byte, 16)...), "offset: 110 position: 4096\n", 0},
		{"00000000000000000100.index", append(bytes.Clone(offsets[8:]), offsets[:8]...), "offset: 111 position: 8192\noffset: 112 position: 12288\n", 1},
		{"00000000000000000100.index", offsets[:11], "offset: 110 position: 4096\n", 1},
		{"00000000000000000100.timeindex", times[:12], "timestamp: 1700000000000 offset: 110 time: 2023-11-14T22:13:20.000Z\n", 0},
		{"00000000000000000100.timeindex", append(bytes.Clone(times[12:24]), times[:12]...), "timestamp: 1700000000001 offset: 111 time: 2023-11-14T22:13:20.001Z\n", 1},
		{"00000000000000000000.txnindex", aborted, "producerId: 7 firstOffset: 1 lastOffset: 5 lastStableOffset: 6\n", 0},
		{"00000000000000000000.txnindex", aborted[:20], "", 1},
		{"00000000000000000041.snapshot", snapshot, "producerId: 9 producerEpoch: 1 lastSequence: 4 lastOffset: 40 offsetDelta: 2 lastTimestamp: 8 coordinatorEpoch: -1 currentTxnFirstOffset: -1\n", 0},
		{"00000000000000000041.snapshot", snapshot[:20], "", 1},
		{"leader-epoch-checkpoint", []byte("0\n2\n0 0\n3 17\n"), "epoch: 0 startOffset: 0\nepoch: 3 startOffset: 17\n", 0},
		{"leader-epoch-checkpoint", []byte("0\n3\n0 0\n"), "", 1},
		{"recovery-point-offset-checkpoint", []byte("0\n2\nt 1 5\na-b 0 7\n"), "partition: a-b-0 offset: 7\npartition: t-1 offset: 5\n", 0},
		{"log-start-offset-checkpoint", []byte("nonsense"), "", 1},
		{"meta.properties", nil, "", 1},
		{"readme", nil, "", 1},
		{"00000000000000000000.log", nil, "", 0},
	} {
		if r := dumped(t, c.name, c.file); r.code != c.code || r.out != c.want {
			t.Errorf("%s: exit code %d\n%swant %d\n%s%s", c.name, r.code, r.out, c.code, c.want, r.errs)
		}
	}
	r := varve(t.Context(), "", "log", "dump", filepath.Join(t.TempDir(), "0.index"), t.TempDir())
	r.fails(t, exitFailed, "0.index: no such file or directory\n")
	if all := stream[offsetEntry](t, dumped(t, "00000000000000000100.index", offsets, "--output", "json").out); len(all) != 3 || all[2] != (offsetEntry{112, 12288}) {
		t.Errorf("JSON: %v", all)
	}
}

func TestLogDumpReadsWhatTheBrokerWrote(t *testing.T) {
	b := startBroker(t)
	value := strings.Repeat("v", 1000)
	b.ok("k|"+value+"\n", "produce", "t", "--key-separator", "|", "--compression", "zstd")
	b.stop()
	files, err := filepath.Glob(filepath.Join(b.dir, "t-0", "0*"))
	checkpoints, err2 := filepath.Glob(filepath.Join(b.dir, "*-checkpoint"))
	if err != nil || err2 != nil || len(files) < 3 || len(checkpoints) < 2 {
		t.Fatalf("files %v, %v, %v, %v", files, checkpoints, err, err2)
	}
	r := varve(t.Context(), "", append(append([]string{"log", "dump", "--records"}, files...), checkpoints...)...)
	if r.code != exitDone || !strings.Contains(r.out, "compresscodec: zstd") || !strings.Contains(r.out, "key: k payload: "+value+"\n") || !strings.Contains(r.out, "partition: t-0 offset: 1\n") {
		t.Errorf("%v", r)
	}
}
