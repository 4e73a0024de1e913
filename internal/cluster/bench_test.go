package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// writeShop writes n routes, each with a Service and an EndpointSlice, into a
// folder of files with some routes each.
func writeShop(tb testing.TB, n int) string {
	tb.Helper()
	dir := tb.TempDir()
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: route-%[1]d, namespace: shop}
spec:
  parentRefs:
  - name: shop
  hostnames: [r%[1]d.shop.example]
  rules:
  - matches:
    - path: {type: PathPrefix, value: /orders}
      headers:
      - {name: X-Version, value: "1"}
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {set: [{name: X-Shop, value: shop}]}
    backendRefs:
    - {name: svc-%[1]d, port: 80}
---
apiVersion: v1
kind: Service
metadata: {name: svc-%[1]d, namespace: shop}
spec:
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: svc-%[1]d
  namespace: shop
  labels: {kubernetes.io/service-name: svc-%[1]d}
addressType: IPv4
endpoints:
- addresses: [127.0.0.1]
ports: [{name: http, port: 8080}]
`, i)
		if (i+1)%100 == 0 || i == n-1 {
			write(tb, filepath.Join(dir, fmt.Sprintf("shop-%d.yaml", i)), b.String())
			b.Reset()
		}
	}
	return dir
}

func write(tb testing.TB, file, text string) {
	tb.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// mustLoad fails the test for any problem.
func mustLoad(tb testing.TB, paths ...string) *Snapshot {
	tb.Helper()
	s, err := LoadFiles(paths)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// problemsOf gives the problems of a load that must fail.
func problemsOf(tb testing.TB, err error) []Problem {
	tb.Helper()
	var e *LoadError
	if !errors.As(err, &e) {
		tb.Fatalf("error %v is a %T, want a *LoadError", err, err)
	}
	return e.Problems
}

func BenchmarkLoad5000(b *testing.B) {
	dir := writeShop(b, 5000)
	b.ReportAllocs()
	for b.Loop() {
		if s := mustLoad(b, dir); len(s.HTTPRoutes) != 5000 {
			b.Fatalf("%d routes", len(s.HTTPRoutes))
		}
	}
}

// BenchmarkReload5000 changes one of 5,000 routes each time.
func BenchmarkReload5000(b *testing.B) {
	dir := writeShop(b, 5000)
	var l loader
	if _, err := l.load([]string{dir}); err != nil {
		b.Fatal(err)
	}
	i := 0
	for b.Loop() {
		i++
		write(b, filepath.Join(dir, "extra.yaml"), fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: n%d}\n", i))
		if _, err := l.load([]string{dir}); err != nil {
			b.Fatal(err)
		}
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "heapMB")
	runtime.KeepAlive(&l)
}

// BenchmarkStore changes one of 5,000 routes and makes the next Snapshot.
func BenchmarkStore(b *testing.B) {
	s := NewStore()
	const n = 5000
	routes := make([]Object, 0, n)
	for i := range n {
		routes = append(routes, route("shop", fmt.Sprintf("r%05d", i), "1"))
	}
	if err := s.Replace("HTTPRoute", routes); err != nil {
		b.Fatal(err)
	}
	s.Snapshot()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := s.Put(route("shop", fmt.Sprintf("r%05d", i%n), fmt.Sprint(i+2))); err != nil {
			b.Fatal(err)
		}
		if got := s.Snapshot().Len(); got != n {
			b.Fatalf("%d routes", got)
		}
	}
}
