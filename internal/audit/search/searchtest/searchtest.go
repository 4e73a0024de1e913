// Package searchtest has events and queries for the tests of searches.
package searchtest

import (
	"encoding/json"
	"strings"
	"time"

	"pgregory.net/rapid"

	"bulwark.dev/bulwark/internal/audit"
)

// Noon is now in every test.
func Noon() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }

// People are some events of every kind.
func People() []*audit.Event {
	at := func(minutes int) time.Time { return Noon().Add(time.Duration(minutes) * time.Minute) }
	events := []*audit.Event{
		{
			Kind: audit.KindAPI, Source: "webhook/apiserver-0", AuditID: "11111111-1111-4111-8111-111111111111", Level: "Metadata",
			Stage: "ResponseComplete", Verb: "get", RequestURI: "/api/v1/namespaces/shop/secrets/db?pretty=true",
			User: audit.User{Username: "alice", Groups: []string{"dev", "system:authenticated"}}, SourceIPs: []string{"10.1.2.3"},
			UserAgent: "kubectl/v1.36.0 (linux/amd64)", Object: audit.ObjectRef{APIVersion: "v1", Resource: "secrets", Namespace: "shop", Name: "db"},
			Status: audit.Status{Code: 200}, StageAt: at(-30), Received: at(-29),
			Annotations: map[string]string{"authorization.k8s.io/decision": "allow"},
		},
		{
			Kind: audit.KindAPI, Source: "webhook/apiserver-0", AuditID: "22222222-2222-4222-8222-222222222222", Level: "Metadata",
			Stage: "ResponseComplete", Verb: "create", SaidVerb: "get", RequestURI: "/api/v1/namespaces/shop/pods/cart/exec?command=sh",
			User: audit.User{Username: "root"}, Impersonated: &audit.User{Username: "alice", Groups: []string{"ops"}},
			SourceIPs: []string{"192.0.2.7", "10.0.0.1"}, UserAgent: "curl/8.5",
			Object: audit.ObjectRef{APIVersion: "v1", Resource: "pods", Subresource: "exec", Namespace: "shop", Name: "cart"},
			Status: audit.Status{Code: 101}, StageAt: at(-90), Received: at(-90),
		},
		{
			Kind: audit.KindAPI, Source: "file", Level: "Request", Stage: "ResponseComplete", Verb: "patch",
			User:   audit.User{Username: "system:serviceaccount:shop:deployer", Extra: map[string][]string{"scopes": {"a", "b"}}},
			Object: audit.ObjectRef{APIGroup: "apps", APIVersion: "v1", Resource: "deployments", Namespace: "shop", Name: "cart"},
			Status: audit.Status{Code: 403, Status: "Failure", Reason: "Forbidden", Message: `user "system:serviceaccount:shop:deployer" may not`},
			RequestObject: json.RawMessage(`{"metadata":{"labels":{"app.kubernetes.io/name":"cart"}},` +
				`"spec":{"containers":[{"image":"cart:1"},{"image":"proxy:2"}],"empty":"","none":null,"replicas":3}}`),
			SourceIPs: []string{"2001:db8::1"}, StageAt: at(-24 * 60), Received: at(-24 * 60),
			Annotations: map[string]string{"authorization.k8s.io/decision": "forbid"},
		},
		{Kind: audit.KindSystem, Source: "log", Received: at(-5), Status: audit.Status{Message: "segment sealed"}},
		{
			Kind: audit.KindAlert, Source: "detect", Received: at(-1), Verb: "alert", User: audit.User{Username: "alice"},
			More: json.RawMessage(`{"evidence":[1,2],"rule":"secrets-list","severity":"high","summary":"alice read \"db\"",` +
				`"tags":["attack.credential-access","attack.t1552.007"],"title":"Secrets were read"}`),
		},
	}
	for i, e := range events {
		e.Seq = uint64(i + 1)
	}
	return events
}

// RandomEvent draws an event whose values are few, so that queries find some.
func RandomEvent(t *rapid.T, label string) *audit.Event {
	pick := func(what string, values ...string) string { return rapid.SampledFrom(values).Draw(t, label+what) }
	e := &audit.Event{
		Kind:   audit.Kind(pick("kind", "api", "api", "api", "gateway", "alert", "system")),
		Source: pick("source", "", "webhook/a", "file"), Cluster: pick("cluster", "", "blue"),
		Verb: pick("verb", "", "get", "list", "create", "delete"), Level: pick("level", "", "Metadata", "Request"),
		AuditID: pick("id", "", "x-1", "11111111-1111-4111-8111-111111111111"), UserAgent: pick("agent", "", "curl/8", "Kubectl/1.36 (x; y)"),
		RequestURI: pick("uri", "", "/api/v1/pods?watch=true", "/healthz"),
		Object: audit.ObjectRef{
			APIGroup: pick("group", "", "apps", "batch"), Resource: pick("resource", "", "pods", "secrets", "deployments", "pods.odd"),
			Subresource: pick("sub", "", "", "exec", "scale"), Namespace: pick("ns", "", "shop", "kube-system"), Name: pick("name", "", "db", "cart-1", "a..b"),
			ResourceVersion: pick("rv", "", "12", "012"),
		},
		Status: audit.Status{Code: rapid.SampledFrom([]int32{0, 101, 200, 201, 403, 404, 500}).Draw(t, label+"code"), Reason: pick("reason", "", "Forbidden")},
		User:   audit.User{Username: pick("user", "", "alice", "Alice", "bob", "system:node:n1"), Groups: rapid.SliceOfN(rapid.SampledFrom([]string{"dev", "ops", ""}), 0, 2).Draw(t, label+"groups")},
		SourceIPs: rapid.SliceOfN(rapid.SampledFrom([]string{
			"10.0.0.1", "10.9.9.9", "2001:db8::1", "::ffff:10.0.0.1", "not an address",
		}), 0, 2).Draw(t, label+"ips"),
		Received: Noon().Add(-time.Duration(rapid.IntRange(0, 50).Draw(t, label+"received")) * time.Minute),
	}
	if rapid.Bool().Draw(t, label+"stage") {
		e.StageAt = Noon().Add(-time.Duration(rapid.IntRange(0, 300).Draw(t, label+"at"))*time.Minute + time.Duration(rapid.IntRange(0, 3).Draw(t, label+"us"))*time.Microsecond)
	}
	if len(e.User.Groups) == 0 {
		e.User.Groups = nil
	}
	if len(e.SourceIPs) == 0 {
		e.SourceIPs = nil
	}
	if rapid.IntRange(0, 3).Draw(t, label+"as") == 0 {
		e.Impersonated = &audit.User{Username: pick("asname", "alice", "carol"), Groups: []string{"ops"}}
	}
	if d := pick("decision", "", "allow", "forbid"); d != "" {
		e.Annotations = map[string]string{"authorization.k8s.io/decision": d}
	}
	if raw := pick("body", "", "", `{"a":{"b":3}}`, `{"a":[{"b":"3.5"},{"b":"x y"}]}`, `{"a":{"b":null}}`, `{"a":{"b":""}}`); raw != "" {
		e.RequestObject = json.RawMessage(raw)
	}
	if raw := pick("more", "", "", `{"rule":"r1","severity":"high"}`, `{"rule":"r2","severity":"low"}`); raw != "" {
		e.More = json.RawMessage(raw)
	}
	return e
}

// RandomQuery draws the text of a query over the same values.
func RandomQuery(t *rapid.T, depth int) string {
	if depth > 0 {
		switch rapid.IntRange(0, 5).Draw(t, "shape") {
		case 0:
			return RandomQuery(t, depth-1) + " " + RandomQuery(t, depth-1)
		case 1:
			return "(" + RandomQuery(t, depth-1) + " or " + RandomQuery(t, depth-1) + ")"
		case 2:
			return "-(" + RandomQuery(t, depth-1) + ")"
		case 3:
			return "not " + RandomQuery(t, 0)
		}
	}
	return rapid.SampledFrom([]string{
		"user=alice", "user~=ALICE", "user=a*", "user!=alice", `user=""`, "user=*", "actor=alice", "actor!=*", "group=ops", `group=""`, "group=(dev,ops)", "-group=*",
		"verb=(get,list)", "verb!=(get,list)", `verb=("",create)`, "resource=pods", "resource=pods/exec", "resource=deployments.apps", "resource=*.apps",
		"resource=pods.odd", "resource=(secrets,pods.apps/exec)", `resource=""`, "resource!=pods", "resource~=PODS/EXEC", "resource=p*", "subresource=exec", "ns=shop", "namespace!=shop",
		`ns=""`, "name=*-?", `name="a..b"`, "name=a..b", "code=200", "code>=400", "code<300", "code=400..499", "code=..199", "code=(200,500..)", "code=4??", `code=""`, "code=*", "code!=200",
		"ip=10.0.0.0/8", "ip=10.0.0.1", "ip=2001:db8::/32", `ip="not an address"*`, "ip!=10.0.0.1", "ip=10.*", `ip=""`,
		"agent=*curl*", "agent~=kubectl*", "uri=/api/*", "id=x-1", "id=1*", "id!=x-1", "seq=3", "seq>=5", "seq<4", "seq=2..6", "seq!=4", "seq=1*", "seq=(1,9)",
		"kind=api", "kind!=alert", "decision=forbid", "decision!=forbid", "rule=r1", "rule=*", "severity>=medium", "severity<high", "severity=high", "reason=Forbidden",
		"succeeded=true", "succeeded=false", "objectRef.resourceVersion=12", "objectRef.resourceVersion=012", "requestObject.a.b=3", "requestObject.a.b>=3", "requestObject.a.b=3..4", `requestObject.a.b="x y"`, `requestObject.a.b=""`,
		"requestObject.a.b=*", "requestObject=*", "more.rule=r2", "annotations.authorization.k8s.io/decision=allow", "impersonatedUser.username=*", "saidVerb=*",
		"since=2h", "until=90m", "at=2026-11-21T11:00..11:30", "at=2026-11-21T10:00", "time>=2026-11-21T09:00:00Z", "time<1h", "time!=2026-11-21T10:30", "received=*", "stageTimestamp=*", `stageTimestamp=""`,
		"received>=30m", "requestReceivedTimestamp=*", "at=today", "since=yesterday",
		"alice", `"Forbidden"`, "SHOP", `"x y"`, "ku*1.36", `"\"a\""`, "nothing-like-that", "cart?1", "user", "decision", "forbid", "2026", ":200", "3:", "11111111-1", "x-1", "curl/8", "agent", "R1", "medium", "ff:10", "ops", "/api/v1", `"y)"`, "12", "webhook", "alert",
	}).Draw(t, "term")
}

// Hostile is an event whose every text is an attack on whoever prints it.
func Hostile() *audit.Event {
	return &audit.Event{
		Seq: 9, Kind: audit.KindAPI, Verb: "get\x1b]0;owned\a", User: audit.User{Username: "=HYPERLINK(\"http://evil\")\x1b[2J", Groups: []string{"@SUM(1)", "a\r\nb"}},
		Impersonated: &audit.User{Username: "\u202egnp.exe\u200b"}, SourceIPs: []string{"\t10.0.0.1"}, UserAgent: "+1\x00\xff", RequestURI: "-1\r\nforged,line",
		Object: audit.ObjectRef{Resource: "＝pods", Namespace: "名前空間", Name: strings.Repeat("long", 40)}, Status: audit.Status{Code: 403, Reason: "@x"},
		StageAt: Noon(), AuditID: "'\u00a0x",
	}
}

// Seen is what a writer that saw events knows of them: a query.Known, field for field.
type Seen struct {
	First, Last uint64
	// Oldest and Newest are the ends of Event.Time, From and To those of Event.Received.
	Oldest, Newest, From, To time.Time
	Has                      func(audit.Kind) bool
}

// See looks at events; there is at least one.
func See(events []*audit.Event) Seen {
	k := Seen{First: events[0].Seq, Last: events[len(events)-1].Seq, Oldest: events[0].Time(), Newest: events[0].Time(), From: events[0].Received, To: events[0].Received}
	kinds := map[audit.Kind]bool{}
	for _, e := range events {
		kinds[e.Kind] = true
		if e.Time().Before(k.Oldest) {
			k.Oldest = e.Time()
		}
		if e.Time().After(k.Newest) {
			k.Newest = e.Time()
		}
		if e.Received.Before(k.From) {
			k.From = e.Received
		}
		if e.Received.After(k.To) {
			k.To = e.Received
		}
	}
	k.Has = func(kind audit.Kind) bool { return kinds[kind] }
	return k
}
