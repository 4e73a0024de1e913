package ingest

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"bulwark.dev/bulwark/internal/audit"
)

func TestWebhookWho(t *testing.T) {
	t.Parallel()
	h := hook(t, nil)
	strangers := newAuthority(t)
	bearer := func(text string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", text) }
	}
	for name, c := range map[string]struct {
		change func(*http.Request)
		cert   *tls.Certificate
		want   int
	}{
		"nobody":                               {nil, nil, 401},
		"token":                                {token, nil, 200},
		"scheme in capitals":                   {bearer("BEARER " + testToken), nil, 200},
		"wrong token":                          {bearer("Bearer " + testToken + "4"), nil, 401},
		"half a token":                         {bearer("Bearer " + testToken[:10]), nil, 401},
		"no token":                             {bearer("Bearer "), nil, 401},
		"another scheme":                       {bearer("Basic " + testToken), nil, 401},
		"two headers":                          {func(r *http.Request) { r.Header["Authorization"] = []string{"Bearer " + testToken, "Bearer x"} }, nil, 401},
		"certificate":                          {nil, h.ca.client(t, "apiserver"), 200},
		"certificate by URI":                   {nil, h.ca.client(t, "x", "spiffe://x/apiserver"), 200},
		"another certificate":                  {nil, h.ca.client(t, "kubelet"), 401},
		"certificate with no name and a token": {token, h.ca.client(t, "kubelet"), 200},
	} {
		if got := h.post(t, WebhookPath, list("a"), c.change, c.cert); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.server.URL+WebhookPath, strings.NewReader(list("a")))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: h.server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, Certificates: []tls.Certificate{*strangers.client(t, "apiserver")},
	}}}
	if resp, err := client.Do(r); err == nil {
		_ = resp.Body.Close()
		if resp.StatusCode != 401 {
			t.Errorf("a stranger's certificate: %d", resp.StatusCode)
		}
	}
	client.CloseIdleConnections()
	// Without TLS a token is worth nothing, and without clients nobody comes in.
	rec := httptest.NewRecorder()
	plain := httptest.NewRequest(http.MethodPost, WebhookPath, strings.NewReader(list("a")))
	token(plain)
	if h.ServeHTTP(rec, plain); rec.Code != 401 {
		t.Errorf("in the clear: %d", rec.Code)
	}
	closed := hook(t, func(c *WebhookConfig) { c.Clients = Clients{} })
	if got := closed.post(t, WebhookPath, list("a"), token, closed.ca.client(t, "apiserver")); got != 401 {
		t.Errorf("nobody may send, and it answers %d", got)
	}
	if n := len(closed.sink.all()); n != 0 {
		t.Errorf("%d events were kept", n)
	}
}

func TestWebhookTokenChanges(t *testing.T) {
	t.Parallel()
	now := time.Now()
	file := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		now = now.Add(2 * tokenInterval)
		if err := os.Chtimes(file, now, now); err != nil {
			t.Fatal(err)
		}
	}
	write(testToken)
	tokens, err := OpenTokens(now, file)
	if err != nil {
		t.Fatal(err)
	}
	check := func(token string, want bool) {
		t.Helper()
		if _, got := tokens.who(token, now); got != want {
			t.Errorf("%q: %v, want %v", token, got, want)
		}
	}
	check(testToken, true)
	write("fedcba9876543210fedcba\n")
	check(testToken, false)
	check("fedcba9876543210fedcba", true)
	write("short")
	check("short", false)
	check("fedcba9876543210fedcba", false)
	write(testToken)
	check(testToken, true)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * tokenInterval)
	check(testToken, false)
	check("", false)
	for name, text := range map[string]string{"short": "a", "two": testToken + " " + testToken} {
		write(text)
		if _, err := OpenTokens(now, file); err == nil {
			t.Errorf("a token that is %s was taken", name)
		}
	}
	if _, err := OpenTokens(now); err == nil {
		t.Error("no files were taken")
	}
}

func TestWebhookTakes(t *testing.T) {
	t.Parallel()
	h := hook(t, nil)
	gz := func(text string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, err := io.WriteString(w, text)
		if err = errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	zipped := func(r *http.Request) { token(r); r.Header.Set("Content-Encoding", "gzip") }
	chunked := func(r *http.Request) { token(r); r.ContentLength = -1 }
	for name, c := range map[string]struct {
		path, body string
		change     func(*http.Request)
		want       int
		source     string
		says       string
	}{
		"batch":       {WebhookPath, list("a", "b"), token, 200, "webhook", ""},
		"by name":     {WebhookPath + "/apiserver-0", list("c"), token, 200, "webhook/apiserver-0", ""},
		"slash":       {WebhookPath + "/", list("d"), token, 200, "webhook", ""},
		"empty":       {WebhookPath, list(), token, 200, "", ""},
		"gzip":        {WebhookPath, gz(list("e")), zipped, 200, "webhook", ""},
		"chunked":     {WebhookPath, list("f"), chunked, 200, "webhook", ""},
		"no JSON":     {WebhookPath, `{"kind":`, token, 400, "", "was no JSON"},
		"no gzip":     {WebhookPath, list("x"), zipped, 400, "", ""},
		"cut gzip":    {WebhookPath, gz(list("x"))[:40], zipped, 400, "", ""},
		"brotli":      {WebhookPath, list("x"), func(r *http.Request) { token(r); r.Header.Set("Content-Encoding", "br") }, 415, "", ""},
		"bad name":    {WebhookPath + "/Api_Server", list("x"), token, 404, "", ""},
		"dots":        {WebhookPath + "/..", list("x"), token, 404, "", ""},
		"long name":   {WebhookPath + "/" + strings.Repeat("a", 64), list("x"), token, 404, "", ""},
		"two names":   {WebhookPath + "/a/b", list("x"), token, 404, "", ""},
		"other path":  {"/audit/v2", list("x"), token, 404, "", ""},
		"longer path": {WebhookPath + "x", list("x"), token, 404, "", ""},
		"GET":         {WebhookPath, "", func(r *http.Request) { token(r); r.Method = http.MethodGet }, 405, "", ""},
	} {
		before := len(h.sink.all())
		if got := h.post(t, c.path, c.body, c.change, nil); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
			continue
		}
		kept := h.sink.all()[before:]
		switch {
		case c.says != "":
			if len(kept) != 1 || kept[0].Kind != audit.KindSystem || !strings.Contains(kept[0].Status.Message, c.says) {
				t.Errorf("%s: %+v", name, kept)
			}
		case c.source == "" && len(kept) > 0:
			t.Errorf("%s: kept %+v", name, kept)
		case c.source != "" && (len(kept) == 0 || kept[0].Source != c.source):
			t.Errorf("%s: from %+v, want %s", name, kept, c.source)
		}
	}
	if got := testutil.ToFloat64(h.metrics.batches.WithLabelValues(outcomeTaken)); got != 6 {
		t.Errorf("%v batches were taken", got)
	}
	if got := testutil.ToFloat64(h.metrics.events); got != 6 {
		t.Errorf("%v events were counted", got)
	}
	if n := testutil.CollectAndCount(h.Webhook); n < 8 {
		t.Errorf("%d metrics", n)
	}
	idle(t, h)
}

// idle fails unless all memory was given back.
func idle(t *testing.T, h *hooked) {
	t.Helper()
	if !h.waiting.TryAcquire(h.cfg.MaxWaiting) {
		t.Error("memory was not given back")
	} else {
		h.waiting.Release(h.cfg.MaxWaiting)
	}
	if n := testutil.ToFloat64(h.metrics.waiting); n != 0 {
		t.Errorf("%v bytes wait", n)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.now) != 0 {
		t.Errorf("under way: %v", h.now)
	}
}

func TestWebhookLarge(t *testing.T) {
	t.Parallel()
	h := hook(t, func(c *WebhookConfig) { c.MaxBody, c.MaxWaiting = 1000, 4000 })
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	if _, err := w.Write(bytes.Repeat([]byte(" "), 1<<20)); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		body   string
		change func(*http.Request)
	}{
		"said":    {strings.Repeat(" ", 1001), token},
		"chunked": {strings.Repeat(" ", 1001), func(r *http.Request) { token(r); r.ContentLength = -1 }},
		"gzip":    {zipped.String(), func(r *http.Request) { token(r); r.Header.Set("Content-Encoding", "gzip") }},
	} {
		before := len(h.sink.all())
		if got := h.post(t, WebhookPath+"/a", c.body, c.change, nil); got != 413 {
			t.Errorf("%s: %d", name, got)
		}
		kept := h.sink.all()[before:]
		if len(kept) != 1 || kept[0].Source != "webhook/a" || !strings.Contains(kept[0].Status.Message, "larger than 1000 bytes") {
			t.Errorf("%s: the trail says %+v", name, kept)
		}
	}
	if got := h.post(t, WebhookPath, list()+strings.Repeat(" ", 1000-len(list())), token, nil); got != 200 {
		t.Errorf("just small enough: %d", got)
	}
	idle(t, h)
}

// The sink is asked before the answer, and what it does not take is answered so that
// the API server tries again.
func TestWebhookSink(t *testing.T) {
	t.Parallel()
	h := hook(t, func(c *WebhookConfig) { c.SinkTimeout = 20 * time.Millisecond })
	for name, failure := range map[string]error{"full": errors.New("no space left"), "closing": errors.New("closed")} {
		h.sink.before = func(context.Context, []audit.Entry) error { return failure }
		if got := h.post(t, WebhookPath, list("a"), token, nil); got != 503 {
			t.Errorf("%s: %d", name, got)
		}
	}
	h.sink.before = func(ctx context.Context, _ []audit.Entry) error { <-ctx.Done(); return ctx.Err() }
	if got := h.post(t, WebhookPath, list("a"), token, nil); got != 503 {
		t.Errorf("stuck: %d", got)
	}
	h.sink.before = nil
	if got := h.post(t, WebhookPath, list("b"), token, nil); got != 200 {
		t.Errorf("afterwards: %d", got)
	}
	if diff := cmp.Diff([]string{"b"}, h.sink.ids()); diff != "" {
		t.Error(diff)
	}
	idle(t, h)
}

// While the sink is slow only so much waits, and the rest is told to come again.
func TestWebhookWaiting(t *testing.T) {
	t.Parallel()
	body := list("a")
	h := hook(t, func(c *WebhookConfig) { c.MaxBody = int64(len(body)); c.MaxWaiting = 2 * c.MaxBody })
	arrived, release := make(chan struct{}), make(chan struct{})
	h.sink.before = func(context.Context, []audit.Entry) error { arrived <- struct{}{}; <-release; return nil }
	results := make(chan int, 2)
	for range 2 {
		go func() { results <- h.post(t, WebhookPath, body, token, nil) }()
		<-arrived
	}
	if got := h.post(t, WebhookPath, body, token, nil); got != 503 {
		t.Errorf("with no memory left: %d", got)
	}
	close(release)
	for range 2 {
		if got := <-results; got != 200 {
			t.Errorf("what waited: %d", got)
		}
	}
	idle(t, h)

	one := hook(t, func(c *WebhookConfig) { c.PerClient = 1 })
	again := make(chan struct{})
	one.sink.before = func(context.Context, []audit.Entry) error { arrived <- struct{}{}; <-again; return nil }
	go func() { results <- one.post(t, WebhookPath, body, token, nil) }()
	<-arrived
	if got := one.post(t, WebhookPath, body, token, nil); got != 429 {
		t.Errorf("a second batch of one client: %d", got)
	}
	close(again)
	if got := <-results; got != 200 {
		t.Errorf("the first batch: %d", got)
	}
	idle(t, one)
}

// Who sends a body slowly is cut off, and gives back what was held for it; the time
// that the sink takes afterwards is no part of that.
func TestWebhookSlow(t *testing.T) {
	t.Parallel()
	h := hook(t, func(c *WebhookConfig) { c.ReadTimeout = 100 * time.Millisecond })
	config := h.server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.NextProtos = []string{"http/1.1"}
	for secret, want := range map[string]string{testToken: "HTTP/1.1 400", "wrong": "HTTP/1.1 401"} {
		conn, err := tls.Dial("tcp", h.server.Listener.Addr().String(), config)
		if err != nil {
			t.Fatal(err)
		}
		head := "POST " + WebhookPath + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + secret + "\r\nContent-Length: 1000\r\n\r\n{"
		if _, err := io.WriteString(conn, head); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn) // ends when the server closes the connection
		if err != nil && len(answer) == 0 || !bytes.HasPrefix(answer, []byte(want)) {
			t.Errorf("the slow sender got %q, %v", answer, err)
		}
		_ = conn.Close()
	}
	idle(t, h)

	h.sink.before = func(ctx context.Context, _ []audit.Entry) error {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the sink was not given its time: %w", ctx.Err())
		case <-time.After(300 * time.Millisecond):
			return nil
		}
	}
	for _, protocols := range [][]string{{"http/1.1"}, {"h2"}} {
		transport := h.server.Client().Transport.(*http.Transport).Clone()
		transport.TLSClientConfig.NextProtos = protocols
		transport.ForceAttemptHTTP2 = protocols[0] == "h2"
		client := &http.Client{Transport: transport}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.server.URL+WebhookPath, strings.NewReader(list("a")))
		if err != nil {
			t.Fatal(err)
		}
		token(r)
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("%v: a slow sink: %d", resp.Proto, resp.StatusCode)
		}
		transport.CloseIdleConnections()
	}
}

func TestNewWebhookRefuses(t *testing.T) {
	t.Parallel()
	if _, err := NewWebhook(WebhookConfig{}); err == nil {
		t.Error("the zero config was taken")
	}
	cfg := WebhookConfig{Sink: &memory{}, Decode: plainDecoder().Decode, Log: slog.New(slog.DiscardHandler), Now: time.Now, MaxBody: 10, MaxWaiting: 5}
	if _, err := NewWebhook(cfg); err == nil {
		t.Error("a batch may be larger than what may wait")
	}
}

func BenchmarkWebhook(b *testing.B) {
	var ids []string
	for i := range 400 {
		ids = append(ids, fmt.Sprintf("5f0b3b1e-7d4b-4a57-8c0d-%012d", i))
	}
	body := list(ids...)
	if !json.Valid([]byte(body)) {
		b.Fatal("the batch is no JSON")
	}
	r := redactor(b)
	d := &Decoder{Source: "webhook", Now: time.Now, Redact: r.Redact}
	file := filepath.Join(b.TempDir(), "token")
	if err := os.WriteFile(file, []byte(testToken), 0o600); err != nil {
		b.Fatal(err)
	}
	tokens, err := OpenTokens(time.Now(), file)
	if err != nil {
		b.Fatal(err)
	}
	w, err := NewWebhook(WebhookConfig{Sink: nowhere{}, Decode: d.Decode, Clients: Clients{Tokens: tokens}, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		rec := httptest.NewRecorder()
		req := httptest.NewRequest(http.MethodPost, WebhookPath, strings.NewReader(body))
		req.TLS = &tls.ConnectionState{}
		token(req)
		if w.ServeHTTP(rec, req); rec.Code != 200 {
			b.Fatal(rec.Code)
		}
	}
	b.ReportMetric(float64(b.N)*400/b.Elapsed().Seconds(), "events/s")
}

// nowhere is a Sink that forgets.
type nowhere struct{}

func (nowhere) Append(context.Context, []audit.Entry) (uint64, error) { return 1, nil }
