package graph_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/graph"
)

type m = map[string]any

// town makes a cluster of about n objects, with what real ones have most of: pods
// and what makes them, ConfigMaps, Secrets, Services, roles.
func town(tb testing.TB, n int) *inventory.Snapshot {
	tb.Helper()
	var objects []*inventory.Object
	put := func(api, kind, namespace, name, uid, owner string, labels, rest m) {
		meta := m{"name": name, "uid": uid, "labels": labels}
		if namespace != "" {
			meta["namespace"] = namespace
		}
		if owner != "" {
			meta["ownerReferences"] = []any{m{"uid": owner, "controller": true, "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x"}}
		}
		rest["apiVersion"], rest["kind"], rest["metadata"] = api, kind, meta
		raw, err := json.Marshal(rest)
		if err != nil {
			tb.Fatal(err)
		}
		o, err := inventory.New(raw, nil)
		if err != nil {
			tb.Fatal(err)
		}
		objects = append(objects, o)
	}
	const perApp, perSpace = 20, 50 // objects of an application, applications of a namespace
	for app := range n / perApp {
		ns := fmt.Sprint("ns", app/perSpace)
		if app%perSpace == 0 {
			put("v1", "Namespace", "", ns, "", "", m{"team": ns}, m{})
			put("networking.k8s.io/v1", "NetworkPolicy", ns, "deny", "", "", nil, m{"spec": m{"podSelector": m{}, "policyTypes": []any{"Ingress"}}})
		}
		name := fmt.Sprint("app", app)
		labels := m{"app": name, "app.kubernetes.io/part-of": "shop"}
		spec := m{
			"serviceAccountName": name,
			"volumes":            []any{m{"name": "conf", "configMap": m{"name": name}}, m{"name": "tmp", "emptyDir": m{}}},
			"containers": []any{m{
				"name": "main", "image": "registry.example/" + name + ":v1.2.3", "ports": []any{m{"name": "http", "containerPort": 8080}},
				"env":             []any{m{"name": "KEY", "valueFrom": m{"secretKeyRef": m{"name": name, "key": "key"}}}, m{"name": "MODE", "value": "production"}},
				"resources":       m{"limits": m{"memory": "1Gi", "cpu": "1"}},
				"securityContext": m{"runAsNonRoot": true, "allowPrivilegeEscalation": false},
			}},
		}
		template := m{"metadata": m{"labels": labels}, "spec": spec}
		put("apps/v1", "Deployment", ns, name, "d-"+name, "", nil, m{"spec": m{"replicas": 3, "selector": m{"matchLabels": labels}, "template": template}})
		for r := range 3 {
			put("apps/v1", "ReplicaSet", ns, fmt.Sprint(name, "-", r), fmt.Sprint("r-", name, r), "d-"+name, labels, m{"spec": m{"replicas": 3 * (r / 2), "template": template}})
		}
		for p := range 6 {
			put("v1", "Pod", ns, fmt.Sprint(name, "-2-", p), "", fmt.Sprint("r-", name, 2), labels, m{"spec": spec, "status": m{"phase": "Running", "podIP": "10.0.0.1"}})
		}
		put("v1", "Service", ns, name, "", "", nil, m{"spec": m{"selector": labels, "ports": []any{m{"port": 80, "targetPort": "http"}}}})
		put("v1", "ServiceAccount", ns, name, "", "", nil, m{})
		put("v1", "ConfigMap", ns, name, "", "", nil, m{"data": m{"conf": "a: b"}})
		put("v1", "Secret", ns, name, "", "", nil, m{"type": "Opaque", "data": m{"key": "dmFsdWU="}})
		put("rbac.authorization.k8s.io/v1", "Role", ns, name, "", "", nil, m{"rules": []any{m{"verbs": []any{"get"}, "apiGroups": []any{""}, "resources": []any{"configmaps"}}}})
		put("rbac.authorization.k8s.io/v1", "RoleBinding", ns, name, "", "", nil, m{"roleRef": m{"kind": "Role", "name": name}, "subjects": []any{m{"kind": "ServiceAccount", "namespace": ns, "name": name}}})
		put("networking.k8s.io/v1", "NetworkPolicy", ns, name, "", "", nil, m{"spec": m{
			"podSelector": m{"matchLabels": labels}, "policyTypes": []any{"Ingress", "Egress"},
			"ingress": []any{m{"from": []any{m{"podSelector": m{"matchLabels": m{"app": fmt.Sprint("app", app-app%perSpace)}}}, m{"namespaceSelector": m{"matchLabels": m{"team": "ns0"}}}}}},
		}})
		put("policy/v1", "PodDisruptionBudget", ns, name, "", "", nil, m{"spec": m{"minAvailable": 1, "selector": m{"matchLabels": labels}}})
		put("gateway.networking.k8s.io/v1", "HTTPRoute", ns, name, "", "", nil, m{"spec": m{
			"parentRefs": []any{m{"name": "edge", "namespace": "ns0"}}, "hostnames": []any{name + ".example"}, "rules": []any{m{"backendRefs": []any{m{"name": name, "port": 80}}}},
		}})
	}
	return inventory.NewSnapshot(objects, inventory.Facts{Live: true, Version: "v1.36.2"}, nil, nil)
}

func benchmark(b *testing.B, n int) {
	b.Helper()
	snap := town(b, n)
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		ix := graph.NewIndex(snap)
		ix.Now = now
		for _, c := range graph.Checks() {
			c.Judge(ix, func(*inventory.Object, control.Result) {})
		}
	}
	b.ReportMetric(float64(len(snap.Objects())), "objects")
}

func BenchmarkChecks10k(b *testing.B)  { benchmark(b, 10_000) }
func BenchmarkChecks100k(b *testing.B) { benchmark(b, 100_000) }

// BenchmarkCrowded is a namespace in which everything selects everything: what a
// tenant can write to make a scan slow.
func BenchmarkCrowded(b *testing.B) {
	const n = 5000
	var objects []*inventory.Object
	put := func(api, kind, name string, spec m) {
		objects = append(objects, object(b, m{"apiVersion": api, "kind": kind, "metadata": m{"name": name, "namespace": "shop", "labels": m{"app": "web"}}, "spec": spec}))
	}
	all := m{"matchLabels": m{"app": "web"}}
	for i := range n {
		name := fmt.Sprint("x", i)
		put("v1", "Pod", name, m{"containers": []any{m{"name": "a", "image": "a", "ports": []any{m{"name": "http", "containerPort": 80}}}}, "volumes": []any{m{"name": "h", "hostPath": m{"path": "/srv"}}, m{"name": "p", "persistentVolumeClaim": m{"claimName": "one"}}}})
		put("v1", "Service", name, m{"type": "NodePort", "selector": m{"app": "web"}, "ports": []any{m{"port": 80, "targetPort": "http"}}})
		put("v1", "Service", name+"-none", m{"selector": m{"app": "web", "n": name}, "ports": []any{m{"port": 80, "targetPort": "http"}}})
		put("networking.k8s.io/v1", "NetworkPolicy", name, m{"podSelector": all, "policyTypes": []any{"Ingress", "Egress"}, "ingress": []any{m{"from": []any{m{"podSelector": all}}}}})
		put("policy/v1", "PodDisruptionBudget", name, m{"selector": all})
		put("gateway.networking.k8s.io/v1", "HTTPRoute", name, m{"parentRefs": []any{m{"name": "edge"}}, "rules": []any{m{"backendRefs": []any{m{"name": name, "port": 80}}}}})
		put("security.istio.io/v1", "AuthorizationPolicy", name, m{"selector": m{"matchLabels": m{"app": name}}, "rules": []any{m{"from": []any{m{"source": m{"requestPrincipals": []any{"*"}}}}}}})
	}
	snap := inventory.NewSnapshot(objects, inventory.Facts{}, nil, nil)
	b.ResetTimer()
	for b.Loop() {
		ix := graph.NewIndex(snap)
		ix.Now = now
		for _, c := range graph.Checks() {
			c.Judge(ix, func(*inventory.Object, control.Result) {})
		}
	}
	b.ReportMetric(float64(len(snap.Objects())), "objects")
}
