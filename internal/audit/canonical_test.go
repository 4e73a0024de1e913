package audit

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t.UTC()
}

// full has a value in every field.
func full() *Event {
	return &Event{
		Kind: KindAPI, Source: "webhook/apiserver-0", Cluster: "blue", Received: at("2026-11-21T10:00:00.000001Z"),
		AuditID: "4f0a", Level: "RequestResponse", Stage: "ResponseComplete", RequestURI: "/api/v1/pods?limit=5&a=<b>",
		Verb: "create", SaidVerb: "get",
		User:         User{Username: "ann", UID: "u1", Groups: []string{"dev", ""}, Extra: map[string][]string{"z": {"1"}, "a": {"2", "3"}}},
		Impersonated: &User{Username: "bob"},
		SourceIPs:    []string{"10.0.0.1", "::1"}, UserAgent: `kubectl "x"`,
		Object:        ObjectRef{"g", "v1", "pods", "exec", "shop", "web", "u2", "77"},
		Status:        Status{Code: 101, Status: "Failure", Reason: "R", Message: "line\nbreak \u2028 é"},
		RequestObject: json.RawMessage(`{"a":1}`), ResponseObject: json.RawMessage(`[1,"x"]`),
		RequestReceived: at("2026-11-21T10:00:00Z"), StageAt: at("2026-11-21T10:00:00.5Z"),
		Annotations: map[string]string{"b": "", "a": "1"},
		Redactions:  []Redaction{{"requestObject.data.x", "sha256:00"}},
		More:        json.RawMessage(`{"k":{"x":1}}`),
	}
}

const fullText = `{"kind":"api","source":"webhook/apiserver-0","cluster":"blue","received":"2026-11-21T10:00:00.000001Z",` +
	`"auditID":"4f0a","level":"RequestResponse","stage":"ResponseComplete","requestURI":"/api/v1/pods?limit=5&a=<b>",` +
	`"verb":"create","saidVerb":"get","user":{"username":"ann","uid":"u1","groups":["dev",""],"extra":{"a":["2","3"],"z":["1"]}},` +
	`"impersonatedUser":{"username":"bob"},"sourceIPs":["10.0.0.1","::1"],"userAgent":"kubectl \"x\"",` +
	`"objectRef":{"apiGroup":"g","apiVersion":"v1","resource":"pods","subresource":"exec","namespace":"shop","name":"web","uid":"u2","resourceVersion":"77"},` +
	`"responseStatus":{"code":101,"status":"Failure","reason":"R","message":"line\nbreak ` + "\u2028" + ` é"},` +
	`"requestObject":{"a":1},"responseObject":[1,"x"],"requestReceivedTimestamp":"2026-11-21T10:00:00.000000Z",` +
	`"stageTimestamp":"2026-11-21T10:00:00.500000Z","annotations":{"a":"1","b":""},` +
	`"redactions":[{"path":"requestObject.data.x","commitment":"sha256:00"}],"more":{"k":{"x":1}}}`

func equal() cmp.Options { return cmp.Options{cmpopts.IgnoreUnexported(Event{})} }

func TestAppendCanonical(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff(fullText, string(AppendCanonical(nil, full()))); diff != "" {
		t.Error(diff)
	}
	if got := string(AppendCanonical([]byte("x"), &Event{Kind: KindSystem})); got != `x{"kind":"system"}` {
		t.Errorf("what is empty: %s", got)
	}
	e, err := ParseCanonical([]byte(fullText))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(full(), e, equal()); diff != "" {
		t.Error(diff)
	}
}

// TestAppendCanonicalMends: whatever an event holds, what is written can be read.
func TestAppendCanonicalMends(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		e    Event
		want string
	}{
		{"no UTF-8", Event{UserAgent: "a\xffb\xc3"}, "\"userAgent\":\"a\uFFFDb\uFFFD\""},
		{"keys that are no UTF-8", Event{Annotations: map[string]string{"\xff": "1", "\xfe": "2", "\uFFFD": "3"}}, "\"annotations\":{\"\uFFFD\":\"3\",\"\uFFFD\uFFFD\":\"2\",\"\uFFFD\uFFFD\uFFFD\":\"1\"}"},
		{"a body in another spelling", Event{RequestObject: json.RawMessage(`{ "b": "\u003c", "a": 1 }`)}, `"requestObject":{"a":1,"b":"<"}`},
		{"a body that is no JSON", Event{ResponseObject: json.RawMessage(`{"a`)}, `"responseObject":"{\"a"`},
		{"a body with a name twice", Event{RequestObject: json.RawMessage(`{"a":1,"a":2}`)}, `"requestObject":"{\"a\":1,\"a\":2}"`},
		{"a null is nothing", Event{RequestObject: json.RawMessage(`null`), More: json.RawMessage(` null`)}, ""},
		{"more is an object", Event{More: json.RawMessage(`[1]`)}, `"more":{"value":"[1]"}`},
		{"more is an object, whatever it was", Event{More: json.RawMessage(`{`)}, `"more":{"value":"{"}`},
		{"an empty object says nothing", Event{More: json.RawMessage(`{}`)}, ""},
		{"nobody", Event{Impersonated: &User{Groups: []string{}, Extra: map[string][]string{"a": {}}}}, ""},
		{"nanoseconds", Event{StageAt: at("2026-11-21T10:00:00.123456789+01:00")}, `"stageTimestamp":"2026-11-21T09:00:00.123456Z"`},
		{"the zero time in another place", Event{StageAt: time.Time{}.In(time.FixedZone("x", 3600))}, ""},
		{"a year of five digits", Event{StageAt: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, ""},
		{"a year before the first", Event{StageAt: time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)}, ""},
		{"a negative code", Event{Status: Status{Code: -5}}, `"responseStatus":{"code":-5}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.e.Kind = KindAPI
			want := `{"kind":"api"}`
			if tt.want != "" {
				want = `{"kind":"api",` + tt.want + `}`
			}
			got := AppendCanonical(nil, &tt.e)
			if diff := cmp.Diff(want, string(got)); diff != "" {
				t.Error(diff)
			}
			if _, err := ParseCanonical(got); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestParseCanonicalRefuses(t *testing.T) {
	t.Parallel()
	replace := func(old, with string) string { return strings.Replace(fullText, old, with, 1) }
	tests := []struct {
		name, in string
	}{
		{"nothing", ""},
		{"an empty object", "{}"},
		{"no kind", replace(`"kind":"api",`, "")},
		{"a kind that there is not", replace(`"kind":"api"`, `"kind":"Event"`)},
		{"white space", replace(`,"source"`, `, "source"`)},
		{"something behind", fullText + "\n"},
		{"another order", replace(`"verb":"create","saidVerb":"get"`, `"saidVerb":"get","verb":"create"`)},
		{"a member twice", replace(`"verb":"create"`, `"verb":"create","verb":"create"`)},
		{"another member", replace(`"verb":"create"`, `"verb":"create","word":"x"`)},
		{"another name's case", replace(`"verb"`, `"Verb"`)},
		{"an escape too many", replace(`"create"`, `"cre\u0061te"`)},
		{"an escape for HTML", replace(`<b>`, `\u003cb>`)},
		{"an empty text", replace(`"saidVerb":"get"`, `"saidVerb":""`)},
		{"a null", replace(`"saidVerb":"get"`, `"saidVerb":null`)},
		{"a number for a text", replace(`"saidVerb":"get"`, `"saidVerb":1`)},
		{"an empty list", replace(`["10.0.0.1","::1"]`, `[]`)},
		{"unsorted annotations", replace(`{"a":"1","b":""}`, `{"b":"","a":"1"}`)},
		{"an annotation twice", replace(`{"a":"1","b":""}`, `{"a":"1","a":"1","b":""}`)},
		{"a time with a zone", replace(`10:00:00.500000Z`, `11:00:00.500000+01:00`)},
		{"a time with too few decimals", replace(`10:00:00.500000Z`, `10:00:00.5Z`)},
		{"a time that is none", replace(`10:00:00.500000Z`, `25:00:00.500000Z`)},
		{"a body not sorted", replace(`"requestObject":{"a":1}`, `"requestObject":{"b":1,"a":1}`)},
		{"more that is no object", replace(`"more":{"k":{"x":1}}`, `"more":[1]`)},
		{"a code with a point", replace(`"code":101`, `"code":101.0`)},
		{"a code that is too large", replace(`"code":101`, `"code":2147483648`)},
		{"no UTF-8", replace(`"uid":"u1"`, "\"uid\":\"\xff\"")},
		{"half a redaction", replace(`{"path":"requestObject.data.x",`, `{`)},
		{"cut short", fullText[:len(fullText)-1]},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.in == fullText {
				t.Fatal("nothing was replaced")
			}
			if _, err := ParseCanonical([]byte(tt.in)); err == nil {
				t.Error("it was taken")
			}
		})
	}
}

func TestParseCanonicalSharesNothing(t *testing.T) {
	t.Parallel()
	p := NewParser()
	for name, parse := range map[string]func([]byte) (*Event, error){"one": ParseCanonical, "many": p.Parse} {
		b := []byte(fullText)
		e, err := parse(b)
		if err != nil {
			t.Fatal(err)
		}
		for i := range b {
			b[i] = 'x'
		}
		if _, err := parse([]byte(`{"kind":"system","verb":"other"}`)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(full(), e, equal()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestCanonicalRoundTrip: what normal events say comes back.
func TestCanonicalRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := draw(t)
		b := AppendCanonical(nil, e)
		if !utf8.Valid(b) || !json.Valid(b) {
			t.Fatalf("not JSON in UTF-8: %q", b)
		}
		got, err := ParseCanonical(b)
		if err != nil {
			t.Fatalf("%v: %s", err, b)
		}
		if diff := cmp.Diff(e, got, equal(), cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}

// draw makes an event of valid texts.
func draw(t *rapid.T) *Event {
	text := rapid.String()
	texts := rapid.SliceOfN(text, 0, 3)
	when := func(name string) time.Time {
		us := rapid.Int64Range(0, at("9999-12-31T23:59:59Z").UnixMicro()).Draw(t, name)
		return time.UnixMicro(us).UTC()
	}
	user := func(name string) User {
		return User{
			Username: text.Draw(t, name), UID: text.Draw(t, name), Groups: texts.Draw(t, name),
			Extra: rapid.MapOfN(text, rapid.SliceOfN(text, 1, 3), 0, 3).Draw(t, name),
		}
	}
	body := func(name string) json.RawMessage {
		if !rapid.Bool().Draw(t, name) {
			return nil
		}
		raw, err := json.Marshal(rapid.MapOfN(text, text, 1, 4).Draw(t, name))
		if err == nil {
			raw, err = CanonicalJSON(raw)
		}
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	e := &Event{
		Kind: rapid.SampledFrom(Kinds()).Draw(t, "kind"), Source: text.Draw(t, "source"), Cluster: text.Draw(t, "cluster"),
		Received: when("received"), AuditID: text.Draw(t, "id"), Level: text.Draw(t, "level"), Stage: text.Draw(t, "stage"),
		RequestURI: text.Draw(t, "uri"), Verb: text.Draw(t, "verb"), SaidVerb: text.Draw(t, "said"), User: user("user"),
		SourceIPs: texts.Draw(t, "ips"), UserAgent: text.Draw(t, "agent"),
		Object: ObjectRef{
			text.Draw(t, "group"), text.Draw(t, "version"), text.Draw(t, "resource"), text.Draw(t, "sub"),
			text.Draw(t, "namespace"), text.Draw(t, "name"), text.Draw(t, "uid"), text.Draw(t, "rv"),
		},
		Status:        Status{rapid.Int32().Draw(t, "code"), text.Draw(t, "status"), text.Draw(t, "reason"), text.Draw(t, "message")},
		RequestObject: body("request"), ResponseObject: body("response"),
		RequestReceived: when("at"), StageAt: when("stageAt"),
		Annotations: rapid.MapOfN(text, text, 0, 4).Draw(t, "annotations"), More: body("more"),
	}
	for range rapid.IntRange(0, 2).Draw(t, "redactions") {
		e.Redactions = append(e.Redactions, Redaction{text.Draw(t, "path"), text.Draw(t, "commitment")})
	}
	if u := user("as"); u.Username != "" {
		e.Impersonated = &u
	}
	return e
}

func FuzzParseCanonical(f *testing.F) {
	f.Add([]byte(fullText))
	f.Add([]byte(`{"kind":"system","annotations":{"":""}}`))
	f.Add([]byte(`{"kind":"api","requestObject":"x","more":{"a":[]}}`))
	p := NewParser()
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ParseCanonical(b)
		same, err2 := p.Parse(b)
		if (err == nil) != (err2 == nil) {
			t.Fatalf("one says %v, the other %v", err, err2)
		}
		if err != nil {
			return
		}
		if diff := cmp.Diff(e, same, equal()); diff != "" {
			t.Fatal(diff)
		}
		again := AppendCanonical(nil, e)
		if !bytes.Equal(again, b) {
			t.Fatalf("%q came back as %q", b, again)
		}
		if !utf8.Valid(b) || !json.Valid(b) {
			t.Fatalf("no JSON in UTF-8 was taken: %q", b)
		}
	})
}

// FuzzAppendCanonical: events with anything in them can be read again.
func FuzzAppendCanonical(f *testing.F) {
	f.Add("ann", "get", []byte(`{"b":1,"a":[2]}`), []byte(`1`), int64(0))
	f.Fuzz(func(t *testing.T, a, b string, body, more []byte, ns int64) {
		e := &Event{
			Kind: KindAPI, Verb: a, User: User{Username: b, Groups: []string{a, b}, Extra: map[string][]string{a: {b}, b: {a}}},
			Annotations: map[string]string{a: b, b: a}, RequestObject: body, More: more, StageAt: time.Unix(ns, ns),
			Redactions: []Redaction{{a, b}},
		}
		text := AppendCanonical(nil, e)
		if _, err := ParseCanonical(text); err != nil {
			t.Fatalf("%v: %q", err, text)
		}
	})
}

// metadata is an event of level Metadata, of the size that they have in practice.
func metadata() *Event {
	return &Event{
		Kind: KindAPI, Source: "webhook", Cluster: "blue", Received: at("2026-11-21T10:00:00.123456Z"),
		AuditID: "0a1b2c3d-1111-2222-3333-444455556666", Level: "Metadata", Stage: "ResponseComplete",
		RequestURI: "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-17.example.internal?timeout=10s",
		Verb:       "update",
		User: User{
			Username: "system:serviceaccount:kube-system:generic-garbage-collector", UID: "7d9a2f6e-0f53-4c0e-9d0a-0a8a3f6b7c11",
			Groups: []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"},
			Extra:  map[string][]string{"authentication.kubernetes.io/credential-id": {"JTI=0f6d2a3b-88aa-4c1f-9be1-5d0d0e0f1a2b"}, "authentication.kubernetes.io/node-name": {"node-17.example.internal"}},
		},
		SourceIPs: []string{"10.20.30.40"}, UserAgent: "kube-controller-manager/v1.36.3 (linux/amd64) kubernetes/1a2b3c4/system:serviceaccount:kube-system:generic-garbage-collector",
		Object: ObjectRef{APIGroup: "coordination.k8s.io", APIVersion: "v1", Resource: "leases", Namespace: "kube-node-lease", Name: "node-17.example.internal", UID: "b1c2d3e4-aaaa-bbbb-cccc-ddddeeeeffff", ResourceVersion: "123456789"},
		Status: Status{Code: 200}, RequestReceived: at("2026-11-21T10:00:00.100001Z"), StageAt: at("2026-11-21T10:00:00.104242Z"),
		Annotations: map[string]string{
			"authorization.k8s.io/decision": "allow",
			"authorization.k8s.io/reason":   `RBAC: allowed by ClusterRoleBinding "system:controller:generic-garbage-collector" of ClusterRole "system:controller:generic-garbage-collector" to ServiceAccount "generic-garbage-collector/kube-system"`,
		},
	}
}

func BenchmarkAppendCanonical(b *testing.B) {
	e, buf := metadata(), []byte(nil)
	buf = AppendCanonical(buf, e)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendCanonical(buf[:0], e)
	}
}

func BenchmarkParser(b *testing.B) {
	buf := AppendCanonical(nil, metadata())
	p := NewParser()
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Parse(buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseCanonical(b *testing.B) {
	buf := AppendCanonical(nil, metadata())
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseCanonical(buf); err != nil {
			b.Fatal(err)
		}
	}
}
