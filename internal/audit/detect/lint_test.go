package detect

import (
	"strings"
	"testing"

	"bulwark.dev/bulwark"
)

func TestLint(t *testing.T) {
	t.Parallel()
	const (
		info, low, medium, high = bulwark.SeverityInfo, bulwark.SeverityLow, bulwark.SeverityMedium, bulwark.SeverityHigh
		none                    = bulwark.Severity(0)
	)
	tests := []struct {
		rule     string
		severity bulwark.Severity
		want     string
	}{
		{one("r", "{verb: create, objectRef.resource: pods}"), none, ""},
		{one("r", "{verb: CREATE}"), none, ""},
		{one("r", "{verb: EXEC}"), high, `verb is never "EXEC"; exec, attach and port-forward are create`},
		{one("r", "{verb: CONNECT}"), high, `verb is never "CONNECT"; exec, attach`},
		{one("r", "{verb: [create, replace]}"), medium, `verb is never "replace"; it is update or patch`},
		{one("r", "{verb: impersonate}"), high, "a verb of roles"},
		{one("r", "{verb|cased: Create}"), high, `verb is never "Create"`},
		{one("r", "{verb: 'cre*'}"), none, ""},
		{one("r", "{verb: 'x*'}"), high, `never "x*"`},
		{one("r", "{verb|re: '^(get|list)$'}"), none, ""},
		{one("r", "{verb|re: '^EXEC$'}"), high, "never"},
		{one("r", "{verb: get, objectRef.resource: pods, objectRef.subresource: exec}"), high, "are the verb create here"},
		{one("r", "{verb: [get, create], objectRef.resource: pods, objectRef.subresource: [exec, attach]}"), none, ""},
		{one("r", "{color: red}"), high, `it can never fire: "color" is no field`},
		{one("r", "{objectref.resource: pods}"), high, "is objectRef.resource meant?"},
		{rule("r", "  s: {verb: get}\n  f: {color: red}\n  condition: s and not f"), medium, `"color" is no field of an event, so that this part does nothing`},
		{one("r", "{color: null}"), none, ""},
		{one("r", "{verb: get, objectRef.name|fieldref: color}"), high, `"color" is no field`},
		{rule("r", "  s: {responseStatus.code: OK}\n  condition: s"), high, `responseStatus.code is never "OK"; it is a number of HTTP`},
		{one("r", "{responseStatus.code: ALLOW}"), none, ""}, // the built-in pipeline
		{one("r", "{responseStatus.code: '4??'}"), none, ""},
		{one("r", "{responseStatus.code|gt: 599}"), high, "never"},
		{one("r", "{responseStatus.status: Denied}"), high, "it is one of Success, Failure"},
		{one("r", "{annotations.authorization.k8s.io/decision: deny}"), high, "it is one of allow, forbid"},
		{one("r", "{stage: Done}"), high, "stage"},
		{one("r", "{stage: RequestReceived}"), low, "leave out"},
		{one("r", "{succeeded: yes}"), high, "true, false"},
		{one("r", "{objectRef.resource: pod}"), high, "resources are plural: pods"},
		{one("r", "{objectRef.resource: NetworkPolicy}"), high, "resources are plural: networkpolicies"},
		{one("r", "{objectRef.resource: Pods}"), low, "small letters"},
		{one("r", "{objectRef.resource|cased: Pods}"), high, "small letters"},
		{one("r", "{objectRef.resource: pods/exec}"), high, "the part after the slash"},
		{one("r", "{objectRef.resource: widgets}"), none, ""},
		{rule("r", "  s: {verb: get}\n  condition: s and not s"), high, "equal to and different from the same"},
		{rule("r", "  s: {verb: get}\n  t: {verb: get}\n  condition: s and not t"), high, "equal to and different"},
		{rule("r", "  s: {verb: get}\n  t: {verb: list}\n  condition: s and t"), high, "verb has one value"},
		{rule("r", "  s: {verb: get}\n  t: {verb: [get, list]}\n  condition: s and not t"), high, "verb has one value"},
		{rule("r", "  s: {verb: [get, list]}\n  t: {verb: get}\n  condition: s and not t"), none, ""},
		{rule("r", "  s: {verb|neq: get}\n  t: {verb: get}\n  condition: s and t"), high, "equal to and different"},
		{rule("r", "  s: {user.groups: a}\n  t: {user.groups: b}\n  condition: s and t"), none, ""},
		{rule("r", "  s: {verb: get}\n  t: {verb: list}\n  condition: (s and t) or t"), none, ""},
		{one("r", "{verb|all: [get, list]}"), high, "verb has one value"},
		{one("r", "{userAgent|contains|all: [a]}"), low, "the modifier all has one value"},
		{one("r", "{objectRef.name: [null, x]}"), low, "null in a list"},
		{rule("r", "  s: {verb: get}\n  t: {verb: list}\n  condition: s"), low, `search "t" is not in the condition`},
		{one("r", "{requestObject.spec.hostPID: true}", "bulwark: {minimumLevel: Metadata}"), high, "must see some of requestObject.spec.hostPID, which needs Request"},
		{one("r", "{responseObject.a: true}", "bulwark: {minimumLevel: Request}"), high, "needs RequestResponse"},
		{one("r", "{requestObject.spec.hostPID: true}", "bulwark: {minimumLevel: Request}"), none, ""},
		{one("r", "[{requestObject.spec.hostPID: true}, {verb: get}]", "bulwark: {minimumLevel: Metadata}"), none, ""},
		{rule("r", "  s: {verb: get}\n  t: {requestObject.dryRun: All}\n  condition: s and not t", "bulwark: {minimumLevel: Metadata}"), none, ""},
		{rule("r", "  s: {verb: create}\n  t: {requestObject.spec.securityContext: null}\n  condition: s and not t", "bulwark: {minimumLevel: Metadata}"), high, "needs Request"},
		{one("r", "{verb: get}", "bulwark: {minimumLevel: Request}"), info, "Metadata is enough"},
		{strings.Replace(one("r", "{verb: anything}"), "kubernetes, service: audit", "bulwark, service: gateway", 1), none, ""},
		{strings.Replace(one("r", "{kind: api}"), "kubernetes, service: audit", "bulwark, service: gateway", 1), high, "it is one of gateway"},
	}
	for _, tt := range tests {
		found := mustLoad(t, tt.rule).Lint()
		if tt.severity == none {
			if len(found) > 0 {
				t.Errorf("%s: got %+v", tt.rule, found)
			}
			continue
		}
		if len(found) != 1 || found[0].Severity != tt.severity || !strings.Contains(found[0].Message, tt.want) || found[0].Line == 0 {
			t.Errorf("%s: got %+v, want %s %s", tt.rule, found, tt.severity, tt.want)
		}
	}
}

func TestLintCorrelation(t *testing.T) {
	t.Parallel()
	body := one("body", "{requestObject.spec.hostPID: true}", "bulwark: {quiet: true}")
	meta := one("meta", "{verb: get}", "bulwark: {quiet: true}")
	tests := []struct{ rule, level, want string }{
		{correlation("x", "{type: temporal, rules: [body, meta], timespan: 1m}"), LevelRequest, ""},
		{correlation("x", "{type: temporal, rules: [body, meta], timespan: 1m, condition: body or meta}"), LevelMetadata, ""},
		{correlation("x", "{type: temporal, rules: [body, meta], timespan: 1m}", "bulwark: {minimumLevel: Metadata}"), LevelMetadata, "its rules need Request"},
		{correlation("x", "{type: event_count, rules: [meta], group-by: [responseObject.x], timespan: 1m, condition: {gte: 2}}"), LevelRequestResponse, ""},
		{correlation("x", "{type: event_count, rules: [meta], group-by: [color], timespan: 1m, condition: {gte: 2}}"), LevelMetadata, `"color" is no field`},
		{correlation("x", "{type: value_count, rules: [meta], timespan: 1m, condition: {field: verb, gte: 1}}"), LevelMetadata, "met by every event"},
		{correlation("x", "{type: temporal, rules: [body, meta], group-by: [n], timespan: 1m, aliases: {n: {body: objectRef.name}}}"), LevelRequest, `names no field for rule "meta"`},
	}
	for _, tt := range tests {
		set := mustLoad(t, body, meta, tt.rule)
		found := set.Lint()
		if tt.want == "" && len(found) > 0 || tt.want != "" && (len(found) != 1 || !strings.Contains(found[0].Message, tt.want)) {
			t.Errorf("%s: got %+v, want %s", tt.rule, found, tt.want)
		}
		if got := set.Rules[2].MinimumLevel; got != tt.level {
			t.Errorf("%s: got level %s, want %s", tt.rule, got, tt.level)
		}
	}
	found := mustLoad(t, one("a", "{verb: get}"), correlation("x", "{type: event_count, rules: [a], timespan: 1m, condition: {gte: 2}}")).Lint()
	if len(found) != 1 || !strings.Contains(found[0].Message, "does not alert by itself") {
		t.Errorf("got %+v", found)
	}
}
