package adversarial

import (
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// slow is a client that sends a byte now and then to hold a connection. The
// gateway runs with limits of two seconds.
type slow struct {
	id, from, tries string
	first           string // sent at once
	drip            string // then this, one byte every quarter of a second, again and again
	sni             string
	status          []int // 0: closed without an answer
}

func slows() []slow {
	closed := []int{408, 400, 0}
	return []slow{
		{id: "time-head", from: "slowloris, RFC 9110 15.5.9", tries: "a head that never ends", first: "GET /public HTTP/1.1\r\nHost: shop.test\r\nX-A: ", drip: "a", status: closed},
		{id: "time-head-fields", from: "slowloris", tries: "fields without end", first: "GET /public HTTP/1.1\r\nHost: shop.test\r\n", drip: "X: a\r\n", status: closed},
		{id: "time-line", from: "slowloris", tries: "a request line that never ends", drip: "GET /public", status: closed},
		{id: "time-blank", from: "slowloris, RFC 9112 2.2", tries: "empty lines for a request", drip: "\r\n", status: closed},
		{id: "time-body", from: "GHSA-7ghq-v6jf-g56c, R-U-Dead-Yet", tries: "a body that never ends", first: post("", "Content-Length: 1000"), drip: "a", status: closed},
		{id: "time-body-silent", from: "GHSA-7ghq-v6jf-g56c", tries: "a body that never begins", first: post("", "Content-Length: 1000"), status: closed},
		{id: "time-chunks", from: "R-U-Dead-Yet", tries: "chunks without end", first: chunked(""), drip: "1\r\na\r\n", status: closed},
		{id: "time-chunk-size", from: "R-U-Dead-Yet", tries: "a chunk size that never ends", first: chunked(""), status: closed},
		{id: "time-tls", from: "slowloris", tries: "a TLS handshake that never begins", sni: "raw", status: closed},
	}
}

// allowance is how long the gateway may take to end a slow client whose limit
// is two seconds. It leaves room for a body's window of that length to begin
// anew once, and for a busy machine.
const allowance = 15 * time.Second

func runTimes(t *testing.T, g *guarded, n *counter) {
	t.Helper()
	t.Run("all", func(t *testing.T) { // waits for its parallel cases
		g.runSlowRead(t, n, "time-read", "slow read, RFC 9110 15.5.9", "a client that takes no response", func(path string) net.Conn {
			c := g.dial(t, "")
			if _, err := io.WriteString(c, get(path)); err != nil {
				t.Fatal(err)
			}
			return c
		})
		g.runSlowRead(t, n, "time-read-h2", "CVE-2019-9517, CVE-2019-9511", "a client whose window never opens", func(path string) net.Conn {
			h := g.dialH2(t, "shop.test")
			// SETTINGS_INITIAL_WINDOW_SIZE 0.
			if err := h.frame(frameSettings, 0, 0, []byte{0, 4, 0, 0, 0, 0}); err != nil {
				t.Fatal(err)
			}
			if err := h.headers(1, h2get(path), true); err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = io.Copy(io.Discard, h) }()
			return h
		})
		for _, s := range slows() {
			n.add(t, s.id)
			t.Run(s.id, func(t *testing.T) {
				t.Parallel()
				addr := g.http
				if s.sni != "" {
					addr = g.https
				}
				c, err := net.DialTimeout("tcp", addr, patience)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = c.Close() }()
				took, got := s.hold(c)
				status := 0
				if len(got) >= len("HTTP/1.1 200") {
					if status, err = strconv.Atoi(got[len("HTTP/1.1 "):len("HTTP/1.1 200")]); err != nil {
						t.Fatalf("answered %q", got)
					}
				}
				var faults []string
				if took >= allowance {
					faults = append(faults, "the connection was held for "+took.String())
				}
				if !slices.Contains(s.status, status) {
					faults = append(faults, "answered "+got)
				}
				if len(faults) > 0 {
					report(t, s.id, s.from, s.tries, s.first+" then slowly "+s.drip, got, nil, faults)
				}
			})
		}
	})
	var faults []string
	for _, r := range g.backend.take() {
		if r.complete && !strings.Contains(r.line, "/time-read") {
			faults = append(faults, "a request that never ended reached the backend: "+r.line)
		}
	}
	if faults = append(faults, g.canary(t)...); len(faults) > 0 {
		t.Errorf("after the slow clients: %q", faults)
	}
	g.backend.take()
}

// runSlowRead asks for more than all buffers hold and takes nothing, so that the
// backend can never finish: the gateway must give up.
func (g *guarded) runSlowRead(t *testing.T, n *counter, id, from, tries string, ask func(path string) net.Conn) {
	t.Helper()
	n.add(t, id)
	t.Run(id, func(t *testing.T) {
		t.Parallel()
		const size = 64 << 20
		done := make(chan struct{})
		path := "/public/" + id
		g.backend.on(path, script{reply: ok("Content-Length: "+strconv.Itoa(size)) + strings.Repeat("a", size), done: done, close: true})
		c := ask(path)
		defer func() { _ = c.Close() }()
		began := time.Now()
		select {
		case <-done:
		case <-time.After(allowance):
			report(t, id, from, tries, path, "", nil, []string{"the backend's connection was held for " + time.Since(began).String()})
		}
	})
}

// hold drips until the gateway ends the connection.
func (s *slow) hold(c net.Conn) (time.Duration, string) {
	began := time.Now()
	_ = c.SetDeadline(began.Add(allowance))
	done := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(c)
		done <- string(b)
	}()
	if _, err := io.WriteString(c, s.first); err != nil {
		return time.Since(began), <-done
	}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case got := <-done:
			return time.Since(began), got
		case <-tick.C:
			if s.drip != "" {
				// A write to a closed connection fails; the read tells why.
				_, _ = io.WriteString(c, string(s.drip[i%len(s.drip)]))
			}
		}
	}
}
