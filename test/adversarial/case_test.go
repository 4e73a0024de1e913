package adversarial

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"
)

// attack is one request, or several pipelined ones, sent as raw bytes.
type attack struct {
	id string
	// from is where the attack is known from: a CVE, an advisory, an RFC.
	from  string
	tries string
	send  string
	// sni asks for TLS with this server name.
	sni string
	// status lists the accepted statuses of the first answer; 0 is a close
	// without one.
	status []int
	// lines are the request lines that the backend must get if the first answer
	// is 200. With another answer it must get nothing complete.
	lines []string
	// maybe are request lines that it may get besides, before the fault in the
	// rest of the request shows.
	maybe []string
	// body, where set, is what the backend must get as body of the first.
	body *string
	// fields are field lines, lower-case, that the first forwarded request
	// must hold.
	fields []string
	// absent are field names that it must not hold, "_" and "." read as "-".
	absent []string
	// more are the statuses of the answers that may follow, in order; fewer
	// may come.
	more []int
	// closes wants the connection closed behind the first answer, unasked.
	closes bool
	// finish closes the sending side at once.
	finish bool
	// admin says that the request may be for /admin: it holds a credential.
	admin bool
}

// evil marks what must never reach a backend's header or a client.
const evil = "evil"

// run sends a.send and judges what happened.
func (g *guarded) run(t *testing.T, n *counter, a *attack) {
	t.Helper()
	n.add(t, a.id)
	t.Run(a.id, func(t *testing.T) {
		g.backend.take()
		c := g.dial(t, a.sni)
		o := &outcome{ended: true}
		if c != nil {
			o = converse(t, c, a.send, manner{finish: a.finish, wait: a.closes})
		}
		faults := a.judgeAnswers(o)
		faults = append(faults, g.canary(t)...)
		got := g.backend.take()
		faults = append(faults, a.judgeForwarded(o.status(), got)...)
		if len(faults) > 0 {
			report(t, a.id, a.from, a.tries, a.send, o.raw, got, faults)
		}
	})
}

// report tells everything that is needed to see the failure.
func report(t *testing.T, id, from, tries, sent, answered string, got []received, faults []string) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "CASE %s (%s)\n  tries:    %s\n", id, from, tries)
	for _, f := range faults {
		fmt.Fprintf(&b, "  FAULT:    %s\n", f)
	}
	fmt.Fprintf(&b, "  sent:     %s\n  answered: %s\n", clip(sent), clip(answered))
	for _, r := range got {
		fmt.Fprintf(&b, "  backend:  %s (complete %t) %s\n", clip(r.raw), r.complete, r.wrong)
	}
	t.Error(b.String())
}

func clip(s string) string {
	if len(s) > 900 {
		return fmt.Sprintf("%q … (%d bytes) … %q", s[:600], len(s), s[len(s)-200:])
	}
	return fmt.Sprintf("%q", s)
}

func (a *attack) judgeAnswers(o *outcome) (faults []string) {
	switch {
	case o.hung && len(o.answers) == 0:
		faults = append(faults, "neither answered nor closed")
	case o.hung:
		faults = append(faults, "connection stays open after the client is done")
	}
	if !slices.Contains(a.status, o.status()) {
		faults = append(faults, fmt.Sprintf("answered %d, want one of %v", o.status(), a.status))
	}
	if a.closes && o.status() >= 400 && (!o.ended || len(o.answers) > 1) {
		faults = append(faults, "connection goes on after an answer that must end it")
	}
	if len(o.answers) > 1 {
		for i, extra := range o.answers[1:] {
			if i >= len(a.more) || extra.status != a.more[i] {
				faults = append(faults, fmt.Sprintf("further answer %d: %d %.80s", i+2, extra.status, extra.body))
			}
		}
	}
	if strings.Contains(o.raw, evil) {
		faults = append(faults, "the answer repeats what the client sent")
	}
	return faults
}

func (a *attack) judgeForwarded(status int, got []received) (faults []string) {
	var lines []string
	for i := range got {
		r := &got[i]
		if r.wrong != "" {
			faults = append(faults, "backend got "+r.wrong)
		}
		if !r.complete {
			continue // an upload that was cut off is no request
		}
		lines = append(lines, r.line)
		faults = append(faults, r.judge(a.admin)...)
		for _, name := range a.absent {
			if v := r.folded(name); len(v) > 0 {
				faults = append(faults, fmt.Sprintf("backend got field %s: %q", name, v))
			}
		}
	}
	var want []string
	if status == 200 {
		want = a.lines
	} else if slices.Equal(lines, a.maybe) {
		want = a.maybe
	}
	if !slices.Equal(lines, want) {
		faults = append(faults, fmt.Sprintf("backend got requests %q, want %q with answer %d", lines, want, status))
		return faults
	}
	if len(lines) == 0 {
		return faults
	}
	first := got[slices.IndexFunc(got, func(r received) bool { return r.complete })]
	if a.body != nil && first.body != *a.body {
		faults = append(faults, fmt.Sprintf("backend got body %q, want %q", first.body, *a.body))
	}
	for _, f := range a.fields {
		if !slices.ContainsFunc(first.head, func(h string) bool { return strings.EqualFold(h, f) }) {
			faults = append(faults, fmt.Sprintf("backend misses field %q", f))
		}
	}
	return faults
}

// judge checks what must hold for every forwarded request.
func (r *received) judge(admin bool) (faults []string) {
	for _, f := range slices.Concat(r.head, r.trailer) {
		if strings.Contains(strings.ToLower(f), evil) {
			faults = append(faults, fmt.Sprintf("backend got field %q", f))
		}
	}
	for name, want := range map[string][]string{
		"x-forwarded-for":   {"127.0.0.1"},
		"x-forwarded-proto": {"http", "https"},
		"x-forwarded-host":  r.field("host"),
	} {
		if v := r.folded(name); len(v) != 1 || !slices.Contains(want, v[0]) {
			faults = append(faults, fmt.Sprintf("backend got %s as %q, want one of %q", name, v, want))
		}
	}
	for _, name := range []string{"keep-alive", "proxy-connection", "http2-settings", "proxy-authorization"} {
		if v := r.folded(name); len(v) > 0 {
			faults = append(faults, fmt.Sprintf("backend got %s of another hop: %q", name, v))
		}
	}
	if target := strings.Split(r.line, " ")[1]; !admin && isAdmin(target) {
		faults = append(faults, fmt.Sprintf("backend may read %q as a path under /admin", target))
	}
	return faults
}

// folded gives the values of all fields that some server takes for name.
func (r *received) folded(name string) []string {
	var out []string
	fold := strings.NewReplacer("_", "-", ".", "-")
	for _, f := range slices.Concat(r.head, r.trailer) {
		if n, v, ok := strings.Cut(f, ":"); ok && fold.Replace(strings.ToLower(n)) == name {
			out = append(out, strings.Trim(v, " \t"))
		}
	}
	return out
}

// isAdmin reports whether any reading of a target that is known from some
// server leads under /admin.
func isAdmin(target string) bool {
	p, _, _ := strings.Cut(target, "?")
	for range 4 {
		for _, reading := range []string{p, strings.ReplaceAll(p, "\\", "/")} {
			var segments []string
			for s := range strings.SplitSeq(reading, "/") {
				s, _, _ = strings.Cut(s, ";")
				segments = append(segments, s)
			}
			for _, cut := range []string{"", "\x00", "#", "?"} {
				form := strings.Join(segments, "/")
				if cut != "" {
					form, _, _ = strings.Cut(form, cut)
				}
				form = path.Clean("/" + form)
				if form == "/admin" || strings.HasPrefix(form, "/admin/") {
					return true
				}
			}
		}
		next, err := url.PathUnescape(p)
		if err != nil || next == p {
			return false
		}
		p = next
	}
	return false
}

// canary proves that the gateway still answers a clean request on a new
// connection with that request's own answer.
func (g *guarded) canary(t *testing.T) (faults []string) {
	t.Helper()
	g.canaries++
	line := fmt.Sprintf("GET /canary/%d HTTP/1.1", g.canaries)
	before := g.backend.take()
	o := converse(t, g.dial(t, ""), line+"\r\nHost: shop.test\r\nConnection: close\r\n\r\n", manner{})
	if o.status() != 200 || o.answers[0].body != "served "+line || len(o.answers) != 1 {
		faults = append(faults, fmt.Sprintf("the next clean request is answered %s", clip(o.raw)))
	}
	after := g.backend.take()
	if i := slices.IndexFunc(after, func(r received) bool { return r.line == line && r.complete && r.body == "" }); i >= 0 {
		after = slices.Delete(after, i, i+1)
	} else {
		faults = append(faults, "the next clean request did not reach the backend as it was sent")
	}
	for _, r := range slices.Concat(before, after) {
		g.backend.keep(&r)
	}
	return faults
}
