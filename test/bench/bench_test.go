package main

import (
	"encoding/json"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"
)

func TestParseFlags(t *testing.T) {
	t.Parallel()
	opt, err := parseFlags([]string{"-peers", "nginx,bulwark", "-rounds", "2", "-duration", "3s"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{nameNginx, namePlain}, opt.peers); diff != "" || opt.rounds != 2 || opt.duration != 3*time.Second || !opt.check {
		t.Errorf("options %+v: %s", opt, diff)
	}
	for _, args := range [][]string{
		{"-peers", "apache"},
		{"-peers", ""},
		{"-duration", "1500ms"},
		{"-duration", "0s"},
		{"-warmup", "0s"},
		{"-connections", "0"},
		{"-rounds", "0"},
		{"-nonsense"},
		{"extra"},
	} {
		if _, err := parseFlags(args, io.Discard); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}

func TestParseSummary(t *testing.T) {
	t.Parallel()
	const out = "Running 1s test\n  1 threads\n\nSUMMARY {\"requests\":10,\"bytes\":12000,\"microseconds\":1000000," +
		"\"connect\":0,\"read\":1,\"write\":0,\"status\":2,\"timeout\":0,\"p50\":7,\"p99\":9}\n"
	got, err := parseSummary([]byte(out))
	if err != nil {
		t.Fatal(err)
	}
	want := summary{Requests: 10, Bytes: 12000, Microseconds: 1e6, Read: 1, Status: 2, P50: 7, P99: 9}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("parseSummary (-want +got):\n%s", diff)
	}
	if err := got.errors(); err == nil || !strings.Contains(err.Error(), "3 errors") {
		t.Errorf("errors gives %v", err)
	}
	if err := (summary{}).errors(); err == nil {
		t.Error("a run without any request has no error")
	}
	if err := (summary{Requests: 1}).errors(); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "Requests/sec: 10", "SUMMARY {", "SUMMARY []\n"} {
		if _, err := parseSummary([]byte(bad)); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestParseServed(t *testing.T) {
	t.Parallel()
	n, err := parseServed([]byte("Active connections: 2 \nserver accepts handled requests\n 5 5 1234567 \nReading: 0 Writing: 1 Waiting: 1 \n"))
	if err != nil || n != 1234567 {
		t.Errorf("parseServed gives %d, %v", n, err)
	}
	for _, bad := range []string{"", "requests\n 5 5\n", "requests\n 5 5 x\n", "404"} {
		if _, err := parseServed([]byte(bad)); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// TestProbe accepts the backend's answer only.
func TestProbe(t *testing.T) {
	t.Parallel()
	body := strings.Repeat("x", bodySize)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer good" {
			_, _ = io.WriteString(w, body)
			return
		}
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(srv.Close)
	_, text, _ := strings.Cut(srv.Listener.Addr().String(), ":")
	port := 0
	for _, c := range text {
		port = port*10 + int(c-'0')
	}
	size, err := probe(t.Context(), port, "good", body)
	if err != nil || size <= bodySize || size > bodySize+300 {
		t.Errorf("probe gives %d, %v", size, err)
	}
	if _, err := probe(t.Context(), port, "", body); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("a refusal gives %v", err)
	}
	if _, err := probe(t.Context(), port, "good", body[1:]); err == nil || !strings.Contains(err.Error(), "body") {
		t.Errorf("another body gives %v", err)
	}
}

func TestSpread(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   []float64
		want spread
	}{
		{[]float64{3}, spread{3, 3, 3}},
		{[]float64{3, 1, 2}, spread{2, 1, 3}},
		{[]float64{4, 1, 3, 2}, spread{2.5, 1, 4}},
	} {
		if diff := cmp.Diff(tt.want, spreadOf(tt.in)); diff != "" {
			t.Errorf("spreadOf(%v) (-want +got):\n%s", tt.in, diff)
		}
	}
	if s := spreadOf(nil); !math.IsNaN(s.Median) {
		t.Errorf("spreadOf(nil) gives %v: no measurement must satisfy no bar", s)
	}
}

// TestSummarise judges bars both ways, takes ratios within a round, and leaves
// out what was not measured.
func TestSummarise(t *testing.T) {
	t.Parallel()
	var subjects []*subject
	for _, e := range catalogue() {
		if e.name == namePlain || e.name == nameReverseProxy || e.name == nameNginx {
			subjects = append(subjects, &subject{entry: e})
		}
	}
	// The machine is twice as slow in the second round: ratios do not notice.
	samples := []sample{
		{Peer: nameReverseProxy, Round: 0, CPU: 60},
		{Peer: nameNginx, Round: 0, CPU: 10},
		{Peer: namePlain, Round: 0, CPU: 24},
		{Peer: nameReverseProxy, Round: 1, CPU: 120},
		{Peer: nameNginx, Round: 1, CPU: 20},
		{Peer: namePlain, Round: 1, CPU: 48},
	}
	res := summarise(options{rounds: 2}, machine{}, subjects, samples, 0)
	type verdict struct {
		To    string
		Ratio float64
		Holds bool
	}
	var got []verdict
	for _, b := range res.Bars {
		got = append(got, verdict{b.To, b.Ratio.Median, b.Holds})
	}
	want := []verdict{{nameReverseProxy, 0.4, true}, {nameNginx, 2.4, false}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("bars (-want +got):\n%s", diff)
	}
	text := markdown(res)
	for _, part := range []string{"| nginx |", "**missed**", "holds", "2.40 (2.40–2.40)", "| 36.0 (24.0–48.0) |"} {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in\n%s", part, text)
		}
	}
	if strings.Contains(text, "Caddy") {
		t.Errorf("a row for what was not measured:\n%s", text)
	}
}

// TestBarsNameKnownPeers finds bars that no run could ever judge.
func TestBarsNameKnownPeers(t *testing.T) {
	t.Parallel()
	known := make(map[string]bool)
	for _, name := range namesOf(catalogue()) {
		known[name] = true
	}
	if len(bars()) != 6 {
		t.Errorf("%d bars, the product promises 6", len(bars()))
	}
	for _, b := range bars() {
		if !known[b.Of] || !known[b.To] || b.Most <= 0 {
			t.Errorf("bar %+v cannot be judged", b)
		}
	}
}

func TestBetween(t *testing.T) {
	t.Parallel()
	got, err := between([]byte("a\n"+docsBegin+"old\n"+docsEnd+"z\n"), "new\n")
	if want := "a\n" + docsBegin + "\nnew\n\n" + docsEnd + "z\n"; err != nil || string(got) != want {
		t.Errorf("between gives %q, %v", got, err)
	}
	for _, bad := range []string{
		"", docsBegin, docsEnd + docsBegin, docsBegin + docsEnd + docsBegin + docsEnd,
	} {
		if _, err := between([]byte(bad), "x"); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// TestDocs keeps the markers in the documentation that -write-docs needs.
func TestDocs(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "benchmarks.md"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := between(b, "x"); err != nil {
		t.Error(err)
	}
}

// TestMint verifies the token with the key set as Bulwark would.
func TestMint(t *testing.T) {
	t.Parallel()
	now := time.Now()
	set, token, err := mint(now)
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(set, "'\n") || strings.Contains(set, `"d"`) {
		t.Errorf("the key set does not fit into single quotes, or is not public: %s", set)
	}
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(set), &keys); err != nil {
		t.Fatal(err)
	}
	tok, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	var claims jwt.Claims
	var more struct {
		Roles []string `json:"roles"`
	}
	if err := tok.Claims(keys.Key(tokenKeyID)[0].Key, &claims, &more); err != nil {
		t.Fatal(err)
	}
	if err := claims.Validate(jwt.Expected{Issuer: tokenIssuer, AnyAudience: jwt.Audience{tokenAudience}, Time: now}); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"reader"}, more.Roles); diff != "" {
		t.Errorf("roles (-want +got):\n%s", diff)
	}
}

// TestLineCounter counts what is appended, in every file, each line once.
func TestLineCounter(t *testing.T) {
	t.Parallel()
	c := &lineCounter{dir: t.TempDir()}
	add := func(name, text string) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(c.dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	add("a", "1\n2\nhalf")
	if err := c.skip(t.Context()); err != nil {
		t.Fatal(err)
	}
	add("a", " line\n4\n")
	if err := os.Rename(filepath.Join(c.dir, "a"), filepath.Join(c.dir, "a.1")); err != nil {
		t.Fatal(err)
	}
	add("a", "5\n")
	if err := c.want(t.Context(), 3); err != nil {
		t.Error(err)
	}
	if n, err := c.count(); n != 0 || err != nil {
		t.Errorf("%d lines counted again, %v", n, err)
	}
	if err := (*lineCounter)(nil).want(t.Context(), 100); err != nil {
		t.Errorf("nobody asked for events: %v", err)
	}
}

// TestRender fills every configuration: a template that names a field that is
// not there would fail only in front of a user.
func TestRender(t *testing.T) {
	t.Parallel()
	files, err := conf.ReadDir("conf")
	if err != nil {
		t.Fatal(err)
	}
	e := &env{
		Dir: t.TempDir(), Name: "peer", Port: 1234, Backend: 5678, Status: 9, CPUs: 2, Body: "x",
		JWKS: "{}", Issuer: tokenIssuer, Audience: tokenAudience, FastProxy: true,
	}
	for _, f := range files {
		path, err := render(e, f.Name(), f.Name())
		if err != nil {
			t.Error(err)
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "{{") || strings.Contains(string(b), "<no value>") {
			t.Errorf("%s is not filled:\n%s", f.Name(), b)
		}
	}
	if len(files) < 8 {
		t.Errorf("%d configurations, want at least 8", len(files))
	}
}
