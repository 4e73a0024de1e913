package compile

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// The kinds that only Unreadable names.
const (
	kindGatewayClass     = "GatewayClass"
	kindReferenceGrant   = "ReferenceGrant"
	kindBackendTLSPolicy = "BackendTLSPolicy"
	kindSecurityPolicy   = "SecurityPolicy"
	kindEndpointSlice    = "EndpointSlice"
	kindNamespace        = "Namespace"
)

// use notes that the outcome depends on an object, there or not.
func (ix *index) use(kind string, k key) *used { return ix.uses.add(Use{kind, k.namespace, k.name}) }

// look notes the use of an object that is looked up by name.
func (ix *index) look(kind string, k key) {
	u := ix.use(kind, k)
	if ix.tracing != nil {
		ix.tracing.objects = append(ix.tracing.objects, looked{kind, k, ix.object(kind, k), u})
	}
}

// secretsIn gives the Secrets of a namespace, for a selector.
func (ix *index) secretsIn(namespace string) []*corev1.Secret {
	list := ix.inSpace[namespace]
	if ix.tracing != nil {
		ix.tracing.spaces = append(ix.tracing.spaces, secretsOf{namespace, list})
	}
	return list
}

// unreadable gives why objects of a kind may be missing though they exist.
func (ix *index) unreadable(kind string) (why string, ok bool) {
	why, ok = ix.unread[kind]
	return cmp.Or(why, "it could not be read"), ok
}

// hint is what to add to a message that something of the kind is missing.
func (ix *index) hint(kind string) string {
	if why, ok := ix.unreadable(kind); ok {
		return fmt.Sprintf(" (%ss could not all be read: %s)", kind, why)
	}
	return ""
}

// absent says that an object is not there, or not to be seen.
func (ix *index) absent(kind string, k key) error {
	return fmt.Errorf("no %s %s%s", kind, k, ix.hint(kind))
}

// secret looks a Secret up.
func (ix *index) secret(k key) (*corev1.Secret, error) {
	ix.look(kindSecret, k)
	if s, ok := ix.secrets[k]; ok {
		return s, nil
	}
	return nil, ix.absent(kindSecret, k)
}

// configMap looks a ConfigMap up.
func (ix *index) configMap(k key) (*corev1.ConfigMap, error) {
	ix.look(kindConfigMap, k)
	if m, ok := ix.configMaps[k]; ok {
		return m, nil
	}
	return nil, ix.absent(kindConfigMap, k)
}

// service looks a Service up.
func (ix *index) service(k key) (*corev1.Service, error) {
	ix.look(kindService, k)
	if s, ok := ix.services[k]; ok {
		return s, nil
	}
	return nil, ix.absent(kindService, k)
}

// reportUses writes what was looked up, and where our Gateways listen.
func (c *compiler) reportUses() {
	c.rep.Uses = c.ix.uses.list()
	for _, g := range c.gateways {
		if g.refused != "" {
			continue
		}
		ports := GatewayPorts{Namespace: g.namespace, Name: g.name}
		for _, l := range g.listeners {
			if l.valid() {
				ports.Ports = append(ports.Ports, l.spec.Port)
			}
		}
		slices.Sort(ports.Ports)
		ports.Ports = slices.Compact(ports.Ports)
		c.rep.Ports = append(c.rep.Ports, ports)
	}
}
