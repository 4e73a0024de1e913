package fetch

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"

	"bulwark.dev/bulwark/internal/cluster/inventory"
)

func everything() []string {
	return []string{
		"Deployment shop/web", "KubeletConfiguration one", "Namespace bank", "Namespace shop", "Node one",
		"Pod bank/c", "Pod bank/d", "Pod bank/e", "Pod shop/a", "Pod shop/b", "Secret shop/key",
	}
}

func without(list []string, prefix string) []string {
	out := []string{}
	for _, s := range list {
		if !strings.HasPrefix(s, prefix) {
			out = append(out, s)
		}
	}
	return out
}

func TestSnapshot(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	opt := s.options()
	var last Progress
	calls := 0
	opt.Progress = func(p Progress) { calls++; last = p }
	snap := s.snapshot(t, opt)
	if diff := cmp.Diff(everything(), names(snap)); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	if len(snap.Unreadable)+len(snap.Problems) > 0 {
		t.Errorf("missing: %v %v", reasons(snap), snap.Problems)
	}
	if diff := cmp.Diff(inventory.Facts{Live: true, Version: "v1.36.3"}, snap.Facts); diff != "" {
		t.Error(diff)
	}
	if calls != 6 || last.Done != 6 || last.Total != 6 {
		t.Errorf("%d calls of Progress, the last %+v; want 6 kinds", calls, last)
	}
	for _, a := range s.asked {
		if !strings.HasPrefix(a, "GET ") || strings.Contains(a, "events") || strings.Contains(a, "metrics.k8s.io/") {
			t.Errorf("it asked %s", a)
		}
	}
	for _, o := range snap.Objects() {
		if strings.Contains(string(o.Raw()), "managedFields") || strings.Contains(string(o.Raw()), "hunter2") {
			t.Errorf("%s has %s", o, o.Raw())
		}
	}
	if o := snap.Find("apps", "Deployment", "shop", "web"); o == nil || o.APIVersion != "apps/v1" || o.UID == "" {
		t.Errorf("Deployment is %+v", o)
	}
}

// A list that breaks is read again, or said to be missing; it is never short and
// silent.
func TestHostileLists(t *testing.T) {
	t.Parallel()
	const pods = "/api/v1/pods"
	item := object("Pod", "shop", "x", "")
	firstPage := answer(http.StatusOK, `{"kind":"PodList","metadata":{"continue":"2"},"items":[`+object("Pod", "shop", "a", "")+`,`+object("Pod", "shop", "b", "")+`]}`)
	truncated := answer(http.StatusOK, `{"kind":"PodList","metadata":{},"items":[`+item)
	aborted := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	endless := func(w http.ResponseWriter, r *http.Request) {
		at := r.URL.Query().Get("continue")
		_, _ = fmt.Fprintf(w, `{"kind":"PodList","metadata":{"continue":"%sx"},"items":[]}`, at)
	}
	deep := strings.Repeat("[", 20000)
	cases := map[string]struct {
		handler http.HandlerFunc
		want    string // in the reason; "" is a whole list
		pods    int    // that are there with a reason
	}{
		"forbidden":               {refusal(403, "no"), `no permission to list pods (RBAC verb list, resource pods, apiGroup "")`, 0},
		"forbidden midway":        {then(firstPage, refusal(403, "no")), "no permission to list pods", 2},
		"busy once":               {then(refusal(429, "slow"), nil), "", 0},
		"busy for ever":           {refusal(429, "slow down"), "429 Too Many Requests: slow down", 0},
		"error once":              {then(refusal(500, "etcd"), nil), "", 0},
		"errors midway":           {then(firstPage, refusal(500, "etcd"), refusal(502, ""), nil), "", 0},
		"error for ever midway":   {then(firstPage, refusal(500, "etcd is away")), "500 Internal Server Error: etcd is away", 2},
		"expired midway":          {then(firstPage, refusal(410, "expired"), nil), "", 0},
		"expired for ever":        {then(firstPage, refusal(410, "expired"), firstPage, refusal(410, "expired"), firstPage, refusal(410, "expired"), firstPage, refusal(410, "expired")), "410 Gone", 2},
		"connection lost":         {then(aborted, nil), "", 0},
		"connection lost midway":  {then(firstPage, aborted, aborted, nil), "", 0},
		"connection always lost":  {aborted, "EOF", 0},
		"truncated once":          {then(truncated, nil), "", 0},
		"truncated for ever":      {truncated, "no list of objects of this kind", 0},
		"not JSON":                {answer(200, "<html>welcome</html>"), "no list of objects of this kind", 0},
		"empty":                   {answer(200, ""), "no list of objects of this kind", 0},
		"null":                    {answer(200, "null"), "no list of objects of this kind", 0},
		"a Status that says fine": {answer(200, `{"kind":"Status","status":"Success"}`), `it is a "Status"`, 0},
		"no items":                {answer(200, `{"kind":"PodList","metadata":{}}`), "it has no items", 0},
		"items null":              {answer(200, `{"kind":"PodList","metadata":{},"items":null}`), "", -5},
		"items text":              {answer(200, `{"kind":"PodList","items":"none"}`), "items is no list", 0},
		"item of another kind":    {answer(200, `{"kind":"PodList","items":[{"kind":"Secret","metadata":{"name":"a","namespace":"b"}}]}`), "another kind than the list", 0},
		"item of another version": {answer(200, `{"kind":"PodList","items":[{"apiVersion":"v2","metadata":{"name":"a","namespace":"b"}}]}`), "another apiVersion than the list", 0},
		"item without name":       {answer(200, `{"kind":"PodList","items":[{"metadata":{"namespace":"b"}}]}`), "has no name", 0},
		"item without metadata":   {answer(200, `{"kind":"PodList","items":[{}]}`), "has no metadata", 0},
		"item without namespace":  {answer(200, `{"kind":"PodList","items":[{"metadata":{"name":"b"}}]}`), "wrong scope", 0},
		"item null":               {answer(200, `{"kind":"PodList","items":[null]}`), "an item is no object", 0},
		"deep":                    {answer(200, `{"kind":"PodList","items":[`+deep), "no list of objects", 0},
		"leads back":              {then(firstPage, firstPage), "leads back to itself", 2},
		"endless":                 {endless, "pages of the list are empty", 0},
		"leads back in two steps": {func(w http.ResponseWriter, r *http.Request) {
			next := map[string]string{"": "a", "a": "b", "b": "a"}[r.URL.Query().Get("continue")]
			_, _ = fmt.Fprintf(w, `{"kind":"PodList","metadata":{"continue":%q},"items":[%s]}`, next, object("Pod", "shop", "on-page-"+next, ""))
		}, "leads back to itself", 2},
		"same object on two pages": {func(w http.ResponseWriter, r *http.Request) {
			next, items := "2", object("Pod", "shop", "a", "")
			if r.URL.Query().Get("continue") != "" {
				next, items = "", items+","+strings.Join([]string{object("Pod", "b", "b", ""), object("Pod", "c", "c", ""), object("Pod", "d", "d", ""), object("Pod", "e", "e", "")}, ",")
			}
			_, _ = fmt.Fprintf(w, `{"kind":"PodList","metadata":{"continue":%q},"items":[%s]}`, next, items)
		}, "", 0},
		"length too long": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5000")
			_, _ = io.WriteString(w, `{"kind":"PodList","items":[`)
		}, "no list of objects", 0},
		"length too short": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "40")
			_, _ = io.WriteString(w, `{"kind":"PodList","items":[`+item+`]}`)
		}, "no list of objects", 0},
		"bomb": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = io.WriteString(z, `{"kind":"PodList","items":[{"a":"`)
			for range maxObject>>20 + 2 {
				_, _ = z.Write(bytes.Repeat([]byte("x"), 1<<20))
			}
			_ = z.Close()
		}, "an object has more than", 0},
		"bomb of space": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = io.WriteString(z, `{"kind":"PodList","items":[`)
			for range maxObject>>20 + 2 {
				_, _ = z.Write(bytes.Repeat([]byte(" "), 1<<20))
			}
			_ = z.Close()
		}, "an object has more than", 0},
		"not gzip": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = io.WriteString(w, `{"kind":"PodList","items":[]}`)
		}, "gzip", 0},
		"no content":           {answer(204, ""), "204 No Content", 0},
		"not modified":         {answer(304, ""), "304 Not Modified", 0},
		"partial content":      {answer(206, `{"kind":"PodList","items":[]}`), "206 Partial Content", 0},
		"continue is no text":  {answer(200, `{"kind":"PodList","metadata":{"continue":7},"items":[]}`), "no list of objects", 0},
		"continue after items": {then(answer(200, `{"items":[`+item+`],"kind":"PodList","metadata":{"continue":"2"}}`), refusal(500, "etcd is away")), "etcd is away", 1},
		"disappears midway":    {then(firstPage, refusal(404, "no such kind")), "404 Not Found", 2},
		"redirect":             {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/api/v1/secrets", http.StatusFound) }, "302 Found", 0},
		"gone":                 {refusal(404, "no such kind"), "404 Not Found", 0},
		"control characters":   {refusal(500, "a\nb\x1b[31m"), "a b [31m", 0},
	}
	ran := map[bool]int{}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.Config.ErrorLog = nil
			s.hostile[pods] = func(w http.ResponseWriter, r *http.Request) {
				defer func() {
					if v := recover(); v == nil {
						return
					} else if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
						panic(v)
					}
					s.honest(w, r) // a nil handler is the honest one
				}()
				c.handler(w, r)
			}
			snap := s.snapshot(t, s.options())
			got := snap.Unread("", "Pod", "")
			n := len(snap.Kind("", "Pod"))
			switch {
			case c.want == "" && (got != "" || n != 5+c.pods):
				t.Errorf("%d Pods, missing because %q; want a whole list", n, got)
			case c.want != "" && (!strings.Contains(got, c.want) || n != c.pods):
				t.Errorf("%d Pods, missing because %q; want %d and a reason with %q", n, got, c.pods, c.want)
			}
			if diff := cmp.Diff(without(everything(), "Pod "), without(names(snap), "Pod ")); diff != "" {
				t.Errorf("other kinds (-want +got):\n%s", diff)
			}
		})
		ran[c.want == ""]++
	}
	if ran[true] < 8 || ran[false] < 20 {
		t.Errorf("ran %v", ran)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	busy := func(after string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", after)
			refusal(429, "busy")(w, r)
		}
	}
	s.hostile["/api/v1/configmaps"] = then(busy("7"), busy("7"), busy("7"), busy("7"), busy("7"), busy("999999999999"), answer(200, `{"items":[]}`))
	snap := s.snapshot(t, s.options())
	if len(snap.Unreadable) > 0 {
		t.Errorf("missing: %v", reasons(snap))
	}
	want := []time.Duration{7 * time.Second, 7 * time.Second, 7 * time.Second, 7 * time.Second, 7 * time.Second, 30 * time.Second}
	if diff := cmp.Diff(want, s.waited); diff != "" {
		t.Errorf("pauses (-want +got):\n%s", diff)
	}
}

// A server that no longer answers costs a bounded number of requests.
func TestSilence(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for i := range 100 {
		s.groups = append(s.groups, fmt.Sprintf("g%d.example/v1=things:Thing:true", i))
		s.hostile[fmt.Sprintf("/apis/g%d.example/v1/things", i)] = refusal(500, "down")
	}
	for path := range s.lists {
		s.hostile[path] = refusal(500, "down")
	}
	snap := s.snapshot(t, s.options())
	if len(snap.Unreadable) < 106 {
		t.Errorf("%d kinds are unreadable, want 106 and the kubelets", len(snap.Unreadable))
	}
	lists := 0
	for _, a := range s.asked {
		if strings.Contains(a, "limit=") {
			lists++
		}
	}
	if lists > despair+8 {
		t.Errorf("%d requests for lists, want about %d", lists, despair)
	}
}

func TestNamespaces(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.hostile["/api/v1/pods"] = refusal(403, "no")
	s.hostile["/api/v1/secrets"] = refusal(403, "no")
	s.hostile["/api/v1/nodes"] = refusal(403, "no")
	s.lists["/api/v1/namespaces/shop/pods"] = []string{object("Pod", "shop", "a", ""), object("Pod", "shop", "b", "")}
	s.hostile["/api/v1/namespaces/bank/pods"] = refusal(403, "no")
	s.hostile["/api/v1/namespaces/shop/secrets"] = refusal(403, "no")
	s.hostile["/api/v1/namespaces/bank/secrets"] = refusal(403, "no")
	opt := s.options()
	opt.Namespaces = []string{"shop", "bank"}
	snap := s.snapshot(t, opt)
	type question struct{ kind, namespace string }
	for q, missing := range map[question]bool{
		{"Pod", "shop"}: false, {"Pod", "bank"}: true, {"Pod", "other"}: true, {"Pod", ""}: true,
		{"Secret", "shop"}: true, {"Secret", ""}: true, {"Node", ""}: true, {"ConfigMap", ""}: false,
	} {
		if got := snap.Unread("", q.kind, q.namespace); (got != "") != missing {
			t.Errorf("%v: missing because %q, want %v", q, got, missing)
		}
	}
	if got := snap.Unread(kubeletGroup, kubeletKind, ""); !strings.Contains(got, "nodes cannot be listed") {
		t.Errorf("kubelets: %q", got)
	}
	if n := len(snap.Kind("", "Pod")); n != 2 {
		t.Errorf("%d Pods, want 2", n)
	}
	// What the server gives for one namespace is of that namespace.
	s.lists["/api/v1/namespaces/shop/pods"] = []string{object("Pod", "bank", "smuggled", "")}
	if got := s.snapshot(t, opt).Unread("", "Pod", "shop"); !strings.Contains(got, "of another namespace") {
		t.Errorf("a Pod of another namespace: %q", got)
	}
	opt.Namespaces = []string{"shop/pods/../.."}
	if _, err := Snapshot(t.Context(), s.config(), opt); err == nil {
		t.Error("a namespace that is a path was taken")
	}
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		set  func(*server)
		want []string // of Unreadable
		fail string   // of the error
	}{
		"aggregated API is down": {
			set: func(s *server) {
				s.groups = append(s.groups, "down.example/v1=things:Thing:true")
				s.hostile["/apis/down.example/v1"] = answer(503, "service unavailable")
			},
			want: []string{"down.example: the server behind API group down.example does not answer"},
		},
		"another group's kinds": {
			set: func(s *server) {
				s.groups = append(s.groups, "odd.example/v1=things:Thing:true")
				s.hostile["/apis/odd.example/v1"] = answer(200, `{"groupVersion":"v1","resources":[{"name":"secrets","kind":"Secret","verbs":["list"]}]}`)
			},
			want: []string{"odd.example: the server answered /apis/odd.example/v1 with the kinds of another group"},
		},
		"names that are paths": {
			set: func(s *server) {
				s.hostile["/apis"] = answer(200, `{"groups":[{"name":"../../api","versions":[{"version":"v1"}]},{"name":"a.example","versions":[{"version":"../x"}]}]}`)
			},
			want: []string{"../../api: the server names a group that is no name", "a.example: the server names a version that is no name"},
		},
		"kind that is a path": {
			set: func(s *server) {
				s.hostile["/apis/apps/v1"] = answer(200, `{"groupVersion":"apps/v1","resources":[{"name":"a?b","kind":"A","verbs":["list"]}]}`)
			},
			want: []string{"apps: the server names a kind that is no name"},
		},
		"no groups":         {set: func(s *server) { s.hostile["/apis"] = refusal(403, "no discovery") }, fail: "403 Forbidden: no discovery"},
		"no core":           {set: func(s *server) { s.hostile["/api"] = refusal(500, "broken") }, fail: "500 Internal Server Error"},
		"no API server":     {set: func(s *server) { s.hostile["/api"] = answer(200, `{"hello":"world"}`) }, fail: "it is no Kubernetes API server"},
		"wrong credentials": {set: func(s *server) { s.hostile["/version"] = refusal(401, "no"); s.hostile["/api"] = refusal(401, "who?") }, fail: "401 Unauthorized: who?"},
		"huge document": {set: func(s *server) {
			s.hostile["/api"] = func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, `{"versions":["`+strings.Repeat("a", maxDocument)+`"]}`)
			}
		}, fail: "too much"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			c.set(s)
			snap, err := Snapshot(t.Context(), s.config(), s.options())
			if c.fail != "" {
				if err == nil || !strings.Contains(err.Error(), c.fail) {
					t.Fatalf("error %v, want one with %q", err, c.fail)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := reasons(snap)
			if len(got) != len(c.want) {
				t.Fatalf("unreadable %q, want %q", got, c.want)
			}
			for i, w := range c.want {
				if !strings.HasPrefix(got[i], w) {
					t.Errorf("unreadable %q, want %q", got[i], w)
				}
			}
		})
	}
}

// The version that the server prefers counts, and a kind that only another
// version has is read by that.
func TestVersions(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.groups = append(s.groups, "x.example/v2=old:Old:true", "x.example/v1=old:Old:true,older:Older:false")
	s.lists["/apis/x.example/v2/old"] = []string{object("Old", "shop", "o", "")}
	s.lists["/apis/x.example/v1/older"] = []string{object("Older", "", "p", "")}
	snap := s.snapshot(t, s.options())
	if o := snap.Find("x.example", "Old", "shop", "o"); o == nil || o.APIVersion != "x.example/v2" {
		t.Errorf("Old is %v", o)
	}
	if o := snap.Find("x.example", "Older", "", "p"); o == nil || o.APIVersion != "x.example/v1" {
		t.Errorf("Older is %v", o)
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	big := object("ConfigMap", "shop", "big", `,"data":{"a":"`+strings.Repeat("x", maxObject+1<<20)+`"}`)
	for name, c := range map[string]struct {
		set  func(*server, *Options)
		want string
	}{
		"objects": {func(_ *server, o *Options) { o.MaxObjects = 4 }, "more than 4 objects"},
		"bytes":   {func(_ *server, o *Options) { o.MaxBytes = 500 }, "more than 500 bytes"},
		"one":     {func(s *server, _ *Options) { s.lists["/api/v1/configmaps"] = []string{big} }, "an object has more than"},
		"pages": {func(s *server, o *Options) {
			o.MaxObjects, o.PageSize = 1000, 100
			s.hostile["/api/v1/pods"] = func(w http.ResponseWriter, r *http.Request) {
				next := r.URL.Query().Get("continue") + "x"
				_, _ = fmt.Fprintf(w, `{"kind":"PodList","metadata":{"continue":%q},"items":[%s]}`, next, object("Pod", "shop", next, ""))
			}
		}, "the list has more than 111 pages"},
		"second": {func(s *server, _ *Options) {
			s.lists["/api/v1/configmaps"] = []string{object("ConfigMap", "shop", "small", ""), strings.Replace(big, `"big"`, `"late"`, 1)}
		}, "an object has more than"},
	} {
		s := newServer(t)
		opt := s.options()
		opt.Workers = 1
		c.set(s, &opt)
		if got := strings.Join(reasons(s.snapshot(t, opt)), "\n"); !strings.Contains(got, c.want) {
			t.Errorf("%s: unreadable %q, want %q", name, got, c.want)
		}
	}
	// What is thrown away does not count.
	s := newServer(t)
	part := answer(200, `{"kind":"PodList","metadata":{"continue":"2"},"items":[`+object("Pod", "shop", "a", "")+`,`+object("Pod", "shop", "b", "")+`]}`)
	s.hostile["/api/v1/pods"] = then(part, refusal(410, ""), part, refusal(410, ""), part, refusal(410, ""), answer(200, `{"items":[]}`))
	opt := s.options()
	opt.MaxObjects, opt.Workers = 7, 1
	if snap := s.snapshot(t, opt); len(snap.Unreadable) > 0 {
		t.Errorf("missing: %v", reasons(snap))
	}
}

// A server that sends nothing is left after Timeout.
func TestSlow(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.hostile["/api/v1/pods"] = func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"kind":"PodList","items":[`)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	opt := s.options()
	opt.Timeout = 50 * time.Millisecond
	opt.Workers = 1
	if got := s.snapshot(t, opt).Unread("", "Pod", ""); !strings.Contains(got, "deadline exceeded") {
		t.Errorf("missing because %q", got)
	}
}

func TestEnds(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.hostile["/api/v1/pods"] = func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}
	if _, err := Snapshot(ctx, s.config(), s.options()); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that it was cancelled", err)
	}
	if _, err := Snapshot(t.Context(), nil, Options{}); err == nil {
		t.Error("no connection was taken")
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	if _, err := Snapshot(t.Context(), &rest.Config{Host: gone.URL}, s.options()); err == nil {
		t.Error("a server that is not there was read")
	}
}

// The credentials go nowhere else.
func TestRedirectGetsNoToken(t *testing.T) {
	t.Parallel()
	stolen := make(chan string, 100)
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { stolen <- r.Header.Get("Authorization") }))
	t.Cleanup(thief.Close)
	s := newServer(t)
	s.hostile["/api/v1/pods"] = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, thief.URL, http.StatusFound) }
	s.snapshot(t, s.options())
	if len(stolen) > 0 {
		t.Errorf("another server was asked with %q", <-stolen)
	}
}

func TestKubelets(t *testing.T) {
	t.Parallel()
	const configz = "/api/v1/nodes/one/proxy/configz"
	for name, c := range map[string]struct {
		set  func(*server)
		want string
	}{
		"forbidden": {func(s *server) { s.hostile[configz] = refusal(403, "no") }, "RBAC verb get, resource nodes/proxy"},
		"away":      {func(s *server) { s.hostile[configz] = refusal(502, "dial") }, "kubelet of node one: GET /api/v1/nodes/one/proxy/configz: 502 Bad Gateway: dial"},
		"garbage":   {func(s *server) { s.hostile[configz] = answer(200, "[]") }, "not what was asked for"},
		"empty":     {func(s *server) { s.hostile[configz] = answer(200, "{}") }, "has no kubeletconfig"},
		"not ready": {func(s *server) { s.lists["/api/v1/nodes"] = []string{object("Node", "", "one", "")} }, "not ready"},
	} {
		s := newServer(t)
		c.set(s)
		snap := s.snapshot(t, s.options())
		if got := snap.Unread(kubeletGroup, kubeletKind, ""); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if n := len(snap.Kind(kubeletGroup, kubeletKind)); n != 0 {
			t.Errorf("%s: %d configurations", name, n)
		}
	}
}

func TestManaged(t *testing.T) {
	t.Parallel()
	node := func(name, labels string) string {
		return fmt.Sprintf(`{"metadata":{"name":%q,"labels":{%s}}}`, name, labels)
	}
	const eks, master = `"eks.amazonaws.com/nodegroup":"a"`, `"node-role.kubernetes.io/control-plane":""`
	for name, c := range map[string]struct {
		version, group string
		nodes          []string
		want           string
	}{
		"nobody":           {"v1.36.3", "", []string{node("a", "")}, ""},
		"no nodes":         {"v1.36.3", "", nil, ""},
		"eks by version":   {"v1.33.1-eks-1de2ab1", "", nil, "eks"},
		"gke by version":   {"v1.33.1-gke.1744000", "", nil, "gke"},
		"eks by nodes":     {"v1.36.3", "", []string{node("a", eks), node("b", eks)}, "eks"},
		"aks by nodes":     {"v1.36.3", "", []string{node("a", `"kubernetes.azure.com/cluster":"x"`)}, "aks"},
		"one node lies":    {"v1.36.3", "", []string{node("a", eks), node("b", "")}, ""},
		"control plane":    {"v1.36.3", "", []string{node("a", eks+","+master)}, ""},
		"openshift":        {"v1.36.3", "config.openshift.io/v1=clusterversions:ClusterVersion:false", nil, "openshift"},
		"text in between":  {"v1.36.3+geks-", "", nil, ""},
		"label's value is": {"v1.36.3", "", []string{node("a", `"x":"eks.amazonaws.com/"`)}, ""},
	} {
		s := newServer(t)
		s.version, s.lists["/api/v1/nodes"] = c.version, c.nodes
		if c.group != "" {
			s.groups = append(s.groups, c.group)
			s.lists["/apis/config.openshift.io/v1/clusterversions"] = nil
		}
		if got := s.snapshot(t, s.options()).Facts.Managed; got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestEveryOmissionHasAReason(t *testing.T) {
	t.Parallel()
	for _, o := range LeftOut() {
		if o.Reason == "" || o.Group == "" && o.Resource == "" {
			t.Errorf("%+v", o)
		}
	}
}
