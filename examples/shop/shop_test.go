package shop_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark/api/v1alpha1"
	"bulwark.dev/bulwark/examples/shop"
)

func clock() time.Time { return time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC) }

func serve(t *testing.T) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(shop.NewAPI(clock))
	t.Cleanup(srv.Close)
	return srv
}

func call(t *testing.T, srv *httptest.Server, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-User", "walt")
	req.Header.Set("X-Forwarded-For", "192.0.2.7")
	req.Header.Set("Authorization", "Bearer hush")
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(got))
}

func TestAPI(t *testing.T) {
	t.Parallel()
	srv := serve(t)
	// In order: later steps see what earlier ones did.
	steps := []struct {
		method, path, body string
		status             int
		want               string // part of the answer
	}{
		{"GET", "/healthz", "", 200, `{"status":"ok"}`},
		{"GET", "/orders", "", 200, `{"id":"o1","productId":"p1","quantity":1,"totalCents":4900,"placedBy":"rita","placedAt":"2026-02-28T09:00:00Z"}`},
		{"GET", "/orders/o2", "", 200, `"placedBy":"walt"`},
		{"GET", "/orders/o9", "", 404, `{"error":"there is no such entry"}`},
		{"POST", "/orders", `{"productId":"p3","quantity":2}`, 201, `{"id":"o1001","productId":"p3","quantity":2,"totalCents":16400,"placedBy":"walt","placedAt":"2026-03-02T09:00:00Z"}`},
		{"POST", "/orders", `{"productId":"p9","quantity":2}`, 422, `there is no product`},
		{"POST", "/orders", `{"productId":"p3","quantity":0}`, 422, `quantity is 0`},
		{"POST", "/orders", `{"productId":"p3","quantity":1001}`, 422, `quantity is 1001`},
		{"POST", "/orders", `{"productId":"p3","placedBy":"ada"}`, 400, `not the JSON`},
		{"POST", "/orders", `{"productId":"p3","quantity":1} {}`, 400, `more than one`},
		{"POST", "/orders", `{"productId":"` + strings.Repeat("x", 64<<10) + `"}`, 413, `too large`},
		{"PUT", "/orders/o1001", `{"productId":"p2","quantity":3}`, 200, `"totalCents":1950`},
		{"PUT", "/orders/o1001", `{"productId":"p2","quantity":-3}`, 422, `quantity is -3`},
		{"PUT", "/orders/o9", `{"productId":"p2","quantity":3}`, 404, ``},
		{"GET", "/reports", "", 200, `{"productId":"p2","orders":2,"quantity":7,"totalCents":4550}`},
		{"DELETE", "/orders/o1001", "", 204, ``},
		{"DELETE", "/orders/o1001", "", 404, ``},
		{"PATCH", "/orders/o1", "", 405, ``},
		{"GET", "/products/p2", "", 200, `{"id":"p2","name":"Notebook, squared","priceCents":650}`},
		{"POST", "/products", `{"name":"Eraser","priceCents":120}`, 201, `{"id":"p1002","name":"Eraser","priceCents":120}`},
		{"POST", "/products", `{"name":"","priceCents":120}`, 422, `needs a name`},
		{"GET", "/products", "", 200, `Eraser`},
		{"GET", "/users", "", 200, `"email":"ada@shop.example"`},
		{"GET", "/users/rita", "", 200, `Rita Reader`},
		{"GET", "/admin/stats", "", 200, `{"orders":3,"products":5,"users":3,"reindexed":0}`},
		{"POST", "/admin/reindex", "", 202, `"reindexed":1`},
		{"GET", "/admin/reindex", "", 405, ``},
		{"GET", "/whoami", "", 200, `{"headers":{"authorization":"(present)","x-forwarded-for":"192.0.2.7","x-user":"walt"},"user":"walt"}`},
		{"GET", "/elsewhere", "", 404, ``},
	}
	for _, s := range steps {
		status, body := call(t, srv, s.method, s.path, s.body)
		if status != s.status || !strings.Contains(body, s.want) {
			t.Errorf("%s %s %.60s: got %d %s, want %d with %s", s.method, s.path, s.body, status, body, s.status, s.want)
		}
	}
}

func TestProductEvents(t *testing.T) {
	t.Parallel()
	srv := serve(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/products/events", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("content type %q", got)
	}
	lines := bufio.NewScanner(resp.Body)
	var got []string
	for lines.Scan() {
		got = append(got, lines.Text())
		if len(got) == 3 { // the stream is open: an event from here on must come
			if status, body := call(t, srv, http.MethodPost, "/products", `{"name":"Eraser","priceCents":120}`); status != http.StatusCreated {
				t.Fatalf("add product: %d %s", status, body)
			}
		}
		if len(got) == 7 {
			break
		}
	}
	want := []string{"event: ready", "data: {}", "", "event: product", "id: p1001", `data: {"id":"p1001","name":"Eraser","priceCents":120}`, ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stream (-want +got):\n%s", diff)
	}
}

// documents gives each YAML document with the file that holds it.
func documents(t *testing.T) map[string][]string {
	t.Helper()
	names, err := fs.Glob(shop.Files, "*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	docs := map[string][]string{}
	for _, name := range names {
		body, err := fs.ReadFile(shop.Files, name)
		if err != nil {
			t.Fatal(err)
		}
		docs[name] = strings.Split(string(body), "\n---\n")
	}
	return docs
}

// TestManifests decodes every document strictly into its type.
func TestManifests(t *testing.T) {
	t.Parallel()
	kinds := map[string]func() any{
		"gateway.networking.k8s.io/v1, GatewayClass": func() any { return &gwv1.GatewayClass{} },
		"gateway.networking.k8s.io/v1, Gateway":      func() any { return &gwv1.Gateway{} },
		"gateway.networking.k8s.io/v1, HTTPRoute":    func() any { return &gwv1.HTTPRoute{} },
		"v1, Service":                          func() any { return &corev1.Service{} },
		"v1, Secret":                           func() any { return &corev1.Secret{} },
		"discovery.k8s.io/v1, EndpointSlice":   func() any { return &discoveryv1.EndpointSlice{} },
		"bulwark.dev/v1alpha1, SecurityPolicy": func() any { return &v1alpha1.SecurityPolicy{} },
	}
	counts := map[string]int{}
	routes, targets := map[string]bool{}, map[string]bool{}
	for name, docs := range documents(t) {
		for i, doc := range docs {
			var head struct {
				APIVersion string `json:"apiVersion"`
				Kind       string `json:"kind"`
			}
			if err := yaml.Unmarshal([]byte(doc), &head); err != nil {
				t.Fatalf("%s, document %d: %v", name, i, err)
			}
			kind := head.APIVersion + ", " + head.Kind
			newObject, known := kinds[kind]
			if !known {
				t.Fatalf("%s, document %d: kind %s is not expected", name, i, kind)
			}
			object := newObject()
			if err := yaml.UnmarshalStrict([]byte(doc), object); err != nil {
				t.Errorf("%s, document %d: %v", name, i, err)
			}
			counts[head.Kind]++
			switch o := object.(type) {
			case *gwv1.HTTPRoute:
				routes[o.Name] = true
			case *v1alpha1.SecurityPolicy:
				for _, ref := range o.Spec.TargetRefs {
					targets[string(ref.Kind)+"/"+string(ref.Name)] = true
				}
			}
		}
	}
	want := map[string]int{"GatewayClass": 1, "Gateway": 1, "HTTPRoute": 6, "Service": 1, "EndpointSlice": 1, "SecurityPolicy": 6, "Secret": 1}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	if !targets["Gateway/edge"] {
		t.Error("no policy is the Gateway's default")
	}
	for target := range targets {
		if name, isRoute := strings.CutPrefix(target, "HTTPRoute/"); isRoute && !routes[name] {
			t.Errorf("a policy names route %s, which does not exist", name)
		}
	}
}

// TestAPIKeyHash keeps the key that the README names and the hash that the
// Secret holds together, and the key itself out of the Secret's fields.
func TestAPIKeyHash(t *testing.T) {
	t.Parallel()
	const key = "shop-demo-key-please-change"
	var secret corev1.Secret
	if err := yaml.UnmarshalStrict([]byte(documents(t)["50-api-keys.yaml"][0]), &secret); err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(secret.StringData["hash"], ":")
	if len(parts) != 3 || parts[0] != "sha256" {
		t.Fatalf("hash has the form %q", secret.StringData["hash"])
	}
	salt, err := hex.DecodeString(parts[1])
	if err != nil || len(salt) < 16 {
		t.Fatalf("salt %q: %v", parts[1], err)
	}
	sum := sha256.Sum256(slices.Concat(salt, []byte(key)))
	if got := hex.EncodeToString(sum[:]); got != parts[2] {
		t.Errorf("hash of the example key is %s, the Secret says %s", got, parts[2])
	}
	values, err := json.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(values, []byte(key)) {
		t.Error("the Secret holds the key itself")
	}
}

// TestEveryRouteIsServed calls each route's path on the API: a route to nothing
// would show only as a 404 behind the gateway.
func TestEveryRouteIsServed(t *testing.T) {
	t.Parallel()
	srv := serve(t)
	ran := 0
	for _, doc := range documents(t)["30-routes.yaml"] {
		var route gwv1.HTTPRoute
		if err := yaml.UnmarshalStrict([]byte(doc), &route); err != nil {
			t.Fatal(err)
		}
		for _, rule := range route.Spec.Rules {
			path := *rule.Matches[0].Path.Value
			if path == "/admin" {
				path = "/admin/stats"
			}
			if status, body := call(t, srv, http.MethodGet, path, ""); status != http.StatusOK {
				t.Errorf("route %s: GET %s gives %d %s", route.Name, path, status, body)
			}
			ran++
		}
	}
	if ran < 6 {
		t.Error(fmt.Errorf("only %d routes were tried", ran))
	}
}
