package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/varvelog/varve/"

// order lists the packages from the top of the house to its ground. A package imports
// only packages further down: a caller goes down and gets values back.
var order = []string{
	"cmd/varve",
	"broker",
	"broker/api",
	"broker/share",
	"broker/auth",
	"broker/telemetry",
	"broker/partition",
	"broker/replication",
	"broker/coordinator",
	"broker/coordinator/group",
	"broker/coordinator/share",
	"broker/coordinator/txn",
	"broker/cluster",
	"tiering/s3", "tiering/minio", "tiering/file", "tiering/mem", // drivers: seen by the composition root and by tests
	"tiering",
	"retention",
	"segment",
	"broker/config",
	"broker/wire",
	"tiering/objstore",
	"segment/batch",
	"segment/vfs",
	"index",
}

// leaves import nothing of ours.
var leaves = []string{"index", "segment/batch", "segment/vfs", "tiering/objstore", "broker/config", "broker/wire", "broker/auth"}

// fences say where third-party code may be imported.
var fences = []struct {
	imports string   // prefix of an import path
	within  []string // prefixes of our packages
	reason  string
}{
	{"github.com/twmb/franz-go", []string{"broker", "cmd", "test"}, "below broker there are batches, offsets and errors, not requests"},
	{"go.uber.org/zap", []string{"broker", "cmd", "test"}, "a lower package returns what it found; broker logs it"},
	{"github.com/aws/", []string{"tiering/s3", "test"}, "an SDK stops at its driver"},
	{"github.com/minio/", []string{"tiering/minio", "test"}, "an SDK stops at its driver"},
	{"go.etcd.io/", []string{"broker/cluster", "test"}, "metadata is broker/cluster's"},
	{"github.com/prometheus/", []string{"broker", "cmd", "test"}, "metrics are collected at the top from Stats below"},
	{"github.com/spf13/", []string{"cmd", "test"}, "the command line is cmd's"},
	{"github.com/pierrec/lz4", []string{"segment/batch", "test"}, "codecs are segment/batch's"},
	{"github.com/klauspost/compress", []string{"segment/batch", "test"}, "codecs are segment/batch's"},
}

// core packages take clock, files and network as arguments, so that tests can crash,
// delay and fake them all.
var core = []string{"index", "segment", "segment/batch", "retention", "tiering", "broker/partition", "broker/coordinator", "broker/coordinator/group", "broker/coordinator/share", "broker/coordinator/txn"}

// direct lists what core packages must not use, by import path. Timers wait and tell no
// time; a source of randomness that is given a seed is an argument.
var direct = map[string][]string{
	"time":         {"Now", "Since", "Until", "Sleep", "After", "Tick", "NewTicker"},
	"os":           nil, // all of it
	"os/exec":      nil,
	"net":          nil,
	"net/http":     nil,
	"syscall":      {"Open", "Read", "Write", "Fsync", "Unlink", "Rename", "Mkdir", "Socket"},
	"math/rand":    {"Int", "Intn", "Int31", "Int31n", "Int63", "Int63n", "Uint32", "Uint64", "Float32", "Float64", "NormFloat64", "ExpFloat64", "Perm", "Shuffle", "Read", "Seed"},
	"math/rand/v2": {"Int", "IntN", "Int32", "Int32N", "Int64", "Int64N", "Uint", "UintN", "Uint32", "Uint32N", "Uint64", "Uint64N", "N", "Float32", "Float64", "NormFloat64", "ExpFloat64", "Perm", "Shuffle"},
}

// banned finds the uses of direct in a file.
func banned(f *ast.File) (found []string) {
	names := map[string]string{} // what a banned import is called here
	for _, i := range f.Imports {
		imported, err := strconv.Unquote(i.Path.Value)
		if _, listed := direct[imported]; err != nil || !listed {
			continue
		}
		name := path.Base(strings.TrimSuffix(imported, "/v2"))
		if i.Name != nil {
			name = i.Name.Name
		}
		if name == "." {
			found = append(found, "a dot import of "+imported)
		}
		names[name] = imported
	}
	ast.Inspect(f, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := sel.X.(*ast.Ident)
		if !ok {
			return true
		}
		imported, listed := names[x.Name]
		if uses := direct[imported]; listed && (uses == nil || slices.Contains(uses, sel.Sel.Name)) {
			found = append(found, imported+"."+sel.Sel.Name)
		}
		return true
	})
	return found
}

// topLevel is fixed. What is not code (papers, licence, settings of tools) is not listed.
var topLevel = []string{"broker", "cmd", "compose", "docs", "index", "retention", "segment", "test", "tiering"}

// source is one non-test Go file.
type source struct {
	pkg  string // path below the module
	file string
	ast  *ast.File
}

func TestImportsRunDown(t *testing.T) {
	for _, s := range sources(t) {
		if under(s.pkg, "test") {
			continue
		}
		from := room(s.pkg)
		if from == "" {
			t.Errorf("%s: package %s has no place in the map", s.file, s.pkg)
			continue
		}
		for _, imported := range imports(s.ast) {
			pkg, ours := strings.CutPrefix(imported, module)
			to := room(pkg)
			switch {
			case !ours || to == from && to != "":
			case under(pkg, "test"):
				t.Errorf("%s imports %s: only tests use test code", s.file, pkg)
			case to == "":
				t.Errorf("%s imports %s, which has no place in the map", s.file, pkg)
			case slices.Contains(leaves, from):
				t.Errorf("%s imports %s: %s imports nothing of ours", s.file, pkg, from)
			case slices.Index(order, to) < slices.Index(order, from):
				t.Errorf("%s imports %s, which stands above it: imports run down only", s.file, pkg)
			}
		}
	}
}

// room is the place of a package in the map: its own, or that of the nearest package
// above it, whose helper it is.
func room(pkg string) string {
	for ; pkg != "." && pkg != "/"; pkg = path.Dir(pkg) {
		if slices.Contains(order, pkg) {
			return pkg
		}
	}
	return ""
}

func TestThirdPartyCodeStaysInItsPlace(t *testing.T) {
	for _, s := range sources(t) {
		for _, imported := range imports(s.ast) {
			for _, f := range fences {
				if strings.HasPrefix(imported, f.imports) && !slices.ContainsFunc(f.within, func(p string) bool { return under(s.pkg, p) }) {
					t.Errorf("%s imports %s: %s", s.file, imported, f.reason)
				}
			}
		}
	}
}

func TestCorePackagesTakeTheWorldAsArguments(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range sources(t) {
		if !slices.Contains(core, s.pkg) {
			continue
		}
		seen[s.pkg] = true
		for _, use := range banned(s.ast) {
			t.Errorf("%s uses %s: in %s clock, files, network and randomness come as arguments", s.file, use, s.pkg)
		}
	}
	if len(seen) < len(core)-1 { // one may not be built yet
		t.Errorf("only %d of the core packages were looked at: %v", len(seen), seen)
	}
}

// The count is worth something only if it finds what is there.
func TestDirectUsesAreFound(t *testing.T) {
	for code, want := range map[string]int{
		`import "time"; var _ = time.Now()`:                                  1,
		`import clock "time"; var _ = clock.Since`:                           1,
		`import "os"; import "net"; var _, _ = os.Args, net.Dial`:            2,
		`import "math/rand/v2"; var _ = rand.IntN(3)`:                        1,
		`import r "math/rand"; var _ = r.Perm`:                               1,
		`import . "os"; var _ = Args`:                                        1,
		`import "time"; var _ = time.Second; var _ = time.UnixMilli`:         0,
		`import "math/rand/v2"; var _ = rand.New(rand.NewPCG(1, 2)).IntN(3)`: 0,
	} {
		f, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x; "+code, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := banned(f); len(got) != want {
			t.Errorf("%s: found %v, want %d", code, got, want)
		}
	}
}

func TestTopLevelIsFixed(t *testing.T) {
	entries, err := os.ReadDir(root(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && e.Name() != "bin" && !slices.Contains(topLevel, e.Name()) {
			t.Errorf("top-level folder %s is not in the map: which of %v could house it?", e.Name(), topLevel)
		}
	}
}

// sources parses every Go file of the module that is not a test.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	top := root(t)
	fset := token.NewFileSet()
	err := filepath.WalkDir(top, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != top && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution|parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, name)
		if err != nil {
			return err
		}
		all = append(all, source{pkg: path.Dir(filepath.ToSlash(rel)), file: rel, ast: f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < len(order)/2 {
		t.Fatalf("found %d Go files below %s: the walk is broken", len(all), top)
	}
	return all
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func imports(f *ast.File) []string {
	var all []string
	for _, i := range f.Imports {
		if p, err := strconv.Unquote(i.Path.Value); err == nil {
			all = append(all, p)
		}
	}
	return all
}

// under tells whether pkg is prefix or lies below it.
func under(pkg, prefix string) bool { return pkg == prefix || strings.HasPrefix(pkg, prefix+"/") }
