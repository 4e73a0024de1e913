package upstream

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/gateway/message"
)

// hostile are responses that must not reach a client. Each is sent once; a
// second request follows on whatever connection there is then.
var hostile = map[string]string{
	"length and coding":            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"lengths that differ":          "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
	"list of lengths":              "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
	"negative length":              "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
	"length with plus":             "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
	"unknown coding":               "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
	"gzip coding":                  "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
	"coding in HTTP/1.0":           "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"LF alone":                     "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
	"LF alone in one line":         "HTTP/1.1 200 OK\r\nX: y\nContent-Length: 2\r\n\r\nok",
	"CR alone":                     "HTTP/1.1 200 OK\r\nX: y\rContent-Length: 2\r\n\r\nok",
	"folded field":                 "HTTP/1.1 200 OK\r\nX: y\r\n Content-Length: 2\r\n\r\nok",
	"blank before colon":           "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
	"NUL in value":                 "HTTP/1.1 200 OK\r\nX: \x00\r\nContent-Length: 2\r\n\r\nok",
	"garbage before the response":  "xyz\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	"empty line first":             "\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	"not HTTP":                     "SSH-2.0-OpenSSH_9.2\r\n\r\n",
	"HTTP/2 frame":                 "\x00\x00\x12\x04\x00\x00\x00\x00\x00\r\n\r\n",
	"HTTP/0.9":                     "<html>hello</html>\r\n\r\n",
	"status 99":                    "HTTP/1.1 099 X\r\nContent-Length: 2\r\n\r\nok",
	"status 999":                   "HTTP/1.1 999 X\r\nContent-Length: 2\r\n\r\nok",
	"upgrade that nobody asked":    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
	"101 without upgrade":          "HTTP/1.1 101 Switching Protocols\r\n\r\n",
	"coding in 204":                "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	"length in 204":                "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
	"length in 103":                "HTTP/1.1 103 Early Hints\r\nContent-Length: 38\r\n\r\n" + okay,
	"chunk size with 0x":           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nok\r\n0\r\n\r\n",
	"chunk size negative":          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nok\r\n0\r\n\r\n",
	"chunk size wraps":             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000002\r\nok\r\n0\r\n\r\n",
	"chunk size ended by LF":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n",
	"chunk longer than its size":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nok\r\n0\r\n\r\n",
	"chunk with blank":             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 \r\nok\r\n0\r\n\r\n",
	"chunk extension without end":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;" + strings.Repeat("x", 5000),
	"chunk extension with LF":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;\nxx\r\n50\r\n0\r\n\r\n",
	"trailer without end":          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + strings.Repeat("x: y\r\n", 3000),
	"trailer with LF alone":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx: y\n\r\n",
	"too many interim responses":   strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", maxInterim+1) + okay,
	"interim responses for ever":   strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 2000),
	"head too large":               "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 70_000) + "\r\nContent-Length: 2\r\n\r\nok",
	"head of very many fields":     "HTTP/1.1 200 OK\r\n" + strings.Repeat("x: y\r\n", 300) + "Content-Length: 2\r\n\r\nok",
	"head without end":             "HTTP/1.1 200 OK\r\n" + strings.Repeat("x: y\r\n", 20_000),
	"Connection names two in one":  "HTTP/1.1 200 OK\r\nConnection: a b\r\nContent-Length: 2\r\n\r\nok",
	"Connection names very many":   "HTTP/1.1 200 OK\r\nConnection: " + strings.Repeat("a,", 100) + "\r\nContent-Length: 2\r\n\r\nok",
	"length in digits of Arabic":   "HTTP/1.1 200 OK\r\nContent-Length: \u0662\r\n\r\nok",
	"coding hidden by upper sharp": "HTTP/1.1 200 OK\r\nTransfer-Encoding: \u017fchunked\r\n\r\nok",
}

func TestHostileResponses(t *testing.T) {
	for name, text := range hostile {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := listen(t, func(s *session) {
				for first := s.n == 1; ; first = false {
					if _, _, err := s.request(); err != nil {
						return
					}
					if first {
						s.send(text)
					} else {
						s.send(okay)
					}
				}
			})
			set := newSet(t, Options{}, at(f.addr))
			a, err := do(t, set.Backend(0), call("GET", "/"))
			wantKind(t, err, BadResponse)
			if a.body != "" {
				t.Errorf("body %q got through", a.body)
			}
			if st := set.Stats()[0]; st.Idle != 0 || st.Active != 0 || st.Failures+uint64(st.Active) > 1 {
				t.Errorf("after it: %+v", st)
			}
			if a := must(t, set.Backend(0), call("GET", "/")); a.body != "ok" {
				t.Errorf("next request: %+v", a)
			}
			if n := f.conns.Load(); n != 2 {
				t.Errorf("%d connections for 2 requests", n)
			}
		})
	}
	if len(hostile) < 45 {
		t.Errorf("only %d cases", len(hostile))
	}
}

// TestHostileTail: good responses with more behind them, which would be the
// next client's response if the connection were used again.
func TestHostileTail(t *testing.T) {
	const evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
	tests := map[string]struct{ method, text string }{
		"behind a length":   {"GET", okay + evil},
		"behind a chunk":    {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + evil},
		"behind length 0":   {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + evil},
		"body of HEAD":      {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n" + evil},
		"body of 204":       {"GET", "HTTP/1.1 204 No Content\r\n\r\n" + evil},
		"body of 304":       {"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 42\r\n\r\n" + evil},
		"one byte":          {"GET", okay + "\n"},
		"a 408 out of turn": {"GET", okay + "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"},
	}
	for name, tt := range tests {
		for _, pause := range []time.Duration{0, 3 * time.Millisecond} {
			t.Run(fmt.Sprint(name, " after ", pause), func(t *testing.T) {
				t.Parallel()
				f := listen(t, func(s *session) {
					if _, _, err := s.request(); err != nil {
						return
					}
					if s.n > 1 {
						s.send(okay)
						return
					}
					cut := strings.LastIndex(tt.text, "HTTP/1.1")
					if cut <= 0 {
						cut = len(tt.text) - 1
					}
					if pause == 0 {
						s.send(tt.text)
					} else {
						s.send(tt.text[:cut])
						time.Sleep(pause)
						s.send(tt.text[cut:])
					}
					_, _, _ = s.request()
				})
				set := newSet(t, Options{}, at(f.addr))
				b := set.Backend(0)
				must(t, b, call(tt.method, "/"))
				if st := set.Stats()[0]; pause == 0 && st.Idle != 0 {
					t.Errorf("the connection is kept: %+v", st)
				}
				time.Sleep(2*pause + 10*time.Millisecond)
				if a := must(t, b, call("GET", "/")); a.body != "ok" {
					t.Errorf("the next client got %+v", a)
				}
			})
		}
	}
}

// TestTruncatedResponses: the connection ends inside a response. What there was
// of the body may have gone out, but never as a whole one.
func TestTruncatedResponses(t *testing.T) {
	tests := map[string]struct {
		text string
		kind Kind
	}{
		"inside the status line": {"HTTP/1.1 20", BackendGone},
		"inside the head":        {"HTTP/1.1 200 OK\r\nContent-Le", BackendGone},
		"inside a length":        {"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n0123456789", BackendGone},
		"inside a chunk":         {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n0123", BackendGone},
		"before the last chunk":  {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", BackendGone},
		"inside a trailer":       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx: y\r\n", BackendGone},
		"before anything":        {"", BackendGone},
		"bad chunk later":        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nPAUSEzz\r\n", BadResponse},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := listen(t, func(s *session) {
				if _, _, err := s.request(); err != nil {
					return
				}
				first, second, paused := strings.Cut(tt.text, "PAUSE")
				s.send(first)
				if paused {
					time.Sleep(20 * time.Millisecond)
					s.send(second)
				}
			})
			set := newSet(t, Options{}, at(f.addr))
			_, err := do(t, set.Backend(0), call("GET", "/"))
			wantKind(t, err, tt.kind)
			if st := set.Stats()[0]; st.Idle != 0 || st.Active != 0 {
				t.Errorf("after it: %+v", st)
			}
		})
	}
}

// TestLateReader: a body that ended does not lead to the next exchange.
func TestLateReader(t *testing.T) {
	f := listen(t, always(okay))
	b := newSet(t, Options{}, at(f.addr)).Backend(0)
	var one, two message.Response
	if err := b.Do(t.Context(), call("GET", "/"), &one); err != nil {
		t.Fatal(err)
	}
	a := one.Body
	_ = a.Close()
	if err := b.Do(t.Context(), call("GET", "/"), &two); err != nil {
		t.Fatal(err)
	}
	next := two.Body
	defer func() { _ = next.Close() }()
	buf := make([]byte, 16)
	if n, err := a.Read(buf); n != 0 || err == nil {
		t.Errorf("a closed body gave %q, %v", buf[:n], err)
	}
	if got := a.Buffered(); len(got) != 0 {
		t.Errorf("a closed body gave %q", got)
	}
	_ = a.Close() // must not close the next one's connection
	if n, _ := next.Read(buf); string(buf[:n]) != "ok" {
		t.Errorf("the next body gave %q", buf[:n])
	}
}
