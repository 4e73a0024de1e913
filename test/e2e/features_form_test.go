package e2e

import (
	"strings"
	"testing"
)

// formFeatures are what requests look like, and what is changed on the way.
func formFeatures() []feature {
	return []feature{
		{
			name: "form", policy: open + "request: {maxBodyBytes: 16, methods: [GET, POST], allowEncoded: [\"%2F\"]}",
			shows: under("request.", "maxBodyBytes", "methods", "allowEncoded"),
			try: func(t *testing.T, l *lab, path string) {
				c := l.plain()
				c.want(200, "16 bytes", request{method: "POST", path: path, body: strings.Repeat("x", 16)})
				before := l.backend.hits.Load()
				c.want(413, "17 bytes", request{method: "POST", path: path, body: strings.Repeat("x", 17)})
				c.want(405, "another method", request{method: "DELETE", path: path})
				if l.backend.hits.Load() != before {
					t.Error("the backend was reached")
				}
				if a := c.want(200, "encoded slash", request{path: path + "/a%2Fb"}); a.seen == nil || a.seen.Path != path+"/a%2Fb" {
					t.Errorf("the backend saw %+v", a.seen)
				}
				c.want(400, "encoded semicolon, which is not listed", request{path: path + "/a%3Bb"})
				c.want(400, "encoded slash where it is not listed", request{path: "/anonymous/a%2Fb"})
			},
		},
		{
			name: "cors",
			policy: open + `cors:
  allowOrigins: [https://app.lab.test, "https://*.apps.test"]
  allowMethods: [GET, PUT]
  allowHeaders: [X-Ask]
  exposeHeaders: [X-Answer]
  allowCredentials: true
  maxAge: 10m
`,
			shows: under("cors.", "allowOrigins", "allowMethods", "allowHeaders", "exposeHeaders", "allowCredentials", "maxAge"),
			try: func(t *testing.T, l *lab, path string) {
				c := l.plain()
				preflight := func(origin, method, header string) *answer {
					t.Helper()
					asked.Add(1)
					return c.do(request{method: "OPTIONS", path: path, fields: []string{
						"Origin: " + origin, "Access-Control-Request-Method: " + method, "Access-Control-Request-Headers: " + header,
					}})
				}
				before := l.backend.hits.Load()
				a := preflight("https://app.lab.test", "PUT", "x-ask")
				for name, want := range map[string]string{
					"Origin": "https://app.lab.test", "Credentials": "true",
				} {
					if got := a.header.Get("Access-Control-Allow-" + name); got != want {
						t.Errorf("Allow-%s is %q, want %q", name, got, want)
					}
				}
				if got := a.header.Get("Access-Control-Allow-Methods"); !strings.Contains(got, "PUT") || strings.Contains(got, "DELETE") {
					t.Errorf("methods %q", got)
				}
				if got := a.header.Get("Access-Control-Allow-Headers"); !strings.EqualFold(got, "x-ask") {
					t.Errorf("headers %q", got)
				}
				if got := a.header.Get("Access-Control-Max-Age"); got != "600" {
					t.Errorf("max age %q", got)
				}
				for _, origin := range []string{"https://evil.test", "https://app.lab.test.evil.test", "http://app.lab.test", "null", "https://apps.test"} {
					if a := preflight(origin, "GET", "x-ask"); a.header.Get("Access-Control-Allow-Origin") != "" {
						t.Errorf("origin %s is admitted", origin)
					}
				}
				if l.backend.hits.Load() != before {
					t.Error("a preflight reached the backend")
				}
				if a := preflight("https://one.apps.test", "GET", "x-ask"); a.header.Get("Access-Control-Allow-Origin") != "https://one.apps.test" {
					t.Errorf("a subdomain is not admitted: %v", a.header)
				}
				a = c.want(200, "a cross-origin request", request{path: path, fields: []string{"Origin: https://app.lab.test"}})
				if a.header.Get("Access-Control-Allow-Origin") != "https://app.lab.test" || a.header.Get("Access-Control-Expose-Headers") != "X-Answer" {
					t.Errorf("answered with %v", a.header)
				}
			},
		},
		{
			name: "transform",
			policy: open + `transform:
  request:
    setHeaders: [{name: X-Fixed, value: "one"}, {name: X-Source, expression: request.sourceIP}]
    removeHeaders: [X-Drop]
    setQuery: [{name: set, value: "yes"}, {name: by, expression: request.method}]
    removeQuery: [drop]
    path: {pattern: "^/transform/v[0-9]+/(.*)$", replacement: "/api/$1"}
  response:
    setHeaders: [{name: X-Answer, value: "42"}, {name: X-Route, expression: route.name}]
    removeHeaders: [X-Internal]
`,
			shows: append(under("transform.request.", "setHeaders[].name", "setHeaders[].value", "setHeaders[].expression", "removeHeaders",
				"setQuery[].name", "setQuery[].value", "setQuery[].expression", "removeQuery", "path.pattern", "path.replacement"),
				under("transform.response.", "setHeaders[].name", "setHeaders[].value", "setHeaders[].expression", "removeHeaders")...),
			try: func(t *testing.T, l *lab, path string) {
				a := l.plain().want(200, "a request", request{path: path + "/v1/things?keep=1&drop=2&set=no", fields: []string{"X-Fixed: two", "X-Drop: 1", "X-Source: 192.0.2.1", "X-Keep: 1"}})
				if a.seen == nil {
					t.Fatal("no echo")
				}
				if a.seen.Path != "/api/things" {
					t.Errorf("path %q", a.seen.Path)
				}
				q := a.seen.Query
				if !strings.Contains(q, "keep=1") || !strings.Contains(q, "set=yes") || !strings.Contains(q, "by=GET") || strings.Contains(q, "drop") || strings.Contains(q, "set=no") {
					t.Errorf("query %q", q)
				}
				for name, want := range map[string]string{"X-Fixed": "one", "X-Source": node, "X-Drop": "", "X-Keep": "1"} {
					if got := strings.Join(a.seen.Header.Values(name), ","); got != want {
						t.Errorf("the backend got %s %q, want %q", name, got, want)
					}
				}
				for name, want := range map[string]string{"X-Answer": "42", "X-Route": "transform", "X-Internal": ""} {
					if got := a.header.Get(name); got != want {
						t.Errorf("the caller got %s %q, want %q", name, got, want)
					}
				}
			},
		},
	}
}

// targetFeatures are what a policy may be attached to.
func targetFeatures() []feature {
	const ns = "lab"
	bare := func(name, rule string) string {
		return `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ` + name + `, namespace: ` + ns + `}
spec:
  parentRefs: [{name: lab}]
  rules:
  - {matches: [{path: {type: PathPrefix, value: /` + name + `}}], backendRefs: [{name: echo, port: 80}]}
` + rule + "---\n"
	}
	return []feature{
		{
			name:  "of-gateway",
			more:  bare("of-gateway", "") + securityPolicy(ns, "of-gateway", "Gateway", "lab", "lockOut: {attempts: 1000}\n"+anyone+"authorization: {rules: [{name: get, allow: true, when: 'request.method == \"GET\"'}]}"),
			shows: under("targetRefs[].", "kind", "name"),
			try: func(t *testing.T, l *lab, path string) {
				l.plain().want(200, "the Gateway's default", request{path: path})
				l.plain().want(403, "the Gateway's default", request{method: "POST", path: path})
			},
		},
		{
			name: "of-rule",
			more: bare("of-rule", "  - {name: closed, matches: [{path: {type: PathPrefix, value: /of-rule/closed}}], backendRefs: [{name: echo, port: 80}]}\n") +
				`apiVersion: bulwark.dev/v1alpha1
kind: SecurityPolicy
metadata: {name: of-rule, namespace: ` + ns + `}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: of-rule, sectionName: closed}]
  authorization: {rules: [{name: none, when: 'true'}]}
---
`,
			shows: under("targetRefs[].", "sectionName"),
			try: func(t *testing.T, l *lab, path string) {
				l.plain().want(200, "a rule without a policy of its own", request{path: path})
				l.plain().want(403, "the rule that is closed", request{path: path + "/closed"})
			},
		},
	}
}
