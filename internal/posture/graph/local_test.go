package graph

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"reflect"
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
	"bulwark.dev/bulwark/internal/posture/posturetest"
)

// crossing is where objects of the examples are put as well, so that namespaces refer
// to one another.
var crossing = []string{"shop", "bank", "istio-system", "kube-system", "default"} //nolint:gochecknoglobals // constant

// worlds gives clusters made of the objects of all examples, each of them where it
// was and, in one half, moved to another namespace.
func worlds(t *testing.T, n int) []*inventory.Snapshot {
	t.Helper()
	var all []*inventory.Object
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			if !strings.HasSuffix(f.Name, ".yaml") {
				continue
			}
			for doc := range strings.SplitSeq("\n"+string(f.Data), "\n---") {
				raw, err := yaml.YAMLToJSON([]byte(doc))
				if err != nil {
					t.Fatal(err)
				}
				if o, err := inventory.New(raw, nil); err == nil {
					all = append(all, o)
				}
			}
		}
	}
	all = append(all, posturetest.Cluster(200, 8)...)
	var out []*inventory.Snapshot
	for seed := range n {
		random := rand.New(rand.NewPCG(uint64(seed), 1))
		var some []*inventory.Object
		for _, o := range all {
			switch random.IntN(4) {
			case 0:
				continue
			case 1:
				var content map[string]any
				if json.Unmarshal(o.Raw(), &content) != nil {
					t.Fatal(o)
				}
				if meta, ok := content["metadata"].(map[string]any); ok && o.Kind != "Namespace" {
					meta["namespace"] = crossing[random.IntN(len(crossing))]
				}
				raw, err := json.Marshal(content)
				if err != nil {
					t.Fatal(err)
				}
				if o, err = inventory.New(raw, nil); err != nil {
					t.Fatal(err)
				}
			}
			some = append(some, o)
		}
		var unreadable []inventory.Unreadable
		if seed%4 == 3 {
			unreadable = []inventory.Unreadable{{Kind: "Service", Namespace: "shop", Reason: "no"}, {Group: rbacGroup, Kind: "Role", Reason: "no"}}
		}
		out = append(out, inventory.NewSnapshot(some, inventory.Facts{Live: seed%2 == 0}, unreadable, nil))
	}
	return out
}

func fresh(s *inventory.Snapshot) *Index {
	ix := NewIndex(s)
	ix.Now = time.Date(2026, time.November, 21, 12, 0, 0, 0, time.UTC)
	return ix
}

// spoken gives what a check says, sorted. What is said of the order or the number of
// things beyond the first few is a part of it.
func spoken(judge func(emit emitter)) []string {
	out := []string{}
	judge(func(o *inventory.Object, r control.Result) {
		where := "the cluster"
		if o != nil {
			where = o.String()
		}
		out = append(out, fmt.Sprintf("%s %s %+v", r.Verdict, where, r))
	})
	slices.Sort(out)
	return out
}

// TestLocal: a check that is Local says in its namespaces, one by one, what it says
// of all at once; and what it says in one is the same where the cluster has nothing
// else than that one and the wide kinds.
func TestLocal(t *testing.T) {
	t.Parallel()
	ran, verdicts := 0, 0
	for n, s := range worlds(t, 8) {
		ix := fresh(s)
		alone := map[string]*Index{}
		for _, v := range ix.all().list {
			var some []*inventory.Object
			for _, o := range s.Objects() {
				if home(o) == v.name || wide()[Kind{o.Group(), o.Kind}] {
					some = append(some, o)
				}
			}
			alone[v.name] = fresh(inventory.NewSnapshot(some, s.Facts, s.Unreadable, nil))
		}
		for _, c := range Checks() {
			if !c.Local {
				continue
			}
			ran++
			split := spoken(func(emit emitter) { c.Judge(ix, emit) })
			c.Local = false
			whole := spoken(func(emit emitter) { guard(&c, ix, emit) })
			if diff := cmp.Diff(whole, split); diff != "" {
				t.Errorf("world %d: %s is not local: (-at once +one by one)\n%s", n, c.ID, diff[:min(len(diff), 3000)])
				continue
			}
			c.Local = true
			verdicts += len(split)
			for name, one := range alone {
				want := spoken(func(emit emitter) { c.JudgeAt(ix, name, emit) })
				if diff := cmp.Diff(want, spoken(func(emit emitter) { c.JudgeAt(one, name, emit) })); diff != "" {
					t.Errorf("world %d: %s looks out of namespace %s: (-in the cluster +alone)\n%s", n, c.ID, name, diff[:min(len(diff), 3000)])
				}
			}
		}
	}
	t.Logf("%d runs, %d verdicts", ran, verdicts)
	if ran < 200 || verdicts < 10_000 {
		t.Errorf("only %d runs with %d verdicts", ran, verdicts)
	}
}

// TestRests: what a check does not rest on changes no verdict, and it gives none on
// it.
func TestRests(t *testing.T) {
	t.Parallel()
	left := 0
	for n, s := range worlds(t, 4) {
		ix := fresh(s)
		for _, c := range Checks() {
			var some []*inventory.Object
			for _, o := range s.Objects() {
				if c.Rests(o) {
					some = append(some, o)
				}
			}
			left += len(s.Objects()) - len(some)
			want := spoken(func(emit emitter) { c.Judge(fresh(inventory.NewSnapshot(some, s.Facts, s.Unreadable, nil)), emit) })
			if diff := cmp.Diff(want, spoken(func(emit emitter) { c.Judge(ix, emit) })); diff != "" {
				t.Errorf("world %d: %s rests on more than it says: (-without +with the rest)\n%s", n, c.ID, diff[:min(len(diff), 3000)])
			}
		}
	}
	if left < 10_000 {
		t.Errorf("only %d objects were left out", left)
	}
}

// TestShelf: nothing is kept of objects that are gone.
func TestShelf(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(5, 5))
	s := worlds(t, 1)[0]
	ix := fresh(s)
	ix.Keep()
	kept := 0
	for range 20 {
		for _, c := range Checks() {
			c.Judge(ix, func(*inventory.Object, control.Result) {})
		}
		var out, in []*inventory.Object
		for _, o := range s.Objects() {
			if random.IntN(10) != 0 || s.Find(o.Group(), o.Kind, o.Namespace, o.Name) != o {
				continue
			}
			out = append(out, o)
			if again, err := inventory.New(o.Raw(), nil); err == nil && random.IntN(2) == 0 {
				in = append(in, again)
			}
		}
		next := s
		for _, o := range out {
			next = next.With(nil, []bulwark.ObjectRef{o.ObjectRef})
		}
		s = next.With(in, nil)
		ix = ix.Next(s, out, in)
		there := map[*inventory.Object]bool{}
		for _, o := range s.Objects() {
			there[o] = true
		}
		ix.shelf.read.Range(func(k, _ any) bool {
			kept++
			o, ok := reflect.TypeAssert[*inventory.Object](reflect.ValueOf(k).Field(0))
			if !ok || !there[o] {
				t.Errorf("%T is kept of %v", k, o)
			}
			return true
		})
	}
	if kept < 1000 {
		t.Errorf("only %d things were kept", kept)
	}
}
