package compile

import "bulwark.dev/bulwark/internal/gateway/ir"

// above is what the policies of a run put above a route on one listener, or
// what stands in their place.
type above struct {
	gatewayPolicy, setPolicy, listenerPolicy inForce
	misnamed                                 string
}

// inForce is a policy and what came to be wrong with it after it was judged.
type inForce struct {
	policy *policy
	broken string
}

func (p *policy) inForce() inForce {
	if p == nil {
		return inForce{}
	}
	return inForce{p, p.brokenAll}
}

func (l *listener) above() above {
	a := above{gatewayPolicy: l.gw.policy.inForce(), listenerPolicy: l.policy.inForce(), misnamed: l.misnamed()}
	if l.set != nil {
		a.setPolicy = l.set.policy.inForce()
	}
	return a
}

// made is the rules of a route as a run made them.
//
// They depend on the route as it was attached and resolved, which is the
// keptRoute's matter, and on what is kept here: the policies above the route, on
// it and on its rules, and that none of a kind could not be read.
type made struct {
	above    []above // of each attachment
	own      inForce
	misnamed string
	ofRules  []inForce

	rules []*madeRule
	first []int // for each attachment that is served, the place in rules; else -1
	// What making them came to outside of the rules.
	warnings []string
	asks     []*listener // for client certificates
	reached  []reached
}

// madeRule is a rule of the table and the backends that it asks for, in the order
// of its own. Without a backend there is nil.
type madeRule struct {
	rule              ir.Rule
	backends, mirrors []*backend
}

// reached is a Gateway that asks for a Service port by a BackendTLSPolicy.
type reached struct {
	by servicePort
	gw *gateway
}

// fits reports whether making the route's rules anew would give the same.
func (m *made) fits(r *route) bool {
	if m.own != r.policy.inForce() || m.misnamed != r.misnamed {
		return false
	}
	for i, u := range r.rules {
		if m.ofRules[i] != u.policy.inForce() {
			return false
		}
	}
	for i, a := range r.attachments {
		if m.above[i] != a.on.above() {
			return false
		}
	}
	return true
}
