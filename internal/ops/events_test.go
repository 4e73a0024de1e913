package ops

import (
	"bufio"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark"
)

func fixedNow() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 5000, time.UTC) }

func readLines(t *testing.T, path string) []map[string]any {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var out []map[string]any
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		var m map[string]any
		if err := json.Unmarshal(sc.Bytes(), &m); err != nil {
			t.Fatalf("line %q: %v", sc.Text(), err)
		}
		out = append(out, m)
	}
	return out
}

func TestEventAsJSON(t *testing.T) {
	e := &bulwark.Event{
		Time: fixedNow(), RequestID: "r1", TraceID: "t1", AuditID: "a1", SentPath: "/sent", SourceIP: "10.0.0.1", Method: "GET", Scheme: "https", Host: "a", Path: "/\"\\\n\u2028é\xff",
		Protocol: "HTTP/1.1", Listener: "l", Route: "r", Backend: "b", Status: 403, BytesIn: 1, BytesOut: 2,
		Duration: 3 * time.Millisecond, Upstream: time.Millisecond, Queued: time.Second, Error: "e",
		Identity: &bulwark.Identity{Name: "rita", Method: "jwt", Issuer: "i", Roles: []string{"reader", "x"}, Groups: []string{"g"}, Claims: map[string]any{"secret": "claim"}},
		Decision: bulwark.Refuse(403, bulwark.CodeForbidden, "rule", "reason"),
	}
	line := appendEvent(nil, e)
	var got map[string]any
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"time": "2026-11-21T12:00:00.000005Z", "requestId": "r1", "traceId": "t1", "auditId": "a1", "sentPath": "/sent", "decision": "refused", "code": "forbidden", "status": 403.0,
		"rule": "rule", "reason": "reason", "sourceIP": "10.0.0.1", "method": "GET", "scheme": "https", "host": "a", "path": "/\"\\\n\u2028é\ufffd",
		"protocol": "HTTP/1.1", "listener": "l", "route": "r", "backend": "b", "bytesIn": 1.0, "bytesOut": 2.0,
		"durationUs": 3000.0, "upstreamUs": 1000.0, "queuedUs": 1e6, "error": "e",
		"identity": map[string]any{"name": "rita", "method": "jwt", "issuer": "i", "roles": []any{"reader", "x"}, "groups": []any{"g"}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if strings.Count(string(line), "\n") != 1 {
		t.Error("an event is more than one line")
	}
}

func FuzzQuote(f *testing.F) {
	f.Add("a\"\\\x00\u2029\xffé")
	f.Fuzz(func(t *testing.T, s string) {
		var got string
		if err := json.Unmarshal(quote(nil, s), &got); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		if want := strings.ToValidUTF8(s, "\ufffd"); utf8.ValidString(s) && got != want {
			t.Fatalf("%q became %q", s, got)
		}
	})
}

func TestEventLogKeepsEveryEvent(t *testing.T) {
	dir := t.TempDir()
	l, err := OpenEventLog(dir, 1<<30, 2, fixedNow, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	const each, writers = 500, 8
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				l.Record(&bulwark.Event{Time: fixedNow(), RequestID: "x", Decision: bulwark.Allow("r")})
			}
		})
	}
	wg.Wait()
	if err := errors.Join(l.Healthy(), l.Close()); err != nil {
		t.Fatal(err)
	}
	if got := len(readLines(t, l.Path())); got != each*writers {
		t.Errorf("%d events on disk, want %d", got, each*writers)
	}
	if st, err := os.Stat(l.Path()); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, error %v", st.Mode(), err)
	}
}

func TestEventLogEndsHalfALine(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, eventsName), []byte("{\"cut\":"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := OpenEventLog(dir, 1<<30, 2, fixedNow, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l.Record(&bulwark.Event{RequestID: "after"})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(l.Path())
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(strings.TrimSpace(string(b)), "\n"); len(lines) != 2 || !strings.Contains(lines[1], "after") {
		t.Errorf("got %q", lines)
	}
}

func TestEventLogRotates(t *testing.T) {
	dir := t.TempDir()
	at := fixedNow()
	l, err := OpenEventLog(dir, 300, 2, func() time.Time { at = at.Add(time.Second); return at }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		l.Record(&bulwark.Event{RequestID: strings.Repeat("x", 200)})
		l.mu.Lock()
		l.flush()
		l.mu.Unlock()
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	old, err := filepath.Glob(filepath.Join(dir, "events-*.jsonl"))
	if err != nil || len(old) != 2 || l.Lost() != 0 {
		t.Errorf("kept %v, error %v, lost %d", old, err, l.Lost())
	}
}

func TestEventLogSaysWhenItLoses(t *testing.T) {
	dir := t.TempDir()
	l, err := OpenEventLog(dir, 1<<30, 2, fixedNow, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	_ = l.file.Close() // as a disk that fails
	l.mu.Unlock()
	l.Record(&bulwark.Event{RequestID: "lost"})
	l.mu.Lock()
	l.flush()
	l.mu.Unlock()
	if l.Healthy() == nil || l.Lost() != 1 {
		t.Errorf("healthy %v, lost %d", l.Healthy(), l.Lost())
	}
	l.Record(&bulwark.Event{RequestID: "kept"})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := readLines(t, l.Path()); len(got) != 1 || got[0]["requestId"] != "kept" {
		t.Errorf("got %v", got)
	}
}

func BenchmarkRecord(b *testing.B) {
	l, err := OpenEventLog(b.TempDir(), 1<<40, 2, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	e := &bulwark.Event{
		Time: fixedNow(), RequestID: "0123456789abcdef0123456789abcdef", SourceIP: "127.0.0.1", Method: "GET", Scheme: "http", Host: "shop.example", Path: "/orders/42",
		Protocol: "HTTP/1.1", Listener: "shop/edge/http", Route: "HTTPRoute/shop/orders/0", Backend: "shop/api:80", Status: 200, BytesOut: 1024,
		Identity: &bulwark.Identity{Name: "rita", Method: "jwt", Issuer: "https://idp", Roles: []string{"reader"}},
		Duration: time.Millisecond, Upstream: time.Millisecond, Decision: bulwark.Allow("SecurityPolicy shop/orders authorization rule readers"),
	}
	b.ReportAllocs()
	for b.Loop() {
		l.Record(e)
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}
