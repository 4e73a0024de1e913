// Package apitest is a small API server for tests: it stores objects as JSON by
// their path, and checks resourceVersions, names and UIDs as the real one does.
// It knows no schema, no defaults and no permissions; a test adds failures and
// delays where it wants them.
package apitest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// maxBody is the size of a request, in bytes; as the real server's.
const maxBody = 3 << 20

// Request is a request that was answered.
type Request struct {
	Method, Path string
	Code         int
	Body         []byte
}

// Server is an API server. Its methods may be used by several goroutines.
type Server struct {
	// Intercept, where set, sees every request before it is served. An answer
	// other than 0 is sent as the failure of that code. It may wait.
	Intercept func(*http.Request) int
	// Stored, where set, may change what is about to be stored, as admission and
	// defaults would.
	Stored func(path string, object map[string]any)

	http     *httptest.Server
	mu       sync.Mutex
	version  int
	objects  map[string]map[string]any
	requests []Request
}

// New starts a server that ends with the test. Intercept and Stored may be set
// before the first request.
func New(t *testing.T) *Server {
	t.Helper()
	s := &Server{objects: map[string]map[string]any{}}
	s.http = httptest.NewServer(s)
	t.Cleanup(s.http.Close)
	return s
}

// REST is how the server is reached: with JSON, since it reads nothing else.
func (s *Server) REST() *rest.Config {
	return &rest.Config{Host: s.http.URL, ContentConfig: rest.ContentConfig{
		AcceptContentTypes: "application/json", ContentType: "application/json",
	}}
}

// Put stores an object, given as anything that JSON can hold, at a path such as
// "/api/v1/namespaces/shop/services/public", in place of what was there. A new
// UID is given unless the object has one. It returns the object's
// resourceVersion.
func (s *Server) Put(t *testing.T, path string, object any) string {
	t.Helper()
	raw, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	var o map[string]any
	if err := json.Unmarshal(raw, &o); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store(path, o)
}

// Get reads an object into out, and reports whether there is one.
func (s *Server) Get(t *testing.T, path string, out any) bool {
	t.Helper()
	s.mu.Lock()
	o, ok := s.objects[path]
	raw, err := json.Marshal(o)
	s.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return false
	}
	if err := json.Unmarshal(raw, out); err != nil {
		t.Fatal(err)
	}
	return true
}

// Remove deletes the object at a path.
func (s *Server) Remove(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, path)
}

// Paths lists the paths of all objects below a prefix, sorted.
func (s *Server) Paths(prefix string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, p := range slices.Sorted(maps.Keys(s.objects)) {
		if strings.HasPrefix(p, prefix) {
			out = append(out, p)
		}
	}
	return out
}

// Requests lists what was answered so far, and forgets it.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.requests
	s.requests = nil
	return out
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := make([]byte, 0, 512)
	if r.Body != nil {
		var err error
		if body, err = readAll(w, r); err != nil {
			s.answer(w, r, body, http.StatusRequestEntityTooLarge, err.Error(), nil)
			return
		}
	}
	if s.Intercept != nil {
		if code := s.Intercept(r); code != 0 {
			s.answer(w, r, body, code, "intercepted", nil)
			return
		}
	}
	s.mu.Lock()
	code, text, object := s.serve(r, body)
	var raw []byte
	if object != nil {
		raw, _ = json.Marshal(object) // it came from JSON
	}
	s.mu.Unlock()
	s.answer(w, r, body, code, text, raw)
}

// serve does what a request asks for.
func (s *Server) serve(r *http.Request, body []byte) (code int, text string, object map[string]any) {
	path, status := strings.CutSuffix(r.URL.Path, "/status")
	var sent map[string]any
	if len(body) > 0 {
		if err := json.Unmarshal(body, &sent); err != nil {
			return http.StatusBadRequest, err.Error(), nil
		}
	}
	if r.Method == http.MethodPost {
		name, _ := field(sent, "name").(string)
		path += "/" + name
		if name == "" {
			return http.StatusUnprocessableEntity, "no name", nil
		}
		if s.objects[path] != nil {
			return http.StatusConflict, "already exists", nil
		}
		delete(meta(sent), "uid")
		s.store(path, sent)
		return http.StatusCreated, "", s.objects[path]
	}
	have := s.objects[path]
	if have == nil {
		return http.StatusNotFound, "not found", nil
	}
	switch r.Method {
	case http.MethodGet:
		return http.StatusOK, "", have
	case http.MethodDelete:
		var o metav1.DeleteOptions
		if err := json.Unmarshal(body, &o); len(body) > 0 && err != nil {
			return http.StatusBadRequest, err.Error(), nil
		}
		if p := o.Preconditions; p != nil &&
			(p.UID != nil && string(*p.UID) != field(have, "uid") || p.ResourceVersion != nil && *p.ResourceVersion != field(have, "resourceVersion")) {
			return http.StatusConflict, "precondition failed", nil
		}
		delete(s.objects, path)
		return http.StatusOK, "", have
	case http.MethodPut, http.MethodPatch:
	default:
		return http.StatusMethodNotAllowed, r.Method, nil
	}
	next := sent
	if r.Method == http.MethodPatch {
		if r.Header.Get("Content-Type") != "application/merge-patch+json" {
			return http.StatusUnsupportedMediaType, "only merge patches", nil
		}
		next, _ = merge(have, sent).(map[string]any)
	}
	if v := field(sent, "resourceVersion"); v != nil && v != field(have, "resourceVersion") {
		return http.StatusConflict, "the object has been modified", nil
	}
	if status {
		only := maps.Clone(have)
		only["metadata"] = maps.Clone(meta(have))
		only["status"] = next["status"]
		next = only
	}
	meta(next)["uid"] = field(have, "uid")
	s.store(path, next)
	return http.StatusOK, "", s.objects[path]
}

// store puts an object in place, with the next resourceVersion.
func (s *Server) store(path string, o map[string]any) string {
	if s.Stored != nil {
		s.Stored(path, o)
	}
	s.version++
	version := strconv.Itoa(s.version)
	m := meta(o)
	m["resourceVersion"] = version
	if m["uid"] == nil || m["uid"] == "" {
		m["uid"] = "uid-" + version
	}
	s.objects[path] = o
	return version
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, body []byte, code int, text string, raw []byte) {
	s.mu.Lock()
	s.requests = append(s.requests, Request{r.Method, r.URL.Path, code, body})
	s.mu.Unlock()
	if raw == nil {
		reason := map[int]metav1.StatusReason{
			http.StatusConflict: metav1.StatusReasonConflict, http.StatusNotFound: metav1.StatusReasonNotFound,
			http.StatusForbidden: metav1.StatusReasonForbidden, http.StatusUnprocessableEntity: metav1.StatusReasonInvalid,
		}[code]
		if code == http.StatusConflict && r.Method == http.MethodPost {
			reason = metav1.StatusReasonAlreadyExists
		}
		raw, _ = json.Marshal(metav1.Status{ //nolint:errchkjson // a struct of texts
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
			Status:   metav1.StatusFailure, Reason: reason, Code: int32(code), //nolint:gosec // an HTTP status
			Message: fmt.Sprintf("%s %s: %s", r.Method, r.URL.Path, text),
		})
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(raw) // a client that went away is its own affair
}
