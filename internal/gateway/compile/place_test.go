package compile

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const placedObjects = `
kind: Gateway
metadata: {name: one, namespace: infra, creationTimestamp: "2026-01-01T00:00:00Z"}
spec:
  gatewayClassName: bulwark
  allowedListeners: {namespaces: {from: Same}}
  listeners: [{name: http, port: 80, protocol: HTTP}, {name: more, port: 81, protocol: HTTP}, {name: bad, port: 82, protocol: TCP}]
---
kind: Gateway
metadata: {name: two, namespace: other, creationTimestamp: "2026-01-02T00:00:00Z"}
spec: {gatewayClassName: bulwark, addresses: [{value: 192.0.2.1}, {type: IPAddress}], listeners: [{name: http, port: 80, protocol: HTTP}]}
---
kind: Gateway
metadata: {name: host, namespace: other}
spec: {gatewayClassName: bulwark, addresses: [{type: Hostname, value: a.example}], listeners: [{name: http, port: 80, protocol: HTTP}]}
---
kind: ListenerSet
metadata: {name: set, namespace: infra}
spec: {parentRef: {name: one}, listeners: [{name: http, port: 90, protocol: HTTP}]}
`

func address(s string) []gwv1.GatewayStatusAddress {
	typ := gwv1.IPAddressType
	return []gwv1.GatewayStatusAddress{{Type: &typ, Value: s}}
}

// TestPlace compiles Gateways that a Service stands in front of.
func TestPlace(t *testing.T) {
	one := Placement{Addresses: address("10.1.1.1"), Bind: "0.0.0.0", Ports: map[int32]uint16{80: 10000, 81: 10001, 90: 10002}}
	for _, tc := range []struct {
		name string
		two  Placement
		// bound are the listeners of the table with what they bind.
		bound []string
		// programmed is Gateway two's condition, listener its listener's.
		programmed, listener string
		addresses            []gwv1.GatewayStatusAddress
	}{
		{
			"side by side",
			Placement{Addresses: address("10.1.1.2"), Bind: "0.0.0.0", Ports: map[int32]uint16{80: 10010}},
			[]string{"other/two/http 0.0.0.0 80 10010"},
			"True Programmed", "True Programmed", address("10.1.1.2"),
		},
		{
			"same port as another's",
			Placement{Addresses: address("10.1.1.2"), Bind: "0.0.0.0", Ports: map[int32]uint16{80: 10000}},
			nil, "False Pending", "False PortUnavailable", address("10.1.1.2"),
		},
		{
			"same port, wildcard of both families",
			Placement{Addresses: address("10.1.1.2"), Bind: "::", Ports: map[int32]uint16{80: 10000}},
			nil, "False Pending", "False PortUnavailable", address("10.1.1.2"),
		},
		{
			"same port on another address",
			Placement{Addresses: address("10.1.1.2"), Bind: "::1", Ports: map[int32]uint16{80: 10000}},
			[]string{"other/two/http ::1 80 10000"},
			"True Programmed", "True Programmed", address("10.1.1.2"),
		},
		{
			"its own port",
			Placement{Addresses: address("10.1.1.2"), Bind: "0.0.0.0", Ports: map[int32]uint16{80: 80}},
			[]string{"other/two/http 0.0.0.0 80 0"},
			"True Programmed", "True Programmed", address("10.1.1.2"),
		},
		{"nothing yet", Placement{}, nil, "False AddressNotAssigned", "False Pending", nil},
		{
			"no address yet",
			Placement{Pending: "the Service has no address", Bind: "0.0.0.0", Ports: map[int32]uint16{80: 10010}},
			[]string{"other/two/http 0.0.0.0 80 10010"},
			"False AddressNotAssigned", "True Programmed", nil,
		},
		{
			"one address cannot be had",
			Placement{Unusable: "192.0.2.1 is not ours", Addresses: address("10.1.1.2"), Bind: "0.0.0.0", Ports: map[int32]uint16{80: 10010}},
			[]string{"other/two/http 0.0.0.0 80 10010"},
			"False AddressNotUsable", "True Programmed", address("10.1.1.2"),
		},
		{
			"port not yet",
			Placement{Addresses: address("10.1.1.2"), Bind: "0.0.0.0", Ports: map[int32]uint16{8080: 10010}},
			nil, "False Pending", "False Pending", address("10.1.1.2"),
		},
		{
			"nonsense",
			Placement{Addresses: address("10.1.1.2"), Bind: "everywhere", Ports: map[int32]uint16{80: 10010}},
			nil, "False AddressNotUsable", "False Invalid", nil,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var in Input
			parse(t, &in, placedObjects)
			table, r := Compile(in, Options{Place: func(g *gwv1.Gateway) Placement {
				if g.Name == "two" {
					return tc.two
				}
				return one
			}})
			want := append([]string{"infra/one/http 0.0.0.0 80 10000", "infra/one/infra/set/http 0.0.0.0 90 10002", "infra/one/more 0.0.0.0 81 10001"}, tc.bound...)
			if diff := cmp.Diff(want, binds(t, table)); diff != "" {
				t.Errorf("listeners (-want +got):\n%s", diff)
			}
			g := gatewayStatus(t, r, "other", "two")
			if got := conditionOf(g.Conditions, "Programmed"); got != tc.programmed {
				t.Errorf("the Gateway is programmed %s, not %s", got, tc.programmed)
			}
			if got := conditionOf(g.Conditions, "Accepted"); got != "True Accepted" {
				t.Errorf("the Gateway is accepted %s", got)
			}
			if got := conditionOf(g.Listeners[0].Conditions, "Programmed"); got != tc.listener {
				t.Errorf("the listener is programmed %s, not %s", got, tc.listener)
			}
			if diff := cmp.Diff(tc.addresses, g.Addresses); diff != "" {
				t.Errorf("addresses (-want +got):\n%s", diff)
			}
			if got := conditionOf(gatewayStatus(t, r, "other", "host").Conditions, "Accepted"); got != "False UnsupportedAddress" {
				t.Errorf("a Gateway that asks for a hostname is accepted %s", got)
			}
			ports := []GatewayPorts{{"infra", "one", []int32{80, 81, 90}}, {"other", "two", []int32{80}}}
			if tc.name == "nonsense" {
				ports = ports[:1]
			}
			if diff := cmp.Diff(ports, r.Ports); diff != "" {
				t.Errorf("ports do not depend on places (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPlaceTwice gives one Gateway's ports the same place: the second is not
// bound.
func TestPlaceTwice(t *testing.T) {
	var in Input
	parse(t, &in, placedObjects)
	table, r := Compile(in, Options{Place: func(g *gwv1.Gateway) Placement {
		if g.Name != "one" {
			return Placement{}
		}
		return Placement{Addresses: address("10.1.1.1"), Bind: "0.0.0.0", Ports: map[int32]uint16{80: 10000, 81: 10000}}
	}})
	if diff := cmp.Diff([]string{"infra/one/http 0.0.0.0 80 10000"}, binds(t, table)); diff != "" {
		t.Errorf("listeners (-want +got):\n%s", diff)
	}
	if got := conditionOf(gatewayStatus(t, r, "infra", "one").Listeners[1].Conditions, "Programmed"); got != "False PortUnavailable" {
		t.Errorf("the listener is programmed %s", got)
	}
}

func TestUses(t *testing.T) {
	var in Input
	parse(t, &in, `
kind: Gateway
metadata: {name: public, namespace: infra}
spec:
  gatewayClassName: bulwark
  listeners: [{name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: missing}, {name: not-granted, namespace: vault}]}}]
---
kind: HTTPRoute
metadata: {name: a, namespace: infra}
spec:
  parentRefs: [{name: public}]
  rules: [{backendRefs: [{name: here, port: 80}, {name: absent, port: 80}, {name: not-granted, namespace: vault, port: 80}]}]
---
kind: HTTPRoute
metadata: {name: not-ours, namespace: infra}
spec:
  parentRefs: [{name: another}]
  rules: [{backendRefs: [{name: unused, port: 80}]}]
---
kind: Service
metadata: {name: here, namespace: infra}
spec: {ports: [{port: 80}]}
---
kind: Secret
metadata: {name: key, namespace: infra, labels: {api: a}}
stringData: {hash: ${json:hash-reader}}
---
kind: Secret
metadata: {name: unrelated, namespace: infra}
---
kind: SecurityPolicy
metadata: {name: p, namespace: infra}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: public}]
  authentication:
    anyOf:
    - apiKey: {header: X-Key, secretSelector: {matchLabels: {api: a}}}
    - jwt: {issuer: i, audiences: [a], jwks: {configMapRef: {name: keys}}}
`)
	_, r := Compile(in, Options{})
	want := []Use{
		{"ConfigMap", "infra", "keys"},
		{"Secret", "infra", "key"},
		{"Secret", "infra", "missing"},
		{"Service", "infra", "absent"},
		{"Service", "infra", "here"},
	}
	if diff := cmp.Diff(want, r.Uses); diff != "" {
		t.Errorf("uses (-want +got):\n%s", diff)
	}
}

// TestAncestorsCapped lets a policy reach more Gateways than a status may hold.
func TestAncestorsCapped(t *testing.T) {
	var in Input
	docs := strings.Builder{}
	refs := []string{}
	for i := range 20 {
		name := "g" + string(rune('a'+i))
		docs.WriteString("---\nkind: Gateway\nmetadata: {name: " + name + ", namespace: infra}\nspec: {gatewayClassName: bulwark, listeners: [{name: http, port: " + "80" + string(rune('0'+i/10)) + string(rune('0'+i%10)) + ", protocol: HTTP}]}\n")
		refs = append(refs, "{name: "+name+"}")
	}
	docs.WriteString("---\nkind: HTTPRoute\nmetadata: {name: r, namespace: infra}\nspec: {parentRefs: [" + strings.Join(refs, ", ") + "], rules: [{}]}\n")
	docs.WriteString("---\nkind: SecurityPolicy\nmetadata: {name: p, namespace: infra}\nspec: {targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r}, {group: gateway.networking.k8s.io, kind: HTTPRoute, name: zzz}], network: {allow: [10.0.0.0/8]}}\n")
	parse(t, &in, strings.TrimPrefix(docs.String(), "---\n"))
	_, r := Compile(in, Options{})
	a := r.Policies[0].Ancestors
	if len(a) != 16 {
		t.Fatalf("%d ancestors", len(a))
	}
	if !slices.IsSortedFunc(a, func(x, y gwv1.PolicyAncestorStatus) int {
		return strings.Compare(refString(x.AncestorRef, "infra"), refString(y.AncestorRef, "infra"))
	}) {
		t.Error("the ancestors are not sorted")
	}
	lost := slices.ContainsFunc(a, func(x gwv1.PolicyAncestorStatus) bool { return x.AncestorRef.Name == "zzz" })
	if !lost || !strings.Contains(a[3].Conditions[0].Message, "5 more") {
		t.Errorf("the lost target is among them: %v; the note is %q", lost, a[3].Conditions[0].Message)
	}
}
