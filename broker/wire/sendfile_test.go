package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// openFile is a File over an *os.File; without says to hide the descriptor.
type openFile struct {
	*os.File
	without bool
}

func (f openFile) Fd() (int, bool) { return int(f.File.Fd()), !f.without }

// randomFile is a file of size random bytes, and the bytes.
func randomFile(t testing.TB, size int) (*os.File, []byte) {
	t.Helper()
	content := make([]byte, size)
	random := rand.NewChaCha8([32]byte{1})
	random.Read(content)
	path := filepath.Join(t.TempDir(), "00000000000000000000.log")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, content
}

// regions answers a request whose body is pairs of position and size with those regions
// of a file, a byte before and after each.
func regions(f File) Handler {
	return handlerFunc(func(_ context.Context, r *Request) (Pending, error) {
		return func(context.Context) (*Response, error) {
			response := &Response{}
			for b := r.Body; len(b) >= 16; b = b[16:] {
				response.Chunks = append(response.Chunks, Chunk{Bytes: []byte{'<'}}, Chunk{
					File:     f,
					Position: int64(binary.BigEndian.Uint64(b)),
					Size:     int64(binary.BigEndian.Uint64(b[8:])),
				}, Chunk{Bytes: []byte{'>'}})
			}
			return response, nil
		}, nil
	})
}

func region(b []byte, position, size int) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(position))
	return binary.BigEndian.AppendUint64(b, uint64(size))
}

// File regions arrive byte for byte, at any offset and size, from many connections at once
// out of the same descriptor; by sendfile where that is possible.
func TestFileRegionsArriveByteForByte(t *testing.T) {
	file, content := randomFile(t, 8<<20)
	for name, c := range map[string]struct {
		file     openFile
		options  Options
		sendfile bool
	}{
		"sendfile":            {openFile{file, false}, Options{}, true},
		"sendfile, tight":     {openFile{file, false}, Options{SendBuffer: 16 << 10}, true},
		"copy, no descriptor": {openFile{file, true}, Options{}, false},
		"copy, no sendfile":   {openFile{file, false}, Options{NoSendfile: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, address := startServer(t, regions(c.file), c.options)
			var clients sync.WaitGroup
			var total [8]int64
			for i := range total {
				conn := dial(t, address)
				clients.Go(func() { total[i] = readRegions(t, conn, content, uint64(i)) })
			}
			clients.Wait()
			sum := int64(0)
			for _, n := range total {
				sum += n
			}
			n := s.Stats()
			sent, copied := sum, int64(0)
			if !c.sendfile || !writesRaw {
				sent, copied = 0, sum
			}
			if n.SendfileBytes != sent || n.CopiedBytes != copied {
				t.Errorf("%d bytes of files: %d by sendfile, %d copied", sum, n.SendfileBytes, n.CopiedBytes)
			}
		})
	}
}

// readRegions asks for random regions and compares them; it returns their bytes.
func readRegions(t *testing.T, conn net.Conn, content []byte, seed uint64) int64 {
	random := rand.New(rand.NewPCG(seed, 1))
	total := int64(0)
	for id := range int32(20) {
		var ask, want []byte
		for range 1 + random.IntN(4) {
			position := random.IntN(len(content))
			size := random.IntN(min(1<<random.IntN(21), len(content)-position) + 1)
			ask = region(ask, position, size)
			want = append(append(append(want, '<'), content[position:position+size]...), '>')
			total += int64(size)
		}
		if _, err := conn.Write(request(id, ask)); err != nil {
			t.Error(err)
			return total
		}
		got, body, err := readResponse(conn)
		if err != nil || got != id || !bytes.Equal(body, want) {
			t.Errorf("response %d: id %d, %d bytes of %d, %v", id, got, len(body), len(want), err)
			return total
		}
	}
	return total
}

// A region of one file leaves in three calls: what precedes it, the file, what follows.
func TestFewSystemCallsForOneRegion(t *testing.T) {
	if !writesRaw {
		t.Skip("no sendfile here")
	}
	file, content := randomFile(t, 64<<10)
	s, address := startServer(t, regions(openFile{file, false}), Options{})
	c := dial(t, address)
	mustWrite(t, c, request(1, region(nil, 100, 10_000)))
	if _, body, err := readResponse(c); err != nil || !bytes.Equal(body[1:10_001], content[100:10_100]) {
		t.Fatal(err)
	}
	if n := s.Stats(); n.WriteCalls != 2 || n.SendfileCalls != 1 {
		t.Errorf("%d sendmsg and %d sendfile, want 2 and 1", n.WriteCalls, n.SendfileCalls)
	}
}

// Answers that are ready together leave in few writes.
func TestReadyAnswersLeaveTogether(t *testing.T) {
	gate := make(chan struct{})
	h := handlerFunc(func(_ context.Context, r *Request) (Pending, error) {
		r.Ready = gate
		if r.CorrelationID == 99 {
			close(gate)
		}
		return func(context.Context) (*Response, error) {
			<-gate
			return &Response{Chunks: []Chunk{{Bytes: []byte("ok")}}}, nil
		}, nil
	})
	s, address := startServer(t, h, Options{})
	c := dial(t, address)
	var stream []byte
	for i := range int32(100) {
		stream = append(stream, request(i, nil)...)
	}
	mustWrite(t, c, stream)
	for i := range int32(100) {
		if id, _, err := readResponse(c); err != nil || id != i {
			t.Fatal(id, err)
		}
	}
	if n := s.Stats(); n.WriteCalls > 10 {
		t.Errorf("%d writes for 100 answers", n.WriteCalls)
	}
}

// A file that is shorter than promised closes the connection; nothing else is sent in its
// place.
func TestShortFileClosesTheConnection(t *testing.T) {
	for name, c := range map[string]struct {
		without bool
		options Options
	}{
		"sendfile":       {false, Options{}},
		"no descriptor":  {true, Options{}},
		"copied as such": {false, Options{NoSendfile: true}},
	} {
		t.Run(name, func(t *testing.T) {
			file, content := randomFile(t, 1000)
			s, address := startServer(t, regions(openFile{file, c.without}), c.options)
			conn := dial(t, address)
			mustWrite(t, conn, request(1, region(nil, 500, 1000)))
			got, err := io.ReadAll(conn)
			if err != nil && !errors.Is(err, net.ErrClosed) {
				t.Logf("read: %v", err)
			}
			if len(got) > 9 && !bytes.HasPrefix(content[500:], got[9:]) {
				t.Errorf("%d bytes that are not the file's", len(got))
			}
			eventually(t, s, "short file", func(n Stats) bool { return n.Closed["short_file"] == 1 })
		})
	}
}

func TestResponseAbove2GiBClosesTheConnection(t *testing.T) {
	file, _ := randomFile(t, 10)
	s, address := startServer(t, regions(openFile{file, false}), Options{})
	c := dial(t, address)
	mustWrite(t, c, request(1, region(nil, 0, 1<<31)))
	mustBeClosed(t, c)
	eventually(t, s, "response size", func(n Stats) bool { return n.Closed["response_size"] == 1 })
}

func BenchmarkEchoPipelined(b *testing.B) {
	_, address := startServer(b, echo, Options{})
	c := dial(b, address)
	const depth = 32
	var stream []byte
	for i := range int32(depth) {
		stream = append(stream, request(i, make([]byte, 100))...)
	}
	answers := make([]byte, depth*(8+100))
	b.ReportAllocs()
	for n := 0; n < b.N; n += depth {
		mustWrite(b, c, stream)
		if _, err := io.ReadFull(c, answers); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEchoOneAtATime(b *testing.B) {
	_, address := startServer(b, echo, Options{})
	c := dial(b, address)
	ask, answer := request(1, make([]byte, 100)), make([]byte, 108)
	b.ReportAllocs()
	for b.Loop() {
		mustWrite(b, c, ask)
		if _, err := io.ReadFull(c, answer); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFile1MiB(b *testing.B) {
	for name, o := range map[string]Options{"sendfile": {}, "copy": {NoSendfile: true}} {
		b.Run(name, func(b *testing.B) {
			file, _ := randomFile(b, 16<<20)
			_, address := startServer(b, regions(openFile{file, false}), o)
			c := dial(b, address)
			answer := make([]byte, 8+2+1<<20)
			b.SetBytes(1 << 20)
			b.ReportAllocs()
			for i := range b.N {
				mustWrite(b, c, request(1, region(nil, i%15<<20, 1<<20)))
				if _, err := io.ReadFull(c, answer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
