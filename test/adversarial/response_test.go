package adversarial

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// reply is a response of a hostile or broken backend.
type reply struct {
	id, from, tries string
	script          script
	// send is the request line; empty means GET.
	method string
	// fields are further field lines of the request.
	fields []string
	// rest is what follows the request's head.
	rest string
	// status are the accepted answers; body is that of an answer 200.
	status []int
	body   string
	// cut wants an answer 200 to end before its end.
	cut bool
	// absent are field names that the client must not get.
	absent []string
}

// ok is a response head with further lines.
func ok(lines ...string) string {
	return strings.Join(append([]string{"HTTP/1.1 200 OK"}, lines...), "\r\n") + "\r\n\r\n"
}

// injected is what a client or the gateway would take for a response of its own.
const injected = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"

func replies() []reply {
	bad := []int{502}
	return []reply{
		{id: "reply-good", from: "control", tries: "a good response passes", script: script{reply: ok("Content-Length: 5") + "hello"}, status: []int{200}, body: "hello"},
		{id: "reply-chunked", from: "control", tries: "a chunked response passes", script: script{reply: ok("Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\n\r\n"}, status: []int{200}, body: "hello"},
		{id: "reply-until-close", from: "RFC 9112 6.3", tries: "a response that ends with its connection", script: script{reply: ok("X-A: b") + "hello", close: true}, status: []int{200}, body: "hello"},
		{id: "reply-cl-te", from: "RFC 9112 6.3", tries: "a response framed twice", script: script{reply: ok("Content-Length: 5", "Transfer-Encoding: chunked") + "0\r\n\r\n" + injected}, status: bad},
		{id: "reply-cl-two", from: "RFC 9112 6.3", tries: "two lengths", script: script{reply: ok("Content-Length: 0", "Content-Length: 5") + "hello"}, status: bad},
		{id: "reply-cl-list", from: "RFC 9112 6.3", tries: "a list of lengths", script: script{reply: ok("Content-Length: 5, 6") + "hello!"}, status: bad},
		{id: "reply-cl-minus", from: "RFC 9110 8.6", tries: "a negative length", script: script{reply: ok("Content-Length: -5") + "hello"}, status: bad},
		{id: "reply-cl-plus", from: "RFC 9110 8.6", tries: "a length with a sign", script: script{reply: ok("Content-Length: +5") + "hello"}, status: bad},
		{id: "reply-cl-overflow", from: "RFC 9110 8.6", tries: "a length over 64 bits", script: script{reply: ok("Content-Length: 18446744073709551621") + "hello"}, status: bad},
		{id: "reply-te-gzip", from: "RFC 9112 6.1", tries: "a coding that nobody asked for", script: script{reply: ok("Transfer-Encoding: gzip, chunked") + "0\r\n\r\n"}, status: bad},
		{id: "reply-te-twice", from: "valyala/fasthttp#1719", tries: "chunked twice", script: script{reply: ok("Transfer-Encoding: chunked, chunked") + "0\r\n\r\n"}, status: bad},
		{id: "reply-te-10", from: "RFC 9112 6.1", tries: "chunked in HTTP/1.0", script: script{reply: "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + injected, close: true}, status: bad},
		{id: "reply-te-vt", from: "CVE-2019-18277", tries: "a vertical tab before chunked", script: script{reply: ok("Transfer-Encoding: \x0bchunked") + "0\r\n\r\n"}, status: bad},
		{id: "reply-bare-lf", from: "RFC 9112 2.2", tries: "LF as line end", script: script{reply: "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"}, status: bad},
		{id: "reply-bare-lf-field", from: "RFC 9112 2.2", tries: "LF behind one field", script: script{reply: "HTTP/1.1 200 OK\r\nX-A: b\nX-B: evil\r\nContent-Length: 5\r\n\r\nhello"}, status: bad},
		{id: "reply-bare-cr", from: "CVE-2019-16276 family", tries: "a CR that splits a field", script: script{reply: ok("Location: /x\rSet-Cookie: evil=1", "Content-Length: 5") + "hello"}, status: bad},
		{id: "reply-fold", from: "RFC 9112 5.2", tries: "a folded field", script: script{reply: ok("X-A: b", " X-B: evil", "Content-Length: 5") + "hello"}, status: bad},
		{id: "reply-nul", from: "RFC 9110 5.5", tries: "a NUL in a field", script: script{reply: ok("X-A: b\x00evil", "Content-Length: 5") + "hello"}, status: bad},
		{id: "reply-space-colon", from: "RFC 9112 5.1", tries: "a space before the colon", script: script{reply: ok("X-A : evil", "Content-Length: 5") + "hello"}, status: bad},
		{id: "reply-no-colon", from: "RFC 9112 5", tries: "a line without colon", script: script{reply: ok("evil", "Content-Length: 5") + "hello"}, status: bad},
		{id: "reply-no-name", from: "RFC 9112 5", tries: "a field without name", script: script{reply: ok(": evil", "Content-Length: 5") + "hello"}, status: bad},
		{id: "reply-blank-first", from: "RFC 9112 2.2", tries: "an empty line before the status", script: script{reply: "\r\n" + ok("Content-Length: 5") + "hello"}, status: bad},
		{id: "reply-status-text", from: "RFC 9112 4", tries: "a status that is no number", script: script{reply: "HTTP/1.1 2xx OK\r\nContent-Length: 5\r\n\r\nhello"}, status: bad},
		{id: "reply-status-two", from: "RFC 9110 15", tries: "a status of two digits", script: script{reply: "HTTP/1.1 99 OK\r\nContent-Length: 5\r\n\r\nhello"}, status: bad},
		{id: "reply-status-four", from: "RFC 9110 15", tries: "a status of four digits", script: script{reply: "HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nhello"}, status: bad},
		{id: "reply-status-big", from: "RFC 9110 15", tries: "a status that no class has", script: script{reply: "HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n"}, status: []int{502, 999}},
		{id: "reply-version", from: "RFC 9112 2.3", tries: "a version that is none", script: script{reply: "HTTP/3.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"}, status: bad},
		{id: "reply-http2", from: "RFC 9113 3.4", tries: "HTTP/2 frames", script: script{reply: "\x00\x00\x00\x04\x00\x00\x00\x00\x00", close: true}, status: bad},
		{id: "reply-ssh", from: "RFC 9112 4", tries: "another protocol", script: script{reply: "SSH-2.0-evil\r\n", close: true}, status: bad},
		{id: "reply-html", from: "RFC 1945", tries: "a response without head", script: script{reply: "<html>evil</html>", close: true}, status: bad},
		{id: "reply-nothing", from: "RFC 9110 9.2.2", tries: "no response to a POST: it is not sent twice", method: "POST", script: script{close: true}, status: bad},
		{id: "reply-head-cut", from: "RFC 9112 8", tries: "half a head", script: script{reply: "HTTP/1.1 200 OK\r\nX-A: evil", close: true}, status: bad},
		{id: "reply-large-head", from: "RFC 6585 5", tries: "a head of 2 MiB", script: script{reply: ok("X-A: "+strings.Repeat("a", 2<<20), "Content-Length: 5") + "hello"}, status: bad},
		{id: "reply-many-fields", from: "RFC 6585 5", tries: "20000 fields", script: script{reply: ok(strings.Repeat("X-A: b\r\n", 20000)+"Content-Length: 5") + "hello"}, status: bad},
		{id: "reply-many-interim", from: "CVE-2024 1xx flood", tries: "5000 interim responses", script: script{reply: strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 5000) + ok("Content-Length: 5") + "hello"}, status: []int{502, 200}, body: "hello"},
		{id: "reply-interim-body", from: "RFC 9110 15.2", tries: "an interim response with a length", script: script{reply: "HTTP/1.1 100 Continue\r\nContent-Length: 4\r\n\r\nevil" + ok("Content-Length: 5") + "hello"}, status: bad},
		{id: "reply-101", from: "CVE-2026-2833", tries: "a switch of protocols that nobody asked for", script: script{reply: "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n" + injected}, status: bad},
		{id: "reply-101-other", from: "CVE-2026-2833", tries: "a switch to another protocol than asked for", fields: []string{"Connection: upgrade", "Upgrade: websocket"}, script: script{reply: "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n" + injected}, status: bad},
		{id: "reply-extra", from: "response queue poisoning", tries: "a second response behind the first", script: script{reply: ok("Content-Length: 5") + "hello" + injected}, status: []int{200, 502}, body: "hello"},
		{id: "reply-extra-late", from: "response queue poisoning", tries: "a second response on the idle connection", script: script{reply: ok("Content-Length: 5") + "hello", later: injected}, status: []int{200}, body: "hello"},
		{id: "reply-extra-bytes", from: "response queue poisoning", tries: "one byte more than the length", script: script{reply: ok("Content-Length: 5") + "hello!"}, status: []int{200, 502}, body: "hello"},
		{id: "reply-extra-chunked", from: "response queue poisoning", tries: "a second response behind the last chunk", script: script{reply: ok("Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\n\r\n" + injected}, status: []int{200, 502}, body: "hello"},
		{id: "reply-early", from: "response queue poisoning", tries: "a response before the request's body", method: "POST", fields: []string{"Content-Length: 5"}, rest: "hello", script: script{reply: ok("Content-Length: 5") + "hello", early: true}, status: []int{200, 502}, body: "hello"},
		{id: "reply-head", from: "RFC 9110 9.3.2", tries: "a body in answer to HEAD", method: "HEAD", script: script{reply: ok("Content-Length: 60") + injected + "evil"}, status: []int{200, 502}},
		{id: "reply-204", from: "RFC 9112 6.3", tries: "a body behind 204", script: script{reply: "HTTP/1.1 204 No Content\r\nContent-Length: 60\r\n\r\n" + injected}, status: []int{204, 502}},
		{id: "reply-204-chunked", from: "RFC 9112 6.1", tries: "chunks behind 204", script: script{reply: "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"}, status: []int{204, 502}},
		{id: "reply-304", from: "RFC 9112 6.3", tries: "a body behind 304", script: script{reply: "HTTP/1.1 304 Not Modified\r\nContent-Length: 60\r\n\r\n" + injected}, status: []int{304, 502}},
		{id: "reply-chunk-size", from: "RFC 9112 7.1", tries: "a chunk size that is none", script: script{reply: ok("Transfer-Encoding: chunked") + "xyz\r\nevil\r\n0\r\n\r\n"}, status: []int{200, 502}, cut: true},
		{id: "reply-chunk-lf", from: "CVE-2025-22871", tries: "LF behind the chunk size", script: script{reply: ok("Transfer-Encoding: chunked") + "4\nevil\r\n0\r\n\r\n"}, status: []int{200, 502}, cut: true},
		{id: "reply-chunk-overflow", from: "RFC 9112 7.1", tries: "a chunk size over 64 bits", script: script{reply: ok("Transfer-Encoding: chunked") + "10000000000000004\r\nevil\r\n0\r\n\r\n"}, status: []int{200, 502}, cut: true},
		{id: "reply-chunk-minus", from: "RFC 9112 7.1", tries: "a negative chunk size", script: script{reply: ok("Transfer-Encoding: chunked") + "-4\r\nevil\r\n0\r\n\r\n"}, status: []int{200, 502}, cut: true},
		{id: "reply-cut", from: "RFC 9112 8", tries: "a body that ends too early is not passed on as whole", script: script{reply: ok("Content-Length: 50") + "hello", close: true}, status: []int{200, 502}, cut: true},
		{id: "reply-cut-chunk", from: "RFC 9112 8", tries: "chunks without their end are not passed on as whole", script: script{reply: ok("Transfer-Encoding: chunked") + "5\r\nhello\r\n", close: true}, status: []int{200, 502}, cut: true},
		{
			id: "reply-trailer", from: "RFC 9110 6.5.1", tries: "trailers that frame and set cookies",
			script: script{reply: ok("Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\nContent-Length: 99\r\nSet-Cookie: evil=1\r\nTransfer-Encoding: evil\r\n\r\n"}, status: []int{200, 502}, body: "hello",
		},
		{
			id: "reply-hop", from: "RFC 9110 7.6.1", tries: "fields of the other hop", status: []int{200}, body: "hello",
			script: script{reply: ok("Connection: X-Private", "X-Private: evil", "Keep-Alive: timeout=evil", "Proxy-Authenticate: evil", "Proxy-Connection: evil", "Content-Length: 5") + "hello"},
			absent: []string{"X-Private", "Keep-Alive", "Proxy-Authenticate", "Proxy-Connection"},
		},
		{
			id: "reply-hop-length", from: "RFC 9110 7.6.1", tries: "Connection names Content-Length",
			script: script{reply: ok("Connection: content-length", "Content-Length: 5") + "hello" + injected}, status: []int{200, 502}, body: "hello",
		},
		{id: "reply-upgrade-field", from: "RFC 9110 7.8", tries: "Upgrade in a plain response", script: script{reply: ok("Upgrade: h2c", "Connection: Upgrade", "Content-Length: 5") + "hello"}, status: []int{200}, body: "hello", absent: []string{"Upgrade"}},
	}
}

// runReplies lets the backend misbehave, then asks on the same connection again.
func runReplies(t *testing.T, g *guarded, n *counter) {
	t.Helper()
	for _, r := range replies() {
		n.add(t, r.id)
		t.Run(r.id, func(t *testing.T) {
			path := "/public/" + r.id
			g.backend.on(path, r.script)
			g.backend.take()
			method := r.method
			if method == "" {
				method = "GET"
			}
			line := method + " " + path + " HTTP/1.1"
			after := "GET /public/after HTTP/1.1"
			send := request(line, append([]string{"Host: shop.test"}, r.fields...)...) + r.rest
			if r.script.later == "" {
				send += request(after, "Host: shop.test")
			}
			o := converse(t, g.dial(t, ""), send, manner{})
			if r.script.later != "" {
				// What comes on an idle connection can be noticed; what comes when
				// the next request is under way cannot. The canary is that request.
				time.Sleep(10 * lateness)
			}
			faults := append(r.judge(o, after), g.canary(t)...)
			got := g.backend.take()
			faults = append(faults, judgeTries(method, line, got)...)
			if len(faults) > 0 {
				report(t, r.id, r.from, r.tries, send+"\n  the backend replied "+clip(r.script.reply+r.script.later), o.raw, got, faults)
			}
		})
	}
}

// judgeTries wants what is not idempotent to be sent once.
func judgeTries(method, line string, got []received) (faults []string) {
	tries := 0
	for _, r := range got {
		if r.line == line {
			tries++
		}
		if r.wrong != "" {
			faults = append(faults, "backend got "+r.wrong)
		}
	}
	if tries == 0 || method == "POST" && tries != 1 {
		faults = append(faults, fmt.Sprintf("backend was asked %d times", tries))
	}
	return faults
}

func (r *reply) judge(o *outcome, after string) (faults []string) {
	if o.hung {
		faults = append(faults, "neither answered nor closed")
	}
	if !slices.Contains(r.status, o.status()) {
		faults = append(faults, fmt.Sprintf("answered %d, want one of %v", o.status(), r.status))
	}
	if strings.Contains(o.raw, evil) {
		faults = append(faults, "the client got what must not reach it")
	}
	if len(o.answers) == 0 {
		return faults
	}
	first := &o.answers[0]
	switch {
	case first.status == 200 && r.cut && !first.cut:
		faults = append(faults, fmt.Sprintf("a broken body was passed on as whole: %q", first.body))
	case first.status == 200 && !r.cut && (first.cut || first.body != r.body):
		faults = append(faults, fmt.Sprintf("body %q (cut %t), want %q", first.body, first.cut, r.body))
	}
	for _, name := range r.absent {
		if v := first.header.Values(name); len(v) > 0 {
			faults = append(faults, fmt.Sprintf("the client got %s: %q", name, v))
		}
	}
	// The next request on the connection gets its own answer, or none.
	switch rest := o.answers[1:]; {
	case len(rest) > 1:
		faults = append(faults, fmt.Sprintf("%d answers to two requests", len(o.answers)))
	case len(rest) == 1 && (rest[0].status != 200 || rest[0].body != "served "+after):
		faults = append(faults, fmt.Sprintf("the next request on the connection is answered %d %q", rest[0].status, rest[0].body))
	}
	return faults
}
