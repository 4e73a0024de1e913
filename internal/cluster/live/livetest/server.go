// Package livetest is an API server for tests of whoever watches one: it lists
// and watches over real HTTP, from memory, and misbehaves when told to. It
// checks and defaults nothing.
package livetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"

	"bulwark.dev/bulwark/internal/cluster"
)

// Server is an API server. It has every kind that package cluster reads, in the
// newest version, and no objects. Its methods may be called at any time.
type Server struct {
	tb      testing.TB
	address string

	mu      sync.Mutex
	http    *httptest.Server // nil while stopped
	objects map[string]map[string]map[string]any
	log     []event
	version int // resource version of the last change
	oldest  int // resource version of the oldest change that is remembered
	// moved is closed at the next change, cut when all watches must end.
	moved, cut chan struct{}
	streaming  bool
	page       int
	answers    map[string]int
	gates      map[string]chan struct{}
	served     map[string][]string
	requests   map[string]int
	accepted   map[string]string
}

// event is one change, as a watch tells it.
type event struct {
	version        int
	resource, kind string
	object         map[string]any
}

// Start starts a server, which ends with the test.
func Start(tb testing.TB) *Server {
	tb.Helper()
	s := &Server{
		tb: tb, objects: map[string]map[string]map[string]any{}, version: 1, oldest: 1,
		moved: make(chan struct{}), cut: make(chan struct{}),
		answers: map[string]int{}, gates: map[string]chan struct{}{}, served: map[string][]string{},
		requests: map[string]int{}, accepted: map[string]string{},
	}
	for _, k := range cluster.Kinds() {
		s.objects[k.Resource] = map[string]map[string]any{}
		s.served[k.Resource] = k.Versions[:1]
	}
	s.Resume()
	tb.Cleanup(s.Stop)
	return s
}

// Config gives the connection to the server.
func (s *Server) Config() *rest.Config { return &rest.Config{Host: "http://" + s.address} }

// Stop ends all connections and accepts no more. Objects stay.
func (s *Server) Stop() {
	s.mu.Lock()
	running := s.http
	s.http = nil
	s.mu.Unlock()
	if running == nil {
		return
	}
	s.Cut()
	running.CloseClientConnections()
	running.Close()
}

// Resume starts a server that was stopped, at the same address.
func (s *Server) Resume() {
	s.tb.Helper()
	address := s.address
	if address == "" {
		address = "127.0.0.1:0"
	}
	l, err := new(net.ListenConfig).Listen(s.tb.Context(), "tcp", address)
	if err != nil {
		s.tb.Fatal(err)
	}
	s.address = l.Addr().String()
	h := httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	_ = h.Listener.Close() // of the address that is not used
	h.Listener = l
	h.Start()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.http = h
}

// Cut ends all watches.
func (s *Server) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.cut)
	s.cut = make(chan struct{})
}

// Forget forgets the history: watches from an older version than the current
// one, and pages of a list that was begun before, answer 410.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	s.oldest, s.log = s.version, nil
}

// Stream sets whether a watch may begin with the objects there are
// (sendInitialEvents), as in servers since 1.32.
func (s *Server) Stream(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streaming = on
}

// Page makes lists that ask for pages get at most n objects in each; 0 gives
// as many as are asked for.
func (s *Server) Page(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.page = n
}

// Answer makes requests with a verb, "list" or "watch", for a resource fail with
// an HTTP status; 0 ends that.
func (s *Server) Answer(verb, resource string, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[verb+" "+resource] = status
}

// Hold makes lists of a resource wait until release is called.
func (s *Server) Hold(resource string) (release func()) {
	gate := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gates[resource] = gate
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.gates, resource)
		close(gate)
	})
}

// Serve sets the versions in which the server has a resource. None: no CRD.
func (s *Server) Serve(resource string, versions ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.served[resource] = versions
}

// Requests counts the requests with a verb for a resource so far.
func (s *Server) Requests(verb, resource string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[verb+" "+resource]
}

// Accepted gives the Accept header of the last request for a resource.
func (s *Server) Accepted(resource string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted[resource]
}

// Apply creates or replaces an object: anything whose JSON is one. It gives it
// what a server gives: UID, resource version, generation, managed fields, and a
// time of creation if it has none.
// What it says about its status is kept.
func (s *Server) Apply(obj any) {
	s.tb.Helper()
	o := s.toMap(obj)
	resource, key := s.place(o)
	meta := metaOf(o)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	kind, generation := "ADDED", 1
	if old := s.objects[resource][key]; old != nil {
		kind, generation = "MODIFIED", toInt(metaOf(old)["generation"])
		if !reflect.DeepEqual(old["spec"], o["spec"]) {
			generation++
		}
	}
	meta["uid"] = resource + "/" + key
	meta["resourceVersion"] = strconv.Itoa(s.version)
	if meta["creationTimestamp"] == nil {
		meta["creationTimestamp"] = "2026-01-01T00:00:00Z"
	}
	meta["generation"] = float64(generation)
	meta["managedFields"] = []any{map[string]any{"manager": "livetest", "operation": "Apply", "apiVersion": o["apiVersion"], "fieldsType": "FieldsV1"}}
	s.objects[resource][key] = o
	s.tell(kind, resource, o)
}

// Delete removes an object. One that does not exist fails the test.
func (s *Server) Delete(kind, namespace, name string) {
	s.tb.Helper()
	o := map[string]any{"kind": kind, "metadata": map[string]any{"namespace": namespace, "name": name}}
	resource, key := s.place(o)
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.objects[resource][key]
	if old == nil {
		s.tb.Fatalf("no %s %s", kind, key)
	}
	s.version++
	gone := maps.Clone(old)
	meta := maps.Clone(metaOf(old))
	meta["resourceVersion"] = strconv.Itoa(s.version)
	gone["metadata"] = meta
	delete(s.objects[resource], key)
	s.tell("DELETED", resource, gone)
}

func (s *Server) tell(kind, resource string, o map[string]any) {
	s.log = append(s.log, event{s.version, resource, kind, o})
	close(s.moved)
	s.moved = make(chan struct{})
}

func (s *Server) toMap(obj any) map[string]any {
	s.tb.Helper()
	text, err := json.Marshal(obj)
	if err != nil {
		s.tb.Fatal(err)
	}
	var o map[string]any
	if err := json.Unmarshal(text, &o); err != nil {
		s.tb.Fatal(err)
	}
	return o
}

// place gives where an object belongs.
func (s *Server) place(o map[string]any) (resource, key string) {
	s.tb.Helper()
	meta := metaOf(o)
	namespace, _ := meta["namespace"].(string)
	name, _ := meta["name"].(string)
	for _, k := range cluster.Kinds() {
		if k.Name != o["kind"] {
			continue
		}
		if k.Namespaced != (namespace != "") || name == "" {
			s.tb.Fatalf("%s %q in namespace %q has no place", k.Name, name, namespace)
		}
		return k.Resource, strings.TrimPrefix(namespace+"/"+name, "/")
	}
	s.tb.Fatalf("kind %v is none that the server has", o["kind"])
	return "", ""
}

// sorted gives the objects of a resource that a field selector picks.
func (s *Server) sorted(resource string, pick func(map[string]any) bool) []map[string]any {
	var out []map[string]any
	for _, key := range slices.Sorted(maps.Keys(s.objects[resource])) {
		if o := s.objects[resource][key]; pick(o) {
			out = append(out, o)
		}
	}
	return out
}

func metaOf(o map[string]any) map[string]any {
	m, ok := o["metadata"].(map[string]any)
	if !ok {
		m = map[string]any{}
		o["metadata"] = m
	}
	return m
}

func toInt(v any) int {
	f, _ := v.(float64)
	return int(f)
}

func status(code int, reason, message string) map[string]any {
	return map[string]any{
		"apiVersion": "v1", "kind": "Status", "metadata": map[string]any{}, "status": "Failure",
		"code": code, "reason": reason, "message": fmt.Sprintf("%s (livetest)", message),
	}
}
