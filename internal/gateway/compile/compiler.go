package compile

import (
	"reflect"
	"slices"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/api/v1alpha1"
	"bulwark.dev/bulwark/internal/gateway/ir"
)

// Compiler compiles again and again what changes little. Its results are those
// of Compile, with one difference: a SecurityPolicy that turned invalid leaves
// its routes on its last good form, read with the Secrets and ConfigMaps of
// today, and the status says so.
//
// It goes by the pointers of objects: an object must keep its pointer while it
// is the same and get another when it changes. It is not safe for use by several
// goroutines at once; what it gives back may be shared by any number.
type Compiler struct {
	opt  Options
	memo *memo
	good *goodForms
	last *lastRun // nil before the first
}

// NewCompiler gives a Compiler that remembers nothing yet.
func NewCompiler(opt Options) *Compiler {
	return &Compiler{opt: opt, memo: newMemo(), good: newGoodForms()}
}

// Compile is like the function of the same name.
func (c *Compiler) Compile(in Input) (*ir.Table, *Report) {
	if table, ok := c.onlyEndpoints(in); ok {
		return table, c.last.report.share()
	}
	run := newCompiler(in, c.opt, c.memo)
	run.good = c.good
	table := run.compile()
	c.memo.sweep()
	c.memo.backends = run.backends
	c.good.sweep(in.SecurityPolicies)
	c.last = &lastRun{in: in.shallow(), table: table, report: run.rep}
	c.last.asked, c.last.places = run.places()
	c.last.stoodIn = run.stoodIn()
	return table, run.rep.share()
}

// Distrust takes the policies behind a rule for invalid from now on, because a
// part of them did not build in the data plane (see Report.Refuse, which names
// them the same way). It reports whether compiling again would bring any of them
// back in a form that was good before.
func (c *Compiler) Distrust(r *Report, ruleID, reason string) bool {
	if c.last == nil {
		return false
	}
	blamed := r.blame(ruleID, reason)
	again := false
	for _, obj := range c.last.in.SecurityPolicies {
		if obj == nil || !slices.Contains(blamed, kindSecurityPolicy+" "+keyOf(obj).String()) {
			continue
		}
		form := obj
		if old := c.last.stoodIn[obj]; old != nil {
			form = old
		}
		c.good.bad[form] = reason
		again = again || c.good.before(obj) != nil
	}
	if again {
		c.last.stale = true
	}
	return again
}

// lastRun is what the next run compares itself to.
type lastRun struct {
	in     Input
	table  *ir.Table
	report *Report
	// places are those of asked, the Gateways that have one.
	places []Placement
	asked  []*gwv1.Gateway
	// stoodIn are the earlier forms in force, by the policies that they stand in
	// for.
	stoodIn map[*v1alpha1.SecurityPolicy]*v1alpha1.SecurityPolicy
	stale   bool // the next run may not take anything over
}

// shallow copies the lists, so that a caller may reuse them.
func (in Input) shallow() Input {
	in.GatewayClasses = slices.Clone(in.GatewayClasses)
	in.Gateways = slices.Clone(in.Gateways)
	in.HTTPRoutes = slices.Clone(in.HTTPRoutes)
	in.GRPCRoutes = slices.Clone(in.GRPCRoutes)
	in.TLSRoutes = slices.Clone(in.TLSRoutes)
	in.ListenerSets = slices.Clone(in.ListenerSets)
	in.ReferenceGrants = slices.Clone(in.ReferenceGrants)
	in.BackendTLSPolicies = slices.Clone(in.BackendTLSPolicies)
	in.SecurityPolicies = slices.Clone(in.SecurityPolicies)
	in.Services = slices.Clone(in.Services)
	in.EndpointSlices = slices.Clone(in.EndpointSlices)
	in.Secrets = slices.Clone(in.Secrets)
	in.ConfigMaps = slices.Clone(in.ConfigMaps)
	in.Namespaces = slices.Clone(in.Namespaces)
	in.Unreadable = slices.Clone(in.Unreadable)
	return in
}

// sameButEndpoints reports whether two inputs hold the same objects in the same
// order, EndpointSlices aside.
func (in *Input) sameButEndpoints(o *Input) bool {
	return slices.Equal(in.GatewayClasses, o.GatewayClasses) && slices.Equal(in.Gateways, o.Gateways) &&
		slices.Equal(in.HTTPRoutes, o.HTTPRoutes) && slices.Equal(in.GRPCRoutes, o.GRPCRoutes) &&
		slices.Equal(in.TLSRoutes, o.TLSRoutes) && slices.Equal(in.ListenerSets, o.ListenerSets) &&
		slices.Equal(in.ReferenceGrants, o.ReferenceGrants) && slices.Equal(in.BackendTLSPolicies, o.BackendTLSPolicies) &&
		slices.Equal(in.SecurityPolicies, o.SecurityPolicies) && slices.Equal(in.Services, o.Services) &&
		slices.Equal(in.Secrets, o.Secrets) && slices.Equal(in.ConfigMaps, o.ConfigMaps) &&
		slices.Equal(in.Namespaces, o.Namespaces) && slices.Equal(in.Unreadable, o.Unreadable)
}

// places gives our Gateways that were placed, and where.
func (c *compiler) places() (asked []*gwv1.Gateway, out []Placement) {
	for _, g := range c.gateways {
		if g.placed != nil {
			asked, out = append(asked, g.obj), append(out, *g.placed)
		}
	}
	return asked, out
}

// onlyEndpoints takes over the last table where nothing but endpoints changed,
// as happens most in a cluster: routes and listeners stay the very same.
func (c *Compiler) onlyEndpoints(in Input) (*ir.Table, bool) {
	l := c.last
	if l == nil || l.stale || len(in.Unreadable) > 0 || !in.sameButEndpoints(&l.in) || !c.samePlaces(l) {
		return nil, false
	}
	was := c.memo.lists.sliced
	c.memo.lists.takeSlices(in.EndpointSlices)
	if c.memo.lists.sliced == was {
		return l.table, true
	}
	now := c.memo.lists.endpoints
	list := c.memo.table.inTable
	ends := make([]*portEndpoints, len(list))
	for i, b := range list {
		ends[i] = b.ends
		if slices.Equal(now[b.key], b.ends.slices) {
			continue
		}
		if ends[i] = readEndpoints(now[b.key], b.port.Name); len(ends[i].warnings)+len(b.ends.warnings) > 0 {
			return nil, false // the report changes
		}
	}
	backends := slices.Clone(l.table.Backends)
	for i, b := range list {
		b.ends, b.sliced, b.table.Endpoints = ends[i], c.memo.lists.sliced, ends[i].out
		backends[i].Endpoints = ends[i].out
	}
	c.memo.table.backendsOut, c.memo.table.sliced = backends, c.memo.lists.sliced
	l.in.EndpointSlices = slices.Clone(in.EndpointSlices)
	l.table = &ir.Table{Listeners: l.table.Listeners, Rules: l.table.Rules, Backends: backends}
	return l.table, true
}

// samePlaces reports whether the Gateways are placed as in the last run.
func (c *Compiler) samePlaces(l *lastRun) bool {
	now := make([]Placement, 0, len(l.asked))
	for _, g := range l.asked {
		now = append(now, c.opt.Place(g))
	}
	return len(now) == 0 || reflect.DeepEqual(now, l.places)
}
