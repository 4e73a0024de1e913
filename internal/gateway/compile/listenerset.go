package compile

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// listenerSet is a ListenerSet that names a Gateway of ours (GEP-1713).
type listenerSet struct {
	key
	obj *gwv1.ListenerSet
	gw  *gateway
	// notAllowed says why the Gateway does not take it; it then has no
	// listeners.
	notAllowed string
	listeners  []*listener
	policy     *policy
	misnamed   string // like the Gateway's
}

// buildListenerSets adds the listeners of ListenerSets to their Gateways', after
// the Gateway's own, in order of precedence.
func (c *compiler) buildListenerSets() {
	for _, obj := range c.ix.ListenerSets {
		ref := obj.Spec.ParentRef
		if or(ref.Group, gatewayGroup) != gatewayGroup || or(ref.Kind, kindGateway) != kindGateway {
			continue
		}
		k := key{or(ref.Namespace, obj.Namespace), string(ref.Name)}
		g := c.byName[k]
		if g == nil {
			if c.ix.gateways[k] == nil {
				c.dangling(kindListenerSet+" "+keyOf(obj).String(), "parent "+k.String(), string(gwv1.ListenerSetConditionAccepted), "no Gateway "+k.String())
			}
			continue
		}
		s := &listenerSet{key: keyOf(obj), obj: obj, gw: g, notAllowed: c.disallows(g, obj.Namespace)}
		g.sets = append(g.sets, s)
		c.sets[s.key] = s
	}
	for _, g := range c.gateways {
		if why, ok := c.ix.unreadable(kindListenerSet); ok && allowedFrom(g) != gwv1.NamespacesFromNone {
			c.rep.warn("Gateway %s allows ListenerSets, but they could not all be read: %s", g.key, why)
		}
		slices.SortFunc(g.sets, precedence)
		for _, s := range g.sets {
			if s.notAllowed != "" {
				continue
			}
			for _, e := range s.obj.Spec.Listeners {
				spec := gwv1.Listener(e)
				s.listeners = append(s.listeners, c.newListener(g, s, &spec))
			}
			conflicts(s.listeners)
			yield(s.listeners, g.listeners)
			g.listeners = append(g.listeners, s.listeners...)
		}
	}
}

// allowedFrom gives where the Gateway takes ListenerSets from.
func allowedFrom(g *gateway) gwv1.FromNamespaces {
	if a := g.obj.Spec.AllowedListeners; a != nil && a.Namespaces != nil && a.Namespaces.From != nil {
		return *a.Namespaces.From
	}
	return gwv1.NamespacesFromNone
}

// disallows gives why the Gateway takes no ListenerSet of the namespace, or "".
func (c *compiler) disallows(g *gateway, namespace string) string {
	why := "Gateway " + g.String() + " allows no ListenerSets of namespace " + namespace + " in spec.allowedListeners"
	switch allowedFrom(g) {
	case gwv1.NamespacesFromAll:
		return ""
	case gwv1.NamespacesFromSame:
		if namespace == g.namespace {
			return ""
		}
	case gwv1.NamespacesFromSelector:
		if c.ix.selects(g.obj.Spec.AllowedListeners.Namespaces.Selector, namespace) {
			return ""
		}
		why += c.ix.namespaceHint(namespace)
	case gwv1.NamespacesFromNone:
	}
	return why
}

// valid reports whether any listener of the set can be served, and all.
func (s *listenerSet) valid() (some, all bool) {
	all = true
	for _, l := range s.listeners {
		ok := l.valid() && l.refusal == nil
		some, all = some || ok, all && ok
	}
	return some, all
}

// accepted reports whether the set is a part of its Gateway.
func (s *listenerSet) accepted() bool {
	some, _ := s.valid()
	return s.notAllowed == "" && s.gw.refused == "" && some
}

func (s *listenerSet) status(programmed bool) gwv1.ListenerSetStatus {
	var st gwv1.ListenerSetStatus
	some, all := s.valid()
	gen := s.obj.Generation
	both := func(accepted, programmed problem, good gwv1.ListenerSetConditionReason) {
		st.Conditions = []metav1.Condition{
			of(gwv1.ListenerSetConditionAccepted, accepted, good, gen),
			of(gwv1.ListenerSetConditionProgrammed, programmed, gwv1.ListenerSetReasonProgrammed, gen),
		}
	}
	notProgrammed := problem{}
	switch {
	case programmed && !slices.ContainsFunc(s.listeners, (*listener).served):
		notProgrammed = problemOf(gwv1.ListenerSetReasonPending, "no listener has a place yet")
	case !programmed:
		notProgrammed = problem{"ParentNotProgrammed", "Gateway " + s.gw.String() + " is not programmed"}
	}
	switch {
	case s.notAllowed != "":
		p := problemOf(gwv1.ListenerSetReasonNotAllowed, "%s", s.notAllowed)
		both(p, p, "")
	case s.gw.refused != "":
		p := problemOf(gwv1.ListenerSetReasonParentNotAccepted, "Gateway %s is not served", s.gw.key)
		both(p, notProgrammed, "")
	case !some:
		p := problemOf(gwv1.ListenerSetReasonListenersNotValid, "no listener is valid")
		both(p, p, "")
	case !all:
		both(problem{}, notProgrammed, gwv1.ListenerSetReasonListenersNotValid)
		st.Conditions[0].Message = "some listeners are not valid"
	default:
		both(problem{}, notProgrammed, gwv1.ListenerSetReasonAccepted)
	}
	for _, l := range s.listeners {
		st.Listeners = append(st.Listeners, gwv1.ListenerEntryStatus(l.status()))
	}
	return st
}
