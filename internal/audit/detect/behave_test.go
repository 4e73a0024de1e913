package detect

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit"
)

// habit makes a rule about behaviour of what it says.
func habit(name, says string, more ...string) string {
	return fmt.Sprintf("title: Rule %s\nname: %s\nlogsource: {product: kubernetes, service: audit}\nlevel: high\nbehaviour:\n  %s\n%s\n",
		name, name, strings.ReplaceAll(strings.TrimSpace(says), "\n", "\n  "), strings.Join(more, "\n"))
}

const news = `
type: first_seen
group-by: [user.username]
fields: [verb, objectRef.resource, objectRef.namespace]
learning: {for: 2d, events: 5}
forget: 30d
identities: 10
values: 10
neverLearn: {when: risky, rare: 0, after: 2d}
selection:
  own: {user.username: [alice, bob, carol, dan, eve]}
  risky: {objectRef.resource: secrets}
  condition: own`

// act is event n, which happens so many days after the start.
func act(n uint64, days float64, who, verb, resource string) *audit.Event {
	e := sample(n)
	e.User.Username, e.Verb, e.Object.Resource = who, verb, resource
	at := start().Add(time.Duration(days * 24 * float64(time.Hour)))
	e.RequestReceived, e.StageAt, e.Received = at, at, at
	return e
}

func TestBehaviourAlert(t *testing.T) {
	t.Parallel()
	g := mustEngine(t, Config{}, habit("news", news,
		`bulwark: {summary: '{actor.username} used {verb} on {objectRef.resource} in {objectRef.namespace} for the first time in {behaviour.days} days'}`),
		correlation("both", "{type: temporal, rules: [news, reads], group-by: [user.username], timespan: 1h, generate: true}"), one("reads", "{verb: get}", "bulwark: {quiet: false}"))
	n := uint64(0)
	see := func(days float64, who, verb, resource string) []Alert {
		n++
		return g.Observe(act(n, days, who, verb, resource))
	}
	for range 6 {
		if got := see(0, "alice", "list", "pods"); got != nil {
			t.Fatalf("%+v", got)
		}
	}
	see(3, "mallory", "delete", "pods") // the selection does not meet her
	got := see(3, "alice", "patch", "pods")
	if len(got) != 1 {
		t.Fatalf("%+v", got)
	}
	want := Alert{
		ID: alertID("news", []uint64{8}), Rule: "news", Title: "Rule news", Severity: bulwark.SeverityHigh, Time: start().Add(72 * time.Hour), Actor: "alice",
		Summary: "alice used patch on pods in shop for the first time in 3 days", Evidence: []uint64{8}, Fields: got[0].Fields,
	}
	if d := cmp.Diff(want, got[0]); d != "" {
		t.Error(d)
	}
	for name, want := range map[string]string{"behaviour.days": "3", "behaviour.events": "6", "behaviour.known": "1", "behaviour.learned": "true", "verb": "patch"} {
		if got[0].Fields[name] != want {
			t.Errorf("%s is %q, expected %q", name, got[0].Fields[name], want)
		}
	}
	// A correlation joins it with other rules.
	if got := names(see(3, "alice", "get", "nodes")); got != "both news reads" && got != "news both reads" && got != "news reads both" {
		t.Errorf("%s", got)
	}
	// Who is not known does something risky.
	if got := see(3, "bob", "list", "secrets"); len(got) != 1 || got[0].Fields["behaviour.learned"] != "false" {
		t.Errorf("%+v", got)
	}
	if s := g.Stats().Behaviour; s.Identities != 2 || s.Values != 4 {
		t.Errorf("%+v", s)
	}
}

// That a memory is full is said by alerts of their own, and in the counts.
func TestBehaviourFull(t *testing.T) {
	t.Parallel()
	g := mustEngine(t, Config{}, habit("news", strings.ReplaceAll(news, "  own: {user.username: [alice, bob, carol, dan, eve]}", "  own: {verb|exists: true}")))
	n, told := uint64(0), map[string]Alert{}
	for i := range 30 {
		n++
		for _, a := range g.Observe(act(n, 0, "alice", "get", fmt.Sprint("r", i))) {
			told["varied: "+a.Summary] = a
		}
	}
	for i := range 30 {
		n++
		for _, a := range g.Observe(act(n, 1, fmt.Sprint("made-up\x1b-", i), "get", "pods")) {
			told["crowded: "+a.Summary] = a
		}
	}
	want := []string{
		"crowded: Rule news: the rule remembers 10 identities and has met one more, so that another was forgotten while it was learned: somebody may be making up names",
		"varied: Rule news: alice has done the 10 different things that the rule remembers of one; it is too varied to be judged by this rule",
	}
	if d := cmp.Diff(want, slices.Sorted(maps.Keys(told))); d != "" {
		t.Error(d)
	}
	if a, b := told[want[0]], told[want[1]]; a.Severity != bulwark.SeverityHigh || b.Severity != bulwark.SeverityInfo || a.ID == alertID("news", a.Evidence) {
		t.Errorf("%+v\n%+v", a, b)
	}
	if s := g.Stats().Behaviour; s.Evicted != 21 || s.Unjudged != 20 {
		t.Errorf("%+v", s)
	}
}

func TestBehaviourState(t *testing.T) {
	t.Parallel()
	rules := []string{habit("news", news), habit("client", "type: new_value\nvalue: client\ngroup-by: [user.username]\nlearning: {for: 2d, events: 5}\nforget: 30d\nselection: {any: {verb|exists: true}, condition: any}")}
	g := mustEngine(t, Config{}, rules...)
	for n := range uint64(10) {
		g.Observe(act(n+1, 0, "alice", "list", "pods"))
	}
	state, err := g.State()
	if err != nil {
		t.Fatal(err)
	}
	next := mustEngine(t, Config{}, rules...)
	if err := next.Restore(state); err != nil {
		t.Fatal(err)
	}
	if a, b := g.Stats().Behaviour, next.Stats().Behaviour; a != b || a.Identities != 2 {
		t.Errorf("%+v, then %+v", a, b)
	}
	again, err := next.State()
	if err != nil || string(again) != string(state) {
		t.Errorf("the state that was read is written in another way: %v", err)
	}
	if got := names(next.Observe(act(11, 3, "alice", "patch", "pods"))); got != "news" {
		t.Errorf("%q", got)
	}
	// A rule that remembers something else learns anew, and says so; the other goes on.
	other := mustEngine(t, Config{}, strings.Replace(rules[0], "fields: [verb, ", "fields: [", 1), rules[1])
	if err := other.Restore(state); err == nil || !strings.Contains(err.Error(), "restore the detection news: restore what was learned: the rule says something else now") {
		t.Errorf("%v", err)
	}
	e := act(11, 3, "alice", "patch", "pods")
	e.UserAgent = "curl/8"
	if got := names(other.Observe(e)); got != "client" {
		t.Errorf("%q", got)
	}
}

func TestBehaviourErrors(t *testing.T) {
	t.Parallel()
	whole := func(old, now string) string { return habit("news", strings.Replace(news, old, now, 1)) }
	for text, want := range map[string]string{
		whole("forget: 30d", "forgets: 30d"):                                  `rule "news": r0.yaml:10: behaviour: "forgets" is unknown`,
		whole("fields: [verb", "fields: [verbs"):                              `r0.yaml:6: rule "news": behaviour: "verbs" is no field of an event`,
		whole("when: risky", "when: risk"):                                    `r0.yaml:13: rule "news": behaviour: neverLearn.when: `,
		whole("condition: own", "condition: owner"):                           `r0.yaml:17: condition: `,
		whole("selection:", "selections:"):                                    "r0.yaml:6: behaviour: selection is missing",
		whole("  condition: own", ""):                                         "the condition is missing",
		habit("news", news, "detection: {a: {verb: get}, condition: a}"):      `rule "Rule news" has behaviour and something else`,
		habit("news", news, "bulwark: {summary: '{behaviour.day}'}"):          "bulwark.summary: \"behaviour.day\" is no field of an event; of behaviour there are behaviour.days,",
		habit("news", news, "bulwark: {suppress: {by: [who], for: 1h}}"):      "bulwark.suppress.by",
		strings.Replace(habit("news", news), "logsource: {", "other: {", 1):   "has no logsource",
		"title: x\nlogsource: {product: kubernetes}\nbehaviour: first_seen\n": "behaviour: selection is missing",
	} {
		if _, err := Load(files(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngives %v\nexpected %s", text, err, want)
		}
	}
}

func TestBehaviourLint(t *testing.T) {
	t.Parallel()
	set := mustLoad(t, habit("news", news),
		habit("body", strings.NewReplacer("fields: [verb, ", "fields: [requestObject.kind, ", "objectRef.resource: secrets", "verb: nonsense").Replace(news), "bulwark: {minimumLevel: Metadata}"))
	var got []string
	for _, f := range set.Lint() {
		got = append(got, fmt.Sprintf("%s: %s: %s", f.Rule, f.Severity, f.Message))
	}
	want := []string{"body: high: minimumLevel is Metadata, but it must see some of user.username, requestObject.kind, objectRef.resource, objectRef.namespace, which needs Request"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	fields := set.Rules[1].Fields()
	if d := cmp.Diff([]string{"objectRef.namespace", "objectRef.resource", "user.username", "verb"}, fields); d != "" {
		t.Error(d)
	}
}

// TestBehaviourRun: what memories could not hold is told in the log, and a state in its
// older form is read.
func TestBehaviourRun(t *testing.T) {
	t.Parallel()
	log, store := newMemory(), FileStore{Path: filepath.Join(t.TempDir(), "state")}
	for n := range uint64(30) {
		e := act(n+1, 0, fmt.Sprint("made-up-", n), "get", "pods")
		if _, err := log.Append(t.Context(), []audit.Entry{{Event: e}}); err != nil {
			t.Fatal(err)
		}
	}
	rule := habit("news", strings.ReplaceAll(news, "  own: {user.username: [alice, bob, carol, dan, eve]}", "  own: {verb|exists: true}"))
	once := RunConfig{Now: start, Once: true}
	if err := Run(t.Context(), log, log, mustEngine(t, Config{}, rule), store, once); err != nil {
		t.Fatal(err)
	}
	told := 0
	for _, e := range log.events {
		if e.Status.Reason == "Forgot" && strings.Contains(e.Status.Message, "rules about behaviour may miss something: 20 identities were forgotten") {
			told++
		}
	}
	if told != 1 {
		t.Errorf("it was told %d times", told)
	}
	text, err := store.Load()
	if err != nil {
		t.Fatal(err)
	}
	var s savedRun
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	older, err := json.Marshal(map[string]any{"version": s.Version, "last": s.Last, "before": s.Before, "engine": []byte(s.Engine)})
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range [][]byte{text, older} {
		if err := store.Save(form); err != nil {
			t.Fatal(err)
		}
		g := mustEngine(t, Config{}, rule)
		if err := Run(t.Context(), log, log, g, store, once); err != nil || g.Stats().Behaviour.Identities != 10 {
			t.Errorf("%v, %+v", err, g.Stats().Behaviour)
		}
	}
}
