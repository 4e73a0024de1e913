package compile

import (
	"fmt"
	"slices"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

// tlsRoute brings a TLSRoute into the common form. Its rules match nothing but
// the server name.
func tlsRoute(o *gwv1.TLSRoute) *route {
	r := newRoute(kindTLSRoute, &o.ObjectMeta, o.Spec.CommonRouteSpec, o.Spec.Hostnames)
	if len(o.Spec.Hostnames) == 0 {
		r.rejected = problemOf(gwv1.RouteReasonUnsupportedValue, "spec.hostnames is empty")
	}
	if len(o.Spec.Rules) != 1 {
		r.invalid = problemOf(gwv1.RouteReasonUnsupportedValue, "spec.rules must hold one rule, not %d", len(o.Spec.Rules))
	}
	for i := range o.Spec.Rules {
		u := &rule{name: or(o.Spec.Rules[i].Name, ""), base: &ir.Rule{}, matches: []*match{{}}}
		for _, b := range o.Spec.Rules[i].BackendRefs {
			u.httpRefs = append(u.httpRefs, gwv1.HTTPBackendRef{BackendRef: b})
		}
		r.rules = append(r.rules, u)
	}
	if len(r.rules) == 0 {
		r.rules = []*rule{{base: &ir.Rule{}, matches: []*match{{}}}}
	}
	return r
}

// asStream makes a rule one of a stream, or gives why it must refuse: of all
// that a policy can ask for, bytes can only be judged by where they come from
// and how many connections there are. The steps that admit everybody are
// dropped. A policy that names the route itself is told so in its status.
func asStream(r *route, out *ir.Rule, merged *effective) *ir.Refusal {
	stack := merged.policies()
	refuse := func(f fieldIndex, why string) *ir.Refusal {
		by := stack[len(stack)-1]
		if p := merged.from[f]; p != nil {
			by = p
		}
		why = "spec." + fields[f].name + ": " + why
		for i := range by.targets {
			if t := &by.targets[i]; t.kind == r.kind && t.key == r.key && !t.lost.any() {
				t.lost = problemOf(gwv1.PolicyReasonInvalid, "%s", why)
			}
		}
		return &ir.Refusal{Status: statusBroken, Reason: by.String() + ": " + why}
	}
	for f := range fields {
		if merged.from[f] == nil {
			continue
		}
		switch f {
		case fieldAuthentication, fieldAuthorization, fieldNetwork, fieldConcurrency:
		default:
			return refuse(fieldIndex(f), "a TLSRoute's connections are bytes, to which this cannot be done")
		}
	}
	a := out.Authentication
	if a == nil || slices.ContainsFunc(a.AnyOf, func(x ir.Authenticator) bool { return x.Anonymous == nil }) {
		return refuse(fieldAuthentication, "a TLSRoute's connections carry no credential that the gateway can see: only anyOf: [{anonymous: {}}] can be served")
	}
	if z := out.Authorization; z == nil || len(z.Rules) == 0 || !z.Rules[0].Allow || z.Rules[0].When != "true" {
		return refuse(fieldAuthorization, `a TLSRoute's connections cannot be judged: only a first rule with allow: true and when: "true" can be served`)
	}
	if k := out.Concurrency; k != nil && k.Key != "" && k.Key != sourceKey {
		return refuse(fieldConcurrency, fmt.Sprintf("of a TLSRoute's connections only %s is known as key", sourceKey))
	}
	out.Authentication, out.Authorization = nil, nil
	return nil
}

// sourceKey is the one key of a limit that a connection without request has.
const sourceKey = "request.sourceIP"

// streams gives the server names of a listener of protocol TLS: of several
// routes for one the first in order has it.
func (l *listener) streams(run int, rules []int) []ir.Stream {
	var out []ir.Stream
	for _, p := range l.hosts.sorted(run) {
		first := slices.MinFunc(p.entries(), before)
		out = append(out, ir.Stream{Pattern: p.pattern, Rule: p.lead(first).to(rules)})
	}
	return out
}
