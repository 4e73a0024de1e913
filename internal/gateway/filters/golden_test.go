package filters

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
)

var update = flag.Bool("update", false, "write what the filters do into the golden files")

var epoch = time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC)

// TestGolden runs testdata/<filter>-*.txtar. A file holds rule.json (an
// ir.Rule), then requests, each followed by the backend's response where one
// matters, and by what is wanted. In a request, the first line is method and
// URL, "@word ..." sets what is not in a message (see golden.setting), and the
// rest is header fields.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	type proof struct{ passed, other int }
	ran := map[string]*proof{}
	for _, o := range order {
		ran[o.name] = &proof{}
	}
	for _, file := range files {
		base := filepath.Base(file)
		filter, _, _ := strings.Cut(base, "-")
		p := ran[filter]
		if p == nil {
			t.Errorf("%s: no filter %q is in order.go", base, filter)
			continue
		}
		t.Run(strings.TrimSuffix(base, ".txtar"), func(t *testing.T) {
			g := &golden{t: t, filter: filter}
			g.run(file)
			p.passed += g.passed
			p.other += g.other
		})
	}
	for _, o := range order {
		p := ran[o.name]
		if p.passed == 0 || p.other == 0 {
			t.Errorf("%s: %d requests were allowed, %d refused or edited; want proof both ways in testdata/%s-*.txtar",
				o.name, p.passed, p.other, o.name)
		}
	}
}

// golden runs one file.
type golden struct {
	t      *testing.T
	filter string
	rule   ir.Rule
	step   step
	broken error // from making the step
	now    time.Time
	held   []*Exchange

	passed, other int
}

func (g *golden) run(file string) {
	g.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		g.t.Fatal(err)
	}
	in := txtar.Parse(text)
	out := &txtar.Archive{Comment: in.Comment}
	g.now = epoch
	var x *Exchange
	var got strings.Builder
	for _, f := range in.Files {
		switch f.Name {
		case "rule.json":
			out.Files = append(out.Files, f)
			g.load(f.Data)
			if g.broken != nil {
				fmt.Fprintf(&got, "cannot be served: %v\n", g.broken)
				g.other++
			}
		case "request":
			out.Files = append(out.Files, f)
			if g.broken != nil {
				g.t.Fatalf("a request, but the rule cannot be served: %v", g.broken)
			}
			x = g.request(string(f.Data))
			g.judge(x, &got)
		case "response":
			out.Files = append(out.Files, f)
			g.respond(x, string(f.Data), &got)
		case "want":
			out.Files = append(out.Files, txtar.File{Name: "want", Data: []byte(got.String())})
			if diff := cmp.Diff(string(f.Data), got.String()); diff != "" && !*update {
				g.t.Errorf("(-want +got):\n%s", diff)
			}
			got.Reset()
		default:
			g.t.Fatalf("unknown section %q", f.Name)
		}
	}
	if got.Len() > 0 {
		g.t.Errorf("nothing is wanted of the last request, got:\n%s", got.String())
	}
	for _, x := range g.held {
		x.Done()
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(out), 0o644); err != nil {
			g.t.Fatal(err)
		}
	}
}

func (g *golden) load(data []byte) {
	g.t.Helper()
	g.rule = decodeRule(g.t, string(data))
	deps := Deps{Now: func() time.Time { return g.now }, State: NewState(), Log: slog.New(slog.DiscardHandler)}
	g.t.Cleanup(deps.State.Close)
	for _, o := range order {
		if o.name == g.filter {
			g.step, g.broken = o.make(&g.rule, deps)
		}
	}
	if g.broken == nil && g.step == nil {
		g.t.Fatal("the rule does not ask for the filter")
	}
}

func decodeRule(t *testing.T, text string) ir.Rule {
	t.Helper()
	var r ir.Rule
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		t.Fatalf("rule.json: %v", err)
	}
	return r
}

// request reads a request section.
func (g *golden) request(text string) *Exchange {
	g.t.Helper()
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	method, url, ok := strings.Cut(lines[0], " ")
	scheme, rest, ok2 := strings.Cut(url, "://")
	if !ok || !ok2 {
		g.t.Fatalf("request line %q", lines[0])
	}
	slash := strings.IndexByte(rest, '/')
	if slash < 0 {
		g.t.Fatalf("request line %q has no path", lines[0])
	}
	req := &message.Request{Method: method, Scheme: scheme, Proto: 11}
	if req.Host, req.Port, ok = message.SplitHost(rest[:slash]); !ok {
		g.t.Fatalf("host of %q", lines[0])
	}
	path, query, hasQuery := strings.Cut(rest[slash:], "?")
	var err error
	if req.Path, req.Oddities, err = message.NormalizePath(path); err != nil {
		g.t.Fatalf("%q: %v", lines[0], err)
	}
	if err := message.ValidQuery(query); err != nil {
		g.t.Fatalf("%q: %v", lines[0], err)
	}
	req.Query, req.HasQuery = query, hasQuery
	x := &Exchange{
		Req: req, Rule: &g.rule, Match: &ir.Match{PathKind: ir.PathPrefix, Path: "/"},
		Source: netip.MustParseAddr("192.0.2.1"), ListenerPort: 80, Now: g.now,
	}
	for _, line := range lines[1:] {
		if word, ok := strings.CutPrefix(line, "@"); ok {
			g.setting(x, word)
			continue
		}
		name, value, ok := strings.Cut(line, ": ")
		if !ok || !message.ValidName(name) || !message.ValidValue(value) {
			g.t.Fatalf("header line %q", line)
		}
		req.Header.Add(name, value)
	}
	return x
}

func (g *golden) setting(x *Exchange, line string) {
	g.t.Helper()
	words := strings.Fields(line)
	var err error
	switch {
	case words[0] == "source" && len(words) == 2: // @source ADDRESS
		x.Source, err = netip.ParseAddr(words[1])
	case words[0] == "nosource":
		x.Source = netip.Addr{}
	case words[0] == "at" && len(words) == 2: // @at OFFSET from the start
		var d time.Duration
		d, err = time.ParseDuration(words[1])
		g.now = epoch.Add(d)
		x.Now = g.now
	case words[0] == "length" && len(words) == 2: // @length BYTES, -1 for unknown
		x.Req.ContentLength, err = strconv.ParseInt(words[1], 10, 64)
	case words[0] == "listener" && len(words) == 2: // @listener PORT
		var port uint64
		port, err = strconv.ParseUint(words[1], 10, 16)
		x.ListenerPort = uint16(port)
	case words[0] == "match" && len(words) == 3: // @match KIND PATH
		x.Match = &ir.Match{PathKind: ir.PathKind(words[1]), Path: words[2]}
	case words[0] == "identity" && len(words) >= 2: // @identity NAME ROLE...
		x.Identity = &bulwark.Identity{Name: words[1], Method: "jwt", Issuer: "https://idp.example", Roles: words[2:]}
	case words[0] == "nohost":
		x.Req.Host, x.Req.Port = "", ""
	case words[0] == "hold": // keep the exchange open
		g.held = append(g.held, x)
	case words[0] == "release": // end those kept open
		for _, x := range g.held {
			x.Done()
		}
		g.held = nil
	default:
		err = fmt.Errorf("unknown setting %q", line)
	}
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *golden) judge(x *Exchange, got *strings.Builder) {
	g.t.Helper()
	before := show(x.Req)
	d := g.step.request(g.t.Context(), x)
	after := show(x.Req)
	switch {
	case !d.Allowed:
		fmt.Fprintf(got, "refused %d %s\nrule: %s\nreason: %s\n", d.Status, d.Code, d.Rule, d.Reason)
		if d.RetryAfter != 0 {
			fmt.Fprintf(got, "retry-after: %v\n", d.RetryAfter)
		}
	case x.Reply != nil:
		fmt.Fprintf(got, "answered %d\n%s", x.Reply.Status, showHeader(x.Reply.Header))
	default:
		got.WriteString("allowed\n")
	}
	if d.Allowed {
		g.passed++
	}
	if !d.Allowed || before != after {
		g.other++
	}
	if x.Decided != "" {
		fmt.Fprintf(got, "decided by: %s\n", x.Decided)
	}
	if x.MaxBody != 0 {
		fmt.Fprintf(got, "body limit: %d\n", x.MaxBody)
	}
	if len(x.ResponseHeader) > 0 {
		got.WriteString("on any response:\n" + showHeader(x.ResponseHeader))
	}
	if before != after {
		got.WriteString("request:\n" + after)
	}
	held := false
	for _, h := range g.held {
		held = held || h == x
	}
	if !held {
		x.Done()
	}
}

func (g *golden) respond(x *Exchange, text string, got *strings.Builder) {
	g.t.Helper()
	r, ok := g.step.(responseStep)
	if !ok || x == nil {
		g.t.Fatal("a response, but the filter does not look at them")
	}
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	status, err := strconv.Atoi(lines[0])
	if err != nil {
		g.t.Fatal(err)
	}
	resp := &message.Response{Status: status}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		resp.Header.Add(name, value)
	}
	if err := r.response(x, resp); err != nil {
		fmt.Fprintf(got, "response held back: %v\n", err)
		return
	}
	fmt.Fprintf(got, "response %d\n%s", resp.Status, showHeader(resp.Header))
	if len(x.ResponseHeader) > 0 {
		got.WriteString("with:\n" + showHeader(x.ResponseHeader))
	}
}

func show(r *message.Request) string {
	return fmt.Sprintf("  %s %s://%s%s\n%s", r.Method, r.Scheme, r.Authority(), r.Target(), showHeader(r.Header))
}

func showHeader(h message.Header) string {
	var b bytes.Buffer
	for _, f := range h {
		fmt.Fprintf(&b, "  %s: %s\n", f.Name, f.Value)
	}
	return b.String()
}
