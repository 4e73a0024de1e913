package e2e

import (
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"bulwark.dev/bulwark/test/controltest"
)

// trafficFeatures are who may do what, how often and from where.
func trafficFeatures() []feature {
	from, until := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339), time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	return []feature{
		{
			name: "rules",
			policy: anyone + fmt.Sprintf(`authorization:
  rules:
  - {name: never, allow: false, when: 'request.path.startsWith("/rules/closed")'}
  - {name: default, when: 'request.path.startsWith("/rules/default")'}
  - {name: now, allow: true, when: 'request.path == "/rules/now" && now > timestamp("%[1]s") && now < timestamp("%[2]s")'}
  - {name: later, allow: true, when: 'request.path == "/rules/later" && now > timestamp("%[2]s")'}
  - {name: here, allow: true, when: 'request.sourceIP == "%[3]s" && request.host == "lab.test" && request.scheme == "http" && route.name == "rules" && request.query["q"] == "1"'}
`, from, until, node),
			shows: under("authorization.rules[].", "name", "allow", "when"),
			try: func(t *testing.T, l *lab, path string) {
				c := l.plain()
				c.want(403, "refused by name", request{path: path + "/closed?q=1"})
				c.want(403, "a rule without allow", request{path: path + "/default?q=1"})
				c.want(200, "in time", request{path: path + "/now"})
				c.want(200, "address, host, scheme, route and query", request{path: path + "?q=1"})
				c.want(403, "another query", request{path: path + "?q=2"})
				c.want(403, "too early", request{path: path + "/later"})
			},
		},
		{
			name:   "order",
			policy: anyone + "authorization: {rules: [{name: get, allow: true, when: 'request.method == \"GET\" && request.headers[\"x-ok\"] == \"1\"'}, {name: rest, allow: true, when: 'request.size > 2'}]}",
			shows:  under("authorization.rules[].", "when"),
			try: func(t *testing.T, l *lab, path string) {
				c := l.plain()
				c.want(200, "method and header", request{path: path, fields: []string{"X-OK: 1"}})
				c.want(403, "no rule", request{path: path, fields: []string{"X-OK: 2"}})
				c.want(403, "a rule that fails refuses", request{path: path})
				c.want(200, "size", request{method: "POST", path: path, body: "four"})
				c.want(403, "small size", request{method: "POST", path: path, body: "12"})
			},
		},
		{
			name: "rate",
			policy: open + `rateLimits:
- {name: per-caller, when: 'request.method == "GET"', key: 'request.headers["x-caller"]', rate: 2/h, burst: 2, scope: local, overflow: {reject: {}}}
`,
			shows: under("rateLimits[].", "name", "when", "key", "rate", "burst", "scope", "overflow.reject"),
			try: func(t *testing.T, l *lab, path string) {
				c := l.pod()
				by := func(who string) request { return request{path: path, fields: []string{"X-Caller: " + who}} }
				c.want(200, "first", by("a"))
				c.want(200, "second, in the burst", by("a"))
				if a := c.want(429, "third", by("a")); a.header.Get("Retry-After") == "" {
					t.Errorf("no Retry-After: %v", a.header)
				}
				c.want(200, "another caller", by("b"))
				r := by("a")
				r.method = "POST"
				c.want(200, "what the limit does not count", r)
				refused := 0
				lb := l.plain()
				for range 3 * len(l.doors) {
					if lb.do(by("c")).status == 429 {
						refused++
					}
				}
				if refused == 0 {
					t.Error("no limit through the load balancer")
				}
			},
		},
		{
			name:   "queue",
			policy: open + "rateLimits: [{name: all, when: 'request.method == \"GET\"', rate: 1/s, burst: 1, overflow: {queue: {depth: 2, timeout: 30s}}}]",
			shows:  under("rateLimits[].overflow.queue.", "depth"),
			try: func(t *testing.T, l *lab, path string) {
				c := l.pod()
				const calls = 6
				statuses := make(chan int, calls)
				begun := time.Now()
				for range calls {
					go func() {
						a, err := c.try(request{path: path})
						if err != nil {
							statuses <- 0
							return
						}
						statuses <- a.status
					}()
				}
				count := map[int]int{}
				for range calls {
					count[<-statuses]++
				}
				asked.Add(calls)
				// One passes and two wait. A slow machine may admit one more.
				if count[200] < 3 || count[429] == 0 || count[200]+count[429] != calls {
					t.Errorf("answers %v, want 200 three times, the rest 429", count)
				}
				if took := time.Since(begun); took < time.Second {
					t.Errorf("the queue took %v, so nobody waited", took)
				}
			},
		},
		{
			name:   "queue-timeout",
			policy: open + "rateLimits: [{name: all, when: 'request.method == \"GET\"', rate: 1/h, burst: 1, overflow: {queue: {depth: 10, timeout: 100ms}}}]",
			shows:  under("rateLimits[].overflow.queue.", "timeout"),
			try: func(t *testing.T, l *lab, path string) {
				c := l.pod()
				c.want(200, "first", request{path: path})
				c.want(429, "after the longest wait", request{path: path})
			},
		},
		{
			name:   "concurrency",
			policy: open + "concurrency: {max: 2, key: 'request.headers[\"x-caller\"]'}",
			shows:  under("concurrency.", "max", "key"),
			try: func(t *testing.T, l *lab, path string) {
				c := l.pod()
				hold := request{path: path + "/hold", fields: []string{"X-Caller: a"}}
				statuses := make(chan int, 2)
				for range 2 {
					go func() {
						a, err := c.try(hold)
						if err != nil {
							statuses <- 0
							return
						}
						statuses <- a.status
					}()
				}
				controltest.Until(t, "two requests in flight", func() error {
					if n := l.backend.held.Load(); n != 2 {
						return fmt.Errorf("%d are held", n)
					}
					return nil
				})
				c.want(503, "one more", request{path: path, fields: []string{"X-Caller: a"}})
				c.want(200, "of another caller", request{path: path, fields: []string{"X-Caller: b"}})
				close(l.backend.release)
				for range 2 {
					if s := <-statuses; s != 200 {
						t.Errorf("a held request is answered %d", s)
					}
				}
				c.want(200, "after they left", request{path: path, fields: []string{"X-Caller: a"}})
			},
		},
		lockFeature("lock-source", "source"),
		lockFeature("lock-identity", "identity"),
		{
			name: "lock-ends", policy: withPasswords + "lockOut: {attempts: 2, window: 1h, duration: 1s, by: both}",
			shows: []string{"lockOut.duration"},
			try: func(t *testing.T, l *lab, path string) {
				c := l.pod()
				wrong, right := basic(path, "rita", "wrong"), basic(path, "rita", "her password")
				c.want(401, "first", wrong)
				c.want(401, "second", wrong)
				c.want(429, "locked", right)
				controltest.Until(t, "the end of the lock", func() error {
					if a := c.do(right); a.status != 200 {
						return fmt.Errorf("status %d", a.status)
					}
					return nil
				})
			},
		},
		{
			name: "lock-window", policy: withPasswords + "lockOut: {attempts: 2, window: 1ms, duration: 1h, by: both}",
			shows: []string{"lockOut.window"},
			try: func(t *testing.T, l *lab, path string) {
				c := l.pod()
				for range 5 {
					c.want(401, "failure in a window of its own", basic(path, "rita", "wrong"))
					time.Sleep(10 * time.Millisecond) // longer than the window: what is tested
				}
				c.want(200, "not locked", basic(path, "rita", "her password"))
			},
		},
		{
			name: "net-allow", policy: open + "network: {allow: [192.0.2.0/24, \"2001:db8::/32\"]}", shows: []string{"network.allow"},
			try: func(t *testing.T, l *lab, path string) {
				before := l.backend.hits.Load()
				l.plain().want(403, "an address that is not listed", request{path: path})
				l.plain().want(403, "an address that only a header claims", request{path: path, fields: []string{"X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1", "X-Real-IP: 192.0.2.1"}})
				if l.backend.hits.Load() != before {
					t.Error("the backend was reached")
				}
			},
		},
		{
			name: "net-allowed", policy: open + "network: {allow: [10.0.0.0/8], deny: [10.9.0.0/16]}", shows: []string{"network.allow"},
			try: func(t *testing.T, l *lab, path string) {
				l.plain().want(200, "a listed address", request{path: path})
			},
		},
		{
			name: "net-deny", policy: open + "network: {allow: [10.0.0.0/8], deny: [" + node + "/32]}", shows: []string{"network.deny"},
			try: func(t *testing.T, l *lab, path string) {
				l.plain().want(403, "deny wins", request{path: path})
			},
		},
	}
}

const withPasswords = "authentication: {anyOf: [{basic: {secretRef: {name: passwords}}}]}\n" + allowed

func basic(path, user, password string) request {
	return request{path: path, fields: []string{"Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))}}
}

// lockFeature locks after three failures, by what the name says.
func lockFeature(name, by string) feature {
	return feature{
		name: name, policy: withPasswords + "lockOut: {attempts: 3, window: 1h, duration: 1h, by: " + by + "}",
		shows: []string{"lockOut.attempts", "lockOut.by"},
		try: func(t *testing.T, l *lab, path string) {
			c := l.pod()
			for range 3 {
				c.want(401, "a failure", basic(path, "rita", "wrong"))
			}
			a := c.want(429, "the right password, too late", basic(path, "rita", "her password"))
			if a.code() != "locked-out" {
				t.Errorf("code %q", a.code())
			}
			want := 200
			if by == "source" {
				want = 429
			}
			c.want(want, "another user of the same address", basic(path, "walt", "his password"))
		},
	}
}
