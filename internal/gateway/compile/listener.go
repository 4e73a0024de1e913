package compile

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

// listener is one listener of a Gateway of ours.
type listener struct {
	gw       *gateway
	set      *listenerSet // nil for one of the Gateway's own
	spec     *gwv1.Listener
	name     string // "namespace/gateway/listener", or "namespace/gateway/namespace/set/listener"
	hostname string
	tls      *ir.ListenerTLS
	// passthrough leaves TLS to the backends.
	passthrough bool
	// refusal answers everything: the listener is bound, but cannot serve.
	refusal *ir.Refusal

	// The conditions where they are not the good ones. A listener that is not
	// accepted or that conflicts is not bound.
	notAccepted, conflicted, unresolved problem
	// overlaps says that another listener's hostname covers this one's, or is
	// covered by it.
	overlaps bool
	// unplaced is why a valid listener cannot be bound where it was placed.
	unplaced problem

	kinds []string // of routes that may attach, without repetition
	hosts hostPlaces

	// What the routes and policies of a run come to.
	routes     int32 // that are attached
	asksClient bool
	policy     *policy
}

// problem is why a condition is not the good one. The zero problem is none.
type problem struct{ reason, why string }

func (p problem) any() bool { return p.reason != "" }

func problemOf[R ~string](reason R, format string, args ...any) problem {
	return problem{string(reason), fmt.Sprintf(format, args...)}
}

// routeKinds gives the kinds of routes that a protocol can serve.
func routeKinds(p gwv1.ProtocolType) []string {
	switch p { //nolint:exhaustive // all others are not supported
	case gwv1.HTTPProtocolType, gwv1.HTTPSProtocolType:
		return []string{kindHTTPRoute, kindGRPCRoute}
	case gwv1.TLSProtocolType:
		return []string{kindTLSRoute}
	}
	return nil
}

func (l *listener) supported() bool { return routeKinds(l.spec.Protocol) != nil }

// valid reports whether the listener can be bound, once there is a place.
func (l *listener) valid() bool {
	return l.gw.refused == "" && !l.notAccepted.any() && !l.conflicted.any()
}

// served reports whether the listener is bound.
func (l *listener) served() bool {
	return l.valid() && !l.unplaced.any() && len(l.gw.addresses) > 0 && l.bindPort() != 0
}

// bindPort gives the port to bind, or 0 where there is none yet.
func (l *listener) bindPort() uint16 {
	if p := l.gw.placed; p != nil {
		return p.Ports[l.spec.Port]
	}
	return uint16(l.spec.Port) //nolint:gosec // only asked of valid listeners, and newListener checked the range
}

// owner gives the kind and namespace of the object that the listener stands in:
// it is what references of the listener are made from.
func (l *listener) owner() (kind, namespace string) {
	if l.set != nil {
		return kindListenerSet, l.set.namespace
	}
	return kindGateway, l.gw.namespace
}

func (l *listener) refuseAs(reason gwv1.ListenerConditionReason, why string) {
	if !l.notAccepted.any() {
		l.notAccepted = problemOf(reason, "%s", why)
	}
}

func (l *listener) conflict(reason gwv1.ListenerConditionReason, why string) {
	if !l.conflicted.any() {
		l.conflicted = problemOf(reason, "%s", why)
	}
}

// unresolve records a reference that does not resolve; the listener then
// answers nothing but refusals.
func (l *listener) unresolve(reason gwv1.ListenerConditionReason, why string) {
	if !l.unresolved.any() {
		l.unresolved = problemOf(reason, "%s", why)
	}
	l.refusal = &ir.Refusal{Status: statusBroken, Reason: "listener " + l.name + ": " + why}
}

func (c *compiler) newListener(g *gateway, set *listenerSet, spec *gwv1.Listener) *listener {
	l := &listener{
		gw: g, set: set, spec: spec, name: g.String() + "/" + string(spec.Name),
	}
	if set != nil {
		l.name = g.String() + "/" + set.String() + "/" + string(spec.Name)
	}
	if !l.supported() {
		l.refuseAs(gwv1.ListenerReasonUnsupportedProtocol, fmt.Sprintf("protocol %s is not supported, only HTTP, HTTPS and TLS", spec.Protocol))
		return l
	}
	if spec.Name == "" {
		l.refuseAs(gwv1.ListenerReasonUnsupportedValue, "a listener needs a name")
	}
	if spec.Port < 1 || spec.Port > 65535 {
		l.refuseAs(gwv1.ListenerReasonPortUnavailable, fmt.Sprintf("%d is no port", spec.Port))
	}
	if spec.Hostname != nil && *spec.Hostname != "" {
		h, err := hostname(string(*spec.Hostname))
		if err != nil {
			l.refuseAs(gwv1.ListenerReasonUnsupportedValue, err.Error())
		}
		l.hostname = h
	}
	l.allowedKinds()
	if l.encrypted() {
		c.listenerTLS(l)
	} else if spec.TLS != nil {
		l.refuseAs(gwv1.ListenerReasonUnsupportedValue, "tls is set, but protocol HTTP does not use it")
	}
	return l
}

// allowedKinds fills in the kinds of routes that may attach.
func (l *listener) allowedKinds() {
	all := routeKinds(l.spec.Protocol)
	if l.spec.AllowedRoutes == nil || len(l.spec.AllowedRoutes.Kinds) == 0 {
		l.kinds = all
		return
	}
	for _, k := range l.spec.AllowedRoutes.Kinds {
		group, kind := or(k.Group, gatewayGroup), string(k.Kind)
		switch {
		case group != gatewayGroup || !slices.Contains(all, kind):
			if !l.unresolved.any() {
				l.unresolved = problemOf(gwv1.ListenerReasonInvalidRouteKinds, "routes of kind %s are not supported with protocol %s", kind, l.spec.Protocol)
			}
		case !slices.Contains(l.kinds, kind):
			l.kinds = append(l.kinds, kind)
		}
	}
}

// admits gives why routes of that kind and namespace may not attach, or "".
func (l *listener) admits(ix *index, kind, namespace string) string {
	if !slices.Contains(l.kinds, kind) {
		return fmt.Sprintf("%ss are not allowed", kind)
	}
	from, selector := gwv1.NamespacesFromSame, (*metav1.LabelSelector)(nil)
	if a := l.spec.AllowedRoutes; a != nil && a.Namespaces != nil {
		if a.Namespaces.From != nil {
			from = *a.Namespaces.From
		}
		selector = a.Namespaces.Selector
	}
	why := fmt.Sprintf("routes of namespace %s are not allowed", namespace)
	switch from {
	case gwv1.NamespacesFromAll:
		return ""
	case gwv1.NamespacesFromSame:
		if _, own := l.owner(); namespace == own {
			return ""
		}
	case gwv1.NamespacesFromSelector:
		if ix.selects(selector, namespace) {
			return ""
		}
		why += ix.namespaceHint(namespace)
	case gwv1.NamespacesFromNone:
	}
	return why
}

// selects reports whether a selector selects a namespace. One whose labels could
// not be read is selected by nothing, not even for what it lacks.
func (ix *index) selects(selector *metav1.LabelSelector, namespace string) bool {
	return ix.namespaceHint(namespace) == "" && matches(selector, ix.labelsOf(namespace))
}

// namespaceHint says that a namespace's labels are not known, if so.
func (ix *index) namespaceHint(namespace string) string {
	if _, known := ix.namespaces[namespace]; known {
		return ""
	}
	return ix.hint(kindNamespace)
}

// matches reports whether a selector selects the labels. None, or one that does
// not parse, selects nothing; an empty one everything, as everywhere in
// Kubernetes.
func matches(selector *metav1.LabelSelector, set labels.Set) bool {
	s, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && s.Matches(set)
}

// notProgrammed gives why the listener serves nothing, or no problem.
func (l *listener) notProgrammed() problem {
	switch {
	case l.gw.refused != "":
		return problemOf(gwv1.ListenerReasonInvalid, "the Gateway is not served: %s", l.gw.refused)
	case l.conflicted.any():
		return l.conflicted
	case l.notAccepted.any():
		return problemOf(gwv1.ListenerReasonInvalid, "%s", l.notAccepted.why)
	case l.refusal != nil:
		return problemOf(gwv1.ListenerReasonInvalid, "%s", l.refusal.Reason)
	case l.unplaced.any():
		return l.unplaced
	case !l.served():
		return problemOf(gwv1.ListenerReasonPending, "port %d has no place yet", l.spec.Port)
	}
	return problem{}
}

func (l *listener) status() gwv1.ListenerStatus {
	gen := l.gw.obj.Generation
	if l.set != nil {
		gen = l.set.obj.Generation
	}
	group := gwv1.Group(gatewayGroup)
	st := gwv1.ListenerStatus{
		Name: l.spec.Name, SupportedKinds: []gwv1.RouteGroupKind{}, AttachedRoutes: l.routes,
	}
	for _, k := range l.kinds {
		st.SupportedKinds = append(st.SupportedKinds, gwv1.RouteGroupKind{Group: &group, Kind: gwv1.Kind(k)})
	}
	accepted := l.notAccepted
	if l.conflicted.any() {
		accepted = l.conflicted
	}
	conflicted := condition(gwv1.ListenerConditionConflicted, false, gwv1.ListenerReasonNoConflicts, gen, "")
	if p := l.conflicted; p.any() {
		conflicted = condition(gwv1.ListenerConditionConflicted, true, p.reason, gen, p.why)
	}
	st.Conditions = []metav1.Condition{
		of(gwv1.ListenerConditionAccepted, accepted, gwv1.ListenerReasonAccepted, gen),
		of(gwv1.ListenerConditionProgrammed, l.notProgrammed(), gwv1.ListenerReasonProgrammed, gen),
		of(gwv1.ListenerConditionResolvedRefs, l.unresolved, gwv1.ListenerReasonResolvedRefs, gen),
		conflicted,
	}
	if l.overlaps {
		st.Conditions = append(st.Conditions, condition(gwv1.ListenerConditionOverlappingTLSConfig, true, gwv1.ListenerReasonOverlappingHostnames, gen,
			"the hostname overlaps with another listener's of the port: requests that come by the other's connections are answered 421"))
	}
	return st
}

// of makes a condition that is good unless there is a problem.
func of[T, R ~string](typ T, p problem, good R, generation int64) metav1.Condition {
	if p.any() {
		return condition(typ, false, p.reason, generation, p.why)
	}
	return condition(typ, true, good, generation, "")
}
