package content_test

import (
	"encoding/json"
	"testing"

	"bulwark.dev/bulwark/catalog"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/content"
	"bulwark.dev/bulwark/internal/posture/control"
)

// BenchmarkJudge runs all controls of the catalog over a pod of two containers that
// passes most of them.
func BenchmarkJudge(b *testing.B) {
	controls, err := content.Load(catalog.Controls())
	if err != nil {
		b.Log(err)
	}
	text, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "cart", "namespace": "shop", "labels": map[string]any{"app": "cart"}},
		"spec": map[string]any{
			"serviceAccountName": "cart", "automountServiceAccountToken": false,
			"securityContext": map[string]any{"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": map[string]any{"type": "RuntimeDefault"}},
			"containers":      []any{container("app"), container("proxy")},
			"volumes":         []any{map[string]any{"name": "config", "configMap": map[string]any{"name": "cart"}}, map[string]any{"name": "tmp", "emptyDir": map[string]any{}}},
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	o, err := inventory.New(text, nil)
	if err != nil {
		b.Fatal(err)
	}
	s, err := control.NewSubject(o)
	if err != nil {
		b.Fatal(err)
	}
	var all []*content.Control
	for _, c := range controls {
		if c.Applies(s) {
			c.Judge(s)
			all = append(all, c)
		}
	}
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := control.NewSubject(o); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("applies", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, c := range controls {
				c.Applies(s)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(controls)), "ns/control")
	})
	b.Run("judge", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, c := range all {
				c.Judge(s)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(all)), "ns/control")
	})
	for _, c := range all {
		b.Run("one/"+c.ID, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.Judge(s)
			}
		})
	}
}

func container(name string) map[string]any {
	return map[string]any{
		"name": name, "image": "registry.shop.example/cart/" + name + ":v1.2.3@sha256:4a1c4b21597c1b4415bdbecb28a3296c6b5e23ca4f9feeb599860a1dac6a0108",
		"command":        []any{"/bin/" + name, "--listen=:8080"},
		"ports":          []any{map[string]any{"name": "http", "containerPort": 8080}},
		"env":            []any{map[string]any{"name": "LEVEL", "value": "info"}, map[string]any{"name": "TOKEN", "valueFrom": map[string]any{"secretKeyRef": map[string]any{"name": "cart", "key": "token"}}}},
		"resources":      map[string]any{"limits": map[string]any{"cpu": "500m", "memory": "256Mi"}, "requests": map[string]any{"cpu": "100m", "memory": "256Mi"}},
		"livenessProbe":  map[string]any{"httpGet": map[string]any{"path": "/healthz", "port": 8080}},
		"readinessProbe": map[string]any{"httpGet": map[string]any{"path": "/readyz", "port": 8080}},
		"securityContext": map[string]any{
			"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": map[string]any{"drop": []any{"ALL"}},
		},
		"volumeMounts": []any{map[string]any{"name": "config", "mountPath": "/etc/cart"}, map[string]any{"name": "tmp", "mountPath": "/tmp"}},
	}
}
