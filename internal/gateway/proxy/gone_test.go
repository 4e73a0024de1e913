package proxy

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
)

// A connection does not outlive the listener that it came by.
func TestListenerGone(t *testing.T) {
	table := oneBackend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "old") })
	f := start(t, table, Limits{})
	const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	idle, idleReader := f.dial(t)
	if _, body := send(t, idle, idleReader, "GET", get); body != "old" {
		t.Fatalf("got %q", body)
	}
	busy, busyReader := f.dial(t)
	if _, body := send(t, busy, busyReader, "GET", get); body != "old" {
		t.Fatalf("got %q", body)
	}
	// The connection counts as idle until it has read the head's end: so the first
	// half of the next request is only part of it when an answer shows that it came.
	half, rest := get[:20], get[20:]
	if _, body := send(t, busy, busyReader, "GET", get+half); body != "old" {
		t.Fatalf("got %q", body)
	}

	next := oneBackend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "new") })
	next.Listeners[0].Addresses = []string{"127.0.0.1"}
	next.Listeners[0].Port = freePort(t)
	if _, err := f.server.Apply(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if got, err := idleReader.ReadByte(); err == nil {
		t.Errorf("an idle connection was not closed, but sent %q", got)
	}
	resp, _ := send(t, busy, busyReader, "GET", rest)
	if resp.StatusCode != http.StatusNotFound || !resp.Close {
		t.Errorf("a request to a listener that is gone: status %d, to be closed %t", resp.StatusCode, resp.Close)
	}
	if got, err := busyReader.ReadByte(); err == nil {
		t.Errorf("its connection was not closed, but sent %q", got)
	}
}

func TestListenerGoneHTTP2(t *testing.T) {
	f := start(t, oneBackend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "old") }), Limits{})
	tr := h2client(t)
	ask := func() (int, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+f.addr+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			return 0, err
		}
		defer func() { _ = resp.Body.Close() }()
		_, err = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode, err
	}
	if status, err := ask(); err != nil || status != http.StatusOK {
		t.Fatalf("status %d, %v", status, err)
	}
	next := oneBackend(t, func(http.ResponseWriter, *http.Request) {})
	next.Listeners[0].Addresses = []string{"127.0.0.1"}
	next.Listeners[0].Port = freePort(t)
	if _, err := f.server.Apply(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	// The connection that is there says that nothing is, and ends; there is no other.
	for n := 0; ; n++ {
		status, err := ask()
		if err != nil {
			if n == 0 {
				t.Errorf("the first request had no answer: %v", err)
			}
			return
		}
		if status != http.StatusNotFound {
			t.Fatalf("status %d", status)
		}
	}
}

// A stream in flight on a connection that began as HTTP/1.1 is answered too.
func TestDrainHTTP2PriorKnowledge(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{})
	f := start(t, oneBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		_, _ = io.WriteString(w, "done")
	}), Limits{})
	tr := h2client(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+f.addr+"/slow", nil)
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		body string
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		resp, err := tr.RoundTrip(req)
		if err != nil {
			answered <- answer{err: err}
			return
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		answered <- answer{string(b), err}
	}()
	<-entered
	done := make(chan error, 1)
	go func() { done <- f.server.Shutdown(context.Background()) }()
	for { // until the listener is closed: idle connections are ended right after
		c, err := net.Dial("tcp", f.addr)
		if err != nil {
			break
		}
		_ = c.Close()
	}
	close(release)
	if a := <-answered; a.err != nil || a.body != "done" {
		t.Errorf("got %q, %v", a.body, a.err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
