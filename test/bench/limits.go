package main

import (
	"errors"
	"hash/crc32"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// machineLimits measures what the machine can do at most, in the same run, as context
// for the other figures.
func machineLimits(e *env) []limitRow {
	path := filepath.Join(e.TempDir(), "file")
	write := sequentialWrite(e, path)
	flush := smallFlushes(e, path+".small")
	send := sendfileLoopback(e, path)
	files, shared := roundsBySyncfs(e, e.TempDir()), roundsBySharedLog(e, e.TempDir())
	floor := produceFloor(e, path)
	return []limitRow{
		{"sequential write of 1 GiB with one fdatasync", write[byteRate], "MiB/s"},
		{"fdatasync after an append of 400 B, p50", flush, "ms"},
		{"sendfile to loopback and a plain read loop", send[byteRate], "MiB/s"},
		{"the same, CPU of both ends together", send[clientCPU], "s/GB"},
		{"rounds of 256 appends of 400 B to 256 files, by syncfs", files, "ms"},
		{"the same by one shared commit log, the files written and not synced", shared, "ms"},
		{"produce as little as possible: socket, CRC, file, write-back; CPU of the receiver", floor[clientCPU], "s/GB"},
		{"the same", floor[byteRate], "MiB/s"},
	}
}

// limitRow is one limit of the machine.
type limitRow struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

const limitBytes = 1 << 30

func sequentialWrite(e *env, path string) figures {
	f, err := os.Create(path)
	e.check(err)
	defer f.Close()
	m := startMeter(e, limitBytes)
	for n := 0; n < limitBytes; n += len(text) {
		_, err := f.Write(text)
		e.check(err)
	}
	e.check(unix.Fdatasync(int(f.Fd())))
	return m.stop(0, limitBytes)
}

// smallFlushes returns the middle time of an append of 400 B and its flush.
func smallFlushes(e *env, path string) float64 {
	f, err := os.Create(path)
	e.check(err)
	defer f.Close()
	var all []float64
	for i := range 200 {
		begin := time.Now()
		_, err := f.Write(value(i, 400))
		e.check(err)
		e.check(unix.Fdatasync(int(f.Fd())))
		all = append(all, float64(time.Since(begin))/float64(time.Millisecond))
	}
	return median(all)
}

// commitFiles is how many partitions a round of the two ways to commit appends to.
const commitFiles = 256

// rounds appends 400 B to each of commitFiles files, again and again, and returns the
// mean time of a round with commit, in milliseconds. What is written to the files later
// is paid in the same time.
func rounds(e *env, dir string, commit func(round int)) float64 {
	const n = 100
	var files [commitFiles]*os.File
	for i := range files {
		f, err := os.Create(filepath.Join(dir, strconv.Itoa(i)))
		e.check(err)
		defer f.Close()
		files[i] = f
	}
	begin := time.Now()
	for r := range n {
		for i, f := range files {
			_, err := f.Write(value(i, 400))
			e.check(err)
		}
		commit(r)
	}
	return time.Since(begin).Seconds() * 1000 / n
}

func roundsBySyncfs(e *env, dir string) float64 {
	d, err := os.Open(dir)
	e.check(err)
	defer d.Close()
	return rounds(e, dir, func(int) { e.check(unix.Syncfs(int(d.Fd()))) })
}

// roundsBySharedLog commits with one write to a preallocated file beside the others and
// an fdatasync of it. It is a prototype, without headers or recovery: it shows the most
// that such a log could win.
func roundsBySharedLog(e *env, dir string) float64 {
	const size = commitFiles * 400
	f, err := os.Create(filepath.Join(dir, "commit"))
	e.check(err)
	defer f.Close()
	for range 100 { // written once, so that overwriting it changes no metadata
		_, err := f.Write(text[:size])
		e.check(err)
	}
	e.check(f.Sync())
	return rounds(e, dir, func(round int) {
		_, err := f.WriteAt(text[:size], int64(round)*size)
		e.check(err)
		e.check(unix.Fdatasync(int(f.Fd())))
	})
}

// produceFloor receives limitBytes over loopback in frames of 64 KiB, checks the CRC of
// each, writes it to a file and syncs that every 4 MiB: what no broker that checks and
// flushes can do without. The sender runs as a process of its own, this program with
// floorArgument, so that its time is not counted.
func produceFloor(e *env, path string) figures {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	e.check(err)
	defer l.Close()
	self, err := os.Executable()
	e.check(err)
	sender := exec.CommandContext(e.ctx, self, floorArgument, l.Addr().String())
	e.check(sender.Start())
	c, err := l.Accept()
	e.check(err)
	defer c.Close()
	f, err := os.Create(path + ".floor")
	e.check(err)
	defer f.Close()
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Checksum(text[:floorFrame], table)
	frame := make([]byte, floorFrame)
	m := startMeter(e, limitBytes)
	for n := 0; n < limitBytes; n += floorFrame {
		_, err := io.ReadFull(c, frame)
		e.check(err)
		if crc32.Checksum(frame, table) != sum {
			e.Fatal("a frame came damaged")
		}
		_, err = f.Write(frame)
		e.check(err)
		if (n+floorFrame)%(4<<20) == 0 {
			e.check(unix.Fdatasync(int(f.Fd())))
		}
	}
	figures := m.stop(0, limitBytes)
	e.check(sender.Wait())
	return figures
}

const (
	floorArgument = "send-floor"
	floorFrame    = 64 << 10
)

// sendFloor is the sender of produceFloor.
func sendFloor(address string) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	for n := 0; n < limitBytes; n += floorFrame {
		if _, err := c.Write(text[:floorFrame]); err != nil {
			return errors.Join(err, c.Close())
		}
	}
	return c.Close()
}

// sendfileLoopback sends the file four times.
func sendfileLoopback(e *env, path string) figures {
	const times = 4
	l, err := net.Listen("tcp", "127.0.0.1:0")
	e.check(err)
	defer l.Close()
	m := startMeter(e, 0)
	var g errgroup.Group
	g.Go(func() error {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		defer c.Close()
		for range times {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			_, err = io.Copy(c, f) // sendfile
			f.Close()
			if err != nil {
				return err
			}
		}
		return nil
	})
	c, err := net.Dial("tcp", l.Addr().String())
	e.check(err)
	defer c.Close()
	var total int64
	for buf := make([]byte, rawBuffer); ; {
		n, err := c.Read(buf)
		total += int64(n)
		if errors.Is(err, io.EOF) {
			break
		}
		e.check(err)
	}
	e.check(g.Wait())
	return m.stop(0, total)
}
