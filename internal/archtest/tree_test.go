package archtest

import (
	"bytes"
	"cmp"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// maxLines is where a file has stopped being about one thing.
const maxLines = 600

// sourceFile is one Go file of the repository.
type sourceFile struct {
	path      string // slash-separated, relative to the module's root
	abs       string
	body      []byte
	test      bool
	generated bool
}

// built are the folders that commands write into; .gitignore names them too.
var built = []string{"bin", "bulwark-data", "web/dist"}

var generatedMark = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

// repoRoot finds the directory of the main go.mod.
func repoRoot(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// files lists the repository's files with one of the suffixes, relative to the
// root; what git never holds and what tests feed on is left out.
func files(t *testing.T, suffixes ...string) []string {
	t.Helper()
	root, found := repoRoot(t), []string(nil)
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			hidden := strings.HasPrefix(d.Name(), ".") && p != root
			if hidden || d.Name() == "testdata" || d.Name() == "node_modules" || slices.Contains(built, rel) {
				return fs.SkipDir
			}
			return nil
		}
		if slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(rel, s) }) {
			found = append(found, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func read(t *testing.T, rel string) []byte {
	t.Helper()
	body, err := os.ReadFile(filepath.Join(repoRoot(t), filepath.FromSlash(rel)))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// goFiles lists every Go file of every module here.
func goFiles(t *testing.T) []sourceFile {
	t.Helper()
	var found []sourceFile
	for _, rel := range files(t, ".go") {
		body := read(t, rel)
		found = append(found, sourceFile{
			path:      rel,
			abs:       filepath.Join(repoRoot(t), filepath.FromSlash(rel)),
			body:      body,
			test:      strings.HasSuffix(rel, "_test.go"),
			generated: generatedMark.Match(body),
		})
	}
	if len(found) < 20 {
		t.Fatalf("found only %d Go files: the walk no longer sees the repository", len(found))
	}
	return found
}

func TestEveryPackageIsDocumented(t *testing.T) {
	t.Parallel()
	type pkg struct {
		name      string
		docs      []string // a comment in a test file counts only where there is nothing else
		onlyTests bool
	}
	packages := map[string]*pkg{}
	for _, file := range goFiles(t) {
		if file.generated {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file.abs, file.body, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		dir := path.Dir(file.path)
		p := packages[dir]
		if p == nil {
			p = &pkg{onlyTests: true}
			packages[dir] = p
		}
		if p.onlyTests && !file.test {
			p.onlyTests, p.docs = false, nil
		}
		p.name = cmp.Or(p.name, strings.TrimSuffix(f.Name.Name, "_test"))
		if f.Doc != nil && file.test == p.onlyTests {
			p.docs = append(p.docs, f.Doc.Text())
		}
	}
	for dir, p := range packages {
		want := "Package " + p.name + " "
		if p.name == "main" {
			want = ""
		}
		if !slices.ContainsFunc(p.docs, func(doc string) bool { return strings.HasPrefix(doc, want) }) {
			t.Errorf("%s: no package comment that starts %q, found %.60q", dir, want, p.docs)
		}
	}
}

func TestNamesSaySomething(t *testing.T) {
	t.Parallel()
	vague := []string{"util", "utils", "common", "helper", "helpers", "manager", "types", "misc", "shared", "base", "lib"}
	for _, file := range goFiles(t) {
		for part := range strings.SplitSeq(path.Dir(file.path), "/") {
			if slices.Contains(vague, part) {
				t.Errorf("%s: %q says nothing about what is inside", file.path, part)
			}
		}
		f, err := parser.ParseFile(token.NewFileSet(), file.abs, file.body, parser.PackageClauseOnly)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(vague, f.Name.Name) {
			t.Errorf("%s: package name %q says nothing", file.path, f.Name.Name)
		}
	}
}

func TestFilesStayShort(t *testing.T) {
	t.Parallel()
	for _, file := range goFiles(t) {
		if n := bytes.Count(file.body, []byte("\n")); n > maxLines && !file.generated {
			t.Errorf("%s has %d lines; split it by noun below %d", file.path, n, maxLines)
		}
	}
}

// TestNoReplace keeps what is built equal to what go.mod says. Modules under
// test/ must point at the tree they test. The control plane needs a line for
// each part of Kubernetes (docs/adr/0012), at one version. The programs of others
// under test/peers are built the way their own go.mod says.
func TestNoReplace(t *testing.T) {
	t.Parallel()
	mods := files(t, "go.mod")
	if !slices.Contains(mods, "go.mod") || !slices.Contains(mods, "tools/go.mod") {
		t.Fatalf("found only %q", mods)
	}
	replace := regexp.MustCompile(`(?m)^\s*(replace\b.*|\S+(?: v\S+)? => .*)$`)
	ownTree := regexp.MustCompile(`^(replace )?` + regexp.QuoteMeta(module) + `(/test)? => (\.\./)+$`)
	staging := regexp.MustCompile(`^replace \($|^(k8s\.io/[a-z-]+) => k8s\.io/[a-z-]+ v0\.36\.\d+$`)
	for _, mod := range mods {
		if within(mod, "test/peers") {
			continue
		}
		for _, line := range replace.FindAllString(string(read(t, mod)), -1) {
			line = strings.TrimSpace(line)
			if within(mod, "test") && ownTree.MatchString(line) || mod == "test/control/go.mod" && staging.MatchString(line) {
				continue
			}
			t.Errorf("%s: %s", mod, strings.TrimSpace(line))
		}
	}
}

// TestNoSkippedTests: a skipped test is green and proves nothing. What a test
// needs and cannot find is a failure.
func TestNoSkippedTests(t *testing.T) {
	t.Parallel()
	skip := regexp.MustCompile(`\b[tbf]\.Skip(Now|f)?\(`)
	for _, file := range goFiles(t) {
		if m := skip.Find(file.body); m != nil && file.test && path.Dir(file.path) != "internal/archtest" {
			t.Errorf("%s: %s", file.path, m)
		}
	}
}
