package fix_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/fix"
)

const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  hostPID: true\n"

// planned gives the plan that takes hostPID away from the pod in a file.
func planned(t *testing.T, opt fix.Options, path string) *fix.Plan {
	t.Helper()
	objects := load(t, "plain "+path)
	all := findings(t, "Pod p: spec.hostPID = false", objects)
	plan, err := fix.New(all, inventory.NewSnapshot(objects, inventory.Facts{}, nil, nil), opt)
	if err != nil || len(plan.Fixed) != 1 {
		t.Fatalf("%+v, %v", plan, err)
	}
	return plan
}

func TestWriteKeepsMode(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "p.yaml", pod)
	if err := os.Chmod("p.yaml", 0o640); err != nil {
		t.Fatal(err)
	}
	if err := planned(t, fix.Options{}, "p.yaml").Write(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat("p.yaml")
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	entries, _ := os.ReadDir(".")
	if len(entries) != 1 {
		t.Errorf("something is left behind: %v", entries)
	}
	if text, _ := os.ReadFile("p.yaml"); string(text) != strings.Replace(pod, "true", "false", 1) {
		t.Errorf("%s", text)
	}
}

// TestWriteChanged refuses a file that changed meanwhile, and then writes none of
// the others.
func TestWriteChanged(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "a.yaml", pod)
	write(t, "b.yaml", strings.Replace(pod, "name: p", "name: q", 1))
	objects := load(t, "plain .")
	all := findings(t, "Pod p: spec.hostPID = false\nPod q: spec.hostPID = false", objects)
	plan, err := fix.New(all, inventory.NewSnapshot(objects, inventory.Facts{}, nil, nil), fix.Options{})
	if err != nil || len(plan.Files) != 2 {
		t.Fatalf("%+v, %v", plan, err)
	}
	write(t, "b.yaml", "# other\n")
	if err := plan.Write(); !errors.Is(err, fix.ErrChanged) {
		t.Errorf("a changed file: %v", err)
	}
	if text, _ := os.ReadFile("a.yaml"); string(text) != pod {
		t.Errorf("a.yaml is written: %s", text)
	}
	if err := os.Remove("b.yaml"); err != nil {
		t.Fatal(err)
	}
	if err := plan.Write(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is gone: %v", err)
	}
	entries, _ := os.ReadDir(".")
	if len(entries) != 1 {
		t.Errorf("something is left behind: %v", entries)
	}
}

// TestWriteLinks follows no link out of what was given.
func TestWriteLinks(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "outside/p.yaml", pod)
	write(t, "in/sub/keep", "")
	if err := os.Symlink("../outside/p.yaml", "in/p.yaml"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../outside", "in/dir"); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"in/p.yaml", "in/dir/p.yaml"} {
		plan := planned(t, fix.Options{Roots: []string{"in"}}, path)
		if err := plan.Write(); err == nil || !strings.Contains(err.Error(), "outside") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := planned(t, fix.Options{}, "in/p.yaml").Write(); err == nil {
		t.Error("a link out of its folder is followed")
	}
	if text, _ := os.ReadFile("outside/p.yaml"); string(text) != pod {
		t.Fatalf("it is written: %s", text)
	}
	// Both named: the link stays a link, and what it leads to changes.
	if err := planned(t, fix.Options{Roots: []string{"in", "outside"}}, "in/p.yaml").Write(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat("in/p.yaml")
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v, %v", info, err)
	}
	if text, _ := os.ReadFile("outside/p.yaml"); string(text) == pod {
		t.Error("nothing is written")
	}
}

// TestWriteNew refuses to write over a file that is there where a new one was to
// be, dangling links too.
func TestWriteNew(t *testing.T) {
	for _, there := range []func(path string) error{
		func(path string) error { return os.WriteFile(path, []byte("mine"), 0o600) },
		func(path string) error { return os.Symlink("/nowhere/at/all", path) },
	} {
		t.Chdir(t.TempDir())
		write(t, "k/kustomization.yaml", "resources: [p.yaml]\n")
		write(t, "k/p.yaml", pod)
		objects := load(t, "overlay k")
		all := findings(t, "Pod p: spec.hostPID = false", objects)
		plan, err := fix.New(all, inventory.NewSnapshot(objects, inventory.Facts{}, nil, nil), fix.Options{})
		if err != nil || len(plan.Files) != 2 {
			t.Fatalf("%+v, %v", plan, err)
		}
		if err := there(filepath.Join("k", "bulwark-fix-pod-p.yaml")); err != nil {
			t.Fatal(err)
		}
		if err := plan.Write(); !errors.Is(err, fix.ErrChanged) {
			t.Errorf("%v", err)
		}
	}
}

// TestDiffNames has git apply patches of files with awkward names.
func TestDiffNames(t *testing.T) {
	for _, name := range []string{"with space.yaml", "tab\there.yaml", `quote".yaml`, "ünïcode.yaml", "dir with/space.yaml"} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			other := t.TempDir()
			write(t, name, pod)
			write(t, filepath.Join(other, name), pod)
			objects := load(t, "plain .")
			all := findings(t, "Pod p: spec.hostPID = false", objects)
			plan, err := fix.New(all, inventory.NewSnapshot(objects, inventory.Facts{}, nil, nil), fix.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var patch strings.Builder
			if err := plan.Diff(&patch); err != nil {
				t.Fatal(err)
			}
			if err := plan.Write(); err != nil {
				t.Fatal(err)
			}
			apply(t, other, patch.String())
			same(t, ".", other)
		})
	}
}

// TestWriteValues writes a values file that was named, though it is in no root.
func TestWriteValues(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "c/Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n")
	write(t, "c/templates/p.yaml", strings.Replace(pod, "true", "{{ .Values.hostPID }}", 1))
	write(t, "prod/values.yaml", "hostPID: true # why\n")
	objects := load(t, "chart c prod/values.yaml")
	all := findings(t, "Pod p: spec.hostPID = false", objects)
	plan, err := fix.New(all, inventory.NewSnapshot(objects, inventory.Facts{}, nil, nil), fix.Options{Roots: []string{"c"}})
	if err != nil || len(plan.Files) != 1 {
		t.Fatalf("%+v, %v", plan, err)
	}
	if err := plan.Write(); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile("prod/values.yaml"); string(text) != "hostPID: false # why\n" {
		t.Errorf("%s", text)
	}
}

// TestWriteReadOnly leaves a file alone that is marked so, for root too.
func TestWriteReadOnly(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "p.yaml", pod)
	if err := os.Chmod("p.yaml", 0o444); err != nil {
		t.Fatal(err)
	}
	if err := planned(t, fix.Options{}, "p.yaml").Write(); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("%v", err)
	}
	if text, _ := os.ReadFile("p.yaml"); string(text) != pod {
		t.Errorf("it is written: %s", text)
	}
}

// TestReadMeanwhile does not change what took the place of an object that was
// judged, though it has its name: the first container is another one now.
func TestReadMeanwhile(t *testing.T) {
	t.Chdir(t.TempDir())
	const two = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: a\n    tty: true\n  - name: b\n    tty: true\n"
	write(t, "p.yaml", two)
	objects := load(t, "plain p.yaml")
	other := strings.Replace(two, "  - name: a\n", "  - name: new\n    tty: true\n  - name: a\n", 1)
	write(t, "p.yaml", other)
	all := findings(t, "Pod p: spec.containers[0].tty = false", objects)
	plan, err := fix.New(all, inventory.NewSnapshot(objects, inventory.Facts{}, nil, nil), fix.Options{})
	if err != nil || len(plan.Files) != 0 || len(plan.Left) != 1 || !strings.Contains(plan.Left[0].Reason, "as it was read") {
		t.Errorf("%+v, %v", plan, err)
	}
}

// TestObjectsOfAList gives two objects of one list different values in a field of
// one name, and a third a change that cannot be made: it spoils none of theirs.
func TestObjectsOfAList(t *testing.T) {
	t.Chdir(t.TempDir())
	item := func(name, spec string) string {
		return "- apiVersion: v1\n  kind: Pod\n  metadata: {name: " + name + "}\n  spec: " + spec + "\n"
	}
	list := "apiVersion: v1\nkind: List\nitems:\n" + item("a", "{hostPID: true} # why") + item("b", "{hostPID: true}") +
		item("c", "&spec {hostPID: true}") + item("d", "*spec")
	write(t, "list.yaml", list)
	objects := load(t, "plain list.yaml")
	all := findings(t, "Pod a: spec.hostname = \"x\"\nPod b: spec.hostname = \"y\"\nPod c: spec.hostPID = false\nPod b: spec.hostPID = false", objects)
	plan, err := fix.New(all, inventory.NewSnapshot(objects, inventory.Facts{}, nil, nil), fix.Options{Judge: judge(t, all, objects)})
	if err != nil || len(plan.Fixed) != 3 || len(plan.Left) != 1 || len(plan.Files) != 1 {
		t.Fatalf("%+v, %v", plan, err)
	}
	want := strings.Replace(list, "{hostPID: true} # why", "{hostPID: true, hostname: x} # why", 1)
	want = strings.Replace(want, item("b", "{hostPID: true}"), item("b", `{hostPID: false, hostname: "y"}`), 1)
	if got := string(plan.Files[0].New); got != want {
		t.Errorf("%s", got)
	}
}

// TestLongList changes each of many objects of one list.
func TestLongList(t *testing.T) {
	t.Chdir(t.TempDir())
	var list, wanted strings.Builder
	list.WriteString("apiVersion: v1\nkind: List\nitems:\n")
	const n = 400
	for i := range n {
		fmt.Fprintf(&list, "- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: p%d # one\n  spec:\n    hostPID: true\n", i)
		fmt.Fprintf(&wanted, "Pod p%d: spec.hostPID = false; spec.securityContext.runAsNonRoot = true\n", i)
	}
	write(t, "list.yaml", list.String())
	objects := load(t, "plain list.yaml")
	all := findings(t, wanted.String(), objects)
	plan, err := fix.New(all, inventory.NewSnapshot(objects, inventory.Facts{}, nil, nil), fix.Options{Judge: judge(t, all, objects)})
	if err != nil || len(plan.Fixed) != n {
		t.Fatalf("%d fixed, %v", len(plan.Fixed), err)
	}
	want := strings.ReplaceAll(list.String(), "hostPID: true\n", "hostPID: false\n    securityContext:\n      runAsNonRoot: true\n")
	if got := string(plan.Files[0].New); got != want {
		t.Errorf("%.400s", got)
	}
}

// TestValuesMark keeps the byte order mark that the chart's own values begin with.
func TestValuesMark(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "c/Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n")
	write(t, "c/templates/p.yaml", strings.Replace(pod, "true", "{{ .Values.hostPID }}", 1))
	write(t, "c/values.yaml", "\ufeffhostPID: true # why\n")
	objects := load(t, "chart c")
	all := findings(t, "Pod p: spec.hostPID = false", objects)
	plan, err := fix.New(all, inventory.NewSnapshot(objects, inventory.Facts{}, nil, nil), fix.Options{Roots: []string{"c"}})
	if err != nil || len(plan.Files) != 1 {
		t.Fatalf("%+v, %v", plan, err)
	}
	if err := plan.Write(); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile("c/values.yaml"); string(text) != "\ufeffhostPID: false # why\n" {
		t.Errorf("%q", text)
	}
}

// TestValuesOfUnnamed does not take a value that changes another object as well,
// where two objects are to get their names from one beginning.
func TestValuesOfUnnamed(t *testing.T) {
	t.Chdir(t.TempDir())
	job := strings.Replace(pod, "name: p", "generateName: job-", 1)
	write(t, "c/Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n")
	write(t, "c/templates/p.yaml", strings.ReplaceAll(pod+"---\n"+job, "true", "{{ .Values.hostPID }}")+"---\n"+job)
	write(t, "c/values.yaml", "hostPID: true\n")
	objects := load(t, "chart c")
	all := findings(t, "Pod p: spec.hostPID = false", objects)
	plan, err := fix.New(all, inventory.NewSnapshot(objects, inventory.Facts{}, nil, nil), fix.Options{Roots: []string{"c"}})
	if err != nil || len(plan.Files) != 0 || len(plan.Left) != 1 || !strings.Contains(plan.Left[0].Reason, "would change too") {
		t.Errorf("%+v, %v", plan, err)
	}
}
