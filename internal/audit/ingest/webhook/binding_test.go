package webhook

import (
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"bulwark.dev/bulwark/internal/audit/ingest/ingesttest"
)

func TestBinding(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][2]string{
		"token":             {"", "token"},
		"gateway=token":     {"gateway", "token"},
		"a.b-c=/etc/x=y":    {"a.b-c", "/etc/x=y"},
		"./a=b":             {"", "./a=b"},
		"/etc/a=b":          {"", "/etc/a=b"},
		"Upper=b":           {"", "Upper=b"},
		"=b":                {"", "=b"},
		"spiffe://x/y?a=b":  {"", "spiffe://x/y?a=b"},
		"gateway=spiffe://": {"gateway", "spiffe://"},
	} {
		if server, rest := Binding(text); server != want[0] || rest != want[1] {
			t.Errorf("%q is %q, %q", text, server, rest)
		}
	}
}

func sources(m *ingesttest.Sink) []string {
	var out []string
	for _, e := range m.Events() {
		out = append(out, e.Source)
	}
	return out
}

// A client that is bound to a server's name sends under no other, and what it tried
// is counted and not kept.
func TestBound(t *testing.T) {
	t.Parallel()
	const (
		bound  = "bound-0123456789abcdef"
		shared = "shared-0123456789abcdef"
	)
	h := hook(t, func(c *Config) {
		dir := t.TempDir()
		var files []string
		for name, text := range map[string]string{"east=one": bound, "a=two": shared, "b=three": shared, "free": testToken} {
			server, file := Binding(name)
			file = filepath.Join(dir, file)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if server != "" {
				file = server + "=" + file
			}
			files = append(files, file)
		}
		tokens, err := OpenTokens(time.Now(), files...)
		if err != nil {
			t.Fatal(err)
		}
		c.Clients = Clients{Names: []string{"apiserver"}, Bound: map[string]string{"edge": "east", "spiffe://x/two": "b", "nowhere": ""}, Tokens: tokens}
	})
	bearer := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	}
	edge, both, two, none := h.ca.client(t, "edge"), h.ca.client(t, "edge", "spiffe://x/two"), h.ca.client(t, "apiserver", "spiffe://x/two"), h.ca.client(t, "nowhere")
	for _, c := range []struct {
		name, server string
		change       func(*http.Request)
		cert         *tls.Certificate
		want         int
	}{
		{"its own name", "/east", bearer(bound), nil, 200},
		{"another's", "/apiserver-0", bearer(bound), nil, 403},
		{"none", "", bearer(bound), nil, 403},
		{"none, with a slash", "/", bearer(bound), nil, 403},
		{"a name that begins like its own", "/east-1", bearer(bound), nil, 403},
		{"one of two", "/a", bearer(shared), nil, 200},
		{"the other", "/b", bearer(shared), nil, 200},
		{"neither", "/east", bearer(shared), nil, 403},
		{"unbound", "/east", token, nil, 200},
		{"unbound, no name", "", token, nil, 200},
		{"certificate", "/east", nil, edge, 200},
		{"certificate, another's", "/b", nil, edge, 403},
		{"certificate of two", "/b", nil, both, 200},
		{"certificate that is also free", "/east", nil, two, 200},
		{"certificate bound to nothing", "/east", nil, none, 401},
		{"certificate comes before a token", "/b", token, edge, 403},
	} {
		before := len(sources(h.sink))
		if got := h.post(t, Path+c.server, ingesttest.List(c.name), c.change, c.cert); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
		if kept := len(sources(h.sink)) > before; kept != (c.want == 200) {
			t.Errorf("%s: kept is %v", c.name, kept)
		}
	}
	if got := testutil.ToFloat64(h.metrics.batches.WithLabelValues(outcomeForbidden)); got != 7 {
		t.Errorf("%v were counted", got)
	}
	want := []string{"webhook/east", "webhook/a", "webhook/b", "webhook/east", "webhook", "webhook/east", "webhook/b", "webhook/east"}
	if diff := cmp.Diff(want, sources(h.sink)); diff != "" {
		t.Error(diff)
	}
}

// Who sends as a part of Bulwark tells nothing that API servers tell, and an attempt is
// in the trail.
func TestPartsTellTheirOwn(t *testing.T) {
	t.Parallel()
	const (
		request = `{"time":"2026-11-21T10:00:00.5Z","requestId":"r","decision":"allowed","code":"allowed","status":200,"sourceIP":"192.0.2.1","method":"GET","host":"a","path":"/"}`
		part    = `{"part":"gateway","time":"2026-11-21T10:00:00.5Z","action":"log","outcome":"success"}`
		api     = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"forged","stage":"ResponseComplete","requestURI":"/api/v1/pods","verb":"list","user":{"username":"ann"}}`
	)
	list := ingesttest.List("forged")
	h := hook(t, nil)
	for _, c := range []struct {
		server, batch string
		want          int
	}{
		{"/gateway", "[" + request + "]", 200},
		{"/gateway", "[" + part + "]", 200},
		{"/gateway", list, 403},
		{"/gateway", "[" + api + "]", 403},
		{"/gateway", "[" + request + "," + api + "]", 403},
		{"/controller", "[" + part + "]", 200},
		{"/controller", "[" + request + "]", 403},
		{"/controller", list, 403},
		{"/admission", "[" + part + "]", 200},
		{"/admission", list, 403},
		{"/apiserver-0", list, 200},
		{"/gateway-1", list, 200},
		{"", list, 200},
	} {
		before := len(h.sink.Events())
		if got := h.post(t, Path+c.server, c.batch, token, nil); got != c.want {
			t.Errorf("%s: %s: %d, want %d", c.server, c.batch, got, c.want)
		}
		kept := h.sink.Events()[before:]
		if len(kept) != 1 || (kept[0].Status.Reason == "NotItsOwn") != (c.want == 403) {
			t.Errorf("%s: %s: %d events are kept", c.server, c.batch, len(kept))
		}
	}
}
