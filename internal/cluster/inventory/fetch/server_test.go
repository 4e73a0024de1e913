package fetch

import (
	"context"
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
	"time"

	"k8s.io/client-go/rest"

	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// server is an API server that does as it is told.
type server struct {
	*httptest.Server

	mu      sync.Mutex
	version string
	// lists are the objects by address, hostile what answers in their place.
	lists   map[string][]string
	hostile map[string]http.HandlerFunc
	groups  []string // "apps/v1=deployments:Deployment:true"
	asked   []string
	waited  []time.Duration
}

func object(kind, namespace, name, more string) string {
	ns := ""
	if namespace != "" {
		ns = fmt.Sprintf(`"namespace":%q,`, namespace)
	}
	return fmt.Sprintf(`{"metadata":{%s"name":%q,"uid":"%s/%s/%s","managedFields":[{"manager":"kubectl"}]}%s}`, ns, name, kind, namespace, name, more)
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{
		version: "v1.36.3",
		groups: []string{
			"v1=pods:Pod:true,secrets:Secret:true,configmaps:ConfigMap:true,events:Event:true,namespaces:Namespace:false,nodes:Node:false,pods/status:Pod:true,bindings:Binding:true:create",
			"apps/v1=deployments:Deployment:true",
			"metrics.k8s.io/v1beta1=pods:PodMetrics:true",
		},
		lists: map[string][]string{
			"/api/v1/namespaces":        {object("Namespace", "", "shop", ""), object("Namespace", "", "bank", "")},
			"/api/v1/nodes":             {object("Node", "", "one", `,"status":{"conditions":[{"type":"Ready","status":"True"}]}`)},
			"/api/v1/pods":              {object("Pod", "shop", "a", ""), object("Pod", "shop", "b", ""), object("Pod", "bank", "c", ""), object("Pod", "bank", "d", ""), object("Pod", "bank", "e", "")},
			"/api/v1/configmaps":        nil,
			"/api/v1/events":            {object("Event", "shop", "left-out", "")},
			"/api/v1/secrets":           {object("Secret", "shop", "key", `,"type":"Opaque","data":{"a":"czNjcjN0LXZhbHVl","none":""}`)},
			"/apis/apps/v1/deployments": {object("Deployment", "shop", "web", "")},
		},
		hostile: map[string]http.HandlerFunc{
			"/api/v1/nodes/one/proxy/configz": answer(http.StatusOK, `{"kubeletconfig":{"kind":"KubeletConfiguration","authentication":{"anonymous":{"enabled":false}},"staticPodURLHeader":{"Authorization":["hunter2"]}}}`),
		},
	}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func answer(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	}
}

func refusal(code int, message string) http.HandlerFunc {
	text, err := json.Marshal(map[string]any{"kind": "Status", "apiVersion": "v1", "code": code, "message": message})
	if err != nil {
		panic(err)
	}
	return answer(code, string(text))
}

// then answers by each handler once, and by the last for ever.
func then(handlers ...http.HandlerFunc) http.HandlerFunc {
	var mu sync.Mutex
	n := 0
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		h := handlers[min(n, len(handlers)-1)]
		n++
		mu.Unlock()
		h(w, r)
	}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, r.Method+" "+r.URL.RequestURI())
	h := s.hostile[r.URL.Path]
	s.mu.Unlock()
	if h != nil {
		h(w, r)
		return
	}
	s.honest(w, r)
}

func (s *server) honest(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	switch path {
	case "/version":
		_, _ = fmt.Fprintf(w, `{"gitVersion":%q}`, s.version)
		return
	case "/api":
		_, _ = w.Write([]byte(`{"kind":"APIVersions","versions":["v1"]}`))
		return
	case "/apis":
		s.groupList(w)
		return
	}
	for _, g := range s.groups {
		gv, resources, _ := strings.Cut(g, "=")
		if path == "/apis/"+gv || path == "/api/"+gv {
			resourceList(w, gv, resources)
			return
		}
	}
	items, ok := s.lists[path]
	if !ok {
		refusal(http.StatusNotFound, "not found")(w, r)
		return
	}
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	from, _ := strconv.Atoi(r.URL.Query().Get("continue"))
	to, next := min(from+limit, len(items)), ""
	if to < len(items) {
		next = strconv.Itoa(to)
	}
	_, _ = fmt.Fprintf(w, `{"kind":"AnyList","apiVersion":"v1","metadata":{"resourceVersion":"7","continue":%q},"items":[%s]}`, next, strings.Join(items[from:to], ","))
}

func (s *server) groupList(w http.ResponseWriter) {
	type version struct {
		GroupVersion string `json:"groupVersion"`
		Version      string `json:"version"`
	}
	type group struct {
		Name      string    `json:"name"`
		Versions  []version `json:"versions"`
		Preferred version   `json:"preferredVersion"`
	}
	byName := map[string]*group{}
	for _, g := range s.groups {
		gv, _, _ := strings.Cut(g, "=")
		name, v, ok := strings.Cut(gv, "/")
		if !ok {
			continue
		}
		if byName[name] == nil {
			byName[name] = &group{Name: name, Preferred: version{gv, v}}
		}
		byName[name].Versions = append(byName[name].Versions, version{gv, v})
	}
	var out []*group
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		out = append(out, byName[name])
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"kind": "APIGroupList", "groups": out})
}

func resourceList(w http.ResponseWriter, gv, resources string) {
	var out []map[string]any
	for r := range strings.SplitSeq(resources, ",") {
		f := strings.Split(r, ":")
		verbs := []string{"list", "get"}
		if len(f) > 3 {
			verbs = []string{f[3]}
		}
		out = append(out, map[string]any{"name": f[0], "kind": f[1], "namespaced": f[2] == "true", "verbs": verbs})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"kind": "APIResourceList", "groupVersion": gv, "resources": out})
}

// options are those of the tests: pages of two, and no time passes.
func (s *server) options() Options {
	return Options{PageSize: 2, Workers: 2, Wait: func(ctx context.Context, d time.Duration) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.waited = append(s.waited, d)
		return ctx.Err()
	}}
}

func (s *server) config() *rest.Config { return &rest.Config{Host: s.URL, BearerToken: "tok3n"} }

func (s *server) snapshot(t *testing.T, opt Options) *inventory.Snapshot {
	t.Helper()
	snap, err := Snapshot(t.Context(), s.config(), opt)
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

// names gives what a snapshot holds, as "Kind namespace/name".
func names(s *inventory.Snapshot) []string {
	out := []string{}
	for _, o := range s.Objects() {
		out = append(out, o.String())
	}
	return out
}

func reasons(s *inventory.Snapshot) []string {
	out := []string{}
	for _, u := range s.Unreadable {
		out = append(out, strings.TrimSpace(u.Group+" "+u.Kind+" "+u.Namespace+strings.Join(u.Except, "!"))+": "+u.Reason)
	}
	return out
}
