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
	"broker/auth",
	"broker/partition",
	"broker/replication",
	"broker/coordinator",
	"broker/coordinator/group",
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
var core = []string{"index", "segment", "segment/batch", "retention", "tiering", "broker/partition", "broker/coordinator", "broker/coordinator/group", "broker/coordinator/txn"}

// direct lists what core packages must not call.
var direct = map[string][]string{
	"time": {"Now", "Since", "Until", "Sleep", "After", "Tick", "NewTicker"},
	"os":   nil, // all of it
	"net":  nil,
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
	for _, s := range sources(t) {
		if !slices.Contains(core, s.pkg) {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, ok := sel.X.(*ast.Ident)
			if !ok {
				return true
			}
			names, banned := direct[pkg.Name]
			if banned && slices.Contains(imports(s.ast), pkg.Name) && (names == nil || slices.Contains(names, sel.Sel.Name)) {
				t.Errorf("%s uses %s.%s: in %s clock, files and network come as arguments", s.file, pkg.Name, sel.Sel.Name, s.pkg)
			}
			return true
		})
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
