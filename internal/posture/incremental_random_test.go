package posture_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
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
	"bulwark.dev/bulwark/internal/posture"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/graph"
	"bulwark.dev/bulwark/internal/posture/posturetest"
)

// examples gives the objects of all examples of the joint checks, so that there are
// some of every kind that any of them reads.
func examples(tb testing.TB) []*inventory.Object {
	tb.Helper()
	files, err := filepath.Glob("graph/testdata/*.txtar")
	if err != nil || len(files) < 50 {
		tb.Fatalf("%d files of examples: %v", len(files), err)
	}
	var out []*inventory.Object
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		for _, f := range archive.Files {
			if !strings.HasSuffix(f.Name, ".yaml") {
				continue
			}
			for doc := range strings.SplitSeq("\n"+string(f.Data), "\n---") {
				raw, err := yaml.YAMLToJSON([]byte(doc))
				if err != nil {
					tb.Fatal(err)
				}
				if o, err := inventory.New(raw, nil); err == nil {
					out = append(out, o)
				}
			}
		}
	}
	return out
}

// world makes random edits.
type world struct {
	random *rand.Rand
	pool   []*inventory.Object
	kinds  map[graph.Kind][]*inventory.Object
}

func newWorld(pool []*inventory.Object, seed uint64) *world {
	w := &world{rand.New(rand.NewPCG(seed, 3)), pool, map[graph.Kind][]*inventory.Object{}}
	for _, o := range pool {
		k := graph.Kind{Group: o.Group(), Kind: o.Kind}
		w.kinds[k] = append(w.kinds[k], o)
	}
	return w
}

func one[T any](w *world, of []T) T { return of[w.random.IntN(len(of))] }

// object gives an object of the pool as it is, or with something of it changed:
// where it stands, its name, its labels, a part of what it says.
func (w *world) object(tb testing.TB) *inventory.Object {
	tb.Helper()
	o := one(w, w.pool)
	var content map[string]any
	if w.random.IntN(3) == 0 || json.Unmarshal(o.Raw(), &content) != nil {
		return o
	}
	meta, ok := content["metadata"].(map[string]any)
	if !ok {
		return o
	}
	other := one(w, w.kinds[graph.Kind{Group: o.Group(), Kind: o.Kind}])
	switch w.random.IntN(8) {
	case 0, 1:
		meta["namespace"] = one(w, []string{"shop", "bank", "default", "team-0"})
	case 2:
		meta["name"] = other.Name
	case 3:
		meta["labels"] = map[string]any{one(w, []string{"app", "istio-injection", "pod-security.kubernetes.io/enforce"}): one(w, []string{"web", "api", "enabled", "baseline"})}
	case 4:
		var from map[string]any
		if json.Unmarshal(other.Raw(), &from) == nil && from["spec"] != nil {
			content["spec"] = from["spec"]
		}
	case 5:
		if spec, is := content["spec"].(map[string]any); is {
			for k := range spec { // any one
				delete(spec, k)
				break
			}
		}
	case 6:
		delete(meta, "namespace")
	case 7:
		meta["uid"] = fmt.Sprint("uid-", w.random.IntN(5))
		meta["ownerReferences"] = []any{map[string]any{"uid": fmt.Sprint("uid-", w.random.IntN(5)), "controller": true, "apiVersion": other.APIVersion, "kind": other.Kind, "name": other.Name}}
	}
	raw, err := json.Marshal(content)
	if err != nil {
		tb.Fatal(err)
	}
	if w.random.IntN(40) == 0 {
		raw = append(bytes.TrimSuffix(raw, []byte("}")), `,"odd":1e999}`...)
	}
	bent, err := inventory.New(raw, nil)
	if err != nil {
		return o // what is refused when it is read is not judged
	}
	return bent
}

// known gives facts and unreadable kinds.
func (w *world) known() (inventory.Facts, []inventory.Unreadable) {
	f := inventory.Facts{Live: w.random.IntN(2) == 0, Partial: w.random.IntN(3) == 0, Version: one(w, []string{"", "v1.33.0"}), Managed: one(w, []string{"", "", "eks"})}
	var out []inventory.Unreadable
	for w.random.IntN(2) == 0 {
		o := one(w, w.pool)
		out = append(out, inventory.Unreadable{Group: o.Group(), Kind: o.Kind, Namespace: one(w, []string{"", "shop"}), Reason: "no permission"})
	}
	return f, out
}

// same fails where the report is not the one that judging everything gives.
func same(t *testing.T, e *posture.Engine, inc *posture.Incremental, what string) {
	t.Helper()
	got, err := inc.Report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	now := inc.Snapshot()
	want, err := e.Judge(t.Context(), inventory.NewSnapshot(now.Objects(), now.Facts, now.Unreadable, now.Problems))
	if err != nil {
		t.Fatal(err)
	}
	// What was there twice in the beginning may be gone, and the problem stays.
	for _, r := range []*posture.Report{want, got} {
		r.Problems = slices.DeleteFunc(slices.Clone(r.Problems), func(p inventory.Problem) bool { return strings.Contains(p.What, " is there already") })
	}
	a, errA := json.Marshal(want)
	b, errB := json.Marshal(got)
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	if !bytes.Equal(a, b) {
		diff := cmp.Diff(text(t, want), text(t, got))
		t.Fatalf("%s: (-all judged +incremental)\n%s", what, diff[:min(len(diff), 6000)])
	}
}

// TestIncrementalRandom makes thousands of random edits of all kinds that the joint
// checks read: after each Update the report is the one that judging everything gives.
func TestIncrementalRandom(t *testing.T) {
	t.Parallel()
	var edits, judged, all int
	pool := append(examples(t), posturetest.Cluster(150, 3)...)
	e, err := posture.New(posture.Options{Joint: graph.Checks(), Now: time.Date(2026, time.November, 21, 12, 0, 0, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	const worlds, rounds = 6, 80
	for seed := range uint64(worlds) {
		w := newWorld(pool, seed)
		var start []*inventory.Object
		for range 100 {
			start = append(start, w.object(t))
		}
		facts, unreadable := w.known()
		if facts.Live = seed%2 == 1; seed < 2 {
			facts, unreadable = inventory.Facts{Live: facts.Live}, nil
		}
		inc, err := e.Incremental(t.Context(), inventory.NewSnapshot(start, facts, unreadable, nil))
		if err != nil {
			t.Fatal(err)
		}
		for round := range rounds {
			var put []*inventory.Object
			var take []bulwark.ObjectRef
			for range 1 + w.random.IntN(16)*w.random.IntN(2) {
				edits++
				if w.random.IntN(3) == 0 {
					take = append(take, one(w, inc.Snapshot().Objects()).ObjectRef)
				} else {
					put = append(put, w.object(t))
				}
			}
			did, err := inc.Update(t.Context(), put, take)
			if err != nil {
				t.Fatal(err)
			}
			judged, all = judged+did.Joint, all+len(graph.Checks())
			what := fmt.Sprintf("world %d, round %d: put %v, took %v", seed, round, put, take)
			if w.random.IntN(30) == 0 {
				facts, unreadable := w.known()
				if _, err := inc.Learn(t.Context(), facts, unreadable); err != nil {
					t.Fatal(err)
				}
				what += fmt.Sprintf(", learned %v %v", facts, unreadable)
			}
			same(t, e, inc, what)
		}
	}
	t.Logf("%d edits; %d runs of checks in one place, where all in all places are at least %d", edits, judged, all)
	if edits < 2000 {
		t.Errorf("only %d edits", edits)
	}
}

// worded fails for objects with the label "bad", in words that are its value.
type worded struct{}

func (worded) Meta() control.Meta {
	return control.Meta{ID: "worded", Title: "A label", Severity: bulwark.SeverityLow}
}
func (worded) Applies(*control.Subject) bool { return true }
func (worded) Judge(s *control.Subject) []control.Result {
	if why := s.Object.Labels["bad"]; why != "" {
		return []control.Result{{Verdict: bulwark.VerdictFail, Message: why}}
	}
	return []control.Result{{Verdict: bulwark.VerdictPass}}
}

// TestIncrementalFamilies changes owners at random, also to lines that are long and
// to circles, and objects that come twice.
func TestIncrementalFamilies(t *testing.T) {
	t.Parallel()
	e, err := posture.New(posture.Options{Single: []control.Single{worded{}}})
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(9, 9))
	const names = 14
	made := func() *inventory.Object {
		n := random.IntN(names)
		owner := ""
		if random.IntN(5) > 0 {
			up := (n + 1) % names // so that long lines come about
			if random.IntN(3) == 0 {
				up = random.IntN(names)
			}
			owner = fmt.Sprintf(`,"ownerReferences":[{"uid":"u%d","controller":true,"apiVersion":"x.example/v1","kind":"Thing","name":"n%d"}]`, up, up)
		}
		head := `"apiVersion":"x.example/v1","kind":"Thing"`
		uid := fmt.Sprint("u", n)
		if random.IntN(3) == 0 { // of which those of one owner are told together
			head, uid = `"apiVersion":"v1","kind":"Pod"`, fmt.Sprint("p", n)
		}
		o, err := inventory.New(fmt.Appendf(nil, `{%s,"metadata":{"name":"n%d","namespace":"a","uid":%q,"labels":{"bad":"w%d"}%s}}`, head, n, uid, random.IntN(2), owner), nil)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	again, folded := 0, 0
	for life := range 200 {
		inc, err := e.Incremental(t.Context(), inventory.NewSnapshot([]*inventory.Object{made(), made(), made()}, inventory.Facts{}, nil, nil))
		if err != nil {
			t.Fatal(err)
		}
		for round := range 20 {
			var put []*inventory.Object
			var take []bulwark.ObjectRef
			for range 1 + random.IntN(2) {
				if random.IntN(4) == 0 {
					take = append(take, made().ObjectRef)
				} else {
					put = append(put, made())
				}
			}
			if random.IntN(5) == 0 {
				put = append(put, put...)
			}
			did, err := inc.Update(t.Context(), put, take)
			if err != nil {
				t.Fatal(err)
			}
			same(t, e, inc, fmt.Sprintf("life %d, round %d: put %v, took %v", life, round, put, take))
			r, err := inc.Report(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			again, folded = again+did.Objects, folded+r.Folded
		}
	}
	t.Logf("%d objects judged again, %d findings folded", again, folded)
	if folded < 1000 {
		t.Errorf("only %d findings were folded", folded)
	}
}

// BenchmarkUpdate changes one object of 10 000, by kind: a label of it is another
// each time. "report" is what Report takes after that.
func BenchmarkUpdate(b *testing.B) {
	for _, live := range []bool{false, true} {
		snap := inventory.NewSnapshot(posturetest.Cluster(10_000, 1), inventory.Facts{Live: live}, nil, nil)
		inc, err := engine(b, true).Incremental(b.Context(), snap)
		if err != nil {
			b.Fatal(err)
		}
		for _, kind := range []graph.Kind{
			{Kind: "Pod"},
			{Group: "apps", Kind: "Deployment"},
			{Kind: "Service"},
			{Kind: "ConfigMap"},
			{Kind: "Secret"},
			{Group: "networking.k8s.io", Kind: "NetworkPolicy"},
			{Group: "rbac.authorization.k8s.io", Kind: "Role"},
			{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"},
			{Group: "networking.k8s.io", Kind: "Ingress"},
			{Kind: "Namespace"},
		} {
			b.Run(fmt.Sprintf("live=%v/%s", live, kind.Kind), func(b *testing.B) {
				all := snap.Kind(kind.Group, kind.Kind)
				i, again := 0, 0
				b.ReportAllocs()
				for b.Loop() {
					i++
					raw := bytes.Replace(all[i%len(all)].Raw(), []byte(`"labels":{`), fmt.Appendf(nil, `"labels":{"round":"%d",`, i), 1)
					o, err := inventory.New(raw, nil)
					if err != nil {
						b.Fatal(err)
					}
					did, err := inc.Update(b.Context(), []*inventory.Object{o}, nil)
					if err != nil {
						b.Fatal(err)
					}
					again += did.Joint
				}
				b.ReportMetric(float64(again)/float64(b.N), "joint/op")
			})
		}
		b.Run(fmt.Sprintf("live=%v/report", live), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := inc.Report(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
