package compile

import (
	"crypto/tls"
	"fmt"
	"maps"
	"slices"
	"strings"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

// listenerTLS reads the TLS part of a listener of protocol HTTPS or TLS.
func (c *compiler) listenerTLS(l *listener) {
	spec := l.spec.TLS
	mode := gwv1.TLSModeTerminate
	if spec != nil {
		mode = gwv1.TLSModeType(or(spec.Mode, string(mode)))
	}
	passable := l.spec.Protocol == gwv1.TLSProtocolType
	switch {
	case mode == gwv1.TLSModePassthrough && passable:
		l.passthrough = true
		if len(spec.CertificateRefs) > 0 {
			c.rep.warn("listener %s: tls.certificateRefs is not used with tls.mode Passthrough", l.name)
		}
	case mode != gwv1.TLSModeTerminate:
		l.refuseAs(gwv1.ListenerReasonUnsupportedValue, fmt.Sprintf("tls.mode %s is not supported with protocol %s", mode, l.spec.Protocol))
	default:
		c.terminateTLS(l)
	}
}

// terminateTLS reads certificates, client validation and options. If any
// certificate is missing none is served: the handshake fails rather than showing
// another name's.
func (c *compiler) terminateTLS(l *listener) {
	l.tls = &ir.ListenerTLS{Certificates: []ir.KeyPair{}, MinVersion: tls.VersionTLS12}
	spec := l.spec.TLS
	if spec == nil {
		l.unresolve(gwv1.ListenerReasonInvalidCertificateRef, fmt.Sprintf("protocol %s needs tls.certificateRefs", l.spec.Protocol))
		return
	}
	l.tlsOptions(spec.Options)
	if len(spec.CertificateRefs) == 0 {
		l.unresolve(gwv1.ListenerReasonInvalidCertificateRef, "tls.certificateRefs is empty")
	}
	kind, namespace := l.owner()
	for _, ref := range spec.CertificateRefs {
		pair, reason, err := c.secretRef(kind, namespace, ref)
		if err != nil {
			l.unresolve(reason, err.Error())
			continue
		}
		l.tls.Certificates = append(l.tls.Certificates, pair)
	}
	if l.refusal != nil {
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
// for the listener's port. Gateway API means listeners of protocol HTTPS; ours of
// protocol TLS that terminate it ask for no less.
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
	if err := c.ix.permit(kindGateway, g.namespace, kind, k); err != nil {
		return "", gwv1.ListenerReasonRefNotPermitted, err
	}
	ca, err := c.ix.authoritiesOf(kind, k, true)
	if err != nil {
		return "", gwv1.ListenerReasonInvalidCACertificateRef, err
	}
	return ca, "", nil
}
