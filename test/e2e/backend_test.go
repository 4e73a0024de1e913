package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// asked counts the requests whose answers were compared, so that a run which
// asked nothing cannot pass.
var asked atomic.Int64

// seen is a request as the backend got it.
type seen struct {
	Method, Path, Query, Host, Body string
	Header                          http.Header
}

// backend is a server of the test's own on the node: pods reach it as they do
// any other endpoint.
type backend struct {
	port int
	hits atomic.Int64
	// held counts who is inside of a path that ends in /hold, until release is
	// closed.
	held    atomic.Int64
	release chan struct{}
}

func newBackend(t *testing.T) *backend {
	t.Helper()
	ln, err := net.Listen("tcp", node+":0")
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{port: ln.Addr().(*net.TCPAddr).Port, release: make(chan struct{})}
	srv := &http.Server{Handler: b}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ln)
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return b
}

// ServeHTTP answers with what it was asked.
func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.hits.Add(1)
	body, _ := io.ReadAll(r.Body)
	if strings.HasSuffix(r.URL.Path, "/hold") {
		b.held.Add(1)
		defer b.held.Add(-1)
		select {
		case <-b.release:
		case <-r.Context().Done():
		}
	}
	w.Header().Set("X-Echo", "1")
	w.Header().Set("X-Internal", "not for callers")
	_ = json.NewEncoder(w).Encode(seen{
		Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Host: r.Host, Body: string(body), Header: r.Header,
	})
}

// service is a Service "echo" of a namespace whose endpoint is the backend.
func (b *backend) service(namespace string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: %[1]s}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: echo-1, namespace: %[1]s, labels: {kubernetes.io/service-name: echo}}
addressType: IPv4
ports: [{name: http, port: %[2]d, protocol: TCP}]
endpoints: [{addresses: [%[3]s], conditions: {ready: true}}]
---
`, namespace, b.port, node)
}

// route is an HTTPRoute of a Gateway for a path prefix to the backend, and a
// SecurityPolicy on it of the same name. An empty policy leaves it bare.
func route(namespace, gateway, name, policy string) string {
	out := fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %[2]s, namespace: %[1]s}
spec:
  parentRefs: [{name: %[3]s}]
  rules:
  - {matches: [{path: {type: PathPrefix, value: /%[2]s}}], backendRefs: [{name: echo, port: 80}]}
---
`, namespace, name, gateway)
	if policy == "" {
		return out
	}
	return out + securityPolicy(namespace, name, "HTTPRoute", name, policy)
}

func securityPolicy(namespace, name, kind, target, spec string) string {
	return fmt.Sprintf(`apiVersion: bulwark.dev/v1alpha1
kind: SecurityPolicy
metadata: {name: %s, namespace: %s}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: %s, name: %s}]
  %s
---
`, name, namespace, kind, target, strings.ReplaceAll(strings.TrimSpace(spec), "\n", "\n  "))
}

// What policies of the tests are made of.
const (
	anyone  = "authentication: {anyOf: [{anonymous: {}}]}\n"
	allowed = "authorization: {rules: [{name: all, allow: true, when: 'true'}]}\n"
	open    = anyone + allowed
)
