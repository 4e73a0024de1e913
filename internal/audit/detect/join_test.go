package detect

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// correlation makes a correlation of its body.
func correlation(name, body string, more ...string) string {
	return fmt.Sprintf("title: Rule %s\nname: %s\nlevel: critical\ncorrelation: %s\n%s\n", name, name, body, strings.Join(more, "\n"))
}

// bases are rules for correlations: a, b and c are met by events of these verbs.
func bases() []string {
	return []string{one("a", "{verb: get}"), one("b", "{verb: update}"), one("c", "{verb: delete}")}
}

// step is an event of a test: seconds after the start, verb, user, object.
type step struct {
	at         int
	verb       string
	user, name string
}

// play observes steps and gives the rules that alerted, with the evidence.
func play(t *testing.T, engine *Engine, steps []step) []string {
	t.Helper()
	var out []string
	for i, s := range steps {
		e := sample(uint64(i) + 1)
		e.StageAt, e.Received = start().Add(time.Duration(s.at)*time.Second), start().Add(24*time.Hour)
		e.Verb, e.User.Username, e.Object.Name = s.verb, s.user, s.name
		for _, a := range engine.Observe(e) {
			out = append(out, fmt.Sprintf("%d %s %v", e.Seq, a.Rule, a.Evidence))
		}
	}
	return out
}

func TestCorrelation(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, body string
		steps      []step
		want       []string
	}{
		{
			"events are counted", "{type: event_count, rules: [a], group-by: [user.username], timespan: 1m, condition: {gte: 3}}",
			[]step{{0, "get", "u", ""}, {10, "get", "v", ""}, {20, "get", "u", ""}, {30, "list", "u", ""}, {59, "get", "u", ""}},
			[]string{"5 x [1 3 5]"},
		},
		{
			"the window slides", "{type: event_count, rules: [a], group-by: [user.username], timespan: 1m, condition: {gt: 2}}",
			[]step{{0, "get", "u", ""}, {50, "get", "u", ""}, {70, "get", "u", ""}, {100, "get", "u", ""}},
			[]string{"4 x [2 3 4]"},
		},
		{
			"the edge of a window is within", "{type: event_count, rules: [a], group-by: [user.username], timespan: 1m, condition: {gte: 2}}",
			[]step{{0, "get", "u", ""}, {60, "get", "u", ""}},
			[]string{"2 x [1 2]"},
		},
		{
			"just outside", "{type: event_count, rules: [a], group-by: [user.username], timespan: 1m, condition: {gte: 2}}",
			[]step{{0, "get", "u", ""}, {61, "get", "u", ""}},
			nil,
		},
		{
			"one alert a window", "{type: event_count, rules: [a], group-by: [user.username], timespan: 1m, condition: {gte: 2}}",
			[]step{{0, "get", "u", ""}, {1, "get", "u", ""}, {2, "get", "u", ""}, {30, "get", "u", ""}, {60, "get", "u", ""}, {62, "get", "u", ""}, {63, "get", "u", ""}},
			[]string{"2 x [1 2]", "6 x [3 4 5 6]"},
		},
		{
			"out of order", "{type: event_count, rules: [a], group-by: [user.username], timespan: 1m, condition: {gte: 3}}",
			[]step{{100, "get", "u", ""}, {0, "get", "u", ""}, {130, "get", "u", ""}, {90, "get", "u", ""}},
			[]string{"4 x [1 3 4]"},
		},
		{
			"late by more than a window", "{type: event_count, rules: [a], group-by: [user.username], timespan: 1m, condition: {gte: 2}}",
			[]step{{200, "get", "u", ""}, {201, "get", "u", ""}, {10, "get", "u", ""}, {11, "get", "u", ""}, {12, "get", "u", ""}, {202, "get", "u", ""}},
			[]string{"2 x [1 2]", "4 x [3 4]"},
		},
		{
			"without groups", "{type: event_count, rules: [a], timespan: 1m, condition: {gte: 2}}",
			[]step{{0, "get", "u", ""}, {1, "get", "v", ""}},
			[]string{"2 x [1 2]"},
		},
		{
			"two rules are counted together", "{type: event_count, rules: [a, b], group-by: [user.username], timespan: 1m, condition: {gte: 2}}",
			[]step{{0, "get", "u", ""}, {1, "update", "u", ""}},
			[]string{"2 x [1 2]"},
		},
		{
			"values are counted", "{type: value_count, rules: [a], group-by: [user.username], timespan: 1m, condition: {field: objectRef.name, gte: 3}}",
			[]step{{0, "get", "u", "p"}, {1, "get", "u", "p"}, {2, "get", "u", "q"}, {3, "get", "u", "q"}, {4, "get", "u", ""}, {5, "get", "u", "r"}},
			[]string{"6 x [1 2 3 4 6]"},
		},
		{
			"values leave the window", "{type: value_count, rules: [a], group-by: [user.username], timespan: 1m, condition: {field: objectRef.name, gte: 2}}",
			[]step{{0, "get", "u", "p"}, {70, "get", "u", "q"}, {71, "get", "u", "q"}, {80, "get", "u", "p"}},
			[]string{"4 x [2 3 4]"},
		},
		{
			"values of one event", "{type: value_count, rules: [a], group-by: [user.username], timespan: 1m, condition: {field: user.groups, gte: 2}}",
			[]step{{0, "get", "u", ""}},
			[]string{"1 x [1]"},
		},
		{
			"several fields are one value", "{type: value_count, rules: [a], timespan: 1m, condition: {field: [user.username, objectRef.name], gte: 3}}",
			[]step{{0, "get", "u", "p"}, {1, "get", "v", "p"}, {2, "get", "v", "p"}, {3, "get", "v", "q"}},
			[]string{"4 x [1 2 3 4]"},
		},
		{
			"a range is decided at the end", "{type: event_count, rules: [a], group-by: [user.username], timespan: 1m, condition: {gt: 1, lt: 3}}",
			[]step{{0, "get", "u", ""}, {1, "get", "u", ""}, {2, "get", "v", ""}, {3, "get", "v", ""}, {4, "get", "v", ""}, {360, "list", "", ""}, {362, "list", "", ""}},
			[]string{"7 x [1 2]"},
		},
		{
			"few", "{type: event_count, rules: [a], group-by: [user.username], timespan: 1m, condition: {eq: 1}}",
			[]step{{0, "get", "u", ""}, {400, "get", "u", ""}, {401, "get", "u", ""}, {2000, "get", "w", ""}},
			[]string{"2 x [1]"},
		},
		{
			"all rules in any order", "{type: temporal, rules: [a, b, c], group-by: [user.username], timespan: 1m}",
			[]step{{0, "delete", "u", ""}, {1, "update", "v", ""}, {2, "get", "u", ""}, {3, "get", "u", ""}, {4, "update", "u", ""}},
			[]string{"5 x [1 4 5]"},
		},
		{
			"two of three", "{type: temporal, rules: [a, b, c], group-by: [user.username], timespan: 1m, condition: {gte: 2}}",
			[]step{{0, "delete", "u", ""}, {1, "delete", "u", ""}, {4, "update", "u", ""}},
			[]string{"3 x [2 3]"},
		},
		{
			"a condition on rules", "{type: temporal, rules: [a, b, c], group-by: [user.username], timespan: 1m, condition: a and (b or c)}",
			[]step{{0, "delete", "u", ""}, {1, "update", "u", ""}, {4, "get", "u", ""}},
			[]string{"3 x [1 2 3]"},
		},
		{
			"ordered", "{type: temporal_ordered, rules: [a, b, c], group-by: [user.username], timespan: 1m}",
			[]step{{0, "delete", "u", ""}, {1, "get", "u", ""}, {2, "update", "u", ""}, {3, "get", "u", ""}, {4, "delete", "u", ""}},
			[]string{"5 x [2 3 5]"},
		},
		{
			"not ordered", "{type: temporal_ordered, rules: [a, b], group-by: [user.username], timespan: 1m}",
			[]step{{0, "update", "u", ""}, {1, "get", "u", ""}, {100, "update", "u", ""}},
			nil,
		},
		{
			"ordered, the middle one late", "{type: temporal_ordered, rules: [a, b, c], group-by: [user.username], timespan: 1m}",
			[]step{{0, "get", "u", ""}, {20, "delete", "u", ""}, {10, "update", "u", ""}},
			[]string{"3 x [1 2 3]"},
		},
		{
			"aliases", "{type: temporal, rules: [a, b], group-by: [who], timespan: 1m, aliases: {who: {a: user.username, b: objectRef.name}}}",
			[]step{{0, "get", "u", "v"}, {1, "update", "x", "u"}},
			[]string{"2 x [1 2]"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			engine := mustEngine(t, Config{}, append(bases(), correlation("x", tt.body))...)
			if d := cmp.Diff(tt.want, play(t, engine, tt.steps)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestCorrelationOfCorrelations(t *testing.T) {
	t.Parallel()
	engine := mustEngine(t, Config{}, append(bases(),
		correlation("many", "{type: event_count, rules: [a], group-by: [user.username, objectRef.name], timespan: 1m, condition: {gte: 2}}"),
		correlation("then", "{type: temporal_ordered, rules: [many, c], group-by: [user.username], timespan: 10m}", "bulwark: {summary: '{count} by {user.username} and {verb}, {first}'}"))...)
	got := play(t, engine, []step{{0, "get", "u", "p"}, {1, "get", "u", "q"}, {2, "get", "u", "p"}, {3, "delete", "v", "p"}, {4, "delete", "u", "z"}})
	if d := cmp.Diff([]string{"5 then [1 3 5]"}, got); d != "" {
		t.Error(d)
	}
}

func TestGenerate(t *testing.T) {
	t.Parallel()
	x := "{type: event_count, rules: [a], timespan: 1m, condition: {gte: 1}}"
	tests := []struct {
		name  string
		rules []string
		want  string
	}{
		{"a rule that is used does not alert", []string{one("a", "{verb: get}"), correlation("x", x)}, "x"},
		{"generate", []string{one("a", "{verb: get}"), correlation("x", x, "generate: true")}, "a x"},
		{"generate within", []string{one("a", "{verb: get}"), correlation("x", strings.Replace(x, "type:", "generate: true, type:", 1))}, "a x"},
		{"one of two generates", []string{one("a", "{verb: get}"), correlation("x", x, "generate: true"), correlation("y", x)}, "a x y"},
		{"the rule says not", []string{one("a", "{verb: get}", "bulwark: {quiet: true}"), correlation("x", x, "generate: true")}, "x"},
		{"the rule says yes", []string{one("a", "{verb: get}", "bulwark: {quiet: false}"), correlation("x", x)}, "a x"},
	}
	for _, tt := range tests {
		e := sample(1)
		e.Verb = "get"
		got := strings.Fields(names(mustEngine(t, Config{}, tt.rules...).Observe(e)))
		slices.Sort(got)
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: got %v, want %s", tt.name, got, tt.want)
		}
	}
}

// TestClockAhead has an event whose clock is years ahead: no window may end by it.
func TestClockAhead(t *testing.T) {
	t.Parallel()
	engine := mustEngine(t, Config{}, append(bases(), correlation("x", "{type: event_count, rules: [a], timespan: 1m, condition: {lt: 2}}"))...)
	e := sample(1)
	e.Verb = "get"
	ahead := sample(2)
	ahead.Verb, ahead.StageAt = "list", start().AddDate(50, 0, 0)
	if got := append(engine.Observe(e), engine.Observe(ahead)...); len(got) != 0 {
		t.Errorf("got %v", names(got))
	}
}

func TestMemory(t *testing.T) {
	t.Parallel()
	rules := append(bases(), correlation("x", "{type: event_count, rules: [a], group-by: [user.username], timespan: 1d, condition: {gte: 1000}}"))
	engine := mustEngine(t, Config{MaxGroups: 50, MaxHits: 500}, rules...)
	for i := range 20_000 {
		e := sample(uint64(i) + 1)
		e.Verb, e.User.Username = "get", fmt.Sprint("u", i%300)
		if i%7 == 0 {
			e.User.Username = "busy"
		}
		engine.Observe(e)
	}
	s := engine.Stats()
	if s.Groups > 50 || s.Hits > 500 || s.GroupsEvicted == 0 {
		t.Errorf("got %+v", s)
	}
	// One group alone: it keeps what the condition needs.
	engine = mustEngine(t, Config{MaxHits: 100}, rules...)
	alerts := 0
	for i := range 3000 {
		e := sample(uint64(i) + 1)
		e.Verb = "get"
		alerts += len(engine.Observe(e))
	}
	if alerts != 1 {
		t.Errorf("one group in use was forgotten: %d alerts, %+v", alerts, engine.Stats())
	}
	// A long row of alternating hits stays within the bound of a group.
	engine = mustEngine(t, Config{}, append(bases(), correlation("x", "{type: temporal, rules: [a, b, c], timespan: 1d}"))...)
	for i := range 20_000 {
		e := sample(uint64(i) + 1)
		e.Verb = []string{"get", "update"}[i%2]
		engine.Observe(e)
	}
	if s := engine.Stats(); s.Hits > 3*compressFrom {
		t.Errorf("got %+v", s)
	}
}

// TestMemoryIsFair: who fills the memory of one correlation with made up names does not
// make another forget.
func TestMemoryIsFair(t *testing.T) {
	t.Parallel()
	engine := mustEngine(t, Config{MaxGroups: 50, MaxHits: 500}, append(bases(),
		correlation("slow", "{type: event_count, rules: [a], group-by: [user.username], timespan: 1d, condition: {gte: 5}}"),
		correlation("flooded", "{type: event_count, rules: [b], group-by: [user.username], timespan: 1d, condition: {gte: 400}}"))...)
	var got []string
	for i := range 10_000 {
		e := sample(uint64(i) + 1)
		e.Verb, e.User.Username = "update", fmt.Sprint("made-up-", i)
		switch {
		case i%2000 == 1:
			e.Verb, e.User.Username = "get", "alice"
		case i%3 == 0: // one name, many events
			e.User.Username = "made-up"
		}
		for _, a := range engine.Observe(e) {
			if a.Rule == "slow" {
				got = append(got, a.Actor)
			}
		}
	}
	if s := engine.Stats(); !slices.Equal(got, []string{"alice"}) || s.GroupsEvicted < 5000 || s.Groups > 50 || s.Hits > 500 {
		t.Errorf("got %q: %+v", got, s)
	}
}

// TestDeterminism observes the same events twice, and a third time with restarts: the
// alerts are the same.
func TestDeterminism(t *testing.T) {
	t.Parallel()
	set := mustLoad(t, append(bases(),
		correlation("many", "{type: event_count, rules: [a, b], group-by: [user.username], timespan: 1m, condition: {gte: 4}}", "generate: true"),
		correlation("values", "{type: value_count, rules: [b], group-by: [user.username], timespan: 2m, condition: {field: objectRef.name, gte: 3}}"),
		correlation("few", "{type: event_count, rules: [c], group-by: [user.username], timespan: 30s, condition: {lt: 2}}"),
		correlation("order", "{type: temporal_ordered, rules: [a, b, many], group-by: [user.username], timespan: 5m}"),
		one("held", "{verb: patch}", "bulwark: {suppress: {by: [user.username], for: 1m}}"))...)
	play := func(restart bool) []Alert {
		engine, err := NewEngine(set, Config{MaxGroups: 40, MaxHits: 300, MaxSuppressed: 3, Lateness: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		random := rand.New(rand.NewPCG(1, 2))
		var out []Alert
		for i := range 2000 {
			e := sample(uint64(i) + 1)
			e.Source = fmt.Sprint("webhook/", random.IntN(3))
			e.StageAt = start().Add(time.Duration(i+random.IntN(60)) * time.Second)
			e.Received = start().Add(time.Duration(i+60) * time.Second)
			e.Verb = []string{"get", "update", "delete", "patch", "list"}[random.IntN(5)]
			e.User.Username = fmt.Sprint("u", random.IntN(6))
			e.Object.Name = fmt.Sprint("o", random.IntN(4))
			out = append(out, engine.Observe(e)...)
			if restart && i%7 == 0 {
				state, err := engine.State()
				if err != nil {
					t.Fatal(err)
				}
				if engine, err = NewEngine(set, Config{MaxGroups: 40, MaxHits: 300, MaxSuppressed: 3, Lateness: time.Minute}); err != nil {
					t.Fatal(err)
				}
				if err := engine.Restore(state); err != nil {
					t.Fatal(err)
				}
			}
		}
		return out
	}
	first := play(false)
	kinds := map[string]bool{}
	for _, a := range first {
		kinds[a.Rule] = true
	}
	if len(first) < 100 || len(kinds) < 6 || !kinds["few"] {
		t.Fatalf("only %d alerts of %v", len(first), kinds)
	}
	if d := cmp.Diff(first, play(false)); d != "" {
		t.Errorf("a second time: %s", d)
	}
	if d := cmp.Diff(first, play(true)); d != "" {
		t.Errorf("with restarts: %s", d)
	}
}
