package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// scripted is a connection that delivers bytes in pieces, then err.
type scripted struct {
	net.Conn
	data  []byte
	piece func() int
	err   error
}

func (s *scripted) Read(p []byte) (int, error) {
	if len(s.data) == 0 {
		return 0, s.err
	}
	n := copy(p[:min(len(p), max(1, s.piece()))], s.data)
	s.data = s.data[n:]
	return n, nil
}

func (s *scripted) SetReadDeadline(time.Time) error { return nil }

func readerOf(data []byte, piece func() int, limit int32) (*frameReader, *budget) {
	o := Options{MaxRequestBytes: limit}.withDefaults()
	b := &budget{limit: o.MaxInFlightBytes}
	return newFrameReader(&scripted{data: data, piece: piece, err: io.EOF}, &o, b, &counters{}), b
}

func framed(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

// Frames come out whole however the bytes are cut, and leave nothing reserved.
func TestFramesSurviveEveryCut(t *testing.T) {
	random, content := rand.New(rand.NewPCG(1, 1)), rand.NewChaCha8([32]byte{1})
	for round := range 30 {
		var stream []byte
		var want [][]byte
		for range 20 {
			size := minFrameBytes + random.IntN(1<<(3+random.IntN(16)))
			body := make([]byte, size)
			content.Read(body)
			want = append(want, body)
			stream = append(stream, framed(body)...)
		}
		largest := 1 << random.IntN(20)
		r, b := readerOf(stream, func() int { return random.IntN(largest) + 1 }, 1<<20)
		for i, w := range want {
			f, err := r.next(t.Context())
			if err != nil {
				t.Fatalf("round %d frame %d: %v", round, i, err)
			}
			if !bytes.Equal(f.bytes, w) {
				t.Fatalf("round %d frame %d differs", round, i)
			}
			f.release()
		}
		if _, err := r.next(t.Context()); !errors.Is(err, io.EOF) {
			t.Fatalf("at the end: %v", err)
		}
		if b.inUse() != 0 {
			t.Fatalf("%d bytes still reserved", b.inUse())
		}
	}
}

func TestFrameRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"negative length (B1)":           {[]byte{0x80, 0, 0, 0}, ErrFrameSize},
		"length -1 (B1)":                 {[]byte{0xff, 0xff, 0xff, 0xff}, ErrFrameSize},
		"one above the limit (B2)":       {[]byte{0, 16, 0, 1}, ErrFrameSize},
		"length 0 (B3)":                  {[]byte{0, 0, 0, 0}, ErrFrameSize},
		"shorter than a header (B3)":     {[]byte{0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7}, ErrFrameSize},
		"TLS ClientHello (B30)":          {[]byte{0x16, 3, 1, 2, 0, 1}, ErrTLS},
		"HTTP":                           {[]byte("GET / HTTP/1.1\r\n"), ErrHTTP},
		"peer gone between frames":       {nil, io.EOF},
		"peer gone within the length":    {[]byte{0, 0}, io.EOF},
		"peer gone within a small frame": {[]byte{0, 0, 0, 20, 1, 2, 3}, io.ErrUnexpectedEOF},
		"peer gone within a large frame": {append([]byte{0, 8, 0, 0}, make([]byte, 70<<10)...), io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			r, b := readerOf(c.data, func() int { return 1 << 20 }, 1<<20)
			_, err := r.next(t.Context())
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if b.inUse() != 0 {
				t.Errorf("%d bytes still reserved", b.inUse())
			}
		})
	}
}

// B4: what is held follows what has come, not what was declared.
func TestFrameBufferGrowsWithTheBytes(t *testing.T) {
	data := append([]byte{0x06, 0, 0, 0}, make([]byte, 8<<20)...) // declares 96 MiB
	var r *frameReader
	var b *budget
	came, worst := 0, 0.0
	r, b = readerOf(data, func() int {
		if held := b.inUse(); came <= firstBytes && held > firstBytes {
			t.Fatalf("%d bytes came, %d held", came, held)
		} else if came > firstBytes {
			worst = max(worst, float64(held)/float64(came))
		}
		came += 4096
		return 4096
	}, 100<<20)
	if _, err := r.next(t.Context()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	if worst > 4.1 {
		t.Errorf("held %.1f times what had come", worst)
	}
}

func TestBudgetLetsOneReaderGoOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &budget{limit: 100}
		one, two := &frameReader{}, &frameReader{}
		reserve := func(n int, who *frameReader) {
			if _, err := b.reserve(t.Context(), n, who); err != nil {
				t.Error(err)
			}
		}
		reserve(60, one)
		reserve(60, two) // over
		reserve(60, two) // and further, since it is the one
		done := false
		go func() { reserve(60, one); done = true }()
		synctest.Wait()
		if done {
			t.Fatal("a second reader went over")
		}
		b.whole(two)
		synctest.Wait()
		if !done {
			t.Fatal("nobody may go over, and all wait")
		}
		b.whole(one)
		ctx, cancel := context.WithCancel(t.Context())
		reserve(1, two) // over again
		errs := make(chan error, 1)
		go func() { _, err := b.reserve(ctx, 1, one); errs <- err }()
		synctest.Wait()
		cancel()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		b.release(241)
		if b.inUse() != 0 {
			t.Fatal(b.inUse())
		}
	})
}

func FuzzFrames(f *testing.F) {
	f.Add(framed(head(3, 1, 0xff, 0xff)), uint8(3))
	f.Add(append(framed(make([]byte, 100)), 0x16, 3, 1), uint8(200))
	f.Add([]byte{0x16, 3, 1, 0}, uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, piece uint8) {
		r, b := readerOf(data, func() int { return int(piece) }, 64<<10)
		for consumed := 0; ; {
			f, err := r.next(context.Background())
			if err != nil {
				break
			}
			consumed += 4
			if !bytes.Equal(f.bytes, data[consumed:consumed+len(f.bytes)]) {
				t.Fatal("frame differs from the stream")
			}
			consumed += len(f.bytes)
			f.release()
		}
		r.close()
		if b.inUse() != 0 {
			t.Fatalf("%d bytes still reserved", b.inUse())
		}
	})
}

func TestBufferClasses(t *testing.T) {
	for _, size := range []int{0, 1, 1 << 10, 1<<10 + 1, 4 << 10, 4<<10 + 1, 16 << 10, 64 << 10, 1 << 20, 1<<20 + 1, 16 << 20, 16<<20 + 1} {
		b := takeBuffer(size)
		if len(b) < size || len(b) > max(1<<10, 4*size) {
			t.Errorf("takeBuffer(%d) has %d bytes", size, len(b))
		}
		giveBuffer(b)
	}
}
