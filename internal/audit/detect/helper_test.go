package detect

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"bulwark.dev/bulwark/internal/audit"
)

// start is when the events of tests begin.
func start() time.Time { return time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC) }

// sample is an event that most tests change a little.
func sample(seq uint64) *audit.Event {
	return &audit.Event{
		Seq: seq, Kind: audit.KindAPI, Source: "webhook", Cluster: "prod", AuditID: fmt.Sprintf("id-%d", seq), Level: "RequestResponse",
		Stage: "ResponseComplete", RequestURI: "/api/v1/namespaces/shop/pods", Verb: "create",
		User:      audit.User{Username: "alice@example.com", Groups: []string{"dev", "system:authenticated"}, Extra: map[string][]string{"bulwark.dev/session": {"s1"}}},
		SourceIPs: []string{"192.0.2.7", "10.1.2.3"}, UserAgent: "kubectl/v1.35.0",
		Object:          audit.ObjectRef{APIGroup: "apps", APIVersion: "v1", Resource: "pods", Namespace: "shop", Name: "cart-1"},
		Status:          audit.Status{Code: 201},
		Annotations:     map[string]string{"authorization.k8s.io/decision": "allow"},
		RequestObject:   []byte(`{"spec":{"containers":[{"image":"a:1","securityContext":{"privileged":true}},{"image":"B:2","note":null}],"hostPID":true,"replicas":3,"volumes":[{"hostPath":{"path":"/var/run"}}]}}`),
		RequestReceived: start(), StageAt: start().Add(time.Duration(seq) * time.Second), Received: start().Add(time.Duration(seq) * time.Second),
	}
}

// files makes a folder of rules.
func files(texts ...string) fstest.MapFS {
	out := fstest.MapFS{}
	for i, text := range texts {
		out[fmt.Sprintf("r%d.yaml", i)] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

func mustLoad(tb testing.TB, texts ...string) *Set {
	tb.Helper()
	set, err := Load(files(texts...))
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

func mustEngine(tb testing.TB, config Config, texts ...string) *Engine {
	tb.Helper()
	engine, err := NewEngine(mustLoad(tb, texts...), config)
	if err != nil {
		tb.Fatal(err)
	}
	return engine
}

// rule makes a rule of its detection, which is indented by two.
func rule(name, detection string, more ...string) string {
	return fmt.Sprintf("title: Rule %s\nname: %s\nlogsource: {product: kubernetes, service: audit}\nlevel: high\ndetection:\n%s\n%s\n",
		name, name, strings.Trim(detection, "\n"), strings.Join(more, "\n"))
}

// one makes a rule of one search, given as a flow mapping or list.
func one(name, search string, more ...string) string {
	return rule(name, "  selection: "+search+"\n  condition: selection", more...)
}

func names(alerts []Alert) string {
	var out []string
	for _, a := range alerts {
		out = append(out, a.Rule)
	}
	return strings.Join(out, " ")
}
