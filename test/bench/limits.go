package main

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
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
	return []limitRow{
		{"sequential write of 1 GiB with one fdatasync", write[byteRate], "MiB/s"},
		{"fdatasync after an append of 400 B, p50", flush, "ms"},
		{"sendfile to loopback and a plain read loop", send[byteRate], "MiB/s"},
		{"the same, CPU of both ends together", send[clientCPU], "s/GB"},
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
