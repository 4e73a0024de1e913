package webhook

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
	"bulwark.dev/bulwark/internal/audit/ingest/ingesttest"
	"bulwark.dev/bulwark/internal/audit/ingest/redact"
)

func TestWho(t *testing.T) {
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
		if got := h.post(t, Path, ingesttest.List("a"), c.change, c.cert); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.server.URL+Path, strings.NewReader(ingesttest.List("a")))
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
	plain := httptest.NewRequest(http.MethodPost, Path, strings.NewReader(ingesttest.List("a")))
	token(plain)
	if h.ServeHTTP(rec, plain); rec.Code != 401 {
		t.Errorf("in the clear: %d", rec.Code)
	}
	closed := hook(t, func(c *Config) { c.Clients = Clients{} })
	if got := closed.post(t, Path, ingesttest.List("a"), token, closed.ca.client(t, "apiserver")); got != 401 {
		t.Errorf("nobody may send, and it answers %d", got)
	}
	if n := len(closed.sink.Events()); n != 0 {
		t.Errorf("%d events were kept", n)
	}
}

func TestTokenChanges(t *testing.T) {
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

func TestTakes(t *testing.T) {
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
		"batch":       {Path, ingesttest.List("a", "b"), token, 200, "webhook", ""},
		"by name":     {Path + "/apiserver-0", ingesttest.List("c"), token, 200, "webhook/apiserver-0", ""},
		"slash":       {Path + "/", ingesttest.List("d"), token, 200, "webhook", ""},
		"empty":       {Path, ingesttest.List(), token, 200, "", ""},
		"gzip":        {Path, gz(ingesttest.List("e")), zipped, 200, "webhook", ""},
		"chunked":     {Path, ingesttest.List("f"), chunked, 200, "webhook", ""},
		"no JSON":     {Path, `{"kind":`, token, 400, "", "was no JSON"},
		"no gzip":     {Path, ingesttest.List("x"), zipped, 400, "", ""},
		"cut gzip":    {Path, gz(ingesttest.List("x"))[:40], zipped, 400, "", ""},
		"brotli":      {Path, ingesttest.List("x"), func(r *http.Request) { token(r); r.Header.Set("Content-Encoding", "br") }, 415, "", ""},
		"bad name":    {Path + "/Api_Server", ingesttest.List("x"), token, 404, "", ""},
		"dots":        {Path + "/..", ingesttest.List("x"), token, 404, "", ""},
		"long name":   {Path + "/" + strings.Repeat("a", 64), ingesttest.List("x"), token, 404, "", ""},
		"two names":   {Path + "/a/b", ingesttest.List("x"), token, 404, "", ""},
		"other path":  {"/audit/v2", ingesttest.List("x"), token, 404, "", ""},
		"longer path": {Path + "x", ingesttest.List("x"), token, 404, "", ""},
		"GET":         {Path, "", func(r *http.Request) { token(r); r.Method = http.MethodGet }, 405, "", ""},
	} {
		before := len(h.sink.Events())
		if got := h.post(t, c.path, c.body, c.change, nil); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
			continue
		}
		kept := h.sink.Events()[before:]
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
	if n := testutil.CollectAndCount(h.Handler); n < 8 {
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

func TestLarge(t *testing.T) {
	t.Parallel()
	h := hook(t, func(c *Config) { c.MaxBody, c.MaxWaiting = 1000, 4000 })
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
		before := len(h.sink.Events())
		if got := h.post(t, Path+"/a", c.body, c.change, nil); got != 413 {
			t.Errorf("%s: %d", name, got)
		}
		kept := h.sink.Events()[before:]
		if len(kept) != 1 || kept[0].Source != "webhook/a" || !strings.Contains(kept[0].Status.Message, "larger than 1000 bytes") {
			t.Errorf("%s: the trail says %+v", name, kept)
		}
	}
	if got := h.post(t, Path, ingesttest.List()+strings.Repeat(" ", 1000-len(ingesttest.List())), token, nil); got != 200 {
		t.Errorf("just small enough: %d", got)
	}
	idle(t, h)
}

// The sink is asked before the answer, and what it does not take is answered so that
// the API server tries again.
func TestSink(t *testing.T) {
	t.Parallel()
	h := hook(t, func(c *Config) { c.SinkTimeout = 20 * time.Millisecond })
	for name, failure := range map[string]error{"full": errors.New("no space left"), "closing": errors.New("closed")} {
		h.sink.Before = func(context.Context, []audit.Entry) error { return failure }
		if got := h.post(t, Path, ingesttest.List("a"), token, nil); got != 503 {
			t.Errorf("%s: %d", name, got)
		}
	}
	h.sink.Before = func(ctx context.Context, _ []audit.Entry) error { <-ctx.Done(); return ctx.Err() }
	if got := h.post(t, Path, ingesttest.List("a"), token, nil); got != 503 {
		t.Errorf("stuck: %d", got)
	}
	h.sink.Before = nil
	if got := h.post(t, Path, ingesttest.List("b"), token, nil); got != 200 {
		t.Errorf("afterwards: %d", got)
	}
	if diff := cmp.Diff([]string{"b"}, h.sink.IDs()); diff != "" {
		t.Error(diff)
	}
	idle(t, h)
}

// While the sink is slow only so much waits, and the rest is told to come again.
func TestWaiting(t *testing.T) {
	t.Parallel()
	body := ingesttest.List("a")
	h := hook(t, func(c *Config) { c.MaxBody = int64(len(body)); c.MaxWaiting = 2 * c.MaxBody })
	arrived, release := make(chan struct{}), make(chan struct{})
	h.sink.Before = func(context.Context, []audit.Entry) error { arrived <- struct{}{}; <-release; return nil }
	results := make(chan int, 2)
	for range 2 {
		go func() { results <- h.post(t, Path, body, token, nil) }()
		<-arrived
	}
	if got := h.post(t, Path, body, token, nil); got != 503 {
		t.Errorf("with no memory left: %d", got)
	}
	close(release)
	for range 2 {
		if got := <-results; got != 200 {
			t.Errorf("what waited: %d", got)
		}
	}
	idle(t, h)

	one := hook(t, func(c *Config) { c.PerClient = 1 })
	again := make(chan struct{})
	one.sink.Before = func(context.Context, []audit.Entry) error { arrived <- struct{}{}; <-again; return nil }
	go func() { results <- one.post(t, Path, body, token, nil) }()
	<-arrived
	if got := one.post(t, Path, body, token, nil); got != 429 {
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
func TestSlow(t *testing.T) {
	t.Parallel()
	h := hook(t, func(c *Config) { c.ReadTimeout = 100 * time.Millisecond })
	config := h.server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.NextProtos = []string{"http/1.1"}
	for secret, want := range map[string]string{testToken: "HTTP/1.1 400", "wrong": "HTTP/1.1 401"} {
		conn, err := tls.Dial("tcp", h.server.Listener.Addr().String(), config)
		if err != nil {
			t.Fatal(err)
		}
		head := "POST " + Path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + secret + "\r\nContent-Length: 1000\r\n\r\n{"
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

	h.sink.Before = func(ctx context.Context, _ []audit.Entry) error {
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
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.server.URL+Path, strings.NewReader(ingesttest.List("a")))
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

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	if _, err := New(Config{}); err == nil {
		t.Error("the zero config was taken")
	}
	cfg := Config{Sink: &ingesttest.Sink{}, Decode: ingesttest.Decoder("test").Decode, Log: slog.New(slog.DiscardHandler), Now: time.Now, MaxBody: 10, MaxWaiting: 5}
	if _, err := New(cfg); err == nil {
		t.Error("a batch may be larger than what may wait")
	}
}

func Benchmark(b *testing.B) {
	var ids []string
	for i := range 400 {
		ids = append(ids, fmt.Sprintf("5f0b3b1e-7d4b-4a57-8c0d-%012d", i))
	}
	body := ingesttest.List(ids...)
	if !json.Valid([]byte(body)) {
		b.Fatal("the batch is no JSON")
	}
	d := ingesttest.Decoder("webhook")
	d.Redact = new(redact.Redactor).Redact
	file := filepath.Join(b.TempDir(), "token")
	if err := os.WriteFile(file, []byte(testToken), 0o600); err != nil {
		b.Fatal(err)
	}
	tokens, err := OpenTokens(time.Now(), file)
	if err != nil {
		b.Fatal(err)
	}
	w, err := New(Config{Sink: ingesttest.Nowhere{}, Decode: d.Decode, Clients: Clients{Tokens: tokens}, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		rec := httptest.NewRecorder()
		req := httptest.NewRequest(http.MethodPost, Path, strings.NewReader(body))
		req.TLS = &tls.ConnectionState{}
		token(req)
		if w.ServeHTTP(rec, req); rec.Code != 200 {
			b.Fatal(rec.Code)
		}
	}
	b.ReportMetric(float64(b.N)*400/b.Elapsed().Seconds(), "events/s")
}
