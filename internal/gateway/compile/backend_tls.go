package compile

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

// backendPolicy is a BackendTLSPolicy and what became of it.
type backendPolicy struct {
	key
	obj *gwv1.BackendTLSPolicy
	tls *ir.BackendTLS // nil where broken
	// broken refuses the backend; unresolved is what its references lack.
	broken, unresolved problem
	targets            []backendTarget
}

// backendTarget is one target of a policy and why the policy is not in force
// there.
type backendTarget struct {
	ref  gwv1.LocalPolicyTargetReferenceWithSectionName
	lost problem
}

// servicePort names a Service or, with a port name, one port of it.
type servicePort struct {
	key
	port string
}

// backendPolicies finds the policy in force for a Service port.
type backendPolicies struct {
	all   []*backendPolicy
	force map[servicePort]*backendPolicy
	// misnamed are the Services of which a policy names a port that is not
	// there: which one was meant is not known.
	misnamed map[key]string
	// reached are the Gateways that ask for a Service port by the policy in
	// force there.
	reached map[servicePort][]*gateway
}

// find gives the policy for a Service port and what it was found by, or nil. One
// that names the port wins over one that names the Service.
func (b *backendPolicies) find(s *service) (*backendPolicy, servicePort) {
	named := servicePort{s.key, s.port.Name}
	if p := b.force[named]; p != nil && s.port.Name != "" {
		return p, named
	}
	whole := servicePort{s.key, ""}
	return b.force[whole], whole
}

// covers reports whether any policy speaks of a Service port, be it to refuse.
func (b *backendPolicies) covers(s *service) bool {
	p, _ := b.find(s)
	return p != nil
}

// reach notes that a Gateway asks for what a policy covers.
func (b *backendPolicies) reach(sp servicePort, g *gateway) {
	if !slices.Contains(b.reached[sp], g) {
		b.reached[sp] = append(b.reached[sp], g)
	}
}

// buildBackendPolicies judges all BackendTLSPolicies and settles which is in
// force where. A broken one stays in force: its backend is never asked without
// TLS.
func (c *compiler) buildBackendPolicies() *backendPolicies {
	out := &backendPolicies{force: map[servicePort]*backendPolicy{}, misnamed: map[key]string{}, reached: map[servicePort][]*gateway{}}
	for _, obj := range c.ix.BackendTLSPolicies {
		p := &backendPolicy{key: keyOf(obj), obj: obj}
		c.judgeBackendPolicy(p)
		out.all = append(out.all, p)
	}
	byAge := slices.Clone(out.all)
	slices.SortFunc(byAge, func(a, b *backendPolicy) int {
		return older(a.obj.CreationTimestamp.Time, b.obj.CreationTimestamp.Time, a.key, b.key)
	})
	for _, p := range byAge {
		for _, ref := range p.obj.Spec.TargetRefs {
			t := backendTarget{ref: ref}
			sp := t.at(p)
			switch first := out.force[sp]; {
			case ref.Group != "" || ref.Kind != kindService:
				t.lost = problemOf(gwv1.PolicyReasonInvalid, "targets of kind %s are not supported, only Service", ref.Kind)
			case c.missing(sp) != "":
				t.lost = problemOf(gwv1.PolicyReasonTargetNotFound, "%s", c.missing(sp))
				if out.misnamed[sp.key] == "" {
					out.misnamed[sp.key] = "BackendTLSPolicy " + p.String() + ": " + t.lost.why
				}
			case first != nil && first != p:
				t.lost = problemOf(gwv1.PolicyReasonConflicted, "BackendTLSPolicy %s is older and in force", first.key)
			default:
				out.force[sp] = p
			}
			p.targets = append(p.targets, t)
		}
	}
	return out
}

func (c *compiler) missing(sp servicePort) string {
	svc, err := c.ix.service(sp.key)
	if err != nil {
		return err.Error()
	}
	if sp.port == "" {
		return ""
	}
	for _, p := range svc.Spec.Ports {
		if p.Name == sp.port {
			return ""
		}
	}
	return fmt.Sprintf("Service %s has no port named %q", sp.key, sp.port)
}

func (c *compiler) judgeBackendPolicy(p *backendPolicy) {
	t, err := c.backendTLS(p)
	switch {
	case p.broken.any():
	case err != nil:
		p.broken = problemOf(gwv1.PolicyReasonInvalid, "%s", err)
	default:
		p.tls = t
	}
}

func (c *compiler) backendTLS(p *backendPolicy) (*ir.BackendTLS, error) {
	v := &p.obj.Spec.Validation
	for k := range p.obj.Spec.Options {
		if strings.HasPrefix(string(k), "bulwark.dev/") {
			return nil, errors.New("spec.options: options of ours are not known here")
		}
	}
	name, err := preciseHostname(string(v.Hostname))
	if err != nil {
		return nil, fmt.Errorf("spec.validation.hostname: %w", err)
	}
	out := &ir.BackendTLS{ServerName: name}
	for _, s := range v.SubjectAltNames {
		san, err := backendSAN(s)
		if err != nil {
			return nil, fmt.Errorf("spec.validation.subjectAltNames: %w", err)
		}
		out.SubjectAltNames = append(out.SubjectAltNames, san)
	}
	known := or(v.WellKnownCACertificates, "")
	switch {
	case known != "" && len(v.CACertificateRefs) > 0:
		return nil, errors.New("spec.validation: caCertificateRefs and wellKnownCACertificates exclude each other")
	case known == string(gwv1.WellKnownCACertificatesSystem):
		out.System = true
		return out, nil
	case known != "":
		return nil, fmt.Errorf("spec.validation.wellKnownCACertificates: %q is not known", known)
	case len(v.CACertificateRefs) == 0:
		return nil, errors.New("spec.validation: no certificate authority is named")
	}
	var bundle strings.Builder
	for _, ref := range v.CACertificateRefs {
		kind := string(ref.Kind)
		if ref.Group != "" || kind != kindConfigMap && kind != kindSecret {
			p.unresolve(problemOf(gwv1.BackendTLSPolicyReasonInvalidKind, "certificate authorities are in a ConfigMap or Secret, not in %s", kind))
			continue
		}
		// A leaf as its own anchor is common here, so it need not be an authority.
		ca, err := c.ix.authoritiesOf(kind, key{p.namespace, string(ref.Name)}, false)
		if err != nil {
			p.unresolve(problemOf(gwv1.BackendTLSPolicyReasonInvalidCACertificateRef, "%s", err))
			continue
		}
		bundle.WriteString(ca)
	}
	if bundle.Len() == 0 {
		p.broken = problemOf(gwv1.BackendTLSPolicyReasonNoValidCACertificate, "no certificate authority can be read: %s", p.unresolved.why)
	}
	out.CA = bundle.String()
	return out, nil
}

func (p *backendPolicy) unresolve(why problem) {
	if !p.unresolved.any() {
		p.unresolved = why
	}
}

func backendSAN(s gwv1.SubjectAltName) (ir.SAN, error) {
	switch s.Type {
	case gwv1.HostnameSubjectAltNameType:
		h, err := hostname(string(s.Hostname))
		if err != nil {
			return ir.SAN{}, err
		}
		return ir.SAN{Type: "DNS", Value: h}, nil
	case gwv1.URISubjectAltNameType:
		if !strings.Contains(string(s.URI), ":") {
			return ir.SAN{}, fmt.Errorf("%q is no URI", s.URI)
		}
		return ir.SAN{Type: "URI", Value: string(s.URI)}, nil
	}
	return ir.SAN{}, fmt.Errorf("type %q is not known", s.Type)
}

// backend gives the TLS of a backend as one Gateway speaks it, or the refusal.
func (p *backendPolicy) backend(g *gateway) (*ir.BackendTLS, *ir.Refusal) {
	name := "BackendTLSPolicy " + p.String()
	switch {
	case p.broken.any():
		return nil, &ir.Refusal{Status: statusBroken, Reason: name + ": " + p.broken.why}
	case g.clientErr != "":
		return nil, &ir.Refusal{Status: statusBroken, Reason: "Gateway " + g.String() + ", client certificate for backends: " + g.clientErr}
	}
	t := *p.tls
	t.Client = g.client
	return &t, nil
}

// status gives the policy's conditions for each Gateway that asks for one of its
// targets, won or lost, or for the target where none does.
func (p *backendPolicy) status(controller string, reached map[servicePort][]*gateway) PolicyStatus {
	gen := p.obj.Generation
	out := PolicyStatus{Kind: kindBackendTLSPolicy, Namespace: p.namespace, Name: p.name}
	resolved := of(gwv1.BackendTLSPolicyConditionResolvedRefs, p.unresolved, gwv1.BackendTLSPolicyReasonResolvedRefs, gen)
	byRef := map[string]int{}
	add := func(ref gwv1.ParentReference, accepted problem) {
		a := gwv1.PolicyAncestorStatus{
			AncestorRef: ref, ControllerName: gwv1.GatewayController(controller),
			Conditions: []metav1.Condition{of(gwv1.PolicyConditionAccepted, accepted, gwv1.PolicyReasonAccepted, gen), resolved},
		}
		name := refString(ref, p.namespace)
		i, seen := byRef[name]
		switch {
		case !seen:
			byRef[name] = len(out.Ancestors)
			out.Ancestors = append(out.Ancestors, a)
		case out.Ancestors[i].Conditions[0].Status == metav1.ConditionTrue:
			out.Ancestors[i] = a
		}
	}
	used := false
	for _, t := range p.targets {
		used = used || len(reached[t.at(p)]) > 0
	}
	for _, t := range p.targets {
		accepted := p.broken
		if t.lost.any() {
			accepted = t.lost
		}
		for _, g := range reached[t.at(p)] {
			add(g.ref(), accepted)
		}
		if len(reached[t.at(p)]) == 0 && (t.lost.any() || !used) {
			add(parentRef(kindService, key{p.namespace, string(t.ref.Name)}, or(t.ref.SectionName, "")), accepted)
		}
	}
	return out
}

// at gives the Service port that a policy's target names.
func (t *backendTarget) at(p *backendPolicy) servicePort {
	return servicePort{key{p.namespace, string(t.ref.Name)}, or(t.ref.SectionName, "")}
}
