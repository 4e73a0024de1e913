package compile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

// variant is what can make one rule differ from listener to listener: the
// policies of Gateway and listener, a Gateway whose backends see its client
// certificate, and streams that are still encrypted.
type variant struct {
	gatewayPolicy, setPolicy, listenerPolicy *policy

	gw          *gateway // nil where it makes no difference
	passthrough bool
	misnamed    string // see misname
}

// explainedRule is a rule of the table with where it came from.
type explainedRule struct {
	id      string
	route   *route
	rule    int
	on      []string // listeners
	merged  effective
	refused *ir.Refusal
}

// assemble makes the table from what the steps before found.
func (c *compiler) assemble() *ir.Table {
	parts := &tableParts{}
	if c.memo != nil {
		parts = &c.memo.table
	}
	for _, r := range c.routes {
		c.assembleRoute(r)
	}
	t := &ir.Table{Backends: c.tableBackends(parts)}
	var rules []int
	t.Rules, rules, c.rep.Rules = c.tableRules(parts)
	c.sweepBackends()
	for _, g := range c.gateways {
		for _, l := range g.listeners {
			if l.served() {
				t.Listeners = append(t.Listeners, c.listenerTable(l, rules))
			}
		}
	}
	t.Listeners = append(t.Listeners, c.closedPlaces(t.Listeners)...)
	slices.SortFunc(t.Listeners, func(a, b ir.Listener) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Port, b.Port))
	})
	return t
}

// closedPlaces gives a refusing listener for each that is not valid but whose
// hostname would fall to a less specific neighbour on the port: requests that
// were to be judged by the one must not be served by the other.
func (c *compiler) closedPlaces(served []ir.Listener) []ir.Listener {
	var out []ir.Listener
	for _, g := range c.gateways {
		for _, l := range g.listeners {
			if l.valid() || !l.supported() || g.refused != "" || l.spec.Hostname == nil || l.hostname == "" {
				continue
			}
			neighbour := slices.ContainsFunc(g.listeners, func(o *listener) bool {
				return o.served() && o.spec.Port == l.spec.Port && o.encrypted() == l.encrypted() && covers(o.hostname, l.hostname)
			})
			if !neighbour {
				continue
			}
			why := cmp.Or(l.conflicted.why, l.notAccepted.why)
			place := ir.Listener{
				Name: l.name, Addresses: g.addresses, Port: uint16(l.spec.Port), //nolint:gosec // like the neighbour's
				Hostname: l.hostname, Refuse: &ir.Refusal{Status: statusBroken, Reason: "listener " + l.name + ": " + why},
			}
			if p := l.bindPort(); p != place.Port {
				place.BindPort = p
			}
			if l.encrypted() {
				place.TLS = &ir.ListenerTLS{Certificates: []ir.KeyPair{}}
			}
			taken := func(o ir.Listener) bool {
				return cmp.Or(o.BindPort, o.Port) == cmp.Or(place.BindPort, place.Port) && o.Hostname == place.Hostname && overlap(o.Addresses, place.Addresses)
			}
			if !slices.ContainsFunc(served, taken) && !slices.ContainsFunc(out, taken) {
				out = append(out, place)
			}
		}
	}
	return out
}

func ruleStatus(r *ir.Rule) RuleStatus {
	s := RuleStatus{ID: r.ID, Policies: r.Policy}
	if r.Refuse != nil {
		s.Status, s.Refused = r.Refuse.Status, r.Refuse.Reason
	}
	return s
}

// assembleRoute makes the route's rules, or takes them over, and puts their
// matches onto its listeners.
func (c *compiler) assembleRoute(r *route) {
	var m *made
	if r.kept != nil {
		m = r.kept.made
	}
	if m == nil || !m.fits(r) {
		m = c.makeRoute(r)
		// A TLSRoute's policies are told what cannot be done to it.
		if r.kept != nil && r.kind != kindTLSRoute {
			r.kept.made = m
		}
	}
	c.rep.Warnings = append(c.rep.Warnings, m.warnings...)
	for _, l := range m.asks {
		l.asksClient = true
	}
	for _, x := range m.reached {
		c.tls.reach(x.by, x.gw)
	}
	start := len(c.rules)
	for _, x := range m.rules {
		for i, b := range x.backends {
			if b != nil {
				x.backends[i] = c.ask(b)
			}
		}
		for i, b := range x.mirrors {
			x.mirrors[i] = c.ask(b)
		}
		c.rules = append(c.rules, x)
	}
	if !slices.ContainsFunc(r.rules, func(u *rule) bool { return len(u.matches) > 0 }) {
		return
	}
	for i, a := range r.attachments {
		if m.first[i] >= 0 {
			a.first = start + m.first[i]
			a.put(c.run)
		}
	}
}

// makeRoute makes the route's rules, once for every variant of what stands above
// it.
func (c *compiler) makeRoute(r *route) *made {
	m := &made{own: r.policy.inForce(), misnamed: r.misnamed}
	for _, u := range r.rules {
		m.ofRules = append(m.ofRules, u.policy.inForce())
	}
	byVariant := map[variant][]*attachment{}
	var order []variant
	variants := make([]variant, len(r.attachments))
	for i, a := range r.attachments {
		m.above = append(m.above, a.on.above())
		m.first = append(m.first, -1)
		if !a.on.served() {
			continue
		}
		v := variant{gatewayPolicy: a.on.gw.policy, listenerPolicy: a.on.policy, passthrough: a.on.passthrough}
		v.misnamed = a.on.misnamed()
		if a.on.set != nil {
			v.setPolicy = a.on.set.policy
		}
		if a.on.gw.client != nil || a.on.gw.clientErr != "" {
			v.gw = a.on.gw
		}
		if byVariant[v] == nil {
			order = append(order, v)
		}
		byVariant[v] = append(byVariant[v], a)
		variants[i] = v
	}
	first := make(map[variant]int, len(order))
	for _, v := range order {
		on := byVariant[v]
		suffix := ""
		if len(order) > 1 {
			suffix = "@" + on[0].on.name
		}
		first[v] = len(m.rules)
		for i := range r.rules {
			c.makeRule(m, r, i, v, on, suffix)
		}
	}
	for i, a := range r.attachments {
		if a.on.served() {
			m.first[i] = first[variants[i]]
		}
	}
	return m
}

// misnamed gives the policy that may have meant the listener but names one which
// is not there, or "".
func (l *listener) misnamed() string {
	switch {
	case l.policy != nil:
		return ""
	case l.set != nil:
		return l.set.misnamed
	}
	return l.gw.misnamed
}

// makeRule makes one rule of the table.
func (c *compiler) makeRule(m *made, r *route, n int, v variant, on []*attachment, suffix string) {
	u := r.rules[n]
	this := &madeRule{rule: *u.base}
	m.rules = append(m.rules, this)
	out := &this.rule
	out.ID = r.id(n) + suffix
	out.Route = ir.RouteRef{Kind: r.kind, Namespace: r.namespace, Name: r.name, RuleName: u.name, Labels: r.meta.Labels}
	merged := merge([levelCount]*policy{v.gatewayPolicy, v.setPolicy, v.listenerPolicy, r.policy, u.policy})
	refusal := merged.apply(out)
	switch {
	case c.unread != nil:
		refusal = c.unread
	case r.invalid.any():
		refusal = &ir.Refusal{Status: statusUnsupported, Reason: r.String() + ": " + r.invalid.why}
	case u.refusal.any():
		refusal = &ir.Refusal{Status: statusUnsupported, Reason: fmt.Sprintf("%s, rule %d: %s", r, n, u.refusal.why)}
	case refusal != nil:
	case v.misnamed != "":
		refusal = &ir.Refusal{Status: statusBroken, Reason: v.misnamed}
	case u.policy == nil && r.misnamed != "":
		refusal = &ir.Refusal{Status: statusBroken, Reason: r.misnamed}
	case r.kind == kindTLSRoute && len(out.Policy) > 0:
		refusal = asStream(r, out, &merged)
	case len(out.Policy) > 0:
		m.checkAdmission(out, on)
	case c.opt.Unprotected:
		out.Unprotected = true
	default:
		refusal = &ir.Refusal{Status: statusUncovered, Reason: fmt.Sprintf("no SecurityPolicy covers %s", r)}
	}
	if refusal != nil {
		// Nothing else is looked at, so nothing else is there.
		*out = ir.Rule{ID: out.ID, Route: out.Route, Policy: out.Policy, Refuse: refusal}
	} else {
		c.addBackends(m, this, u, on[0].on)
	}
	if c.explain {
		e := explainedRule{id: out.ID, route: r, rule: n, merged: merged, refused: refusal}
		for _, a := range on {
			e.on = append(e.on, a.on.name)
		}
		c.explained = append(c.explained, e)
	}
}

// checkAdmission has listeners ask for the client certificates that a rule
// wants to see, and warns where nobody can get in.
func (m *made) checkAdmission(out *ir.Rule, on []*attachment) {
	policies := strings.Join(out.Policy, ", ")
	if out.Authentication == nil {
		m.warn("%s sets no authentication: nobody is admitted to what it alone protects", policies)
		return
	}
	if out.Authorization == nil {
		m.warn("%s sets no authorization: nobody is admitted to what it alone protects", policies)
	}
	if !slices.ContainsFunc(out.Authentication.AnyOf, func(a ir.Authenticator) bool { return a.ClientCertificate != nil }) {
		return
	}
	for _, a := range on {
		switch {
		case a.on.tls == nil:
			m.warn("%s asks for client certificates, but listener %s has no TLS and never sees one", out.Authentication.Rule, a.on.name)
		case a.on.tls.ClientCA == "":
			m.asks = append(m.asks, a.on)
		}
	}
}

func (m *made) warn(format string, args ...any) {
	m.warnings = append(m.warnings, fmt.Sprintf(format, args...))
}

// addBackends gives the rule its backends and mirrors, as the listener speaks to
// them.
func (c *compiler) addBackends(m *made, to *madeRule, u *rule, on *listener) {
	find := func(s *service) *backend {
		b, by := c.backend(s, on)
		if x := (reached{gw: on.gw}); by != nil {
			if x.by = *by; !slices.Contains(m.reached, x) {
				m.reached = append(m.reached, x)
			}
		}
		return b
	}
	out := &to.rule
	for _, b := range u.backends {
		ref := ir.BackendRef{Backend: -1, Weight: b.weight, Refuse: b.refusal, RequestHeaders: b.request, ResponseEdit: b.response}
		var is *backend
		if b.to != nil {
			is = find(b.to)
		}
		out.Backends, to.backends = append(out.Backends, ref), append(to.backends, is)
	}
	for _, x := range u.mirrors {
		out.Mirrors = append(out.Mirrors, ir.Mirror{Backend: -1, Numerator: x.numerator, Denominator: x.denominator})
		to.mirrors = append(to.mirrors, find(x.to))
	}
}

// listenerTable gives the listener's place in the table. rules maps places of making to
// those of the table.
func (c *compiler) listenerTable(l *listener, rules []int) ir.Listener {
	out := ir.Listener{
		Name: l.name, Addresses: l.gw.addresses, Port: uint16(l.spec.Port), //nolint:gosec // newListener checked the range
		Hostname: l.hostname, TLS: l.tls, Refuse: l.refusal, Passthrough: l.passthrough,
	}
	if p := l.bindPort(); p != out.Port {
		out.BindPort = p
	}
	if l.asksClient {
		t := *l.tls
		t.RequestClient = true
		out.TLS = &t
	}
	if l.spec.Protocol == gwv1.TLSProtocolType {
		out.Streams = l.streams(c.run, rules)
		return out
	}
	out.Hosts = l.hosts.table(c.run, rules, func(pattern string) {
		c.rep.warn("listener %s: routes with hostnames of different length meet on %q, and which is asked first depends on their paths", l.name, pattern)
	})
	return out
}
