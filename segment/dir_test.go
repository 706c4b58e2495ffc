package segment

import (
	"errors"
	"io/fs"
	"slices"
	"testing"
	"time"

	"github.com/varvelog/varve/segment/vfs"
)

func openDirT(t *testing.T, o DirOptions) *Dir {
	t.Helper()
	d, err := OpenDir(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDirectoryFilesAreKafkas(t *testing.T) {
	mem := vfs.NewMem()
	zeros := make([]byte, 16)
	d := openDirT(t, DirOptions{FS: mem, Path: "/data", ClusterID: "5L6g3nShT-eMCtK--X86sw", NodeID: 3, Random: sameBytes(zeros)})
	o := Options{Config: testConfig, Now: func() time.Time { return start }}
	l, _, err := d.OpenLog("orders", 7, TopicID{0xff}, o)
	if err != nil {
		t.Fatal(err)
	}
	appendN(t, l, 5, seeded(1))
	end := l.Offsets().End
	if err := l.Roll(); err != nil {
		t.Fatal(err)
	}
	d.Committer().Commit()
	if err := l.SetLogStart(end); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"meta.properties":                  "#\ncluster.id=5L6g3nShT-eMCtK--X86sw\ndirectory.id=AAAAAAAAQACAAAAAAAAAAA\nnode.id=3\nversion=1\n",
		"recovery-point-offset-checkpoint": "0\n1\norders 7 12\n",
		"log-start-offset-checkpoint":      "0\n1\norders 7 12\n",
		".kafka_cleanshutdown":             `{"version":0,"brokerEpoch":-1}`,
		"orders-7/partition.metadata":      "version: 0\ntopic_id: _wAAAAAAAAAAAAAAAAAAAA",
		"orders-7/leader-epoch-checkpoint": "0\n1\n0 12\n",
		"orders-7/" + fileName(12, ".log"): "",
	} {
		if got := string(readMem(t, mem, "/data/"+name)); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	d = openDirT(t, DirOptions{FS: mem, Path: "/data", NodeID: 3})
	if d.ClusterID() != "5L6g3nShT-eMCtK--X86sw" || len(d.Found()) != 1 || d.Found()[0] != (Found{"orders", 7, TopicID{0xff}, "/data/orders-7"}) {
		t.Fatal(d.ClusterID(), d.Found())
	}
	if _, err := mem.Stat("/data/" + cleanName); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal("the clean mark outlives the start")
	}
	if _, _, err := d.OpenLog("orders", 7, TopicID{1}, o); !errors.Is(err, ErrForeign) {
		t.Fatal(err)
	}
	if l, _, err = d.OpenLog("orders", 7, TopicID{0xff}, o); err != nil || l.Offsets().LogStart != end {
		t.Fatal(err)
	}
	if err := l.Delete(); err != nil {
		t.Fatal(err)
	}
	if err := d.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	if got := string(readMem(t, mem, "/data/"+recoveryName)); got != "0\n0\n" {
		t.Fatalf("%q", got)
	}
}

// TestLogOfADeletedNameStartsAnew: a topic may be made again under its name, at once.
// Nothing of the old log's recovery point and log start may be believed of the new one,
// also after a crash that finds the checkpoints as they were.
func TestLogOfADeletedNameStartsAnew(t *testing.T) {
	mem := vfs.NewMem()
	d := openDirT(t, DirOptions{FS: mem, Path: "/data", ClusterID: "a", NodeID: 1})
	o := Options{Config: testConfig, Now: func() time.Time { return start }}
	l, _, err := d.OpenLog("orders", 0, TopicID{1}, o)
	if err != nil {
		t.Fatal(err)
	}
	appendN(t, l, 50, seeded(1))
	if err := l.Roll(); err != nil {
		t.Fatal(err)
	}
	d.Committer().Commit()
	if err := l.SetLogStart(l.Offsets().End); err != nil {
		t.Fatal(err)
	}
	if err := d.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	if err := l.Delete(); err != nil {
		t.Fatal(err)
	}
	if l, _, err = d.OpenLog("orders", 0, TopicID{2}, o); err != nil {
		t.Fatal(err)
	}
	if got := l.Offsets(); got.LogStart != 0 || got.End != 0 {
		t.Fatalf("the new log begins as the old one ended: %+v", got)
	}
	appendN(t, l, 5, seeded(2))
	d.Committer().Commit()
	end := l.Offsets().End

	mem = mem.Crash(seeded(3))
	d = openDirT(t, DirOptions{FS: mem, Path: "/data", ClusterID: "a", NodeID: 1})
	if l, _, err = d.OpenLog("orders", 0, TopicID{2}, o); err != nil {
		t.Fatal(err)
	}
	if got := l.Offsets(); got.LogStart != 0 || got.End != end {
		t.Fatalf("after a crash: %+v, want 0 to %d", got, end)
	}
}

type sameBytes []byte

func (r sameBytes) Read(p []byte) (int, error) { return copy(p, r), nil }

func TestOpenDirRefusesForeignAndLockedDirectories(t *testing.T) {
	mem := vfs.NewMem()
	d := openDirT(t, DirOptions{FS: mem, Path: "/data", ClusterID: "a", NodeID: 1})
	if _, err := OpenDir(DirOptions{FS: mem, Path: "/data", ClusterID: "a", NodeID: 1}); !errors.Is(err, vfs.ErrLocked) {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for _, o := range []DirOptions{{ClusterID: "b", NodeID: 1}, {ClusterID: "a", NodeID: 2}} {
		o.FS, o.Path = mem, "/data"
		if _, err := OpenDir(o); !errors.Is(err, ErrForeign) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestGarbageCheckpointsCountAsMissing(t *testing.T) {
	mem := vfs.NewMem()
	mem.MkdirAll("/data")
	writeMem(t, mem, "/data/"+recoveryName, []byte("0\n7\nx"))
	writeMem(t, mem, "/data/"+startName, make([]byte, 9))
	d := openDirT(t, DirOptions{FS: mem, Path: "/data", ClusterID: "a"})
	if len(d.Faults()) != 2 {
		t.Fatal(d.Faults())
	}
}

// A round has its logs in the order in which they were appended to, a checkpoint in any
// other: neither waits for the other with what that one waits for.
func TestLeaderEpochsOfManyLogsAreWrittenAtOnceInAnyOrder(t *testing.T) {
	mem := vfs.NewMem()
	d := openDirT(t, DirOptions{FS: mem, Path: "/data", ClusterID: "c"})
	var logs []*Log
	for i := range int32(16) {
		l, _, err := d.OpenLog("t", i, TopicID{1}, Options{Config: testConfig, Now: func() time.Time { return start }})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.AssignEpoch(1); err != nil {
			t.Fatal(err)
		}
		logs = append(logs, l)
	}
	backwards := slices.Clone(logs)
	slices.Reverse(backwards)
	done := make(chan error)
	for range 100 {
		for _, list := range [][]*Log{logs, backwards} {
			go func() {
				for range 10 {
					for _, l := range list {
						l.oweEpochs()
					}
					if err := settleEpochs(mem, "/data", list); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		for range 2 {
			select {
			case err := <-done:
				if err != nil {
					t.Fatal(err)
				}
			case <-time.After(time.Minute):
				t.Fatal("two that write leader epochs wait for each other")
			}
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestUnnotedIsWhatWasFlushedSinceTheLastCheckpoint(t *testing.T) {
	d := openDirT(t, DirOptions{FS: vfs.NewMem(), Path: "/data"})
	l, _, err := d.OpenLog("orders", 0, TopicID{1}, Options{Config: testConfig, Now: func() time.Time { return start }})
	if err != nil {
		t.Fatal(err)
	}
	noted := int64(0)
	for range 3 {
		appendN(t, l, 5, seeded(1))
		d.Committer().Commit()
		size := int64(0)
		for _, s := range l.Segments() {
			size += s.Size
		}
		if got := d.Unnoted(); got != size-noted || got == 0 {
			t.Errorf("%d bytes, want %d", got, size-noted)
		}
		if err := d.Checkpoint(); err != nil {
			t.Fatal(err)
		}
		if got := d.Unnoted(); got != 0 {
			t.Errorf("%d bytes after a checkpoint", got)
		}
		noted = size
	}
}
