package graph_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/tools/txtar"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/graph"
)

// cases visits all example cases.
func cases(tb testing.TB, visit func(c graph.Check, name, text string)) {
	tb.Helper()
	for _, c := range graph.Checks() {
		archive, err := txtar.ParseFile(filepath.Join("testdata", c.ID+".txtar"))
		if err != nil {
			tb.Fatal(err)
		}
		for _, f := range archive.Files {
			if strings.HasSuffix(f.Name, ".yaml") {
				visit(c, f.Name, string(f.Data))
			}
		}
	}
}

func object(tb testing.TB, v any) *inventory.Object {
	tb.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	o, err := inventory.New(raw, nil)
	if err != nil {
		return nil
	}
	return o
}

// bend visits v with each of its parts replaced, one after the other, by
// something of another type.
func bend(v any, visit func()) {
	odd := []any{nil, "x", -1.5, true, []any{nil, "x", map[string]any{}}, map[string]any{"x": nil, "name": []any{}, "": 1}}
	n := 0
	replace := func(set func(any), old any) {
		// All of them everywhere takes minutes; each place gets two in turn.
		for range 2 {
			n++
			set(odd[n%len(odd)])
			visit()
		}
		set(old)
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, e := range v {
				if k != "apiVersion" && k != "kind" {
					replace(func(x any) { v[k] = x }, e)
				}
				walk(e)
			}
		case []any:
			for i, e := range v {
				replace(func(x any) { v[i] = x }, e)
				walk(e)
			}
		}
	}
	walk(v)
}

// TestWrongTypes: a field of another type than it should have breaks nothing.
func TestWrongTypes(t *testing.T) {
	t.Parallel()
	ran := 0
	cases(t, func(c graph.Check, name, text string) {
		ix := read(t, text)
		objects := ix.Objects()
		for i, o := range objects {
			content, err := o.Content()
			if err != nil {
				t.Fatal(err)
			}
			bend(content, func() {
				bent := object(t, content)
				if bent == nil {
					return // refused already
				}
				all := append([]*inventory.Object{}, objects...)
				all[i] = bent
				again := graph.NewIndex(inventory.NewSnapshot(all, ix.Facts, nil, nil))
				again.Now = now
				defer func() {
					if r := recover(); r != nil {
						t.Fatalf("%s, %s: %v\n%s", c.ID, name, r, bent.Raw())
					}
				}()
				c.Judge(again, func(*inventory.Object, control.Result) {})
				ran++
			})
		}
	})
	if ran < 10000 {
		t.Errorf("only %d bent objects were judged", ran)
	}
	t.Logf("%d bent objects", ran)
}

// TestAllAtOnce runs all checks over all examples together, from many goroutines:
// the lookups are shared.
func TestAllAtOnce(t *testing.T) {
	t.Parallel()
	var objects []*inventory.Object
	cases(t, func(_ graph.Check, _, text string) { objects = append(objects, read(t, text).Objects()...) })
	run := func(workers int) map[string][]string {
		ix := graph.NewIndex(inventory.NewSnapshot(objects, inventory.Facts{}, nil, nil))
		ix.Now = now
		out, mu := map[string][]string{}, sync.Mutex{}
		var wait sync.WaitGroup
		queue := make(chan graph.Check)
		for range workers {
			wait.Go(func() {
				for c := range queue {
					lines, _ := judge(c, ix)
					mu.Lock()
					out[c.ID] = lines
					mu.Unlock()
				}
			})
		}
		for _, c := range graph.Checks() {
			queue <- c
		}
		close(queue)
		wait.Wait()
		return out
	}
	one, many := run(1), run(16)
	for id := range one {
		if a, b := strings.Join(one[id], "\n"), strings.Join(many[id], "\n"); a != b {
			t.Errorf("%s gives one thing and then another:\n%s\n---\n%s", id, a, b)
		}
	}
}

// TestHidden: what an attacker writes to stay out of sight.
func TestHidden(t *testing.T) {
	t.Parallel()
	find := func(id string, ix *graph.Index) string {
		for _, c := range graph.Checks() {
			if c.ID == id {
				lines, _ := judge(c, ix)
				return strings.Join(lines, "\n")
			}
		}
		t.Fatalf("no check %s", id)
		return ""
	}
	deployment := `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","namespace":"shop","uid":"d1"},"spec":{"selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"web","image":"web:1"}]}}}}`
	service := `{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"shop"},"spec":{"type":"NodePort","selector":{"app":"web"},"ports":[{"port":80}]}}`
	pod := func(image, extra string) string {
		return `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web-x","namespace":"shop","labels":{"app":"web"},"ownerReferences":[{"uid":"d1","controller":true,"apiVersion":"apps/v1","kind":"Deployment","name":"web"}]},"spec":{"containers":[{"name":"web","image":"` + image + `"}` + extra + `]}}`
	}
	tests := []struct {
		name    string
		objects []string
		live    bool
		want    string
	}{
		{"a pod as its maker says is judged there", []string{deployment, service, pod("web:1", "")}, true, "pass Deployment shop/web"},
		{"a sidecar is fine", []string{deployment, service, pod("web:1", `,{"name":"proxy","image":"proxy:1"}`)}, true, "pass Deployment shop/web"},
		{
			"a pod that claims an owner and is worse",
			[]string{deployment, service, pod("web:1", `,{"name":"evil","image":"evil","securityContext":{"privileged":true}}`)},
			true,
			"fail Pod shop/web-x at spec.containers[1].securityContext.privileged (critical): container \"evil\" is privileged, and it is reached from outside by Service shop/web (NodePort)\n    Service shop/web\npass Deployment shop/web",
		},
		{"another image", []string{deployment, service, pod("evil:1", "")}, true, "pass Deployment shop/web\npass Pod shop/web-x"},
		{"files prove no owner", []string{deployment, service, pod("web:1", "")}, false, "pass Deployment shop/web\npass Pod shop/web-x"},
		{
			"a key with escapes",
			[]string{service, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","namespace":"shop","labels":{"app":"web"}},"spec":{"\u0063ontainers":[{"name":"a","securityContext":{"privileged":true}}]}}`},
			false,
			"fail Pod shop/web at spec.containers[0].securityContext.privileged (critical): container \"a\" is privileged, and it is reached from outside by Service shop/web (NodePort)\n    Service shop/web",
		},
		{
			"owners in a circle", []string{
				service,
				`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"shop","uid":"1","labels":{"app":"web"},"ownerReferences":[{"uid":"2","controller":true}]},"spec":{"containers":[{"name":"a"}]}}`,
				`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"b","namespace":"shop","uid":"2","labels":{"app":"web"},"ownerReferences":[{"uid":"1","controller":true}]},"spec":{"containers":[{"name":"a"}]}}`,
			}, true, "pass Pod shop/a\npass Pod shop/b",
		},
	}
	for _, tt := range tests {
		var objects []*inventory.Object
		for _, raw := range tt.objects {
			o, err := inventory.New([]byte(raw), nil)
			if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			objects = append(objects, o)
		}
		ix := graph.NewIndex(inventory.NewSnapshot(objects, inventory.Facts{Live: tt.live}, nil, nil))
		if got := find("exposed-privileged-workload", ix); got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
}

// TestHuge: large and deep fields of one object end.
func TestHuge(t *testing.T) {
	t.Parallel()
	matches := map[string]any{}
	var values []any
	for i := range 20000 {
		matches[fmt.Sprint("k", i)] = "v"
		values = append(values, fmt.Sprint("v", i))
	}
	var deep any = "x"
	for range 5000 {
		deep = map[string]any{"secretRef": deep}
	}
	meta := map[string]any{"name": "x", "namespace": "shop"}
	objects := []*inventory.Object{
		object(t, map[string]any{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": map[string]any{"podSelector": map[string]any{"matchLabels": matches}}}),
		object(t, map[string]any{"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": map[string]any{"selector": matches}}),
		object(t, map[string]any{"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta, "spec": map[string]any{"selector": map[string]any{"matchExpressions": []any{map[string]any{"key": "a", "operator": "NotIn", "values": values}}}}}),
		object(t, map[string]any{"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy", "metadata": meta, "spec": map[string]any{"selector": strings.Repeat("(", 100000) + "all()"}}),
		object(t, map[string]any{"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicy", "metadata": meta, "spec": map[string]any{"selector": strings.Repeat("!", 100000) + "all()"}}),
		object(t, map[string]any{"apiVersion": "x.example/v1", "kind": "Deep", "metadata": meta, "spec": deep}),
		object(t, map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": map[string]any{"containers": []any{map[string]any{"name": "a"}}}}),
	}
	ix := graph.NewIndex(inventory.NewSnapshot(objects, inventory.Facts{}, nil, nil))
	verdicts := map[bulwark.Verdict]int{}
	for _, c := range graph.Checks() {
		c.Judge(ix, func(_ *inventory.Object, r control.Result) { verdicts[r.Verdict]++ })
	}
	if verdicts[bulwark.VerdictFail] == 0 {
		t.Errorf("nothing was found: %v", verdicts)
	}
}

// TestUndecodable: an object whose content cannot be decoded is unknown to the
// checks that read its kind.
func TestUndecodable(t *testing.T) {
	t.Parallel()
	raw := `{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"shop"},"spec":{"ports":[{"port":1e999}]}}`
	o, err := inventory.New([]byte(raw), nil)
	if err != nil {
		return // refused when it is read: better still
	}
	ix := graph.NewIndex(inventory.NewSnapshot([]*inventory.Object{o}, inventory.Facts{}, nil, nil))
	for _, c := range graph.Checks() {
		if c.ID != "service-without-pods" {
			continue
		}
		lines, _ := judge(c, ix)
		if want := "unknown Service shop/web: its content cannot be decoded"; len(lines) != 1 || lines[0] != want {
			t.Errorf("%q, want %q", lines, want)
		}
	}
}

func FuzzIndex(f *testing.F) {
	cases(f, func(_ graph.Check, _, text string) {
		var lines [][]byte
		for doc := range strings.SplitSeq("\n"+text, "\n---") {
			if raw := toJSON(f, doc); raw != nil {
				lines = append(lines, raw)
			}
		}
		f.Add(bytes.Join(lines, []byte("\n")), true)
	})
	f.Fuzz(func(_ *testing.T, text []byte, live bool) {
		var objects []*inventory.Object
		for line := range bytes.SplitSeq(text, []byte("\n")) {
			if o, err := inventory.New(line, nil); err == nil {
				objects = append(objects, o)
			}
		}
		ix := graph.NewIndex(inventory.NewSnapshot(objects, inventory.Facts{Live: live, Version: "v1.35.0"}, nil, nil))
		ix.Now = now
		for _, c := range graph.Checks() {
			c.Judge(ix, func(*inventory.Object, control.Result) {})
		}
	})
}

// TestOneNamespaceUnreadable: what may not be read in one namespace leaves
// verdicts on others alone, but for those that look across namespaces.
func TestOneNamespaceUnreadable(t *testing.T) {
	t.Parallel()
	objects := []*inventory.Object{}
	for _, ns := range []string{"bank", "shop"} {
		meta := map[string]any{"name": "web", "namespace": ns, "labels": map[string]any{"app": "web"}}
		objects = append(objects,
			object(t, map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": map[string]any{"containers": []any{map[string]any{"name": "a"}}}}),
			object(t, map[string]any{"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": map[string]any{"selector": map[string]any{"app": "web"}}}))
	}
	unread := []inventory.Unreadable{
		{Kind: "Pod", Namespace: "bank", Reason: "no permission to list pods"},
		{Kind: "ServiceAccount", Namespace: "bank", Reason: "no permission to list serviceaccounts"},
	}
	ix := graph.NewIndex(inventory.NewSnapshot(objects, inventory.Facts{Live: true}, unread, nil))
	for id, want := range map[string]string{
		"service-without-pods": "pass Service shop/web\nunknown Service bank/web: Pod objects could not all be read: no permission to list pods\n" +
			"unknown the cluster: Pod objects could not all be read: no permission to list pods",
		"workload-cluster-admin": "unknown Pod bank/web: ServiceAccount objects could not all be read: no permission to list serviceaccounts\n" +
			"unknown Pod shop/web: ServiceAccount objects could not all be read: no permission to list serviceaccounts\n" +
			"unknown the cluster: ServiceAccount objects could not all be read: no permission to list serviceaccounts",
	} {
		for _, c := range graph.Checks() {
			if c.ID != id {
				continue
			}
			lines, _ := judge(c, ix)
			if got := strings.Join(lines, "\n"); got != want {
				t.Errorf("%s:\n%s\nwant\n%s", id, got, want)
			}
		}
	}
}
