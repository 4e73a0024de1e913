package graph_test

import (
	"fmt"
	"slices"
	"testing"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/graph"
)

// saying is what a check says of one thing, whatever the words.
type saying struct {
	object, key string
	verdict     bulwark.Verdict
}

// sayings gives the passes and fails of a check, and how many of each verdict.
func sayings(c *graph.Check, ix *graph.Index) (map[saying]bool, map[bulwark.Verdict]int) {
	out, count := map[saying]bool{}, map[bulwark.Verdict]int{}
	c.Judge(ix, func(o *inventory.Object, r control.Result) {
		count[r.Verdict]++
		if r.Verdict != bulwark.VerdictPass && r.Verdict != bulwark.VerdictFail {
			return
		}
		s := saying{key: r.Key, verdict: r.Verdict}
		if o != nil {
			s.object = o.String()
		}
		if s.key == "" && r.Verdict == bulwark.VerdictFail {
			s.key = r.Container + " " + r.Field
		}
		if r.Verdict == bulwark.VerdictPass {
			s.key = "" // an object passes as a whole
		}
		out[s] = true
	})
	return out, count
}

// hide gives an Index without the objects of a kind, in one namespace or in all, as
// a cluster gives it to somebody who may not read them.
func hide(ix *graph.Index, k graph.Kind, namespace string, partial bool) *graph.Index {
	var left []*inventory.Object
	for _, o := range ix.Objects() {
		if o.Group() != k.Group || o.Kind != k.Kind || namespace != "" && o.Namespace != namespace {
			left = append(left, o)
		}
	}
	facts, unreadable := ix.Facts, slices.Clone(ix.Unreadable)
	if partial {
		facts.Partial = true
	} else {
		unreadable = append(unreadable, inventory.Unreadable{Group: k.Group, Kind: k.Kind, Namespace: namespace, Reason: "no permission"})
	}
	blind := graph.NewIndex(inventory.NewSnapshot(left, facts, unreadable, nil))
	blind.Now = ix.Now
	return blind
}

// workloads are the kinds that a check reads if it reads pods.
func workloads() []graph.Kind {
	return []graph.Kind{
		{Kind: "Pod"},
		{Kind: "ReplicationController"},
		{Group: "apps", Kind: "Deployment"},
		{Group: "apps", Kind: "DaemonSet"},
		{Group: "apps", Kind: "ReplicaSet"},
		{Group: "apps", Kind: "StatefulSet"},
		{Group: "batch", Kind: "Job"},
		{Group: "batch", Kind: "CronJob"},
	}
}

// reads gives all kinds that a check may rest on.
func reads(c *graph.Check) []graph.Kind {
	kinds := slices.Clone(c.Reads)
	if c.Pods {
		kinds = append(kinds, workloads()...)
	}
	return kinds
}

// TestBlind hides each kind of each example from its check, whether the check says
// that it reads the kind or not: no pass and no fail may come of what is not seen.
func TestBlind(t *testing.T) {
	t.Parallel()
	ran, hidden := 0, map[string]int{}
	cases(t, func(c graph.Check, name, text string) {
		ix := read(t, text)
		full, _ := sayings(&c, ix)
		kinds, places := reads(&c), []string{""}
		for _, o := range ix.Objects() {
			if k := (graph.Kind{Group: o.Group(), Kind: o.Kind}); !slices.Contains(kinds, k) {
				kinds = append(kinds, k)
			}
			if !slices.Contains(places, o.Namespace) {
				places = append(places, o.Namespace)
			}
		}
		for _, k := range kinds {
			for _, place := range places {
				if place != "" && len(hide(ix, k, place, false).Objects()) == len(ix.Objects()) {
					continue // it has none there
				}
				for _, partial := range []bool{false, true} {
					if partial && place != "" {
						continue
					}
					ran++
					hidden[c.ID]++
					what := fmt.Sprintf("%s, %s: without %s %s of %q, partial %v", c.ID, name, k.Group, k.Kind, place, partial)
					blind, count := sayings(&c, hide(ix, k, place, partial))
					for s := range blind {
						if !full[s] {
							t.Errorf("%s: %v, which it does not say of the whole", what, s)
						}
					}
					if place == "" && slices.Contains(reads(&c), k) && !slices.Contains(c.Weight, k) && (count[bulwark.VerdictPass] > 0 || count[bulwark.VerdictUnknown] == 0) {
						t.Errorf("%s: the verdicts are %v", what, count)
					}
				}
			}
		}
	})
	if checks := len(graph.Checks()); len(hidden) != checks || ran < 100*checks {
		t.Errorf("%d combinations of %d checks ran, of %d", ran, len(hidden), checks)
	}
	t.Logf("%d combinations of %d checks", ran, len(hidden))
}

// TestBlindTogether is the same with the examples of all checks in one cluster, where
// more rests on more.
func TestBlindTogether(t *testing.T) {
	t.Parallel()
	for _, facts := range []inventory.Facts{{}, {Live: true, Version: "v1.35.0"}} {
		var objects []*inventory.Object
		seen, kinds := map[string]bool{}, []graph.Kind{}
		cases(t, func(c graph.Check, _, text string) {
			const some = 3 // of each check are enough
			for i := range some {
				if name := fmt.Sprint(c.ID, i); !seen[name] {
					seen[name] = true
					objects = append(objects, read(t, text).Objects()...)
					return
				}
			}
		})
		for _, o := range objects {
			if k := (graph.Kind{Group: o.Group(), Kind: o.Kind}); !slices.Contains(kinds, k) {
				kinds = append(kinds, k)
			}
		}
		whole := graph.NewIndex(inventory.NewSnapshot(objects, facts, nil, nil))
		whole.Now = now
		full := map[string]map[saying]bool{}
		for _, c := range graph.Checks() {
			full[c.ID], _ = sayings(&c, whole)
		}
		said := 0
		for _, k := range kinds {
			blind := hide(whole, k, "", false)
			for _, c := range graph.Checks() {
				some, _ := sayings(&c, blind)
				said += len(some)
				for s := range some {
					// Of who may do everything only that is told. Where it is not seen, what
					// is left of it is told.
					if !full[c.ID][s] && !full["workload-cluster-admin"][s] {
						t.Errorf("%s: without %s %s, live %v: %v, which it does not say of the whole", c.ID, k.Group, k.Kind, facts.Live, s)
					}
				}
			}
		}
		if len(kinds) < 30 || said < 5000 {
			t.Errorf("%d kinds were hidden, and %d things said", len(kinds), said)
		}
		t.Logf("%d objects of %d kinds, %d things said", len(objects), len(kinds), said)
	}
}
