package compile

import (
	"cmp"
	"fmt"
	"maps"
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
	n := 0
	for _, r := range c.routes {
		n += len(r.rules)
	}
	c.rules = make([]ir.Rule, 0, n)
	for _, r := range c.routes {
		c.assembleRoute(r)
	}
	t := &ir.Table{Backends: c.backends.list, Rules: c.rules}
	// The places given so far are those of making; the table's are by name.
	backends := reorder(t.Backends, func(b *ir.Backend) string { return b.Name })
	c.backends.places = backends
	rules := reorder(t.Rules, func(r *ir.Rule) string { return r.ID })
	for i := range t.Rules {
		for j := range t.Rules[i].Backends {
			if b := &t.Rules[i].Backends[j].Backend; *b >= 0 {
				*b = backends[*b]
			}
		}
		for j := range t.Rules[i].Mirrors {
			b := &t.Rules[i].Mirrors[j].Backend
			*b = backends[*b]
		}
		c.rep.Rules = append(c.rep.Rules, ruleStatus(&t.Rules[i]))
	}
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

// reorder sorts list by name and gives each old place its new one.
func reorder[T any](list []T, name func(*T) string) []int {
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	byName := func(a, b int) int { return strings.Compare(name(&list[a]), name(&list[b])) }
	if slices.IsSortedFunc(order, byName) {
		return order
	}
	slices.SortFunc(order, byName)
	places := make([]int, len(list))
	sorted := make([]T, len(list))
	for to, from := range order {
		places[from], sorted[to] = to, list[from]
	}
	copy(list, sorted)
	return places
}

// assembleRoute makes the route's rules, once for every variant of what stands
// above it, and puts their matches onto its listeners.
func (c *compiler) assembleRoute(r *route) {
	byVariant := map[variant][]*attachment{}
	var order []variant
	for _, a := range r.attachments {
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
	}
	for _, v := range order {
		on := byVariant[v]
		suffix := ""
		if len(order) > 1 {
			suffix = "@" + on[0].on.name
		}
		for i := range r.rules {
			c.place(r, i, on, c.makeRule(r, i, v, on, suffix))
		}
	}
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

// place puts the matches of a rule onto its listeners.
func (c *compiler) place(r *route, n int, on []*attachment, to int) {
	matches := r.rules[n].matches
	if len(matches) == 0 {
		return
	}
	count := 0
	for _, a := range on {
		count += len(a.hosts) * len(matches)
	}
	entries := make([]entry, 0, count)
	for _, a := range on {
		for _, h := range a.hosts {
			list := a.on.patterns[h.pattern]
			for i, m := range matches {
				entries = append(entries, entry{match: m, route: r, host: h.own, rule: n, place: i, to: to})
				list = append(list, &entries[len(entries)-1])
			}
			a.on.patterns[h.pattern] = list
		}
	}
}

// makeRule makes one rule of the table and gives its place in c.rules.
func (c *compiler) makeRule(r *route, n int, v variant, on []*attachment, suffix string) int {
	u := r.rules[n]
	to := len(c.rules)
	c.rules = append(c.rules, *u.base)
	out := &c.rules[to]
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
		c.checkAdmission(out, on)
	case c.opt.Unprotected:
		out.Unprotected = true
	default:
		refusal = &ir.Refusal{Status: statusUncovered, Reason: fmt.Sprintf("no SecurityPolicy covers %s", r)}
	}
	if refusal != nil {
		// Nothing else is looked at, so nothing else is there.
		*out = ir.Rule{ID: out.ID, Route: out.Route, Policy: out.Policy, Refuse: refusal}
	} else {
		c.addBackends(u, out, on[0].on)
	}
	if c.explain {
		e := explainedRule{id: out.ID, route: r, rule: n, merged: merged, refused: refusal}
		for _, a := range on {
			e.on = append(e.on, a.on.name)
		}
		c.explained = append(c.explained, e)
	}
	return to
}

// checkAdmission has listeners ask for the client certificates that a rule
// wants to see, and warns where nobody can get in.
func (c *compiler) checkAdmission(out *ir.Rule, on []*attachment) {
	policies := strings.Join(out.Policy, ", ")
	if out.Authentication == nil {
		c.rep.warn("%s sets no authentication: nobody is admitted to what it alone protects", policies)
		return
	}
	if out.Authorization == nil {
		c.rep.warn("%s sets no authorization: nobody is admitted to what it alone protects", policies)
	}
	if !slices.ContainsFunc(out.Authentication.AnyOf, func(a ir.Authenticator) bool { return a.ClientCertificate != nil }) {
		return
	}
	for _, a := range on {
		switch {
		case a.on.tls == nil:
			c.rep.warn("%s asks for client certificates, but listener %s has no TLS and never sees one", out.Authentication.Rule, a.on.name)
		case a.on.tls.ClientCA == "":
			a.on.tls.RequestClient = true
		}
	}
}

// addBackends gives the rule its backends and mirrors, as the listener speaks to
// them.
func (c *compiler) addBackends(u *rule, out *ir.Rule, on *listener) {
	for _, b := range u.backends {
		ref := ir.BackendRef{Backend: -1, Weight: b.weight, Refuse: b.refusal, RequestHeaders: b.request, ResponseEdit: b.response}
		if b.to != nil {
			ref.Backend = c.backend(b.to, on)
		}
		out.Backends = append(out.Backends, ref)
	}
	for _, m := range u.mirrors {
		out.Mirrors = append(out.Mirrors, ir.Mirror{Backend: c.backend(m.to, on), Numerator: m.numerator, Denominator: m.denominator})
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
	if l.spec.Protocol == gwv1.TLSProtocolType {
		out.Streams = l.streams(rules)
		return out
	}
	for _, p := range l.sortedPatterns() {
		entries := l.patterns[p]
		slices.SortFunc(entries, before)
		entries, sure := byTier(entries)
		if !sure {
			c.rep.warn("listener %s: routes with hostnames of different length meet on %q, and which is asked first depends on their paths", l.name, p)
		}
		inOrder(entries)
		host := ir.Host{Pattern: p, Matches: make([]ir.Match, 0, len(entries))}
		for _, e := range entries {
			m := e.Match
			m.Rule = rules[e.to]
			host.Matches = append(host.Matches, m)
		}
		out.Hosts = append(out.Hosts, host)
	}
	return out
}

// sortedPatterns gives the hostnames of the listener, most specific first.
func (l *listener) sortedPatterns() []string {
	return slices.SortedFunc(maps.Keys(l.patterns), func(a, b string) int {
		return cmp.Or(moreSpecific(a, b), strings.Compare(a, b))
	})
}
