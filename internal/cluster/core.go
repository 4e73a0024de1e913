package cluster

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func completeService(s *corev1.Service) {
	if s.Spec.Type == "" {
		s.Spec.Type = corev1.ServiceTypeClusterIP
	}
	if s.Spec.SessionAffinity == "" {
		s.Spec.SessionAffinity = corev1.ServiceAffinityNone
	}
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if p.Protocol == "" {
			p.Protocol = corev1.ProtocolTCP
		}
		if p.TargetPort == (intstr.IntOrString{}) {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
}

func checkService(s *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("spec")
	switch s.Spec.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer:
	case corev1.ServiceTypeExternalName:
		if s.Spec.ExternalName == "" {
			errs = append(errs, field.Required(at.Child("externalName"), "type ExternalName needs it"))
		}
		return errs
	default:
		errs = append(errs, field.NotSupported(at.Child("type"), s.Spec.Type, []corev1.ServiceType{
			corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeExternalName,
		}))
	}
	at = at.Child("ports")
	if len(s.Spec.Ports) == 0 && s.Spec.ClusterIP != corev1.ClusterIPNone {
		errs = append(errs, field.Required(at, "at least one port"))
	}
	type endpoint struct {
		protocol corev1.Protocol
		port     int32
	}
	names, ports := map[string]bool{}, map[endpoint]bool{}
	for i, p := range s.Spec.Ports {
		at := at.Index(i)
		errs = append(errs, checkPort(int(p.Port), at.Child("port"))...)
		errs = append(errs, checkProtocol(p.Protocol, at.Child("protocol"))...)
		errs = append(errs, checkTarget(p.TargetPort, at.Child("targetPort"))...)
		if e := (endpoint{p.Protocol, p.Port}); ports[e] {
			errs = append(errs, field.Duplicate(at.Child("port"), p.Port))
		} else {
			ports[e] = true
		}
		switch {
		case p.Name == "" && len(s.Spec.Ports) > 1:
			errs = append(errs, field.Required(at.Child("name"), "of several ports each needs a name"))
			continue
		case p.Name == "":
			continue
		case names[p.Name]:
			errs = append(errs, field.Duplicate(at.Child("name"), p.Name))
		}
		names[p.Name] = true
		for _, msg := range validation.IsDNS1123Label(p.Name) {
			errs = append(errs, field.Invalid(at.Child("name"), p.Name, msg))
		}
	}
	return errs
}

func checkPort(p int, at *field.Path) field.ErrorList {
	if p < 1 || p > 65535 {
		return field.ErrorList{field.Invalid(at, p, "must be from 1 to 65535")}
	}
	return nil
}

func checkProtocol(p corev1.Protocol, at *field.Path) field.ErrorList {
	switch p {
	case corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP:
		return nil
	default:
		return field.ErrorList{field.NotSupported(at, p, []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP})}
	}
}

func checkTarget(t intstr.IntOrString, at *field.Path) field.ErrorList {
	if t.Type == intstr.Int {
		return checkPort(t.IntValue(), at)
	}
	var errs field.ErrorList
	for _, msg := range validation.IsValidPortName(t.StrVal) {
		errs = append(errs, field.Invalid(at, t.StrVal, msg))
	}
	return errs
}

// completeSecret merges stringData into data, over which it wins, and drops it,
// as an API server does.
func completeSecret(s *corev1.Secret) {
	if s.Type == "" {
		s.Type = corev1.SecretTypeOpaque
	}
	if len(s.StringData) > 0 && s.Data == nil {
		s.Data = make(map[string][]byte, len(s.StringData))
	}
	for k, v := range s.StringData {
		s.Data[k] = []byte(v)
	}
	s.StringData = nil
}

func checkSecret(s *corev1.Secret) field.ErrorList {
	errs := checkKeys(s.Data, field.NewPath("data"))
	if s.Type == corev1.SecretTypeTLS {
		for _, k := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
			if _, ok := s.Data[k]; !ok {
				errs = append(errs, field.Required(field.NewPath("data").Key(k), "type kubernetes.io/tls needs it"))
			}
		}
	}
	return errs
}

func checkConfigMap(c *corev1.ConfigMap) field.ErrorList {
	errs := checkKeys(c.Data, field.NewPath("data"))
	errs = append(errs, checkKeys(c.BinaryData, field.NewPath("binaryData"))...)
	for k := range c.BinaryData {
		if _, twice := c.Data[k]; twice {
			errs = append(errs, field.Duplicate(field.NewPath("binaryData").Key(k), k))
		}
	}
	return errs
}

// checkKeys checks the names of entries and never shows their content.
func checkKeys[T any](data map[string]T, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for k := range data {
		for _, msg := range validation.IsConfigMapKey(k) {
			errs = append(errs, field.Invalid(at.Key(k), k, msg))
		}
	}
	return errs
}

// completeNamespace sets the label by which selectors find a namespace.
func completeNamespace(n *corev1.Namespace) {
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	n.Labels[corev1.LabelMetadataName] = n.Name
}

// completeEndpointSlice also writes down that an endpoint which does not say
// whether it is ready is ready: every reader of the API must take it so.
func completeEndpointSlice(s *discoveryv1.EndpointSlice) {
	for i := range s.Ports {
		p := &s.Ports[i]
		if p.Name == nil {
			p.Name = new(string)
		}
		if p.Protocol == nil {
			p.Protocol = new(corev1.ProtocolTCP)
		}
	}
	for i := range s.Endpoints {
		if c := &s.Endpoints[i].Conditions; c.Ready == nil {
			c.Ready = new(true)
		}
	}
}

func checkEndpointSlice(s *discoveryv1.EndpointSlice) field.ErrorList {
	var errs field.ErrorList
	switch s.AddressType {
	case discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN:
	case "":
		errs = append(errs, field.Required(field.NewPath("addressType"), "one of IPv4, IPv6 and FQDN"))
	default:
		errs = append(errs, field.NotSupported(field.NewPath("addressType"), s.AddressType, []discoveryv1.AddressType{
			discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN,
		}))
	}
	at := field.NewPath("endpoints")
	for i, e := range s.Endpoints {
		at := at.Index(i).Child("addresses")
		if len(e.Addresses) == 0 || len(e.Addresses) > 100 {
			errs = append(errs, field.Invalid(at, len(e.Addresses), "must have 1 to 100 entries"))
		}
		for j, a := range e.Addresses {
			if msg := checkAddress(s.AddressType, a); msg != "" {
				errs = append(errs, field.Invalid(at.Index(j), a, msg))
			}
		}
	}
	names := map[string]bool{}
	for i, p := range s.Ports {
		at := field.NewPath("ports").Index(i)
		if p.Port != nil {
			errs = append(errs, checkPort(int(*p.Port), at.Child("port"))...)
		}
		if p.Protocol != nil {
			errs = append(errs, checkProtocol(*p.Protocol, at.Child("protocol"))...)
		}
		if p.Name != nil {
			if names[*p.Name] {
				errs = append(errs, field.Duplicate(at.Child("name"), *p.Name))
			}
			names[*p.Name] = true
		}
	}
	return errs
}

// checkAddress gives what is wrong with an endpoint's address, or "". Any
// address will do, loopback too: in files there is no network to protect from
// its own authors.
func checkAddress(t discoveryv1.AddressType, s string) string {
	a, err := netip.ParseAddr(s)
	switch t {
	case discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6:
		if err != nil || a.Is4() != (t == discoveryv1.AddressTypeIPv4) || a.Is4In6() || a.Zone() != "" {
			return fmt.Sprintf("must be an %s address, as addressType says", t)
		}
	case discoveryv1.AddressTypeFQDN:
		if len(validation.IsDNS1123Subdomain(s)) > 0 || err == nil {
			return "must be a DNS name, as addressType says"
		}
	}
	return ""
}
