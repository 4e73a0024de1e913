package detect

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"bulwark.dev/bulwark/catalog"
	"bulwark.dev/bulwark/internal/audit"
)

// traffic is what an API server of a middling cluster does, roughly: leases and reads
// by components, writes by controllers, and a little of people.
func traffic() []*audit.Event {
	var out []*audit.Event
	add := func(n int, change func(e *audit.Event)) {
		for range n {
			e := sample(uint64(len(out)) + 1)
			e.RequestObject, e.Level = nil, "Metadata"
			change(e)
			out = append(out, e)
		}
	}
	add(400, func(e *audit.Event) {
		e.Verb, e.User.Username = "update", "system:node:n1"
		e.Object = audit.ObjectRef{APIGroup: "coordination.k8s.io", Resource: "leases", Namespace: "kube-node-lease", Name: "n1"}
	})
	add(250, func(e *audit.Event) {
		e.Verb, e.User.Username, e.Object.Name = "list", "system:kube-controller-manager", ""
	})
	add(100, func(e *audit.Event) {
		e.Verb, e.User.Username = "patch", "system:serviceaccount:kube-system:deployment-controller"
		e.Object.Subresource = "status"
	})
	add(100, func(e *audit.Event) {
		e.Verb, e.User.Username, e.Object.Resource = "get", "system:serviceaccount:monitoring:prometheus", "nodes"
	})
	add(50, func(e *audit.Event) {
		e.Verb, e.Object.Resource = "get", "secrets"
		e.User.Username = "system:serviceaccount:shop:cart"
	})
	add(50, func(e *audit.Event) {
		e.Verb, e.User.Username = "create", "system:serviceaccount:kube-system:replicaset-controller"
		e.RequestObject, e.Level = sample(1).RequestObject, "Request"
	})
	add(40, func(e *audit.Event) { e.Verb, e.Object.Resource = "get", "configmaps" })
	add(10, func(e *audit.Event) {
		e.Verb, e.Object.Resource, e.Object.Subresource = "create", "pods", "exec"
		e.RequestURI = "/api/v1/namespaces/shop/pods/cart-1/exec?command=ls&stdout=true"
	})
	return out
}

// synthetic are n rules in the manner of the catalog's.
func synthetic(n int) []string {
	resources := []string{"pods", "secrets", "roles", "clusterroles", "rolebindings", "clusterrolebindings", "configmaps", "nodes", "jobs", "cronjobs"}
	var out []string
	for i := range n {
		resource, verb := resources[i%len(resources)], []string{"create", "get", "list", "[update, patch]", "delete"}[i%5]
		switch i % 10 {
		case 3: // no resource
			out = append(out, rule(fmt.Sprint("r", i), fmt.Sprintf("  selection: {userAgent|contains: [tool%d, other%d], succeeded: 'true'}\n  condition: selection", i, i)))
		case 7: // a body
			out = append(out, rule(fmt.Sprint("r", i), fmt.Sprintf("  selection: {verb: create, objectRef.resource: pods, requestObject.spec.hostNetwork: true, objectRef.namespace: ns%d}\n  condition: selection", i)))
		default:
			out = append(out, rule(fmt.Sprint("r", i), fmt.Sprintf("  selection: {verb: %s, objectRef.resource: %s, user.username|startswith: 'eve%d', succeeded: 'true'}\n"+
				"  known: {user.username|startswith: ['system:node:', 'system:kube-'], sourceIPs|cidr: 10.%d.0.0/16}\n  condition: selection and not known", verb, resource, i, i%250)))
		}
	}
	return append(out, correlation("many", "{type: event_count, rules: [r0, r1], group-by: [user.username], timespan: 5m, condition: {gte: 100}}"))
}

func observe(b *testing.B, engine *Engine) {
	b.Helper()
	events := traffic()
	alerts := 0
	b.ReportAllocs()
	seq := uint64(0)
	for b.Loop() {
		for _, e := range events {
			seq++
			c := *e // a body is read once for each event
			c.Seq, c.StageAt = seq, start().Add(time.Duration(seq)*time.Millisecond)
			alerts += len(engine.Observe(&c))
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(seq), "ns/event")
	b.ReportMetric(float64(alerts)/float64(seq), "alerts/event")
}

func BenchmarkSynthetic150(b *testing.B) { observe(b, mustEngine(b, Config{}, synthetic(150)...)) }

func BenchmarkCatalog(b *testing.B) {
	set, err := Load(catalog.Detections())
	if err != nil {
		b.Fatal(err)
	}
	engine, err := NewEngine(set, Config{})
	if err != nil {
		b.Fatal(err)
	}
	observe(b, engine)
}

func BenchmarkLoadCatalog(b *testing.B) {
	for b.Loop() {
		if _, err := Load(catalog.Detections()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkState saves what 10,000 groups of 10 events are.
func BenchmarkState(b *testing.B) {
	engine := mustEngine(b, Config{}, one("a", "{verb: get}"), correlation("x", "{type: event_count, rules: [a], group-by: [user.username], timespan: 1d, condition: {gte: 1000}}"))
	for i := range 100_000 {
		e := sample(uint64(i) + 1)
		e.Verb, e.User.Username = "get", fmt.Sprint("u", i%10_000)
		engine.Observe(e)
	}
	for b.Loop() {
		state, err := engine.State()
		if err != nil || !json.Valid(state) {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(state)), "bytes")
	}
}
