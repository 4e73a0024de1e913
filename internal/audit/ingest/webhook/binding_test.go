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
		for name, text := range map[string]string{"gateway=one": bound, "a=two": shared, "b=three": shared, "free": testToken} {
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
		c.Clients = Clients{Names: []string{"apiserver"}, Bound: map[string]string{"edge": "gateway", "spiffe://x/two": "b", "nowhere": ""}, Tokens: tokens}
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
		{"its own name", "/gateway", bearer(bound), nil, 200},
		{"another's", "/apiserver-0", bearer(bound), nil, 403},
		{"none", "", bearer(bound), nil, 403},
		{"none, with a slash", "/", bearer(bound), nil, 403},
		{"a name that begins like its own", "/gateway-1", bearer(bound), nil, 403},
		{"one of two", "/a", bearer(shared), nil, 200},
		{"the other", "/b", bearer(shared), nil, 200},
		{"neither", "/gateway", bearer(shared), nil, 403},
		{"unbound", "/gateway", token, nil, 200},
		{"unbound, no name", "", token, nil, 200},
		{"certificate", "/gateway", nil, edge, 200},
		{"certificate, another's", "/b", nil, edge, 403},
		{"certificate of two", "/b", nil, both, 200},
		{"certificate that is also free", "/gateway", nil, two, 200},
		{"certificate bound to nothing", "/gateway", nil, none, 401},
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
	want := []string{"webhook/gateway", "webhook/a", "webhook/b", "webhook/gateway", "webhook", "webhook/gateway", "webhook/b", "webhook/gateway"}
	if diff := cmp.Diff(want, sources(h.sink)); diff != "" {
		t.Error(diff)
	}
}
