//go:build e2e

package e2e

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pierrec/lz4/v4"

	"github.com/varvelog/varve/test/harness"
)

// corpus is real text of this machine: the word list, the package indexes and the
// sources of Go, in this order. It is the same in every run on one machine.
var corpus struct {
	once sync.Once
	text []byte
	from []string
}

// corpusLimit is how much text is taken; data sets that need more walk through it
// again, cutting records elsewhere.
const corpusLimit = 128 << 20

func corpusText(t testing.TB) []byte {
	t.Helper()
	corpus.once.Do(func() {
		for _, pattern := range []string{"/usr/share/dict/words", "/var/lib/apt/lists/*_Packages*"} {
			names, _ := filepath.Glob(pattern) // sorted; the patterns are right
			for _, name := range names {
				addCorpus(name)
			}
		}
		root := strings.TrimSpace(harness.Output(t, "", "go", "env", "GOROOT"))
		_ = filepath.WalkDir(filepath.Join(root, "src"), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && strings.HasSuffix(path, ".go") {
				addCorpus(path)
			}
			return nil // what cannot be read is not part of the corpus
		})
		for i, c := range corpus.text { // records are lines of text to every client
			if c == '\n' || c == '\r' || c == 0 {
				corpus.text[i] = ' '
			}
		}
	})
	if len(corpus.text) < 8<<20 {
		t.Fatalf("only %d bytes of text on this machine, from %v", len(corpus.text), corpus.from)
	}
	return corpus.text
}

func addCorpus(name string) {
	if len(corpus.text) >= corpusLimit {
		return
	}
	f, err := os.Open(name)
	if err != nil {
		return
	}
	defer f.Close()
	r := io.Reader(f)
	if strings.HasSuffix(name, ".lz4") {
		r = lz4.NewReader(f)
	}
	b, err := io.ReadAll(io.LimitReader(r, int64(corpusLimit-len(corpus.text))))
	if err != nil || len(b) == 0 {
		return
	}
	corpus.text = append(corpus.text, b...)
	if len(corpus.from) < 4 {
		corpus.from = append(corpus.from, name)
	}
}

// textRecords cuts text into records, forever: values of 64 to 2048 bytes, and keys,
// the first word of each, as package names are in an index.
type textRecords struct {
	text     []byte
	position int
	n        int
}

func (r *textRecords) next() (key, value []byte) {
	size := 64 + (r.n*7919)%1985
	r.n++
	if r.position+size > len(r.text) {
		r.position = r.n % 61 // elsewhere than last time
	}
	value = r.text[r.position : r.position+size : r.position+size]
	r.position += size
	key, _, _ = bytes.Cut(bytes.TrimSpace(value), []byte(" "))
	return key[:min(len(key), 32)], value
}

// envBytes is a size that the environment may set.
func envBytes(t testing.TB, name string, otherwise int64) int64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}
