package compile

import (
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// frame is what a run finds out before it looks at routes: our Gateways, their
// listeners, and the policies of backends. Few changes touch it.
type frame struct {
	in     Input // the lists that it was made of, and no others
	looked trace // Secrets, ConfigMaps and Services

	gateways []*gateway // ours, by namespace and name
	byName   map[key]*gateway
	sets     map[key]*listenerSet // of our Gateways
	tls      *backendPolicies
	classes  []ClassStatus
	dangling []Line
	warnings []string

	// backends are those that routes asked for, by name.
	backends map[string]*backend
}

// buildFrame makes the frame, or takes over the last one. One of which something
// could not be read is never taken over.
func (c *compiler) buildFrame() {
	if c.memo != nil && c.memo.frame != nil && len(c.ix.unread) == 0 && c.holds(c.memo.frame) {
		f := c.memo.frame
		f.reset()
		f.looked.replay(c.ix)
		c.memo.touch(&f.looked)
		c.frame = f
	} else {
		c.makeFrame()
	}
	f := c.frame
	c.rep.Classes = slices.Clone(f.classes)
	c.rep.Dangling = append(c.rep.Dangling, f.dangling...)
	c.rep.Warnings = append(c.rep.Warnings, f.warnings...)
}

func (c *compiler) makeFrame() {
	f := &frame{byName: map[key]*gateway{}, sets: map[key]*listenerSet{}, backends: map[string]*backend{}}
	f.in = Input{
		GatewayClasses: c.ix.GatewayClasses, Gateways: c.ix.Gateways, ListenerSets: c.ix.ListenerSets,
		ReferenceGrants: c.ix.ReferenceGrants, BackendTLSPolicies: c.ix.BackendTLSPolicies, Namespaces: c.ix.Namespaces,
	}
	c.frame = f
	rep := c.rep
	c.rep = &Report{}
	c.ix.trace(&f.looked)
	c.buildGateways()
	f.tls = c.buildBackendPolicies()
	c.ix.trace(nil)
	f.classes, f.dangling, f.warnings = c.rep.Classes, c.rep.Dangling, c.rep.Warnings
	c.rep = rep
	if c.memo == nil {
		return
	}
	c.memo.frame = nil
	if len(c.ix.unread) == 0 {
		c.memo.frame = f
	}
}

// holds reports whether making the frame anew would give the same.
func (c *compiler) holds(f *frame) bool {
	a, b := &f.in, &c.ix.Input
	if !slices.Equal(a.GatewayClasses, b.GatewayClasses) || !slices.Equal(a.Gateways, b.Gateways) ||
		!slices.Equal(a.ListenerSets, b.ListenerSets) || !slices.Equal(a.ReferenceGrants, b.ReferenceGrants) ||
		!slices.Equal(a.BackendTLSPolicies, b.BackendTLSPolicies) || !slices.Equal(a.Namespaces, b.Namespaces) {
		return false
	}
	for _, g := range f.gateways {
		if g.placed != nil && !reflect.DeepEqual(*g.placed, c.opt.Place(g.obj)) {
			return false
		}
	}
	return f.looked.holds(c.ix)
}

// reset takes off what the last run put onto the frame.
func (f *frame) reset() {
	for _, g := range f.gateways {
		g.policy, g.misnamed = nil, ""
		for _, l := range g.listeners {
			l.policy, l.routes, l.asksClient = nil, 0, false
		}
	}
	for _, s := range f.sets {
		s.policy, s.misnamed = nil, ""
	}
	clear(f.tls.reached)
}

// touch keeps the key pairs and authorities that a frame was made with.
func (m *memo) touch(t *trace) {
	for _, o := range t.objects {
		if s, ok := o.found.(*corev1.Secret); ok {
			if v, ok := m.pairs.get(s); ok {
				m.pairs.put(s, v)
			}
		}
		for _, onlyCA := range []bool{false, true} {
			at := authorityKey{o.found, onlyCA}
			if v, ok := m.authorities.get(at); ok {
				m.authorities.put(at, v)
			}
		}
	}
}
