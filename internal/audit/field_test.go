package audit

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestField(t *testing.T) {
	t.Parallel()
	e := full()
	e.Impersonated = &User{Username: "bob", UID: "u9", Groups: []string{"ops"}, Extra: map[string][]string{"x.y": {"1", "2"}}}
	e.RequestObject = json.RawMessage(`{"a.b":"dot","n":1.50,"spec":{"containers":[{"image":"one","on":true},{"image":"two","env":{"<b>":[1]}},{"args":["-c",null]}]},"void":null}`)
	e.More = json.RawMessage(`{"aws":{"logGroup":"g"}}`)
	tests := []struct {
		path string
		want []Value
	}{
		{"kind", []Value{{Text: "api"}}},
		{"source", []Value{{Text: "webhook/apiserver-0"}}},
		{"cluster", []Value{{Text: "blue"}}},
		{"auditID", []Value{{Text: "4f0a"}}},
		{"level", []Value{{Text: "RequestResponse"}}},
		{"stage", []Value{{Text: "ResponseComplete"}}},
		{"requestURI", []Value{{Text: "/api/v1/pods?limit=5&a=<b>"}}},
		{"verb", []Value{{Text: "create"}}},
		{"saidVerb", []Value{{Text: "get"}}},
		{"user.username", []Value{{Text: "ann"}}},
		{"user.uid", []Value{{Text: "u1"}}},
		{"user.groups", []Value{{Text: "dev"}, {Text: ""}}},
		{"impersonatedUser.username", []Value{{Text: "bob"}}},
		{"impersonatedUser.uid", []Value{{Text: "u9"}}},
		{"impersonatedUser.groups", []Value{{Text: "ops"}}},
		{"actor.username", []Value{{Text: "bob"}}},
		{"actor.groups", []Value{{Text: "ops"}}},
		{"sourceIPs", []Value{{Text: "10.0.0.1"}, {Text: "::1"}}},
		{"userAgent", []Value{{Text: `kubectl "x"`}}},
		{"objectRef.apiGroup", []Value{{Text: "g"}}},
		{"objectRef.apiVersion", []Value{{Text: "v1"}}},
		{"objectRef.resource", []Value{{Text: "pods"}}},
		{"objectRef.subresource", []Value{{Text: "exec"}}},
		{"objectRef.namespace", []Value{{Text: "shop"}}},
		{"objectRef.name", []Value{{Text: "web"}}},
		{"objectRef.uid", []Value{{Text: "u2"}}},
		{"objectRef.resourceVersion", []Value{{Text: "77"}}},
		{"responseStatus.code", []Value{{Text: "101", Number: true}}},
		{"responseStatus.status", []Value{{Text: "Failure"}}},
		{"responseStatus.reason", []Value{{Text: "R"}}},
		{"responseStatus.message", []Value{{Text: "line\nbreak \u2028 é"}}},
		{"succeeded", []Value{{Text: "true"}}},
		{"annotations.a", []Value{{Text: "1"}}},
		{"annotations.b", nil},
		{"annotations.none", nil},
		{"user.extra.a", []Value{{Text: "2"}, {Text: "3"}}},
		{"impersonatedUser.extra.x.y", []Value{{Text: "1"}, {Text: "2"}}},
		{`requestObject.a\.b`, []Value{{Text: "dot"}}},
		{"requestObject.a.b", nil},
		{"requestObject.n", []Value{{Text: "1.50", Number: true}}},
		{"requestObject.void", []Value{{Null: true}}},
		{"requestObject.spec.containers.image", []Value{{Text: "one"}, {Text: "two"}}},
		{"requestObject.spec.containers.on", []Value{{Text: "true"}}},
		{"requestObject.spec.containers.args", []Value{{Text: "-c"}, {Null: true}}},
		{"requestObject.spec.containers.env", []Value{{Text: `{"<b>":[1]}`}}},
		{"requestObject.spec.none.image", nil},
		{"requestObject.n.deeper", nil},
		{"responseObject", []Value{{Text: `[1,"x"]`}}},
		{"more.aws.logGroup", []Value{{Text: "g"}}},
	}
	seen := map[string]bool{}
	for _, tt := range tests {
		seen[tt.path] = true
		f, err := ParseField(tt.path)
		if err != nil {
			t.Error(err)
			continue
		}
		var got []Value
		f.Each(e, func(v Value) bool { got = append(got, v); return true })
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.path, diff)
		}
		if first := f.First(e); len(tt.want) > 0 && first != tt.want[0].Text {
			t.Errorf("%s: the first is %q", tt.path, first)
		}
		n := 0
		f.Each(e, func(Value) bool { n++; return false })
		if n > 1 {
			t.Errorf("%s went on after it was told to stop", tt.path)
		}
		if f.Path() != tt.path {
			t.Errorf("%s calls itself %s", tt.path, f.Path())
		}
	}
	for _, path := range FixedFields() {
		if !seen[path] {
			t.Errorf("%s has no test", path)
		}
	}
}

func TestParseFieldRefuses(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"", "user", "verbs", "Verb", "annotations", "annotations.", "user.extra", "requestObject.", "objectRef.kind", "apiGroup", "more."} {
		if _, err := ParseField(path); err == nil {
			t.Errorf("%q was taken", path)
		}
	}
	if v := (Field{}).First(full()); v != "" {
		t.Errorf("the zero field has the value %q", v)
	}
	body, err := ParseField("responseObject.x")
	if err != nil || !body.Body() {
		t.Errorf("responseObject.x: %v, body %t", err, body.Body())
	}
}

// TestFieldOfNoJSON: a body that is no JSON has no fields, however often one asks.
func TestFieldOfNoJSON(t *testing.T) {
	t.Parallel()
	f, err := ParseField("requestObject.a")
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range []string{`{"a":1`, `{"a":1}}`, `"a"`, ""} {
		e := &Event{RequestObject: json.RawMessage(raw)}
		for range 2 {
			if got := f.First(e); got != "" {
				t.Errorf("%s: %q", raw, got)
			}
		}
	}
}

func TestEvent(t *testing.T) {
	t.Parallel()
	a, b, c := at("2026-01-01T00:00:00Z"), at("2026-01-02T00:00:00Z"), at("2026-01-03T00:00:00Z")
	for _, tt := range []struct {
		e    Event
		want time.Time
	}{
		{Event{StageAt: a, RequestReceived: b, Received: c}, a},
		{Event{RequestReceived: b, Received: c}, b},
		{Event{Received: c}, c},
	} {
		if got := tt.e.Time(); !got.Equal(tt.want) {
			t.Errorf("time is %s, want %s", got, tt.want)
		}
	}
	forbid := map[string]string{"authorization.k8s.io/decision": "forbid"}
	for _, tt := range []struct {
		name string
		e    Event
		want bool
	}{
		{"answered", Event{Status: Status{Code: 201}}, true},
		{"upgraded", Event{Status: Status{Code: 101}}, true},
		{"nothing told", Event{}, true},
		{"refused", Event{Status: Status{Code: 403}}, false},
		{"refused, and no answer told", Event{Annotations: forbid}, false},
		{"failed, without a code", Event{Status: Status{Status: "Failure"}}, false},
		{"sent elsewhere", Event{Status: Status{Code: 307}}, false},
	} {
		if got := tt.e.Succeeded(); got != tt.want {
			t.Errorf("%s: succeeded is %t", tt.name, got)
		}
	}
	if k := Kinds(); len(k) != 6 || slices.Contains(k, "") {
		t.Errorf("the kinds are %v", k)
	}
}
