package detect

import (
	"strings"
	"testing"

	"bulwark.dev/bulwark/internal/audit"
)

// TestSearch has, for each form of a search and each modifier, what the specification
// says that it is met by.
func TestSearch(t *testing.T) {
	t.Parallel()
	tests := []struct {
		search string
		want   bool
		change func(*audit.Event)
	}{
		// Maps, lists of maps, keywords.
		{`{verb: create, objectRef.resource: pods}`, true, nil},
		{`{verb: create, objectRef.resource: secrets}`, false, nil},
		{`{verb: [get, create]}`, true, nil},
		{`[{verb: get}, {objectRef.resource: pods}]`, true, nil},
		{`[{verb: get}, {objectRef.resource: secrets}]`, false, nil},
		{`['nothing', 'CART-1']`, true, nil},
		{`['nothing', 'nowhere']`, false, nil},
		{`'cart-1'`, true, nil},
		{`['kube*1.35']`, true, nil},
		{`[{verb: get}, 'cart-1']`, true, nil},
		{`{'|all': ['cart-1', 'alice']}`, true, nil},
		{`{'|all': ['cart-1', 'nowhere']}`, false, nil},
		{`['"hostPID":true']`, true, nil},
		{`{'|re': 'cart-[0-9]'}`, true, nil},
		{`{sourceIPs.last: 10.1.2.3}`, true, nil},
		{`{sourceIPs.last|cidr: 192.0.2.0/24}`, false, nil},
		{`{sourceIPs.last: null}`, true, func(e *audit.Event) { e.SourceIPs = nil }},
		// Letters.
		{`{verb: CREATE}`, true, nil},
		{`{verb|cased: CREATE}`, false, nil},
		{`{verb|cased: create}`, true, nil},
		{`{user.username: ÄRGER}`, true, func(e *audit.Event) { e.User.Username = "ärger" }},
		{`{userAgent|contains|cased: Kubectl}`, false, nil},
		{`{userAgent|cased|contains: kubectl}`, true, nil},
		// Wildcards and backslashes.
		{`{verb: 'cre*'}`, true, nil},
		{`{verb: 'c?eate'}`, true, nil},
		{`{verb: 'c??eate'}`, false, nil},
		{`{verb: 'create?'}`, false, nil},
		{`{verb: '*'}`, true, nil},
		{`{objectRef.subresource: '*'}`, false, nil},
		{`{verb: 'cre\*'}`, false, nil},
		{`{verb: 'cre\*'}`, true, func(e *audit.Event) { e.Verb = "cre*" }},
		{`{verb: 'a\\*'}`, true, func(e *audit.Event) { e.Verb = `a\bc` }},
		{`{verb: 'a\\\*'}`, true, func(e *audit.Event) { e.Verb = `a\*` }},
		{`{verb: 'a\\\*'}`, false, func(e *audit.Event) { e.Verb = `a\b` }},
		{`{verb: 'a\b'}`, true, func(e *audit.Event) { e.Verb = `a\b` }},
		{`{verb: 'a\\b'}`, true, func(e *audit.Event) { e.Verb = `a\b` }},
		{`{verb: 'a\\\\b'}`, true, func(e *audit.Event) { e.Verb = `a\\b` }},
		{`{verb: 'a\\\b'}`, true, func(e *audit.Event) { e.Verb = `a\\b` }},
		{`{requestURI: '/api*/namespaces/*/po?s'}`, true, nil},
		{`{requestURI: '/api*/namespaces/*/po?sx'}`, false, nil},
		{`{requestURI: '*a*b*c'}`, true, func(e *audit.Event) { e.RequestURI = "aabbcabc" }},
		{`{requestURI: '*ab?d*'}`, true, func(e *audit.Event) { e.RequestURI = "ababxd" }},
		{`{requestURI: '?äö'}`, true, func(e *audit.Event) { e.RequestURI = "üäö" }},
		// Places.
		{`{userAgent|contains: 'ctl/v1'}`, true, nil},
		{`{userAgent|startswith: kubectl}`, true, nil},
		{`{userAgent|startswith: ctl}`, false, nil},
		{`{userAgent|endswith: '.0'}`, true, nil},
		{`{userAgent|endswith: kubectl}`, false, nil},
		{`{userAgent|contains: 'k*l/v?.3'}`, true, nil},
		{`{userAgent|contains: 'a\b'}`, true, func(e *audit.Event) { e.UserAgent = `xa\by` }},
		{`{userAgent|contains: 'a\'}`, true, func(e *audit.Event) { e.UserAgent = `xa\y` }},
		// all, with several values of the event.
		{`{user.groups: dev}`, true, nil},
		{`{user.groups|all: [dev, system:authenticated]}`, true, nil},
		{`{user.groups|all: [dev, system:masters]}`, false, nil},
		{`{userAgent|contains|all: [kube, v1]}`, true, nil},
		{`{userAgent|all|contains: [kube, v2]}`, false, nil},
		{`{requestObject.spec.containers.image: 'b:2'}`, true, nil},
		// null, empty, exists.
		{`{objectRef.subresource: null}`, true, nil},
		{`{objectRef.subresource: ''}`, true, nil},
		{`{verb: null}`, false, nil},
		{`{objectRef.subresource: [null, exec]}`, true, nil},
		{`{requestObject.spec.containers.note: null}`, true, nil},
		{`{requestObject.spec.containers.note: '*'}`, false, nil},
		{`{requestObject.spec.containers.note|exists: true}`, true, nil},
		{`{objectRef.subresource|exists: false}`, true, nil},
		{`{objectRef.subresource|exists: true}`, false, nil},
		{`{verb|exists: true}`, true, nil},
		{`{verb|exists: false}`, false, nil},
		// Numbers and truth values.
		{`{responseStatus.code: 201}`, true, nil},
		{`{responseStatus.code: '201'}`, true, nil},
		{`{responseStatus.code: 201.0}`, true, nil},
		{`{responseStatus.code: [401, 403]}`, false, nil},
		{`{responseStatus.code: '2*'}`, true, nil},
		{`{requestObject.spec.replicas: 3}`, true, nil},
		{`{requestObject.spec.hostPID: true}`, true, nil},
		{`{requestObject.spec.hostPID: 'true'}`, true, nil},
		{`{requestObject.spec.hostPID: false}`, false, nil},
		{`{responseStatus.code|gte: 201}`, true, nil},
		{`{responseStatus.code|gt: 201}`, false, nil},
		{`{responseStatus.code|lt: 300}`, true, nil},
		{`{responseStatus.code|lte: 200.5}`, false, nil},
		{`{objectRef.subresource|lt: 5}`, false, nil},
		{`{verb|gt: 1}`, false, nil},
		// neq.
		{`{verb|neq: get}`, true, nil},
		{`{verb|neq: create}`, false, nil},
		{`{verb|neq: [get, create]}`, false, nil},
		{`{responseStatus.code|neq: 200}`, true, nil},
		{`{objectRef.subresource|neq: exec}`, true, nil},
		{`{user.groups|neq: dev}`, false, nil},
		{`{verb|neq|startswith: cre}`, false, nil},
		// Regular expressions.
		{`{userAgent|re: 'kubectl/v1\.[0-9]+'}`, true, nil},
		{`{userAgent|re: 'Kubectl'}`, false, nil},
		{`{userAgent|re|i: 'Kubectl'}`, true, nil},
		{`{userAgent|re: '^b$'}`, false, func(e *audit.Event) { e.UserAgent = "a\nb\nc" }},
		{`{userAgent|re|m: '^b$'}`, true, func(e *audit.Event) { e.UserAgent = "a\nb\nc" }},
		{`{userAgent|re: 'a.b'}`, false, func(e *audit.Event) { e.UserAgent = "a\nb" }},
		{`{userAgent|re|s: 'a.b'}`, true, func(e *audit.Event) { e.UserAgent = "a\nb" }},
		{`{userAgent|re|i|s: 'A.B'}`, true, func(e *audit.Event) { e.UserAgent = "a\nb" }},
		// Encodings. The encoded texts are those of other programs.
		{`{userAgent|base64: 'ping'}`, true, func(e *audit.Event) { e.UserAgent = "cGluZw==" }},
		{`{userAgent|base64|contains: 'whoami'}`, true, func(e *audit.Event) { e.UserAgent = "x d2hvYW1p y" }},
		{`{userAgent|base64offset|contains: '/bin/bash'}`, true, func(e *audit.Event) { e.UserAgent = "L2Jpbi9iYXNo" }},
		{`{userAgent|base64offset|contains: '/bin/bash'}`, true, func(e *audit.Event) { e.UserAgent = "eC9iaW4vYmFzaHk=" }},
		{`{userAgent|base64offset|contains: '/bin/bash'}`, true, func(e *audit.Event) { e.UserAgent = "eHgvYmluL2Jhc2h5eQ==" }},
		{`{userAgent|base64offset|contains: '/bin/bash'}`, false, func(e *audit.Event) { e.UserAgent = "eHgvYmluL3NoeXk=" }},
		{`{userAgent|wide|base64offset|contains: 'ping'}`, true, func(e *audit.Event) { e.UserAgent = "cABpAG4AZwA=" }},
		{`{userAgent|utf16le|base64|contains: 'ping'}`, true, func(e *audit.Event) { e.UserAgent = "cABpAG4AZwA=" }},
		{`{userAgent|utf16be|base64: 'ping'}`, true, func(e *audit.Event) { e.UserAgent = "AHAAaQBuAGc=" }},
		{`{userAgent|utf16|base64: 'ping'}`, true, func(e *audit.Event) { e.UserAgent = "//5wAGkAbgBnAA==" }},
		{`{userAgent|wide: 'ab'}`, true, func(e *audit.Event) { e.UserAgent = "a\x00b\x00" }},
		// Dashes.
		{`{userAgent|windash|contains: ' -all'}`, true, func(e *audit.Event) { e.UserAgent = "x /all" }},
		{`{userAgent|contains|windash: ' -all'}`, true, func(e *audit.Event) { e.UserAgent = "x –all" }},
		{`{userAgent|contains|windash: ' /a -b'}`, true, func(e *audit.Event) { e.UserAgent = "x ―a —b" }},
		{`{userAgent|contains|windash: ' -all'}`, false, func(e *audit.Event) { e.UserAgent = "x +all" }},
		{`{userAgent|windash|base64: '-a'}`, true, func(e *audit.Event) { e.UserAgent = "L2E=" }},
		// Networks.
		{`{sourceIPs|cidr: 10.0.0.0/8}`, true, nil},
		{`{sourceIPs|cidr: [172.16.0.0/12, 'fd00::/8']}`, false, nil},
		{`{sourceIPs|cidr: 'fd00::/8'}`, true, func(e *audit.Event) { e.SourceIPs = []string{"fd12::1"} }},
		{`{sourceIPs|cidr: 10.0.0.0/8}`, true, func(e *audit.Event) { e.SourceIPs = []string{"::ffff:10.0.0.1"} }},
		{`{sourceIPs|cidr: 192.0.2.7}`, true, nil},
		{`{userAgent|cidr: 10.0.0.0/8}`, false, nil},
		// Fields that refer to fields.
		{`{objectRef.name|fieldref: objectRef.namespace}`, false, nil},
		{`{objectRef.name|fieldref: objectRef.namespace}`, true, func(e *audit.Event) { e.Object.Name = "SHOP" }},
		{`{objectRef.name|cased|fieldref: objectRef.namespace}`, false, func(e *audit.Event) { e.Object.Name = "SHOP" }},
		{`{requestURI|fieldref|contains: objectRef.namespace}`, true, nil},
		{`{requestURI|fieldref|endswith: objectRef.resource}`, true, nil},
		{`{requestURI|fieldref|startswith: objectRef.resource}`, false, nil},
		{`{objectRef.name|fieldref|neq: objectRef.namespace}`, true, nil},
		{`{objectRef.name|fieldref: objectRef.subresource}`, false, nil},
		// Dates.
		{`{requestReceivedTimestamp|hour: 10}`, true, nil},
		{`{requestReceivedTimestamp|hour|gte: 18}`, false, nil},
		{`{stageTimestamp|minute: 0}`, true, nil},
		{`{time|day: 21}`, true, nil},
		{`{time|week: 47}`, true, nil},
		{`{time|month: [1, 11]}`, true, nil},
		{`{time|year|lt: 2026}`, false, nil},
		{`{verb|hour: 10}`, false, nil},
		// Placeholders.
		{`{user.username|expand: '%Administrators%'}`, true, nil},
		{`{user.username|expand: 'x%Administrators%'}`, false, nil},
		{`{user.username: '%Administrators%'}`, false, nil},
		{`{userAgent|expand|contains: '%tool%/v%major%'}`, true, nil},
		{`{userAgent|expand: '\%plain%major%'}`, true, func(e *audit.Event) { e.UserAgent = "%plain1" }},
		{`{user.username|expand: '100%'}`, true, func(e *audit.Event) { e.User.Username = "100%" }},
		// Fields of maps and of the body.
		{`{annotations.authorization.k8s.io/decision: allow}`, true, nil},
		{`{user.extra.bulwark.dev/session: s1}`, true, nil},
		{`{'requestObject.spec.volumes[*].hostPath.path|startswith': /var}`, true, nil},
		{`{requestObject.spec.containers.securityContext.privileged: true}`, true, nil},
		{`{apiGroup: apps}`, true, nil},
		{`{responseStatus.code: ALLOW}`, true, nil},
		{`{hostPath: '*'}`, true, nil},
		{`{capabilities: '*'}`, false, nil},
		{`{kubernetes.audit.verb: create}`, true, nil},
	}
	for _, tt := range tests {
		config := Config{Placeholders: map[string][]string{"Administrators": {"bob", "alice@*"}, "tool": {"kubectl", "helm"}, "major": {"1"}}}
		engine, err := NewEngine(mustLoad(t, one("r", tt.search)), config)
		if err != nil {
			t.Errorf("%s: %v", tt.search, err)
			continue
		}
		e := sample(1)
		if tt.change != nil {
			tt.change(e)
		}
		if got := len(engine.Observe(e)) > 0; got != tt.want {
			t.Errorf("%s: got %t, want %t", tt.search, got, tt.want)
		}
	}
	if len(tests) < 130 {
		t.Errorf("only %d searches were tried", len(tests))
	}
}

func TestCondition(t *testing.T) {
	t.Parallel()
	tests := []struct {
		condition string
		want      bool
	}{
		{"yes1", true},
		{"no1", false},
		{"not no1", true},
		{"not (not yes1)", true},
		{"not NOT yes1", true},
		{"yes1 and yes2", true},
		{"yes1 and no1", false},
		{"no1 or yes1", true},
		{"no1 or no2", false},
		{"yes1 and not no1", true},
		{"yes1 AND NOT no1 OR no2", true},
		// and binds closer than or, not closer than and.
		{"yes1 or no1 and no2", true},
		{"(yes1 or no1) and no2", false},
		{"not no1 and no2", false},
		{"not (no1 and no2)", true},
		{"no1 and no2 or yes1", true},
		{"1 of yes*", true},
		{"1 of no*", false},
		{"any of yes*", true},
		{"all of yes*", true},
		{"all of *1", false},
		{"1 of *1", true},
		{"not 1 of no*", true},
		{"yes1 and not 1 of no*", true},
		{"1 of them", true},
		{"all of them", false},
		{"1 of _h*", true},
		{"1 of y*s1", true},
		{"all of yes1", true},
		{"((((yes1))))", true},
		{"[yes1, no1]", true},
		{"[no1, no2]", false},
		{"[no1, 'yes1 and not no2']", true},
	}
	for _, tt := range tests {
		condition := tt.condition
		if !strings.HasPrefix(condition, "[") {
			condition = "'" + condition + "'"
		}
		detection := "  yes1: {verb: create}\n  yes2: {objectRef.resource: pods}\n  no1: {verb: get}\n  no2: {verb: list}\n  _hidden: {verb: create}\n  condition: " + condition
		engine := mustEngine(t, Config{}, rule("r", detection))
		if got := len(engine.Observe(sample(1))) > 0; got != tt.want {
			t.Errorf("%s: got %t, want %t", tt.condition, got, tt.want)
		}
	}
	// A search whose name begins with _ is not one of them.
	engine := mustEngine(t, Config{}, rule("r", "  _hidden: {verb: get}\n  shown: {verb: create}\n  condition: all of them"))
	if len(engine.Observe(sample(1))) != 1 {
		t.Error("all of them: a hidden search counted")
	}
}

func TestStage(t *testing.T) {
	t.Parallel()
	engine := mustEngine(t, Config{}, one("any", "{verb: create}"), one("received", "{verb: create, stage: RequestReceived}"))
	e := sample(1)
	e.Stage = "RequestReceived"
	if got := names(engine.Observe(e)); got != "received" {
		t.Errorf("got %q", got)
	}
	if got := names(engine.Observe(sample(2))); got != "any" {
		t.Errorf("got %q", got)
	}
}
