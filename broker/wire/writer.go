package wire

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// maxVectors is how many byte slices go into one sendmsg; the system's limit is 1024.
const maxVectors = 256

// copyBytes is the buffer of the copy path: what one TLS record or one read of a file
// takes, without holding much for a slow reader.
const copyBytes = 64 << 10

// writer writes chunks to a connection: on a TCP socket byte chunks by sendmsg and file
// regions by sendfile(2), at explicit offsets because the position of a descriptor is
// shared between readers; elsewhere by copying.
type writer struct {
	conn     net.Conn
	raw      syscall.RawConn // nil: copy everything
	options  *Options
	counters *counters

	// The transfer under way. raw.Write calls step, which is made once.
	step    func(fd uintptr) bool
	vectors [][]byte
	more    bool // something follows: do not send a small packet yet
	file    int  // descriptor to send from, -1: vectors
	from    int64
	left    int64
	wait    bool      // step may wait for the socket
	blocked bool      // step would have had to
	moved   bool      // step has sent something since it was last blocked
	end     time.Time // when a blocked transfer is given up, whatever it moves
	err     error
}

func newWriter(c net.Conn, o *Options, n *counters) *writer {
	w := &writer{conn: c, options: o, counters: n}
	if t, ok := c.(*net.TCPConn); ok && writesRaw && !o.NoSendfile {
		if raw, err := t.SyscallConn(); err == nil {
			w.raw = raw
			w.step = w.stepSocket
		}
	}
	return w
}

// write writes all chunks, of which files are file regions. It returns ErrSlowReader,
// ErrShortFile, or the socket's or file's error; the connection is of no use then.
func (w *writer) write(chunks []Chunk, files int) error {
	if w.raw == nil {
		return w.copyAll(chunks)
	}
	// With one file region MSG_MORE joins the bytes before it to the file's; with
	// several, those between them would leave in small packets.
	if files > 1 {
		if err := w.cork(true); err != nil {
			return err
		}
	}
	for len(chunks) > 0 {
		if chunks[0].File != nil {
			if err := w.sendFile(&chunks[0]); err != nil {
				return err
			}
			chunks = chunks[1:]
			continue
		}
		w.vectors = w.vectors[:0]
		for len(chunks) > 0 && chunks[0].File == nil && len(w.vectors) < maxVectors {
			w.vectors = append(w.vectors, chunks[0].Bytes)
			chunks = chunks[1:]
		}
		w.more, w.file = len(chunks) > 0, -1
		w.left = 0
		for _, v := range w.vectors {
			w.left += int64(len(v))
		}
		err := w.transfer()
		clear(w.vectors)
		if err != nil {
			return err
		}
	}
	if files > 1 {
		return w.cork(false)
	}
	return nil
}

// sendFile sends a file region, by copying where sendfile cannot.
func (w *writer) sendFile(c *Chunk) error {
	fd, ok := c.File.Fd()
	if !ok {
		return w.copyFile(c)
	}
	w.file, w.from, w.left = fd, c.Position, c.Size
	err := w.transfer()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.EOPNOTSUPP) {
		rest := Chunk{File: c.File, Position: w.from, Size: w.left}
		return w.copyFile(&rest)
	}
	return err
}

// transfer sends what vectors or file say. It tries without a deadline first, since most
// responses fit the socket's buffer and a deadline costs as much as a small write.
func (w *writer) transfer() error {
	w.wait, w.blocked, w.err = false, false, nil
	if err := w.raw.Write(w.step); err != nil {
		return err
	}
	if w.err != nil || !w.blocked {
		return w.err
	}
	w.counters.blockedWrites.Add(1)
	now := time.Now()
	w.end = now.Add(w.options.patience(w.left))
	if err := w.bePatient(now); err != nil {
		return err
	}
	w.wait, w.blocked, w.moved = true, false, false
	if err := w.raw.Write(w.step); err != nil {
		return slowReader(err)
	}
	if w.err != nil {
		return w.err
	}
	return w.conn.SetWriteDeadline(time.Time{})
}

// bePatient sets the deadline of a blocked transfer: the end of it all, or that of the
// next window if it is earlier. A peer that takes nothing is not given the time of all
// that it has asked for.
func (w *writer) bePatient(now time.Time) error {
	deadline := now.Add(w.options.patience(min(w.left, w.options.stallWindow())))
	if deadline.After(w.end) {
		deadline = w.end
	}
	return w.conn.SetWriteDeadline(deadline)
}

// stepSocket sends until all is sent or the socket is full; then it asks the poller to
// call again, if wait is set.
func (w *writer) stepSocket(fd uintptr) bool {
	for w.left > 0 {
		var n int
		var err error
		if w.file >= 0 {
			w.counters.sendfileCalls.Add(1)
			if n, err = sendFile(int(fd), w.file, w.from, w.left); n > 0 {
				w.counters.sendfileBytes.Add(int64(n))
				w.from += int64(n)
			} else if err == nil {
				w.err = fmt.Errorf("%w: at position %d, %d bytes missing", ErrShortFile, w.from, w.left)
				return true
			}
		} else {
			w.counters.writeCalls.Add(1)
			if n, err = sendVectors(int(fd), w.vectors, w.more); n > 0 {
				w.vectors = advance(w.vectors, n)
			}
		}
		if n > 0 {
			w.left -= int64(n)
			w.moved = true
			continue
		}
		if errors.Is(err, syscall.EAGAIN) {
			w.blocked = true
			if w.wait && w.moved {
				w.moved = false
				w.err = w.bePatient(time.Now())
			}
			return !w.wait || w.err != nil
		}
		w.err = err
		return true
	}
	w.blocked = false
	return true
}

// advance drops the first n bytes of vectors.
func advance(vectors [][]byte, n int) [][]byte {
	for n > 0 {
		if n < len(vectors[0]) {
			vectors[0] = vectors[0][n:]
			break
		}
		n -= len(vectors[0])
		vectors = vectors[1:]
	}
	return vectors
}

func (w *writer) cork(on bool) error {
	var failed error
	if err := w.raw.Control(func(fd uintptr) { failed = setCork(int(fd), on) }); err != nil {
		return err
	}
	return failed
}

// copyFile sends a file region through a buffer.
func (w *writer) copyFile(c *Chunk) error {
	buffer := takeBuffer(copyBytes)
	defer giveBuffer(buffer)
	for position, end := c.Position, c.Position+c.Size; position < end; {
		p := buffer[:min(int64(copyBytes), end-position)]
		if err := readFull(c.File, p, position); err != nil {
			return err
		}
		position += int64(len(p))
		w.counters.copyBytes.Add(int64(len(p)))
		if err := w.put(p); err != nil {
			return err
		}
	}
	return nil
}

// copyAll sends everything through a buffer, so that small chunks do not become small
// writes. Large ones are written as they are.
func (w *writer) copyAll(chunks []Chunk) error {
	buffer := takeBuffer(copyBytes)
	defer giveBuffer(buffer)
	buffer = buffer[:copyBytes]
	used := 0
	flush := func() error {
		n := used
		used = 0
		if n == 0 {
			return nil
		}
		return w.put(buffer[:n])
	}
	for i := range chunks {
		c := &chunks[i]
		if c.File == nil {
			if len(c.Bytes) > copyBytes-used {
				if err := flush(); err != nil {
					return err
				}
			}
			if len(c.Bytes) > copyBytes {
				if err := w.put(c.Bytes); err != nil {
					return err
				}
				continue
			}
			used += copy(buffer[used:], c.Bytes)
			continue
		}
		for position, end := c.Position, c.Position+c.Size; position < end; {
			if used == copyBytes {
				if err := flush(); err != nil {
					return err
				}
			}
			p := buffer[used:min(copyBytes, used+int(min(end-position, copyBytes)))]
			if err := readFull(c.File, p, position); err != nil {
				return err
			}
			position += int64(len(p))
			used += len(p)
			w.counters.copyBytes.Add(int64(len(p)))
		}
	}
	return flush()
}

// readFull reads all of p. The end of the file is ErrShortFile.
func readFull(f File, p []byte, position int64) error {
	n, err := f.ReadAt(p, position)
	switch {
	case n == len(p):
		return nil
	case err == nil, errors.Is(err, io.EOF):
		return fmt.Errorf("%w: at position %d, %d bytes missing", ErrShortFile, position+int64(n), len(p)-n)
	}
	return fmt.Errorf("read at position %d: %w", position, err)
}

// put writes p by plain Write.
func (w *writer) put(p []byte) error {
	w.counters.writeCalls.Add(1)
	if err := w.conn.SetWriteDeadline(time.Now().Add(w.options.patience(int64(len(p))))); err != nil {
		return err
	}
	if _, err := w.conn.Write(p); err != nil {
		return slowReader(err)
	}
	if w.raw != nil { // transfer expects none
		return w.conn.SetWriteDeadline(time.Time{})
	}
	return nil
}

func slowReader(err error) error {
	if isTimeout(err) {
		return ErrSlowReader
	}
	return err
}
