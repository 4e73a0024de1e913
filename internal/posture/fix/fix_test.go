package fix_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/cluster/inventory/chart"
	"bulwark.dev/bulwark/internal/cluster/inventory/fieldpath"
	"bulwark.dev/bulwark/internal/cluster/inventory/manifest"
	"bulwark.dev/bulwark/internal/cluster/inventory/overlay"
	"bulwark.dev/bulwark/internal/posture/fix"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// load reads what lines of an archive's "input" name.
func load(t *testing.T, input string) []*inventory.Object {
	t.Helper()
	var objects []*inventory.Object
	for line := range strings.SplitSeq(strings.TrimSpace(input), "\n") {
		f := strings.Fields(line)
		var got []*inventory.Object
		var problems []inventory.Problem
		var err error
		switch f[0] {
		case "plain":
			got, problems, err = manifest.Read(t.Context(), f[1:], manifest.Options{})
		case "chart":
			opt := chart.Options{}
			for _, o := range f[2:] {
				if key, ok := strings.CutPrefix(o, "--set="); ok {
					opt.Set = append(opt.Set, key)
				} else {
					opt.ValuesFiles = append(opt.ValuesFiles, o)
				}
			}
			got, problems, err = chart.Render(f[1], opt)
		case "overlay":
			got, problems, err = overlay.Render(f[1])
		}
		if err != nil || len(problems) > 0 {
			t.Fatalf("%s: %v, %v", line, problems, err)
		}
		objects = append(objects, got...)
	}
	return objects
}

// findings reads lines of "Kind name: path = JSON; path -".
func findings(t *testing.T, text string, objects []*inventory.Object) []bulwark.Finding {
	t.Helper()
	var out []bulwark.Finding
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		who, what, _ := strings.Cut(line, ": ")
		kind, name, _ := strings.Cut(who, " ")
		f := bulwark.Finding{Control: "test-" + strings.ToLower(kind), Verdict: bulwark.VerdictFail, Severity: bulwark.SeverityHigh, Fingerprint: line}
		for _, o := range objects {
			if o.Kind == kind && o.Name == name {
				f.Object = o.ObjectRef
			}
		}
		if f.Object.Kind == "" {
			f.Object = bulwark.ObjectRef{APIVersion: "v1", Kind: kind, Name: name}
		}
		for e := range strings.SplitSeq(what, "; ") {
			var edit bulwark.Edit
			at, value, ok := strings.Cut(e, " = ")
			edit.Field = at
			if !ok {
				edit.Field, edit.Remove = strings.TrimSuffix(e, " -"), true
			} else if err := json.Unmarshal([]byte(value), &edit.Value); err != nil {
				t.Fatalf("%s: %v", e, err)
			}
			if what == "" {
				continue
			}
			f.Fix = append(f.Fix, edit)
		}
		out = append(out, f)
	}
	return out
}

// judge fails for each finding whose first edit is not what the object says. An
// element of a list that is to go is one that is still in the list.
func judge(t *testing.T, all []bulwark.Finding, objects []*inventory.Object) func(*inventory.Snapshot) ([]bulwark.Finding, error) {
	t.Helper()
	value := func(s *inventory.Snapshot, f bulwark.Finding, up int) (any, bool) {
		o := s.Find(f.Object.Group(), f.Object.Kind, f.Object.Namespace, f.Object.Name)
		if o == nil || len(f.Fix) == 0 {
			return nil, false
		}
		content, err := o.Content()
		if err != nil {
			t.Fatal(err)
		}
		path, err := fieldpath.Parse(f.Fix[0].Field)
		if err != nil {
			t.Fatal(err)
		}
		return path[:len(path)-up].Get(content)
	}
	before := inventory.NewSnapshot(objects, inventory.Facts{}, nil, nil)
	return func(s *inventory.Snapshot) ([]bulwark.Finding, error) {
		var out []bulwark.Finding
		for _, f := range all {
			if len(f.Fix) == 0 {
				continue
			}
			got, there := value(s, f, 0)
			fails := !there || !cmp.Equal(fmt.Sprint(got), fmt.Sprint(f.Fix[0].Value))
			if f.Fix[0].Remove {
				was, _ := value(before, f, 0)
				list, _ := value(s, f, 1)
				elements, isList := list.([]any)
				fails = there
				if isList {
					fails = slices.ContainsFunc(elements, func(v any) bool { return cmp.Equal(v, was) })
				}
			}
			if fails {
				out = append(out, f)
			}
		}
		return out, nil
	}
}

// TestGolden plans the fixes of each archive, compares the patch and what is left,
// writes it, and has git apply the patch to a second copy: both must be the same.
func TestGolden(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	home, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	fixed, left := 0, 0
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			f, l := golden(t, filepath.Join(home, name))
			fixed, left = fixed+f, left+l
		})
	}
	if fixed < 20 || left < 10 {
		t.Errorf("%d findings fixed and %d left are too few to prove both ways", fixed, left)
	}
}

func golden(t *testing.T, name string) (fixed, left int) {
	t.Helper()
	archive, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	parts := map[string]string{}
	archive.Files = slices.DeleteFunc(archive.Files, func(f txtar.File) bool {
		parts[f.Name] = string(f.Data)
		return f.Name == "want"
	})
	other := t.TempDir()
	for _, f := range archive.Files {
		if f.Name != "input" && f.Name != "findings" {
			text := strings.ReplaceAll(string(f.Data), "<CR>", "\r")
			write(t, f.Name, text)
			write(t, filepath.Join(other, f.Name), text)
		}
	}
	objects := load(t, parts["input"])
	all := findings(t, parts["findings"], objects)
	plan, err := fix.New(all, inventory.NewSnapshot(objects, inventory.Facts{}, nil, nil), fix.Options{Judge: judge(t, all, objects)})
	if err != nil {
		t.Fatal(err)
	}
	var patch, b strings.Builder
	if err := plan.Diff(&patch); err != nil {
		t.Fatal(err)
	}
	for _, f := range plan.Fixed {
		fmt.Fprintln(&b, "fixed", f.Fingerprint)
	}
	for _, l := range plan.Left {
		fmt.Fprintf(&b, "left %s: %s\n", l.Finding.Fingerprint, l.Reason)
	}
	for _, f := range plan.Arisen {
		fmt.Fprintln(&b, "arisen", f.Fingerprint)
	}
	b.WriteString(strings.ReplaceAll(patch.String(), "\r", "<CR>"))
	if err := plan.Write(); err != nil {
		t.Fatal(err)
	}
	if patch.Len() > 0 {
		apply(t, other, patch.String())
	}
	same(t, ".", other)
	got := b.String()
	if *update {
		archive.Files = append(archive.Files, txtar.File{Name: "want", Data: []byte(got)})
		if err := os.WriteFile(name, txtar.Format(archive), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if diff := cmp.Diff(parts["want"], got); diff != "" {
		t.Error(diff)
	}
	return len(plan.Fixed), len(plan.Left)
}

// apply has git apply a patch, as a user would.
func apply(t *testing.T, dir, patch string) {
	t.Helper()
	cmd := exec.Command("git", "apply", "-")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(patch)
	cmd.Env = append(os.Environ(), "GIT_DIR=/nowhere", "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git apply: %v\n%s\n%s", err, out, patch)
	}
}

// same compares two folders.
func same(t *testing.T, a, b string) {
	t.Helper()
	if diff := cmp.Diff(folder(t, a), folder(t, b)); diff != "" {
		t.Errorf("what was written and what the patch makes differ: %s", diff)
	}
}

func folder(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(at string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(at)
		rel, _ := filepath.Rel(dir, at)
		out[rel] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
