package cluster

import (
	"net/netip"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// The check functions of the Gateway API kinds hold what its CRDs state as
// relations between fields; what concerns one field is in the schema.

// deref gives what p points at, or the zero value.
func deref[T any](p *T) T {
	var v T
	if p != nil {
		v = *p
	}
	return v
}

func checkGateway(g *gwv1.Gateway) field.ErrorList {
	spec := field.NewPath("spec")
	errs := checkListeners(g.Spec.Listeners, spec.Child("listeners"))
	at := spec.Child("addresses")
	type address struct {
		kind  gwv1.AddressType
		value string
	}
	seen := map[address]bool{}
	for i, a := range g.Spec.Addresses {
		at, kind := at.Index(i).Child("value"), deref(a.Type)
		switch {
		case kind == gwv1.IPAddressType && a.Value != "":
			if ip, err := netip.ParseAddr(a.Value); err != nil || ip.Zone() != "" {
				errs = append(errs, field.Invalid(at, a.Value, "must be an IP address, as type says"))
			}
		case kind == gwv1.HostnameAddressType && a.Value != "":
			errs = append(errs, checkHostname(gwv1.Hostname(a.Value), at)...)
		}
		if k := (address{kind, a.Value}); a.Value != "" && seen[k] {
			errs = append(errs, field.Duplicate(at, a.Value))
		} else {
			seen[k] = true
		}
	}
	if in := g.Spec.Infrastructure; in != nil {
		errs = append(errs, checkNames(in.Annotations, spec.Child("infrastructure", "annotations"))...)
		errs = append(errs, checkNames(in.Labels, spec.Child("infrastructure", "labels"))...)
	}
	if g.Spec.TLS != nil && g.Spec.TLS.Frontend != nil {
		ports := map[gwv1.PortNumber]bool{}
		for i, p := range g.Spec.TLS.Frontend.PerPort {
			if ports[p.Port] {
				errs = append(errs, field.Duplicate(spec.Child("tls", "frontend", "perPort").Index(i).Child("port"), p.Port))
			}
			ports[p.Port] = true
		}
	}
	return errs
}

// checkNames checks the keys of labels and annotations.
func checkNames[K ~string, V any](m map[K]V, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for k := range m {
		for _, msg := range validation.IsQualifiedName(string(k)) {
			errs = append(errs, field.Invalid(at.Key(string(k)), string(k), msg))
		}
	}
	return errs
}

func checkListeners(listeners []gwv1.Listener, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	type socket struct {
		port     gwv1.PortNumber
		protocol gwv1.ProtocolType
		hostname gwv1.Hostname
	}
	sockets := map[socket]bool{}
	for i, l := range listeners {
		at := at.Index(i)
		s := socket{l.Port, l.Protocol, deref(l.Hostname)}
		if sockets[s] {
			errs = append(errs, field.Invalid(at, string(l.Name), "has the port, protocol and hostname of a listener before it"))
		}
		sockets[s] = true
		if l.Hostname != nil {
			errs = append(errs, checkHostname(*l.Hostname, at.Child("hostname"))...)
		}
		errs = append(errs, checkListenerTLS(&l, at)...)
	}
	return errs
}

func checkListenerTLS(l *gwv1.Listener, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	mode := gwv1.TLSModeType("")
	if l.TLS != nil {
		mode = deref(l.TLS.Mode)
	}
	switch l.Protocol {
	case gwv1.HTTPProtocolType, gwv1.TCPProtocolType, gwv1.UDPProtocolType:
		if l.TLS != nil {
			errs = append(errs, field.Forbidden(at.Child("tls"), "protocol "+string(l.Protocol)+" has no TLS; use HTTPS"))
		}
		if l.Protocol != gwv1.HTTPProtocolType && deref(l.Hostname) != "" {
			errs = append(errs, field.Forbidden(at.Child("hostname"), "protocol "+string(l.Protocol)+" has no host names"))
		}
	case gwv1.HTTPSProtocolType:
		if l.TLS == nil {
			errs = append(errs, field.Required(at.Child("tls"), "protocol HTTPS needs a certificate"))
		} else if mode != "" && mode != gwv1.TLSModeTerminate {
			errs = append(errs, field.Invalid(at.Child("tls", "mode"), mode, "protocol HTTPS needs mode Terminate"))
		}
	case gwv1.TLSProtocolType:
		if mode == "" {
			errs = append(errs, field.Required(at.Child("tls", "mode"), "protocol TLS needs it"))
		}
	}
	if mode == gwv1.TLSModeTerminate && len(l.TLS.CertificateRefs) == 0 && len(l.TLS.Options) == 0 {
		errs = append(errs, field.Required(at.Child("tls", "certificateRefs"), "mode Terminate needs a certificate"))
	}
	return errs
}

// checkListenerSet judges its listeners as those of a Gateway, since that is
// what they become.
func checkListenerSet(s *gwv1.ListenerSet) field.ErrorList {
	listeners := make([]gwv1.Listener, 0, len(s.Spec.Listeners))
	for _, l := range s.Spec.Listeners {
		listeners = append(listeners, gwv1.Listener(l))
	}
	return checkListeners(listeners, field.NewPath("spec", "listeners"))
}

// checkHostname refuses what the pattern of the schema lets through: IP
// addresses, and labels of more than 63 characters.
func checkHostname(h gwv1.Hostname, at *field.Path) field.ErrorList {
	if h == "" {
		return nil
	}
	name := strings.TrimPrefix(string(h), "*.")
	if _, err := netip.ParseAddr(name); err == nil {
		return field.ErrorList{field.Invalid(at, h, "must be a DNS name, not an IP address")}
	}
	bad := len(validation.IsDNS1123Subdomain(name)) > 0
	for label := range strings.SplitSeq(name, ".") {
		bad = bad || len(label) > 63
	}
	if bad {
		return field.ErrorList{field.Invalid(at, h, `must be a lower-case DNS name without port, "*." possible as its first label`)}
	}
	return nil
}

func checkBackendTLSPolicy(p *gwv1.BackendTLSPolicy) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("spec", "targetRefs")
	type target struct {
		group gwv1.Group
		kind  gwv1.Kind
		name  gwv1.ObjectName
	}
	sections := map[target]map[gwv1.SectionName]bool{}
	for i, r := range p.Spec.TargetRefs {
		t, section := target{r.Group, r.Kind, r.Name}, deref(r.SectionName)
		if sections[t] == nil {
			sections[t] = map[gwv1.SectionName]bool{}
		}
		known := sections[t]
		if known[section] || len(known) > 0 && (section == "" || known[""]) {
			errs = append(errs, field.Invalid(at.Index(i), string(r.Name), "names a target again; each reference to it needs a sectionName of its own"))
		}
		known[section] = true
	}
	v, at := &p.Spec.Validation, field.NewPath("spec", "validation")
	wellKnown := deref(v.WellKnownCACertificates) != ""
	switch {
	case wellKnown && len(v.CACertificateRefs) > 0:
		errs = append(errs, field.Invalid(at, "caCertificateRefs and wellKnownCACertificates", "set one of the two"))
	case !wellKnown && len(v.CACertificateRefs) == 0:
		errs = append(errs, field.Required(at, "set caCertificateRefs or wellKnownCACertificates: without an authority nothing can be verified"))
	}
	errs = append(errs, checkHostname(gwv1.Hostname(v.Hostname), at.Child("hostname"))...)
	for i, n := range v.SubjectAltNames {
		at := at.Child("subjectAltNames").Index(i)
		errs = append(errs, checkMember(at, string(n.Type), []union{
			{"Hostname", "hostname", n.Hostname != ""},
			{"URI", "uri", n.URI != ""},
		})...)
	}
	return errs
}

// union is a member of a union: the discriminator that selects it, its field,
// and whether it is set.
type union struct {
	when, field string
	set         bool
}

// checkMember demands the member that the discriminator selects and refuses the
// others.
func checkMember(at *field.Path, discriminator string, members []union) field.ErrorList {
	var errs field.ErrorList
	for _, m := range members {
		switch {
		case m.set && m.when != discriminator:
			errs = append(errs, field.Forbidden(at.Child(m.field), "belongs to type "+m.when+", but type is "+discriminator))
		case !m.set && m.when == discriminator:
			errs = append(errs, field.Required(at.Child(m.field), "type "+discriminator+" needs it"))
		}
	}
	return errs
}
