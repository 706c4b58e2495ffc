package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
)

// inspected is a healthy directory with one log of several segments, stopped cleanly:
// two leader epochs, a producer snapshot, an aborted transaction.
func inspected(t testing.TB) *vfs.Mem {
	t.Helper()
	mem := vfs.NewMem()
	d, err := OpenDir(DirOptions{FS: mem, Path: "/data", ClusterID: "5L6g3nShT-eMCtK--X86sw", NodeID: 3})
	must(t, err)
	l, _, err := d.OpenLog("t", 0, TopicID{1}, Options{Config: testConfig, Now: testOptions(mem).Now})
	must(t, err)
	appendN(t, l, 60, seeded(4))
	must(t, l.AppendAborted(index.AbortedTxn{ProducerID: 4, FirstOffset: 1, LastOffset: 3, LastStableOffset: 4}))
	end := l.Offsets().End
	_, err = l.Append([]batch.Batch{makeBatch(t, end, 2, 3, 20, start.UnixMilli()+end*10)})
	must(t, err)
	must(t, l.WriteSnapshot(end, []ProducerState{{ProducerID: 4, CurrentTxnFirst: -1}}))
	d.Committer().Commit()
	must(t, d.Close())
	return mem
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func inspect(t testing.TB, fsys vfs.FS) []Fault {
	t.Helper()
	var all []Fault
	must(t, InspectDir(fsys, "/data", 1<<20, func(f Fault) { all = append(all, f) }, nil))
	return all
}

// rewrite changes the bytes of a file.
func rewrite(t testing.TB, mem *vfs.Mem, path string, change func(p []byte) []byte) {
	t.Helper()
	p := change(readMem(t, mem, path))
	must(t, mem.Remove(path))
	writeMem(t, mem, path, p)
}

// bases returns the base offsets of the log.
func bases(t testing.TB, mem *vfs.Mem) []int64 {
	t.Helper()
	found, err := InspectLog(mem, "/data/t-0", InspectOptions{}, func(Fault) {})
	must(t, err)
	return found.Segments
}

// resealed changes a batch's header and mends its CRC.
func resealed(b []byte, change func(batch.Batch)) {
	change(batch.Batch(b))
	size, _ := batch.PeekSize(b)
	binary.BigEndian.PutUint32(b[crcField:], crc32.Checksum(b[crcStart:size], castagnoli))
}

func TestInspectFindsNothingInAHealthyDirectory(t *testing.T) {
	mem := inspected(t)
	if all := inspect(t, mem); len(all) > 0 {
		t.Fatal(all)
	}
	found, err := InspectLog(mem, "/data/t-0", InspectOptions{MaxBatch: 1 << 20}, func(f Fault) { t.Error(f) })
	must(t, err)
	if len(found.Segments) < 3 || found.Batches != 61 || found.End < 60 || found.ID != (TopicID{1}) || !slices.Equal(found.Epochs, []EpochStart{{0, 0}, {2, found.End - 3}}) {
		t.Errorf("%+v", found)
	}
}

// TestInspectNamesEachKindOfDamageOnce damages one thing at a time in a directory: there
// is one fault, of that file and kind, and a corrupt middle hides nothing behind it.
func TestInspectNamesEachKindOfDamageOnce(t *testing.T) {
	const dir = "/data/t-0/"
	first := dir + fileName(0, logSuffix)
	swapTypes := func(p []byte) []byte { return append([]byte("nonsense\n"), p...) }
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, mem *vfs.Mem, bases []int64) (file string)
		kind   FaultKind
		reason string
	}{
		{"a flipped bit in a record", func(t *testing.T, mem *vfs.Mem, _ []int64) string {
			rewrite(t, mem, first, func(p []byte) []byte { p[batch.HeaderSize+3] ^= 1; return p })
			return first
		}, FaultCRC, "its CRC is"},
		{"records that do not parse under a CRC that holds", func(t *testing.T, mem *vfs.Mem, _ []int64) string {
			rewrite(t, mem, first, func(p []byte) []byte {
				resealed(p, func(b batch.Batch) { b[batch.HeaderSize] = 0x7f })
				return p
			})
			return first
		}, FaultRecords, ""},
		{"the last segment is torn", func(t *testing.T, mem *vfs.Mem, bases []int64) string {
			last := dir + fileName(bases[len(bases)-1], logSuffix)
			rewrite(t, mem, last, func(p []byte) []byte { return append(p, p[:70]...) })
			return last
		}, FaultTorn, "the file ends 70 bytes into the batch"},
		{"garbage behind the last batch", func(t *testing.T, mem *vfs.Mem, bases []int64) string {
			last := dir + fileName(bases[len(bases)-1], logSuffix)
			rewrite(t, mem, last, func(p []byte) []byte { return append(p, bytes.Repeat([]byte{0xee}, 100)...) })
			return last
		}, FaultHeader, ""},
		{"a message of format 1", func(t *testing.T, mem *vfs.Mem, bases []int64) string {
			last := dir + fileName(bases[len(bases)-1], logSuffix)
			rewrite(t, mem, last, func(p []byte) []byte {
				q := bytes.Clone(p[:61])
				binary.BigEndian.PutUint32(q[8:], 61-12)
				q[16] = 1
				return append(p, q...)
			})
			return last
		}, FaultMagic, "message format 1"},
		{"a batch twice", func(t *testing.T, mem *vfs.Mem, bases []int64) string {
			last := dir + fileName(bases[len(bases)-1], logSuffix)
			rewrite(t, mem, last, func(p []byte) []byte {
				size, _ := batch.PeekSize(p)
				return append(p, p[:size]...)
			})
			return last
		}, FaultOrder, "was due"},
		{"a segment in the middle is gone", func(t *testing.T, mem *vfs.Mem, bases []int64) string {
			for _, suffix := range []string{logSuffix, offsetSuffix, timeSuffix} {
				must(t, mem.Remove(dir+fileName(bases[1], suffix)))
			}
			return first
		}, FaultGap, "and the next segment begins at"},
		{"a segment that overlaps the next", func(t *testing.T, mem *vfs.Mem, bases []int64) string {
			name := dir + fileName(bases[1], logSuffix)
			rewrite(t, mem, first, func(p []byte) []byte {
				q := readMem(t, mem, name)
				size, _ := batch.PeekSize(q)
				return append(p, q[:size]...)
			})
			return first
		}, FaultOverlap, "it ends at offset"},
		{"an index entry that names no batch", func(t *testing.T, mem *vfs.Mem, _ []int64) string {
			name := dir + fileName(0, offsetSuffix)
			rewrite(t, mem, name, func(p []byte) []byte { p[15]++; return p })
			return name
		}, FaultIndex, "names no batch"},
		{"a time index entry that is too old", func(t *testing.T, mem *vfs.Mem, _ []int64) string {
			name := dir + fileName(0, timeSuffix)
			rewrite(t, mem, name, func(p []byte) []byte { binary.BigEndian.PutUint64(p[12:], 5); return p })
			return name
		}, FaultTimes, "nothing up to offset"},
		{"an index entry behind the end", func(t *testing.T, mem *vfs.Mem, _ []int64) string {
			name := dir + fileName(0, offsetSuffix)
			rewrite(t, mem, name, func(p []byte) []byte {
				return index.AppendOffset(p, 0, index.Position{Offset: 1 << 20, Position: 1 << 20})
			})
			return name
		}, FaultIndex, "fits no batch"},
		{"an index is missing", func(t *testing.T, mem *vfs.Mem, _ []int64) string {
			name := dir + fileName(0, timeSuffix)
			must(t, mem.Remove(name))
			return name
		}, FaultNoIndex, "it is missing"},
		{"an index without its log", func(t *testing.T, mem *vfs.Mem, _ []int64) string {
			name := dir + fileName(7777, offsetSuffix)
			writeMem(t, mem, name, nil)
			return name
		}, FaultOrphan, "its log file is not there"},
		{"a name that is no offset", func(t *testing.T, mem *vfs.Mem, _ []int64) string {
			writeMem(t, mem, dir+"77.log", nil)
			return dir + "77.log"
		}, FaultName, "20-digit"},
		{"a directory in place of a log file", func(t *testing.T, mem *vfs.Mem, _ []int64) string {
			name := dir + fileName(7777, logSuffix)
			must(t, mem.MkdirAll(name))
			return name
		}, FaultNotRegular, "not a regular file"},
		{"a compaction that was cut off", func(t *testing.T, mem *vfs.Mem, _ []int64) string {
			writeMem(t, mem, first+".swap", nil)
			return first + ".swap"
		}, FaultInterrupted, "interrupted"},
		{"a transaction index that is cut", func(t *testing.T, mem *vfs.Mem, _ []int64) string {
			name := dir + fileName(0, abortedSuffix)
			rewrite(t, mem, name, func(p []byte) []byte { return p[:30] })
			return name
		}, FaultAborted, ""},
		{"a transaction that ends elsewhere", func(t *testing.T, mem *vfs.Mem, _ []int64) string {
			name := dir + fileName(0, abortedSuffix)
			rewrite(t, mem, name, func(p []byte) []byte {
				return index.AbortedTxn{ProducerID: 1, FirstOffset: 4, LastOffset: 1 << 30}.Append(p)
			})
			return name
		}, FaultAborted, "does not end in this segment"},
		{"a snapshot that is cut", func(t *testing.T, mem *vfs.Mem, bases []int64) string {
			name := dir + fileName(1, snapshotSuffix)
			writeMem(t, mem, name, []byte{0, 1})
			return name
		}, FaultSnapshot, ""},
		{"a snapshot ahead of the log", func(t *testing.T, mem *vfs.Mem, _ []int64) string {
			name := dir + fileName(1<<30, snapshotSuffix)
			writeMem(t, mem, name, EncodeSnapshot(nil))
			return name
		}, FaultSnapshot, "and the log ends at"},
		{"a lineage that is not the batches'", func(t *testing.T, mem *vfs.Mem, bases []int64) string {
			rewrite(t, mem, dir+epochsName, func(p []byte) []byte { return bytes.Replace(p, []byte("\n2 "), []byte("\n3 "), 1) })
			return dir + fileName(bases[len(bases)-1], logSuffix)
		}, FaultEpoch, "the batch is of epoch 2, leader-epoch-checkpoint says 3"},
		{"a lineage ahead of the log", func(t *testing.T, mem *vfs.Mem, _ []int64) string {
			rewrite(t, mem, dir+epochsName, func(p []byte) []byte {
				return append(bytes.Replace(p, []byte("0\n2\n"), []byte("0\n3\n"), 1), "9 99999\n"...)
			})
			return dir + epochsName
		}, FaultEpoch, "begins at 99999"},
		{"a lineage that does not parse", func(t *testing.T, mem *vfs.Mem, _ []int64) string {
			rewrite(t, mem, dir+epochsName, swapTypes)
			return dir + epochsName
		}, FaultEpochFile, ""},
		{"no partition.metadata", func(t *testing.T, mem *vfs.Mem, _ []int64) string {
			must(t, mem.Remove(dir+metadataName))
			return dir + metadataName
		}, FaultMetadata, "file does not exist"},
		{"partition.metadata of another kind", func(t *testing.T, mem *vfs.Mem, _ []int64) string {
			rewrite(t, mem, dir+metadataName, swapTypes)
			return dir + metadataName
		}, FaultMetadata, ""},
		{"meta.properties of another kind", func(t *testing.T, mem *vfs.Mem, _ []int64) string {
			rewrite(t, mem, "/data/"+propertiesName, swapTypes)
			return "/data/" + propertiesName
		}, FaultProperties, ""},
		{"a checkpoint that does not parse", func(t *testing.T, mem *vfs.Mem, _ []int64) string {
			rewrite(t, mem, "/data/"+recoveryName, swapTypes)
			return "/data/" + recoveryName
		}, FaultCheckpoint, ""},
		{"flushed records are gone", func(t *testing.T, mem *vfs.Mem, _ []int64) string {
			rewrite(t, mem, "/data/"+recoveryName, func([]byte) []byte { return []byte("0\n1\nt 0 100000\n") })
			return "/data/t-0"
		}, FaultRecovery, "was flushed to 100000"},
		{"a log start behind the end", func(t *testing.T, mem *vfs.Mem, _ []int64) string {
			rewrite(t, mem, "/data/"+startName, func([]byte) []byte { return []byte("0\n1\nt 0 100000\n") })
			return "/data/t-0"
		}, FaultLogStart, "starts at offset 100000"},
		{"a log is gone", func(t *testing.T, mem *vfs.Mem, _ []int64) string {
			rewrite(t, mem, "/data/"+recoveryName, func(p []byte) []byte {
				return append(bytes.Replace(p, []byte("0\n1\n"), []byte("0\n2\n"), 1), "u 3 5\n"...)
			})
			return "/data/u-3"
		}, FaultMissing, "it is not there"},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem := inspected(t)
			file := c.damage(t, mem, bases(t, mem))
			all := inspect(t, mem)
			if len(all) != 1 || all[0].Kind != c.kind || all[0].Path != file || !strings.Contains(all[0].Reason, c.reason) {
				t.Fatalf("got %v\nwant one fault, %s of %s: %s", all, c.kind, file, c.reason)
			}
			if f := all[0]; strings.HasPrefix(string(f.Kind), "batch-") && (f.Offset < 0 || f.Position < 0) {
				t.Errorf("%+v says not where", f)
			}
		})
	}
}

func TestInspectForgivesWhatIsNoDamage(t *testing.T) {
	for name, change := range map[string]func(mem *vfs.Mem, bases []int64){
		"a preallocated segment with its indexes, as Kafka's active ones": func(mem *vfs.Mem, bases []int64) {
			last := bases[len(bases)-1]
			for _, suffix := range []string{logSuffix, offsetSuffix, timeSuffix} {
				rewrite(t, mem, "/data/t-0/"+fileName(last, suffix), func(p []byte) []byte { return append(p, make([]byte, 120_000)...) })
			}
		},
		"missing offsets where the log is compacted": func(mem *vfs.Mem, bases []int64) {
			for _, suffix := range []string{logSuffix, offsetSuffix, timeSuffix} {
				must(t, mem.Remove("/data/t-0/"+fileName(bases[1], suffix)))
			}
			writeMem(t, mem, "/data/cleaner-offset-checkpoint", []byte("0\n1\nt 0 5\n"))
		},
		"files of others": func(mem *vfs.Mem, _ []int64) {
			writeMem(t, mem, "/data/t-0/remote_log_snapshot", []byte("x"))
			writeMem(t, mem, "/data/bootstrap.checkpoint", []byte("x"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			mem := inspected(t)
			change(mem, bases(t, mem))
			if all := inspect(t, mem); len(all) > 0 {
				t.Error(all)
			}
		})
	}
}

func FuzzInspect(f *testing.F) {
	b := makeBatch(f, 0, 1, 3, 20, 5)
	f.Add([]byte(b), []byte("0\n1\n1 0\n"))
	f.Add(append(bytes.Clone(b), b[:40]...), []byte("\x00\x00\x00\x02\x00\x00\x00\x01"))
	f.Add(make([]byte, 100), make([]byte, 24))
	f.Fuzz(func(t *testing.T, log, side []byte) {
		mem := vfs.NewMem()
		must(t, mem.MkdirAll("/data/t-0"))
		for name, p := range map[string][]byte{
			"t-0/" + fileName(0, logSuffix): log, "t-0/" + fileName(0, offsetSuffix): side, "t-0/" + fileName(0, timeSuffix): side,
			"t-0/" + fileName(0, abortedSuffix): side, "t-0/" + fileName(9, snapshotSuffix): side, "t-0/" + epochsName: side,
			"t-0/" + metadataName: side, propertiesName: side, recoveryName: side,
		} {
			writeMem(t, mem, "/data/"+name, p)
		}
		if err := InspectDir(mem, "/data", 1<<20, func(Fault) {}, nil); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	})
}
