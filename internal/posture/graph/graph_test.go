package graph_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/graph"
)

var update = flag.Bool("update", false, "write the wanted results anew")

// now is the time of all tests.
var now = time.Date(2026, time.November, 21, 12, 0, 0, 0, time.UTC)

// setting is the first document of a case, if it has no kind.
type setting struct {
	Facts      inventory.Facts        `json:"facts"`
	Unreadable []inventory.Unreadable `json:"unreadable"`
	Timeless   bool                   `json:"timeless"`
}

// read makes an Index of YAML documents.
func read(t *testing.T, text string) *graph.Index {
	t.Helper()
	var objects []*inventory.Object
	var given setting
	for i, doc := range strings.Split("\n"+text, "\n---") {
		if strings.TrimSpace(doc) == "" {
			continue
		}
		raw := toJSON(t, doc)
		if !bytes.Contains(raw, []byte(`"kind":`)) || bytes.Contains(raw, []byte(`"unreadable":`)) {
			if err := json.Unmarshal(raw, &given); err != nil {
				t.Fatal(err)
			}
			continue
		}
		o, err := inventory.New(raw, nil)
		if err != nil {
			t.Fatalf("document %d: %v", i, err)
		}
		objects = append(objects, o)
	}
	ix := graph.NewIndex(inventory.NewSnapshot(objects, given.Facts, given.Unreadable, nil))
	if !given.Timeless {
		ix.Now = now
	}
	return ix
}

func toJSON(tb testing.TB, doc string) []byte {
	tb.Helper()
	raw, err := yaml.YAMLToJSON([]byte(doc))
	if err != nil {
		tb.Fatalf("%v in\n%s", err, doc)
	}
	return raw
}

// judge gives the results of a check, one line each, and counts the verdicts.
func judge(c graph.Check, ix *graph.Index) (lines []string, count map[bulwark.Verdict]int) {
	count = map[bulwark.Verdict]int{}
	c.Judge(ix, func(o *inventory.Object, r control.Result) {
		count[r.Verdict]++
		name := "the cluster"
		if o != nil {
			name = o.String()
		}
		line := r.Verdict.String() + " " + name
		for _, f := range [][2]string{{"at", r.Field}, {"container", r.Container}} {
			if f[1] != "" {
				line += " " + f[0] + " " + f[1]
			}
		}
		if r.Severity != 0 {
			line += " (" + r.Severity.String() + ")"
		}
		if r.Message != "" || r.Reason != "" {
			line += ": " + r.Message + r.Reason
		}
		for _, ref := range r.Related {
			line += "\n    " + ref.String()
		}
		lines = append(lines, line)
	})
	slices.Sort(lines)
	return lines, count
}

// TestExamples runs testdata/<id>.txtar for each check: files "<case>.yaml" with
// objects and "<case>.want" with the results.
func TestExamples(t *testing.T) {
	t.Parallel()
	checks := graph.Checks()
	ran := 0
	for _, c := range checks {
		t.Run(c.ID, func(t *testing.T) {
			file := filepath.Join("testdata", c.ID+".txtar")
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatalf("every check has examples: %v", err)
			}
			total, cases := map[bulwark.Verdict]int{}, 0
			want, done := map[string]string{}, map[string]bool{}
			out := &txtar.Archive{Comment: archive.Comment}
			for _, f := range archive.Files {
				if name, ok := strings.CutSuffix(f.Name, ".want"); ok {
					want[name] = string(f.Data)
				}
			}
			for _, f := range archive.Files {
				name, ok := strings.CutSuffix(f.Name, ".yaml")
				if !ok {
					continue
				}
				cases++
				if done[name] {
					t.Errorf("two cases are named %s", name)
				}
				done[name] = true
				lines, count := judge(c, read(t, string(f.Data)))
				for v, n := range count {
					total[v] += n
				}
				got := strings.Join(append(lines, ""), "\n")
				out.Files = append(out.Files, f, txtar.File{Name: name + ".want", Data: []byte(got)})
				if !*update && got != want[name] {
					t.Errorf("%s: (-want +got)\n%s", name, cmp.Diff(want[name], got))
				}
			}
			if total[bulwark.VerdictPass] == 0 || total[bulwark.VerdictFail] == 0 {
				t.Errorf("%d cases with %d passes and %d fails prove nothing", cases, total[bulwark.VerdictPass], total[bulwark.VerdictFail])
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(out), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			ran += cases
		})
	}
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) != len(checks) {
		t.Errorf("%d files in testdata for %d checks: %v", len(files), len(checks), err)
	}
	if len(checks) < 60 || ran < 2*len(checks) {
		t.Errorf("%d checks and %d cases ran", len(checks), ran)
	}
	t.Logf("%d checks, %d cases", len(checks), ran)
}

// TestMeta holds every check to what a finding must tell.
func TestMeta(t *testing.T) {
	t.Parallel()
	for _, c := range graph.Checks() {
		for name, v := range map[string]string{"title": c.Title, "category": c.Category, "why": c.Why, "remediation": c.Remediation} {
			if v == "" {
				t.Errorf("%s has no %s", c.ID, name)
			}
		}
		if c.Severity == 0 || c.Judge == nil || len(c.Reads) == 0 && !c.Pods {
			t.Errorf("%s lacks a severity, a judgement or what it reads", c.ID)
		}
		if strings.ToLower(c.ID) != c.ID || strings.ContainsAny(c.ID, "_ ") {
			t.Errorf("%s is not kebab-case", c.ID)
		}
	}
}

// TestUnreadable: where a kind that a check reads could not be read, no object
// passes it.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	ran := 0
	for _, c := range graph.Checks() {
		archive, err := txtar.ParseFile(filepath.Join("testdata", c.ID+".txtar"))
		if err != nil {
			t.Fatal(err)
		}
		kinds := slices.Clone(c.Reads)
		if c.Pods {
			kinds = append(kinds, graph.Kind{Group: "apps", Kind: "Deployment"})
		}
		for _, f := range archive.Files {
			if !strings.HasSuffix(f.Name, ".yaml") {
				continue
			}
			for _, k := range kinds {
				if slices.Contains(c.Weight, k) {
					continue
				}
				ran++
				ix := read(t, string(f.Data))
				ix = graph.NewIndex(inventory.NewSnapshot(ix.Objects(), ix.Facts, []inventory.Unreadable{{Group: k.Group, Kind: k.Kind, Reason: "no permission"}}, nil))
				ix.Now = now
				_, count := judge(c, ix)
				if count[bulwark.VerdictPass] > 0 || count[bulwark.VerdictUnknown] == 0 || c.Absence && count[bulwark.VerdictFail] > 0 {
					t.Errorf("%s, %s: %v could not be read, and the verdicts are %v", c.ID, f.Name, k, count)
				}
			}
		}
	}
	if ran < 300 {
		t.Errorf("only %d combinations ran", ran)
	}
}

func ExampleIndex() {
	o, _ := inventory.New([]byte(`{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"shop"},"spec":{"selector":{"app":"web"}}}`), nil)
	ix := graph.NewIndex(inventory.NewSnapshot([]*inventory.Object{o}, inventory.Facts{}, nil, nil))
	for _, c := range graph.Checks() {
		if c.ID == "service-without-pods" {
			c.Judge(ix, func(o *inventory.Object, r control.Result) { fmt.Println(r.Verdict, o, r.Message) })
		}
	}
	// Output: fail Service shop/web no pod of namespace shop in what was given has the labels app=web
}
