package detect

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit"
)

func TestSafe(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text string
		most int
		want string
	}{
		{"alice@example.com", 100, "alice@example.com"},
		{"a\x1b[31mb", 100, `a\x1b[31mb`},
		{"a\nb\tc\r", 100, `a\nb\tc\r`},
		{"a\u202eb", 100, `a\u202eb`},
		{"a\u2028b", 100, `a\u2028b`},
		{"zero\u200bwidth", 100, `zero\u200bwidth`},
		{"bad\xffutf", 100, `bad\xffutf`},
		{"\u00a0", 100, `\u00a0`},
		{"größe 日本", 100, "größe 日本"},
		{"12345", 5, "12345"},
		{"123456", 5, "12345…"},
		{"", 5, ""},
	}
	for _, tt := range tests {
		if got := safe(tt.text, tt.most); got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.text, got, tt.want)
		}
	}
}

func TestSummary(t *testing.T) {
	t.Parallel()
	tests := []struct{ summary, want string }{
		{"'{actor.username} created {objectRef.name}'", `alice\x1b[2J created cart-1`},
		{"'{{x}} {title}'", "{x} Rule a"},
		{"'{objectRef.subresource}.'", "(none)."},
		{"'{user.groups}'", "dev, system:authenticated, c and 1 more"},
		{"'{requestObject.spec.containers.image} {responseStatus.code}'", "a:1, B:2 201"},
		{"'{query.x}'", "(none)"},
	}
	for _, tt := range tests {
		engine := mustEngine(t, Config{}, one("a", "{verb: create}", "bulwark: {summary: "+tt.summary+"}"))
		e := sample(1)
		e.User.Username = "alice\x1b[2J"
		e.User.Groups = []string{"dev", "system:authenticated", "c", "d"}
		if got := engine.Observe(e)[0].Summary; got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.summary, got, tt.want)
		}
	}
	// A correlation has its count and its group.
	engine := mustEngine(t, Config{}, one("a", "{verb: create}"),
		correlation("x", "{type: event_count, rules: [a], group-by: [user.username, who], timespan: 1m, condition: {gte: 2}, aliases: {who: {a: objectRef.name}}}",
			"bulwark: {summary: '{count} of {user.username} on {who}, {first} to {last}'}"))
	engine.Observe(sample(1))
	if got, want := engine.Observe(sample(2))[0].Summary, "2 of alice@example.com on cart-1, 2026-11-21T10:00:01Z to 2026-11-21T10:00:02Z"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAlert(t *testing.T) {
	t.Parallel()
	engine := mustEngine(t, Config{}, one("a", "{verb: create}", "tags: [attack.t1609]", "fields: [user.groups, objectRef.name, no.such]"))
	e := sample(7)
	e.Impersonated = &audit.User{Username: "root\n"}
	e.RequestURI = strings.Repeat("x", 2000)
	got := engine.Observe(e)
	want := []Alert{{
		ID: alertID("a", []uint64{7}), Rule: "a", Title: "Rule a", Severity: bulwark.SeverityHigh, Time: start().Add(7 * time.Second), Actor: "root\n",
		Summary: `Rule a: alice@example.com as root\n`, Evidence: []uint64{7}, Tags: []string{"attack.t1609"},
		Fields: map[string]string{
			"cluster": "prod", "auditID": "id-7", "verb": "create", "requestURI": strings.Repeat("x", maxShown) + "…", "user.username": "alice@example.com",
			"impersonatedUser.username": `root\n`, "sourceIPs": "192.0.2.7, 10.1.2.3", "userAgent": "kubectl/v1.35.0", "objectRef.apiGroup": "apps",
			"objectRef.resource": "pods", "objectRef.namespace": "shop", "objectRef.name": "cart-1", "responseStatus.code": "201", "user.groups": "dev, system:authenticated",
		},
	}}
	// The actor is told as it is: responses need it so.
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
	event := got[0].Event(start().Add(time.Hour))
	event.Seq = 9
	line := audit.AppendCanonical(nil, event)
	parsed, err := audit.ParseCanonical(line)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	parsed.Seq = 9
	back, err := AlertOf(parsed)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(got[0], back); d != "" {
		t.Error(d)
	}
	if _, err := AlertOf(e); err == nil {
		t.Error("an event of another kind is taken for an alert")
	}
	if event.Kind != audit.KindAlert || event.AuditID != got[0].ID || !json.Valid(event.More) {
		t.Errorf("got %+v", event)
	}
}

// TestAlertEventOfAnything: whatever an alert of other packages has, its event can be
// written and read.
func FuzzAlertEvent(f *testing.F) {
	f.Add("rule", "actor\x00", "sum\xffmary", "key", "value\u2028")
	f.Fuzz(func(t *testing.T, rule, actor, summary, key, text string) {
		a := Alert{ID: alertID(rule, nil), Rule: rule, Actor: actor, Summary: summary, Time: start(), Fields: map[string]string{key: text, "other": key}, Evidence: []uint64{1 << 63}}
		line := audit.AppendCanonical(nil, a.Event(start()))
		parsed, err := audit.ParseCanonical(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if _, err := AlertOf(parsed); err != nil {
			t.Error(err)
		}
	})
}

func TestSuppress(t *testing.T) {
	t.Parallel()
	engine := mustEngine(t, Config{MaxSuppressed: 2}, one("a", "{verb: create}", "bulwark: {suppress: {by: [user.username, user.groups], for: 1m}}"))
	tests := []struct {
		at         int
		user       string
		alerts     bool
		suppressed string
	}{
		{0, "u", true, ""},
		{1, "u", false, ""},
		{-30, "u", false, ""}, // late, and alike
		{2, "v", true, ""},
		{59, "u", false, ""},
		{60, "u", true, "3"},
		{61, "u", false, ""},
		{62, "w", true, ""}, // v is forgotten
		{63, "v", true, ""}, // u is forgotten
		{64, "u", true, ""},
	}
	for i, tt := range tests {
		e := sample(uint64(i) + 1)
		e.StageAt, e.User.Username = start().Add(time.Duration(tt.at)*time.Second), tt.user
		got := engine.Observe(e)
		if len(got) > 0 != tt.alerts || tt.alerts && got[0].Fields["suppressed"] != tt.suppressed {
			t.Errorf("%d: got %+v", i, got)
		}
	}
	if s := engine.Stats(); s.Suppressed != 4 || s.Alerts != 6 || s.Matches != 10 {
		t.Errorf("got %+v", s)
	}
}

// other is a Stateful that alerts for every third event.
type other struct{ n byte }

func (o *other) Name() string { return "other" }
func (o *other) Observe(e *audit.Event, emit func(Alert)) {
	if o.n++; o.n%3 == 0 {
		emit(Alert{Rule: "third", Evidence: []uint64{e.Seq}, Severity: bulwark.SeverityLow, Time: e.Time()})
	}
}
func (o *other) State() ([]byte, error)     { return []byte{o.n}, nil }
func (o *other) Restore(state []byte) error { o.n = state[0]; return nil }

func TestState(t *testing.T) {
	t.Parallel()
	count := "{type: event_count, rules: [a], group-by: [user.username], timespan: 1h, condition: {gte: 3}}"
	before := mustEngine(t, Config{Stateful: []Stateful{&other{}}}, one("a", "{verb: create}"), correlation("x", count), correlation("y", count), correlation("z", count),
		one("s", "{verb: create}", "bulwark: {suppress: {by: [user.username], for: 1h}}"))
	before.Observe(sample(1))
	before.Observe(sample(2))
	state, err := before.State()
	if err != nil {
		t.Fatal(err)
	}
	// y says something else now, z is gone, w is new.
	after := mustEngine(t, Config{Stateful: []Stateful{&other{}}}, one("a", "{verb: create}"), correlation("x", count), correlation("y", strings.Replace(count, "1h", "2h", 1)), correlation("w", count),
		one("s", "{verb: create}", "bulwark: {suppress: {by: [user.username], for: 1h}}"))
	if err := after.Restore(state); err != nil {
		t.Fatal(err)
	}
	if got := names(after.Observe(sample(3))); got != "x third" {
		t.Errorf("got %q", got)
	}
	if err := after.Restore(state); err == nil {
		t.Error("restored into an engine that has observed")
	}
	for name, bad := range map[string]string{
		"text":    "x",
		"version": `{"version":9}`,
		"hit":     strings.Replace(string(state), `"hits":[[`, `"hits":[[1],[`, 1),
		"step":    strings.Replace(string(state), `,1,0,0],`, `,1,7,0],`, 1),
	} {
		fresh := mustEngine(t, Config{}, one("a", "{verb: create}"), correlation("x", count))
		if err := fresh.Restore([]byte(bad)); err == nil {
			t.Errorf("%s: restored", name)
		}
	}
	if _, err := NewEngine(&Set{}, Config{Stateful: []Stateful{&other{}, &other{}}}); err == nil {
		t.Error("two detections have the same name")
	}
	if _, err := NewEngine(nil, Config{}); err == nil {
		t.Error("an engine without rules")
	}
}

func FuzzRestore(f *testing.F) {
	f.Add([]byte(`{"version":1,"rules":{},"groups":[{"rule":"x","key":"u","hits":[[1,2,0,0,5]],"start":1,"due":9}],"held":[{"Key":"s\u0000u"}],"clocks":{"a":5}}`))
	set, err := Load(files(one("a", "{verb: create}"), correlation("x", "{type: event_count, rules: [a], group-by: [user.username], timespan: 1h, condition: {lt: 3}}")))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, state []byte) {
		engine, err := NewEngine(set, Config{})
		if err != nil {
			t.Fatal(err)
		}
		if engine.Restore(state) != nil {
			return
		}
		engine.Observe(sample(1))
		again, err := engine.State()
		if err != nil {
			t.Fatal(err)
		}
		if fresh, _ := NewEngine(set, Config{}); fresh.Restore(again) != nil {
			t.Errorf("the state of a restored engine cannot be restored: %s", again)
		}
	})
}

// TestSuppressOfImpersonation: what somebody does as another is told although the other
// has just done the same.
func TestSuppressOfImpersonation(t *testing.T) {
	t.Parallel()
	engine := mustEngine(t, Config{}, one("a", "{verb: create}", "bulwark:", "  suppress: {by: [actor.username], for: 1h}"))
	var got []string
	for i, who := range [][2]string{{"alice", ""}, {"bob", "alice"}, {"bob", "alice"}, {"alice", ""}, {"eve", "alice"}} {
		e := sample(uint64(i) + 1)
		e.User.Username = who[0]
		if who[1] != "" {
			e.Impersonated = &audit.User{Username: who[1]}
		}
		for _, a := range engine.Observe(e) {
			got = append(got, a.Summary)
		}
	}
	if d := cmp.Diff([]string{"Rule a: alice", "Rule a: bob as alice", "Rule a: eve as alice"}, got); d != "" {
		t.Error(d)
	}
}

func TestEvidenceLine(t *testing.T) {
	t.Parallel()
	many := make([]uint64, 100)
	for i := range many {
		many[i] = uint64(i) + 7
	}
	for want, seqs := range map[string][]uint64{
		"": nil, "7": many[:1], "7 8 9 10 11 12": many[:6], "7 events: 7 8 9 10 … 12 13": many[:7], "100 events: 7 8 9 10 … 105 106": many,
	} {
		if got := (Alert{Evidence: seqs}).EvidenceLine(); got != want {
			t.Errorf("%d events: got %q, want %q", len(seqs), got, want)
		}
	}
}
