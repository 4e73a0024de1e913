package compile

import (
	"fmt"
	"slices"
	"strings"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/api/v1alpha1"
	"bulwark.dev/bulwark/internal/gateway/ir"
)

// policy is a SecurityPolicy, its steps made ready, and what is wrong with it.
type policy struct {
	key
	obj    *v1alpha1.SecurityPolicy // with defaults
	source *v1alpha1.SecurityPolicy // as it came
	// steps holds the fields that are set and sound.
	steps ir.Rule
	set   [fieldCount]bool
	// broken says of a field that is set why it cannot be served.
	broken [fieldCount]string
	// brokenAll is what is wrong outside of all fields: nothing that the policy
	// reaches is served.
	brokenAll string
	// problems is all of it, for the status.
	problems []string
	targets  []policyTarget
	// standIn is an earlier form that is in force in place of this one.
	standIn *policy

	own  []formed // its targets where nothing stands in, once they were asked for
	said said     // its last status
}

// target is what a policy attaches to: a Gateway, one of its listeners, a route
// or one of its rules.
type target struct {
	kind string
	key
	section string
}

// policyTarget is a target that a policy names, and why it is not in force
// there.
type policyTarget struct {
	target
	lost problem
	// foreign: another controller's, which is not for us to speak of.
	foreign bool
}

// String names the policy as the table does.
func (p *policy) String() string { return "SecurityPolicy " + p.key.String() }

// policyTargets are the kinds that a policy may attach to.
var policyTargets = []string{kindGateway, kindListenerSet, kindHTTPRoute, kindGRPCRoute, kindTLSRoute}

// buildPolicies judges all SecurityPolicies and settles which is in force on
// each target.
func (c *compiler) buildPolicies() {
	routes := c.targets()
	c.policies = make([]*policy, 0, len(c.ix.SecurityPolicies))
	for _, obj := range c.ix.SecurityPolicies {
		c.policies = append(c.policies, c.judgeWithPast(obj))
	}
	byAge := slices.Clone(c.policies)
	slices.SortFunc(byAge, func(a, b *policy) int {
		return older(a.obj.CreationTimestamp.Time, b.obj.CreationTimestamp.Time, a.key, b.key)
	})
	for _, p := range byAge {
		for _, f := range p.forms() {
			ref := f.ref
			t := policyTarget{target: target{string(ref.Kind), key{p.namespace, string(ref.Name)}, or(ref.SectionName, "")}}
			switch first := c.attached[t.target]; {
			case string(ref.Group) != gatewayGroup || !slices.Contains(policyTargets, t.kind):
				t.lost = problemOf(gwv1.PolicyReasonInvalid, "targets of kind %s %q are not supported, only %s", t.kind, ref.Group, strings.Join(policyTargets, ", "))
			case first != nil && first != f.form:
				t.lost = problemOf(gwv1.PolicyReasonConflicted, "%s is older and in force on %s", first, t.target)
			case c.foreign(t.target, routes):
				t.foreign = true
			default:
				if why := c.attach(f.form, t.target, routes); why != "" {
					t.lost = problemOf(gwv1.PolicyReasonTargetNotFound, "%s", why)
				} else {
					c.attached[t.target] = f.form
				}
			}
			p.targets = append(p.targets, t)
		}
	}
}

// byTarget finds routes, for policies, and is kept from run to run.
type byTarget struct {
	routes []*route
	by     map[target]*route
}

// targets gives all routes as policies name them.
func (c *compiler) targets() map[target]*route {
	b := &byTarget{}
	if c.memo != nil {
		b = &c.memo.byTarget
	}
	named := func(r *route) target { return target{kind: r.kind, key: r.key} }
	if len(b.routes) != len(c.routes) || !slices.EqualFunc(b.routes, c.routes, func(x, y *route) bool { return x == y || named(x) == named(y) }) {
		b.routes, b.by = nil, make(map[target]*route, len(c.routes))
	}
	for i, r := range c.routes {
		if b.routes == nil || b.routes[i] != r {
			b.by[named(r)] = r
		}
	}
	b.routes = c.routes
	return b.by
}

// String gives "Kind namespace/name" and the section.
func (t target) String() string {
	s := t.kind + " " + t.key.String()
	if t.section != "" {
		s += ":" + t.section
	}
	return s
}

// attach puts the policy in force on its target, or says what is missing.
func (c *compiler) attach(p *policy, t target, routes map[target]*route) string {
	switch t.kind {
	case kindGateway:
		return c.attachGateway(p, t)
	case kindListenerSet:
		return c.attachListenerSet(p, t)
	}
	r := routes[target{kind: t.kind, key: t.key}]
	if r == nil {
		return fmt.Sprintf("no %s %s", t.kind, t.key)
	}
	if t.section == "" {
		r.policy = p
		return ""
	}
	for _, u := range r.rules {
		if u.name == t.section {
			u.policy = p
			return ""
		}
	}
	return misname(&r.misnamed, p, "%s has no rule named %q", r, t.section)
}

// foreign reports whether the target is there but served by none of our Gateways.
// Two installations of one cluster would else write into each other's policies.
func (c *compiler) foreign(t target, routes map[target]*route) bool {
	switch t.kind {
	case kindGateway:
		return c.byName[t.key] == nil && c.ix.gateways[t.key] != nil
	case kindListenerSet:
		return c.sets[t.key] == nil && c.foreignSet(t.key)
	}
	r := routes[target{kind: t.kind, key: t.key}]
	if r == nil || len(r.parents) > 0 {
		return false
	}
	return slices.ContainsFunc(r.refs, func(ref gwv1.ParentReference) bool {
		k := key{or(ref.Namespace, r.namespace), string(ref.Name)}
		switch {
		case or(ref.Group, gatewayGroup) != gatewayGroup:
			return true // a Service, of a mesh
		case or(ref.Kind, kindGateway) == kindListenerSet:
			return c.foreignSet(k)
		}
		return c.ix.gateways[k] != nil
	})
}

// foreignSet reports whether there is such a ListenerSet, and its Gateway; it is
// asked for those that are of no Gateway of ours.
func (c *compiler) foreignSet(k key) bool {
	set := c.ix.listenerSets[k]
	if set == nil {
		return false
	}
	ref := set.Spec.ParentRef
	return c.ix.gateways[key{or(ref.Namespace, set.Namespace), string(ref.Name)}] != nil
}

func (c *compiler) attachGateway(p *policy, t target) string {
	g := c.byName[t.key]
	switch {
	case g == nil:
		return fmt.Sprintf("no Gateway %s", t.key)
	case t.section == "":
		g.policy = p
		return ""
	}
	for _, l := range g.own() {
		if string(l.spec.Name) == t.section {
			l.policy = p
			return ""
		}
	}
	return misname(&g.misnamed, p, "Gateway %s has no listener named %q", t.key, t.section)
}

// attachListenerSet puts the policy on one listener of a set, or on all.
func (c *compiler) attachListenerSet(p *policy, t target) string {
	s := c.sets[t.key]
	if s == nil {
		return fmt.Sprintf("no ListenerSet %s", t.key)
	}
	if t.section == "" {
		s.policy = p
		return ""
	}
	for _, l := range s.listeners {
		if string(l.spec.Name) == t.section {
			l.policy = p
			return ""
		}
	}
	return misname(&s.misnamed, p, "ListenerSet %s has no listener named %q", t.key, t.section)
}

// misname notes that a policy names a part which is not there. Which part was
// meant is not known, so all that have no policy of their own refuse.
func misname(where *string, p *policy, format string, args ...any) string {
	why := fmt.Sprintf(format, args...)
	if *where == "" {
		*where = p.String() + ": " + why
	}
	return why
}

// judgePolicy builds every field that is set and notes what is broken where.
func (c *compiler) judgePolicy(p *policy) {
	for _, e := range v1alpha1.Validate(p.obj) {
		if strings.HasPrefix(e.Field, "spec.targetRefs") {
			// It says only where the policy is in force, so it breaks nothing.
			c.rep.warn("%s: %s", p, e.Error())
			continue
		}
		p.problems = append(p.problems, e.Error())
		if f, ok := fieldOf(e.Field); ok {
			p.breakField(f, e.Error())
		} else if p.brokenAll == "" {
			p.brokenAll = e.Error()
		}
	}
	for f := range fields {
		if _, p.set[f] = fields[f].get(&p.obj.Spec); !p.set[f] {
			// What is broken is not what is absent.
			p.set[f] = p.broken[f] != ""
			continue
		}
		if p.broken[f] != "" {
			continue
		}
		if err := fields[f].build(c, p); err != nil {
			why := "spec." + fields[f].name + ": " + err.Error()
			p.problems = append(p.problems, why)
			p.breakField(fieldIndex(f), why)
		}
	}
}

func (p *policy) breakField(f fieldIndex, why string) {
	if p.broken[f] == "" {
		p.broken[f] = why
	}
}

// fieldIndex is the place of a top-level field in fields.
type fieldIndex int

// fieldOf gives the field of a validation error's path, "spec.cors.maxAge".
func fieldOf(path string) (fieldIndex, bool) {
	rest, ok := strings.CutPrefix(path, "spec.")
	if !ok {
		return 0, false
	}
	if i := strings.IndexAny(rest, ".["); i >= 0 {
		rest = rest[:i]
	}
	for f := range fields {
		if fields[f].name == rest {
			return fieldIndex(f), true
		}
	}
	return 0, false
}

// The places of the fields in fields.
const (
	fieldAuthentication = iota
	fieldAuthorization
	fieldRateLimits
	fieldConcurrency
	fieldLockOut
	fieldNetwork
	fieldRequest
	fieldCORS
	fieldTransform
	fieldCount
)

// fields are the top-level fields of a SecurityPolicy, which merge one by one,
// in the order of the object.
var fields = [fieldCount]struct {
	name string
	// get gives the field and whether it is set.
	get func(*v1alpha1.SecurityPolicySpec) (any, bool)
	// build makes the step of a policy whose field is set.
	build func(*compiler, *policy) error
	// copy takes the step over into a rule.
	copy func(to, from *ir.Rule)
}{
	{
		"authentication", pointer(func(s *v1alpha1.SecurityPolicySpec) *v1alpha1.Authentication { return s.Authentication }),
		(*compiler).authentication, func(to, from *ir.Rule) { to.Authentication = from.Authentication },
	},
	{
		"authorization", pointer(func(s *v1alpha1.SecurityPolicySpec) *v1alpha1.Authorization { return s.Authorization }),
		(*compiler).authorization, func(to, from *ir.Rule) { to.Authorization = from.Authorization },
	},
	{
		// An empty list is the same as none: it takes no limit away.
		"rateLimits", func(s *v1alpha1.SecurityPolicySpec) (any, bool) { return s.RateLimits, len(s.RateLimits) > 0 },
		(*compiler).rateLimits, func(to, from *ir.Rule) { to.RateLimits = from.RateLimits },
	},
	{
		"concurrency", pointer(func(s *v1alpha1.SecurityPolicySpec) *v1alpha1.Concurrency { return s.Concurrency }),
		(*compiler).concurrency, func(to, from *ir.Rule) { to.Concurrency = from.Concurrency },
	},
	{
		"lockOut", pointer(func(s *v1alpha1.SecurityPolicySpec) *v1alpha1.LockOut { return s.LockOut }),
		(*compiler).lockOut, func(to, from *ir.Rule) { to.LockOut = from.LockOut },
	},
	{
		"network", pointer(func(s *v1alpha1.SecurityPolicySpec) *v1alpha1.Network { return s.Network }),
		(*compiler).network, func(to, from *ir.Rule) { to.Network = from.Network },
	},
	{
		"request", pointer(func(s *v1alpha1.SecurityPolicySpec) *v1alpha1.RequestForm { return s.Request }),
		(*compiler).form, func(to, from *ir.Rule) { to.Form = from.Form },
	},
	{
		"cors", pointer(func(s *v1alpha1.SecurityPolicySpec) *v1alpha1.CORS { return s.CORS }),
		(*compiler).cors, func(to, from *ir.Rule) { to.CORS = from.CORS },
	},
	{
		"transform", pointer(func(s *v1alpha1.SecurityPolicySpec) *v1alpha1.Transform { return s.Transform }),
		(*compiler).transform, func(to, from *ir.Rule) { to.Transform = from.Transform },
	},
}

func pointer[T any](get func(*v1alpha1.SecurityPolicySpec) *T) func(*v1alpha1.SecurityPolicySpec) (any, bool) {
	return func(s *v1alpha1.SecurityPolicySpec) (any, bool) {
		v := get(s)
		return v, v != nil
	}
}

// The levels of policies, from the widest to the narrowest.
const (
	levelGateway = iota
	levelSet
	levelListener
	levelRoute
	levelRule
	levelCount
)

// effective is what the policies that reach a rule come to.
type effective struct {
	levels [levelCount]*policy
	from   [fieldCount]*policy
}

// merge joins the policies of all levels, nil where there is none. The
// narrowest that sets a field gives it, broken or not: a broken field is not
// silently replaced by a wider one.
func merge(levels [levelCount]*policy) effective {
	e := effective{levels: levels}
	for _, p := range levels {
		if p == nil {
			continue
		}
		for f := range fields {
			if p.set[f] {
				e.from[f] = p
			}
		}
	}
	return e
}

// policies gives the policies in force, widest first, each once.
func (e *effective) policies() []*policy {
	out := make([]*policy, 0, levelCount)
	for _, p := range e.levels {
		if p != nil && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// apply puts the steps into the rule, or gives the reason why it must refuse.
func (e *effective) apply(to *ir.Rule) *ir.Refusal {
	stack := e.policies()
	if len(stack) > 0 {
		to.Policy = make([]string, 0, len(stack))
	}
	for _, p := range stack {
		to.Policy = append(to.Policy, p.String())
	}
	for _, p := range stack {
		if p.brokenAll != "" {
			return &ir.Refusal{Status: statusBroken, Reason: p.String() + ": " + p.brokenAll}
		}
	}
	for f, p := range e.from {
		if p == nil {
			continue
		}
		if p.broken[f] != "" {
			return &ir.Refusal{Status: statusBroken, Reason: p.String() + ": " + p.broken[f]}
		}
		fields[f].copy(to, &p.steps)
	}
	return nil
}
