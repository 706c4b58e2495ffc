package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sys/unix"

	"github.com/varvelog/varve/test/harness"
)

// A log larger than the disk, on a disk of XFS: some partitions are filled by producers,
// the broker is stopped, and all other partitions get their files as reflinks. Each file
// is an inode of its own: it is read from below and has its own pages in the cache. Only
// the extents are shared, until they are written to.

const (
	// cloneSeeds is how many partitions are really filled: each producer fills as many
	// as it sends to in one request.
	cloneSeeds = fillers * fillShare
	// cloneSpare is what the disk has beside the seeds: for two tails, what is written of
	// them again, and what the brokers keep for themselves.
	cloneSpare = 12 * gigabyte
	// cloneMount keeps XFS from reserving as much behind the end of a file as it has
	// already, which is 100 GB on a disk that has not got them.
	cloneMount = "allocsize=64k"
)

// cloneNote is added to what a scenario says of itself.
func (r recovering) cloneNote() string {
	which := "segments"
	if r.sealed {
		which = "sealed segments"
	}
	return fmt.Sprintf("; %s cloned (XFS reflink): %d partitions were produced, their files cloned into the %d others while the broker was cleanly stopped; the tails were produced to all",
		which, cloneSeeds, recoverPartitions-cloneSeeds)
}

// cloneDisk is the size of the disk for a log of size bytes.
func cloneDisk(size int64) int64 { return 2*size/recoverPartitions*cloneSeeds + cloneSpare }

// fillByCloning fills a topic up to size without writing all of it. full is called when
// the seeds are there, and the broker still runs.
func (b *bench) fillByCloning(s crashed, load *filling, size int64, full func()) {
	begin := time.Now()
	seeds := &filling{topic: load.topic, ends: make([]atomic.Int64, cloneSeeds)}
	seeds.topic.partitions = cloneSeeds
	share := size / recoverPartitions * cloneSeeds
	b.env.check(seeds.run(b.env.ctx, s.Address(), fillRows, func(written int64) bool { return written >= share }, nil))
	full()
	_, err := b.awaitOffsets(s, load.topic) // every partition has its directory then
	b.env.check(err)
	b.env.check(oneLeaderEpoch(b.env.ctx, s.Address(), load.topic))
	s.Stop()
	b.env.check(cloneLogs(s.LogDir(), load.topic, reflink))
	syscall.Sync()
	for p := range load.ends {
		end := seeds.ends[p%cloneSeeds].Load()
		load.ends[p].Store(end)
		load.written.Add(end * recoverRow)
	}
	say("  %s: %.1f GB cloned from %.1f GB in %.0f s", s.Name(), float64(load.written.Load())/gigabyte, float64(seeds.written.Load())/gigabyte, time.Since(begin).Seconds())
	if v, ok := s.(*varve); ok {
		b.verify(v)
	}
	s.launch()
	ends, err := b.awaitOffsets(s, load.topic)
	b.env.check(err)
	b.env.check(load.exactly(ends))
}

// verify reads a stopped Varve's whole directory.
func (b *bench) verify(v *varve) {
	begin := time.Now()
	out, err := exec.CommandContext(b.env.ctx, harness.Varve(b.env), "log", "verify", v.LogDir()).CombinedOutput()
	if err != nil {
		b.env.Fatalf("verify what was cloned: %v\n%s", err, lastBytes(string(out), 4<<10))
	}
	say("  varve log verify, %.0f s: %s", time.Since(begin).Seconds(), strings.TrimSpace(lastBytes(string(out), 200)))
}

// exactly returns an error if a partition does not end where it should.
func (l *filling) exactly(ends []int64) error {
	for p, end := range ends {
		if want := l.ends[p].Load(); end != want {
			return fmt.Errorf("partition %d ends at offset %d, not at %d", p, end, want)
		}
	}
	return nil
}

// oneLeaderEpoch returns an error where partitions have different leader epochs: the
// batches of one then do not fit another.
func oneLeaderEpoch(ctx context.Context, address string, t topic) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		return err
	}
	defer c.Close()
	m, err := kadm.NewClient(c).Metadata(ctx, t.name)
	if err != nil {
		return err
	}
	partitions := m.Topics[t.name].Partitions
	if len(partitions) != t.partitions {
		return fmt.Errorf("metadata name %d partitions of %d", len(partitions), t.partitions)
	}
	for p, detail := range partitions {
		if first := partitions[0].LeaderEpoch; detail.LeaderEpoch != first {
			return fmt.Errorf("partition %d has leader epoch %d, partition 0 has %d", p, detail.LeaderEpoch, first)
		}
	}
	return nil
}

// cloneLogs makes each partition of a topic that is no seed a copy of one, in the log
// directory of a stopped broker. Each keeps its own partition.metadata.
func cloneLogs(dir string, t topic, clone func(from, to string) error) error {
	for p := cloneSeeds; p < t.partitions; p++ {
		if err := cloneLog(logOf(dir, t, p%cloneSeeds), logOf(dir, t, p), clone); err != nil {
			return err
		}
	}
	// Flushed ends; and, of Kafka only, high watermarks.
	for _, name := range []string{checkpointName, "replication-offset-checkpoint"} {
		path := filepath.Join(dir, name)
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) && name != checkpointName {
			continue
		}
		if err != nil {
			return err
		}
		cloned, err := cloneOffsets(string(text), t)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := os.WriteFile(path, []byte(cloned), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func logOf(dir string, t topic, partition int) string {
	return filepath.Join(dir, t.name+"-"+strconv.Itoa(partition))
}

// metadataName is the file that holds a partition's topic id.
const metadataName = "partition.metadata"

// cloneLog replaces the files of one log by those of another.
func cloneLog(from, to string, clone func(from, to string) error) error {
	old, err := os.ReadDir(to)
	if err != nil {
		return err
	}
	for _, e := range old {
		if e.Name() == metadataName {
			continue
		}
		if err := os.Remove(filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	files, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range files {
		if e.Name() == metadataName {
			continue
		}
		if err := clone(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// reflink makes a file that shares another's extents.
func reflink(from, to string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	if err := unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())); err != nil {
		return fmt.Errorf("clone %s to %s: %w", from, to, err)
	}
	return nil
}

// cloneOffsets returns a checkpoint file in which each partition of a topic has the
// offset of its seed. The lines of other topics stay.
func cloneOffsets(text string, t topic) (string, error) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) < 2 || lines[0] != "0" {
		return "", errors.New("not a checkpoint file of version 0")
	}
	seeds := make([]string, cloneSeeds)
	kept := slices.DeleteFunc(lines[2:], func(line string) bool {
		f := strings.Fields(line) // topic partition offset
		if len(f) != 3 || f[0] != t.name {
			return false
		}
		if p, err := strconv.Atoi(f[1]); err == nil && p >= 0 && p < cloneSeeds {
			seeds[p] = f[2]
		}
		return true
	})
	for p := range t.partitions {
		offset := seeds[p%cloneSeeds]
		if offset == "" {
			return "", fmt.Errorf("partition %d of %s is not in it", p%cloneSeeds, t.name)
		}
		kept = append(kept, fmt.Sprintf("%s %d %s", t.name, p, offset))
	}
	return fmt.Sprintf("0\n%d\n%s\n", len(kept), strings.Join(kept, "\n")), nil
}
