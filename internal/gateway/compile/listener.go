package compile

import (
	"crypto/tls"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

// listener is one listener of a Gateway of ours.
type listener struct {
	gw       *gateway
	spec     *gwv1.Listener
	name     string // "namespace/gateway/listener"
	hostname string
	tls      *ir.ListenerTLS
	// refusal answers everything: the listener is bound, but cannot serve.
	refusal *ir.Refusal

	// The conditions where they are not the good ones. A listener that is not
	// accepted or that conflicts is not bound.
	notAccepted, conflicted, unresolved problem

	kinds    []string // of routes that may attach, without repetition
	routes   map[*route]bool
	patterns map[string][]*entry
	policy   *policy
}

// problem is why a condition is not the good one. The zero problem is none.
type problem struct{ reason, why string }

func (p problem) any() bool { return p.reason != "" }

func problemOf[R ~string](reason R, format string, args ...any) problem {
	return problem{string(reason), fmt.Sprintf(format, args...)}
}

func (l *listener) supported() bool {
	return l.spec.Protocol == gwv1.HTTPProtocolType || l.spec.Protocol == gwv1.HTTPSProtocolType
}

// served reports whether the listener is bound.
func (l *listener) served() bool {
	return l.gw.refused == "" && !l.notAccepted.any() && !l.conflicted.any()
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

func (c *compiler) newListener(g *gateway, spec *gwv1.Listener) *listener {
	l := &listener{
		gw: g, spec: spec, name: g.String() + "/" + string(spec.Name),
		routes: map[*route]bool{}, patterns: map[string][]*entry{},
	}
	if !l.supported() {
		l.refuseAs(gwv1.ListenerReasonUnsupportedProtocol, fmt.Sprintf("protocol %s is not supported, only HTTP and HTTPS", spec.Protocol))
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
	if spec.Protocol == gwv1.HTTPSProtocolType {
		c.terminateTLS(l)
	} else if spec.TLS != nil {
		l.refuseAs(gwv1.ListenerReasonUnsupportedValue, "tls is set, but protocol HTTP does not use it")
	}
	return l
}

// allowedKinds fills in the kinds of routes that may attach.
func (l *listener) allowedKinds() {
	all := []string{kindHTTPRoute, kindGRPCRoute}
	if l.spec.AllowedRoutes == nil || len(l.spec.AllowedRoutes.Kinds) == 0 {
		l.kinds = all
		return
	}
	for _, k := range l.spec.AllowedRoutes.Kinds {
		group, kind := or(k.Group, gatewayGroup), string(k.Kind)
		switch {
		case group != gatewayGroup || !slices.Contains(all, kind):
			if !l.unresolved.any() {
				l.unresolved = problemOf(gwv1.ListenerReasonInvalidRouteKinds, "routes of kind %s are not supported", kind)
			}
		case !slices.Contains(l.kinds, kind):
			l.kinds = append(l.kinds, kind)
		}
	}
}

// terminateTLS reads certificates, client validation and options of an HTTPS
// listener. If any certificate is missing none is served: the handshake fails
// rather than showing another name's.
func (c *compiler) terminateTLS(l *listener) {
	l.tls = &ir.ListenerTLS{Certificates: []ir.KeyPair{}, MinVersion: tls.VersionTLS12}
	spec := l.spec.TLS
	if spec == nil {
		l.unresolve(gwv1.ListenerReasonInvalidCertificateRef, "protocol HTTPS needs tls.certificateRefs")
		return
	}
	if mode := or(spec.Mode, string(gwv1.TLSModeTerminate)); mode != string(gwv1.TLSModeTerminate) {
		l.refuseAs(gwv1.ListenerReasonUnsupportedValue, fmt.Sprintf("tls.mode %s is not supported with protocol HTTPS", mode))
		return
	}
	l.tlsOptions(spec.Options)
	if len(spec.CertificateRefs) == 0 {
		l.unresolve(gwv1.ListenerReasonInvalidCertificateRef, "tls.certificateRefs is empty")
	}
	for _, ref := range spec.CertificateRefs {
		pair, reason, err := c.secretRef(l.gw, ref)
		if err != nil {
			l.unresolve(reason, err.Error())
			continue
		}
		l.tls.Certificates = append(l.tls.Certificates, pair)
	}
	if l.unresolved.any() && l.refusal != nil {
		l.tls.Certificates = []ir.KeyPair{}
	}
	c.clientValidation(l)
}

// tlsOptions reads the options we know. Of our own ones an unknown key or value
// is refused; those of others are none of our business.
func (l *listener) tlsOptions(options map[gwv1.AnnotationKey]gwv1.AnnotationValue) {
	prefix := strings.SplitAfter(MinTLSVersionOption, "/")[0]
	for _, k := range slices.Sorted(maps.Keys(options)) {
		v := options[k]
		if !strings.HasPrefix(string(k), prefix) {
			continue
		}
		switch {
		case k == MinTLSVersionOption && v == "1.2":
		case k == MinTLSVersionOption && v == "1.3":
			l.tls.MinVersion = tls.VersionTLS13
		case k == MinTLSVersionOption:
			l.refuseAs(gwv1.ListenerReasonUnsupportedValue, fmt.Sprintf("tls.options %s must be 1.2 or 1.3, not %q", k, v))
		default:
			l.refuseAs(gwv1.ListenerReasonUnsupportedValue, fmt.Sprintf("tls.options %s is not known, only %s is", k, MinTLSVersionOption))
		}
	}
}

// clientValidation reads the Gateway's frontend client-certificate validation
// for the listener's port.
func (c *compiler) clientValidation(l *listener) {
	t := l.gw.obj.Spec.TLS
	if t == nil || t.Frontend == nil {
		return
	}
	v := t.Frontend.Default.Validation
	for _, p := range t.Frontend.PerPort {
		if p.Port == l.spec.Port {
			v = p.TLS.Validation
		}
	}
	if v == nil {
		return
	}
	var bundle strings.Builder
	for _, ref := range v.CACertificateRefs {
		ca, reason, err := c.frontendCA(l.gw, ref)
		if err != nil {
			if !l.unresolved.any() {
				l.unresolved = problemOf(reason, "%s", err)
			}
			continue
		}
		bundle.WriteString(ca)
	}
	if bundle.Len() == 0 {
		l.refuseAs(gwv1.ListenerReasonNoValidCACertificate, "client certificates must be verified, but no certificate authority can be read")
		return
	}
	switch v.Mode {
	case "", gwv1.AllowValidOnly:
		l.tls.ClientCA, l.tls.RequireClient = bundle.String(), true
	case gwv1.AllowInsecureFallback:
		// Whatever the client presents is let in, so nothing is judged here;
		// rules may still ask for a certificate and verify it themselves.
		l.tls.RequestClient = true
		l.gw.insecureClients = true
	default:
		l.refuseAs(gwv1.ListenerReasonUnsupportedValue, fmt.Sprintf("client validation mode %q is not known", v.Mode))
	}
}

func (c *compiler) frontendCA(g *gateway, ref gwv1.ObjectReference) (string, gwv1.ListenerConditionReason, error) {
	kind := string(ref.Kind)
	if ref.Group != "" || kind != kindConfigMap && kind != kindSecret {
		return "", gwv1.ListenerReasonInvalidCACertificateKind, fmt.Errorf("certificate authorities are in a ConfigMap or Secret, not in %s %q", kind, ref.Group)
	}
	k := key{or(ref.Namespace, g.namespace), string(ref.Name)}
	if !c.ix.permitted(kindGateway, g.namespace, kind, k) {
		return "", gwv1.ListenerReasonRefNotPermitted, fmt.Errorf("no ReferenceGrant of namespace %s lets Gateways of %s use %s %s", k.namespace, g.namespace, kind, k)
	}
	ca, err := c.ix.authoritiesOf(kind, k, true)
	if err != nil {
		return "", gwv1.ListenerReasonInvalidCACertificateRef, err
	}
	return ca, "", nil
}

// admits reports whether routes of that kind and namespace may attach.
func (l *listener) admits(ix *index, kind, namespace string) bool {
	if !slices.Contains(l.kinds, kind) {
		return false
	}
	from, selector := gwv1.NamespacesFromSame, (*metav1.LabelSelector)(nil)
	if a := l.spec.AllowedRoutes; a != nil && a.Namespaces != nil {
		if a.Namespaces.From != nil {
			from = *a.Namespaces.From
		}
		selector = a.Namespaces.Selector
	}
	switch from {
	case gwv1.NamespacesFromAll:
		return true
	case gwv1.NamespacesFromSame:
		return namespace == l.gw.namespace
	case gwv1.NamespacesFromSelector:
		return matches(selector, ix.labelsOf(namespace))
	case gwv1.NamespacesFromNone:
	}
	return false
}

// matches reports whether a selector selects the labels. None, or one that does
// not parse, selects nothing; an empty one everything, as everywhere in
// Kubernetes.
func matches(selector *metav1.LabelSelector, set labels.Set) bool {
	s, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && s.Matches(set)
}

func (l *listener) status() gwv1.ListenerStatus {
	gen := l.gw.obj.Generation
	group := gwv1.Group(gatewayGroup)
	st := gwv1.ListenerStatus{
		Name: l.spec.Name, SupportedKinds: []gwv1.RouteGroupKind{}, AttachedRoutes: int32(min(len(l.routes), 1<<31-1)),
	}
	for _, k := range l.kinds {
		st.SupportedKinds = append(st.SupportedKinds, gwv1.RouteGroupKind{Group: &group, Kind: gwv1.Kind(k)})
	}
	programmed := problem{}
	switch {
	case l.gw.refused != "":
		programmed = problemOf(gwv1.ListenerReasonInvalid, "the Gateway is not served: %s", l.gw.refused)
	case l.notAccepted.any():
		programmed = problemOf(gwv1.ListenerReasonInvalid, "%s", l.notAccepted.why)
	case l.conflicted.any():
		programmed = problemOf(gwv1.ListenerReasonInvalid, "%s", l.conflicted.why)
	case l.refusal != nil:
		programmed = problemOf(gwv1.ListenerReasonInvalid, "%s", l.refusal.Reason)
	}
	st.Conditions = []metav1.Condition{
		of(gwv1.ListenerConditionAccepted, l.notAccepted, gwv1.ListenerReasonAccepted, gen),
		of(gwv1.ListenerConditionProgrammed, programmed, gwv1.ListenerReasonProgrammed, gen),
		of(gwv1.ListenerConditionResolvedRefs, l.unresolved, gwv1.ListenerReasonResolvedRefs, gen),
		condition(gwv1.ListenerConditionConflicted, false, gwv1.ListenerReasonNoConflicts, gen, ""),
	}
	if l.conflicted.any() {
		st.Conditions[3] = condition(gwv1.ListenerConditionConflicted, true, gwv1.ListenerConditionReason(l.conflicted.reason), gen, l.conflicted.why)
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
