package detect

import (
	"strings"
	"testing"
	"testing/fstest"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/detect/pipeline"
	"bulwark.dev/bulwark/internal/audit/detect/sigma"
)

func TestKinds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		log  sigma.LogSource
		want string
	}{
		{sigma.LogSource{Product: "kubernetes", Service: "audit"}, "api"},
		{sigma.LogSource{Product: "kubernetes"}, "api"},
		{sigma.LogSource{Product: "kubernetes", Category: "application", Service: "audit"}, "api"},
		{sigma.LogSource{Product: "kubernetes", Service: "kubelet"}, ""},
		{sigma.LogSource{Product: "azure", Service: "kube-audit"}, "api"},
		{sigma.LogSource{Product: "azure", Service: "activitylogs"}, ""},
		{sigma.LogSource{Product: "gcp", Service: "gke.audit"}, "api"},
		{sigma.LogSource{Product: "gcp", Service: "gcp.audit"}, ""},
		{sigma.LogSource{Product: "aws", Service: "eks.audit"}, "api"},
		{sigma.LogSource{Product: "aws", Service: "cloudtrail"}, ""},
		{sigma.LogSource{Product: "bulwark"}, "gateway access action system"},
		{sigma.LogSource{Product: "bulwark", Service: "gateway"}, "gateway"},
		{sigma.LogSource{Product: "bulwark", Service: "alert"}, "alert"},
		{sigma.LogSource{Product: "bulwark", Service: "moon"}, ""},
		{sigma.LogSource{Product: "windows", Category: "process_creation"}, ""},
		{sigma.LogSource{Category: "application"}, ""},
		{sigma.LogSource{}, ""},
	}
	for _, tt := range tests {
		kinds, why := kindsOf(tt.log)
		var got []string
		for _, k := range kinds {
			got = append(got, string(k))
		}
		if strings.Join(got, " ") != tt.want || (why == "") != (tt.want != "") {
			t.Errorf("%s: got %v, %q, want %s", tt.log, got, why, tt.want)
		}
	}
}

func TestSkipped(t *testing.T) {
	t.Parallel()
	windows := strings.Replace(one("win", "{verb: get}"), "kubernetes, service: audit", "windows", 1)
	set := mustLoad(t, windows, one("old", "{verb: get}", "status: unsupported"), "title: F\nfilter: {rules: [a], s: {a: b}, condition: s}",
		correlation("x", "{type: event_count, rules: [win], timespan: 1m, condition: {gte: 1}}"), correlation("y", "{type: temporal, rules: [x, k], timespan: 1m}"), one("k", "{verb: get}"))
	if len(set.Rules) != 1 || len(set.Skipped) != 5 {
		t.Fatalf("got %d rules, skipped %+v", len(set.Rules), set.Skipped)
	}
	for i, want := range []string{"its log source is product windows", "its status is unsupported", "Sigma filter", `needs rule "win", which is skipped: its log source`, `needs rule "x", which is skipped`} {
		if !strings.Contains(set.Skipped[i].Why, want) || set.Skipped[i].File == "" || set.Skipped[i].Line == 0 {
			t.Errorf("%d: got %+v, want %s", i, set.Skipped[i], want)
		}
	}
	// A rule that only a skipped correlation uses alerts by itself.
	if set.Rules[0].Quiet {
		t.Error("k is quiet")
	}
}

func TestLoadErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		rules []string
		want  []string
	}{
		{"the same name", []string{one("a", "{verb: get}"), one("a", "{verb: list}")}, []string{`r1.yaml:1: rule "a": "a" is what r0.yaml:1 is called too`}},
		{"the same id", []string{one("a", "{verb: get}", "id: x"), one("b", "{verb: list}", "id: x")}, []string{`"x" is what r0.yaml:1`}},
		{"no such rule", []string{correlation("x", "{type: temporal, rules: [a, b], timespan: 1m}")}, []string{`no rule is called "a"`, `no rule is called "b"`}},
		{"itself", []string{correlation("x", "{type: temporal, rules: [y], timespan: 1m}"), correlation("y", "{type: temporal, rules: [x], timespan: 1m}")}, []string{`rule "x": correlation.rules: it needs itself`}},
		{"a late one within", []string{one("a", "{verb: get}"), correlation("x", "{type: event_count, rules: [a], timespan: 1m, condition: {lt: 2}}"), correlation("y", "{type: temporal, rules: [x], timespan: 1m}")}, []string{"decided when its window is over"}},
		{"own attribute", []string{one("a", "{verb: get}", "bulwark: {minimunLevel: x}")}, []string{"minimunLevel"}},
		{"level", []string{one("a", "{verb: get}", "bulwark: {minimumLevel: All}")}, []string{`minimumLevel "All": expected one of`}},
		{"suppress", []string{one("a", "{verb: get}", "bulwark: {suppress: {by: [], for: 1m}}")}, []string{"suppress.by"}},
		{"suppress for", []string{one("a", "{verb: get}", "bulwark: {suppress: {by: [verb], for: ever}}")}, []string{"suppress.for"}},
		{"suppress field", []string{one("a", "{verb: get}", "bulwark: {suppress: {by: [color], for: 1m}}")}, []string{`"color" is no field`}},
		{"summary", []string{one("a", "{verb: get}", "bulwark: {summary: 'a {b'}")}, []string{"{ without }"}},
		{"summary field", []string{one("a", "{verb: get}", "bulwark: {summary: 'a {color}'}")}, []string{`"color" is no field`}},
		{"summary brace", []string{one("a", "{verb: get}", "bulwark: {summary: 'a }'}")}, []string{"} without {"}},
		{"test", []string{one("a", "{verb: get}", "bulwark: {tests: [{name: x, events: [{}]}]}")}, []string{"alert is missing"}},
		{"all at once", []string{one("a", "{verb|x: get}"), one("b", "{verb|y: get}"), "title: T"}, []string{"r0.yaml:6", "r1.yaml:6", "r2.yaml:1"}},
	}
	for _, tt := range tests {
		_, err := Load(files(tt.rules...))
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %s", tt.name, err, want)
			}
		}
	}
	set := mustLoad(t, one("a", "{verb|expand: '%nobody%'}"))
	if _, err := NewEngine(set, Config{}); err == nil || !strings.Contains(err.Error(), `r0.yaml:1: rule "a": line 6: no values are given for the placeholder %nobody%`) {
		t.Errorf("got %v", err)
	}
}

func TestPipelines(t *testing.T) {
	t.Parallel()
	first, err := pipeline.Parse("p1", []byte("priority: 1\nvars: {who: [alice@*]}\ntransformations: [{type: field_name_mapping, mapping: {actor: subject}}]"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := pipeline.Parse("p2", []byte("priority: 2\ntransformations: [{type: field_name_mapping, mapping: {subject: user.username}}, {type: rule_failure, message: no aws, rule_conditions: [{type: logsource, product: aws}]}]"))
	if err != nil {
		t.Fatal(err)
	}
	set, err := Load(fstest.MapFS{
		"a.yml":     {Data: []byte(one("a", "{actor|expand: '%who%'}"))},
		"x.yaml":    {Data: []byte(correlation("x", "{type: event_count, rules: [a], group-by: [actor], timespan: 1m, condition: {gte: 1}}"))},
		"aws.yaml":  {Data: []byte(strings.Replace(one("z", "{verb: get}"), "kubernetes, service: audit", "aws, service: eks.audit", 1))},
		"README.md": {Data: []byte("no rule")},
	}, second, first)
	if err != nil {
		t.Fatal(err)
	}
	engine, err := NewEngine(set, Config{})
	if err != nil {
		t.Fatal(err)
	}
	alerts := engine.Observe(sample(1))
	if len(alerts) != 1 || alerts[0].Fields["user.username"] != "alice@example.com" {
		t.Errorf("got %+v", alerts)
	}
	if len(set.Skipped) != 1 || !strings.Contains(set.Skipped[0].Why, "no aws") {
		t.Errorf("skipped %+v", set.Skipped)
	}
}

// TestOtherKinds: a rule sees the kinds of events that its log source names.
func TestOtherKinds(t *testing.T) {
	t.Parallel()
	for _, service := range []string{"gateway", "alert", "system"} {
		engine := mustEngine(t, Config{}, strings.Replace(one("a", "{verb: create}"), "kubernetes, service: audit", "bulwark, service: "+service, 1), one("k", "{verb: create}"))
		for _, kind := range audit.Kinds() {
			e := sample(1)
			e.Kind = kind
			want := map[audit.Kind]string{audit.KindAPI: "k", audit.Kind(service): "a"}[kind]
			if got := names(engine.Observe(e)); got != want {
				t.Errorf("%s: kind %s: got %q, want %q", service, kind, got, want)
			}
		}
	}
}

// TestAlertsOfAlerts: a rule about alerts sees those of other rules, and not those of
// rules like itself.
func TestAlertsOfAlerts(t *testing.T) {
	t.Parallel()
	about := func(name string) string {
		return strings.Replace(one(name, "{kind: alert}"), "kubernetes, service: audit", "bulwark, service: alert", 1)
	}
	engine := mustEngine(t, Config{}, one("a", "{verb: create}"), about("x"), about("y"))
	first := engine.Observe(sample(1))
	if names(first) != "a" {
		t.Fatalf("got %s", names(first))
	}
	event := first[0].Event(start())
	event.Seq = 2
	second := engine.Observe(event)
	if names(second) != "x y" {
		t.Fatalf("got %s", names(second))
	}
	for i, a := range second {
		event := a.Event(start())
		event.Seq = uint64(i) + 3
		if got := engine.Observe(event); len(got) != 0 {
			t.Errorf("got %s", names(got))
		}
	}
}

func TestSeverity(t *testing.T) {
	t.Parallel()
	want := []bulwark.Severity{bulwark.SeverityInfo, bulwark.SeverityLow, bulwark.SeverityMedium, bulwark.SeverityHigh, bulwark.SeverityCritical}
	for i, level := range sigma.Levels() {
		if got := severity(level); got != want[i] {
			t.Errorf("%s: got %s", level, got)
		}
	}
}

// TestRulesOwnTests runs tests that hold and some that do not.
func TestRulesOwnTests(t *testing.T) {
	t.Parallel()
	set := mustLoad(t, one("a", "{verb: get}", "bulwark: {quiet: true, tests: [{name: yes, alert: true, events: [get]}, {name: no, alert: false, events: [list]}, {name: wrong, alert: true, events: [list]}, {name: broken, alert: false, events: [x]}]}"),
		correlation("x", "{type: event_count, rules: [a], timespan: 1m, condition: {gte: 2}}", "bulwark: {tests: [{name: twice, alert: true, events: [get, get]}, {name: once, alert: false, events: [get]}]}"))
	results := set.Test(func(document []byte) ([]audit.Entry, error) {
		e := sample(0)
		if e.Verb = strings.Trim(string(document), `"`); e.Verb == "x" {
			e.Kind, e.Status = audit.KindSystem, audit.Status{Reason: "Unreadable", Message: "no event"}
		}
		return []audit.Entry{{Event: e}}, nil
	})
	var got []string
	for _, r := range results {
		got = append(got, r.Name+map[bool]string{true: " ok", false: " not"}[r.OK()])
	}
	if want := "yes ok,no ok,wrong not,broken not,twice ok,once ok"; strings.Join(got, ",") != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if results[3].Err == nil || !strings.Contains(results[3].Err.Error(), "no event") {
		t.Errorf("got %v", results[3].Err)
	}
}

// FuzzLoad loads, lints and runs whatever can be read.
func FuzzLoad(f *testing.F) {
	f.Add(one("a", "{verb|re: '^c', objectRef.name|fieldref|contains: objectRef.namespace, x|windash: '-a'}") + "---\n" + correlation("x", "{type: value_count, rules: [a], group-by: [w], timespan: 5m, condition: {field: objectRef.name, gte: 1}, aliases: {w: {a: user.username}}}"))
	f.Add(rule("a", "  s: [{requestObject.a: null}, x]\n  t: {sourceIPs|cidr: 10.0.0.0/8}\n  condition: 1 of s* and not all of them", "bulwark: {summary: '{verb}', suppress: {by: [verb], for: 1m}, tests: [{name: a, alert: true, events: [{a: 1}]}]}"))
	f.Add(one("a", "{verb: create}") + "---\n" + correlation("x", "{type: temporal_ordered, rules: [a, y], timespan: 5m}") + "---\n" + correlation("y", "{type: temporal, rules: [a, x], timespan: 5m, condition: a or x}"))
	f.Fuzz(func(t *testing.T, text string) {
		set, err := Load(files(text))
		if err != nil {
			return
		}
		set.Lint()
		engine, err := NewEngine(set, Config{})
		if err != nil {
			return
		}
		for i := range 3 {
			e := sample(uint64(i) + 1)
			e.StageAt = e.StageAt.AddDate(0, 0, i)
			for _, a := range engine.Observe(e) {
				if a.ID == "" || a.Rule == "" || len(a.Evidence) == 0 {
					t.Errorf("half an alert: %+v", a)
				}
			}
		}
		state, err := engine.State()
		if err != nil {
			t.Fatal(err)
		}
		again, err := NewEngine(set, Config{})
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Restore(state); err != nil {
			t.Error(err)
		}
	})
}
