package graph

import (
	"cmp"
	"slices"
	"strings"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// service is a Service with the workloads that it leads to.
type service struct {
	obj         *inventory.Object
	namespace   string
	kind        string // its type
	selector    map[string]string
	ports       []servicePort
	externalIPs []string
	internal    bool // a load balancer that is asked to stay inside
	pods        []*workload
}

type servicePort struct {
	name, protocol string
	number         int64
	target         any // int64, string or nil
}

// list tells which list of workloads the Service leads to: Services that select
// alike share one. It is nil where there are none.
func (s *service) list() **workload {
	if len(s.pods) == 0 {
		return nil
	}
	return &s.pods[0]
}

// outside reports whether the Service by itself is reached from outside of the
// cluster.
func (s *service) outside() bool {
	return s.kind == "LoadBalancer" && !s.internal || s.kind == "NodePort" || len(s.externalIPs) > 0
}

// services are all Services, and in a view by name, too.
type services struct {
	names map[string]*service
	all   []*service
}

func (ix *Index) services() *services {
	return ix.servers.get(func() *services {
		out := &services{names: map[string]*service{}}
		if ix.whole == nil {
			for _, v := range ix.all().list {
				out.all = append(out.all, v.services().all...)
			}
			return out
		}
		loads, known := ix.workloads(), map[string][]*workload{}
		for _, o := range ix.Kind("", "Service") {
			read := keep(ix, o, func() *service {
				if content := ix.content(o); content != nil {
					return readService(o, content, ix.Facts.Managed)
				}
				return nil
			})
			if read == nil {
				continue
			}
			one := *read // which has no pods yet
			s := &one
			if s.kind != "ExternalName" {
				want := equal(s.selector)
				// Services that select alike share one list.
				id := want.id()
				found, seen := known[id]
				if !seen {
					found = loads.spaces[s.namespace].find(&want)
					known[id] = found
				}
				s.pods = found
			}
			out.names[o.Name] = s
			out.all = append(out.all, s)
		}
		return out
	})
}

// internalNotes are the annotations by which clouds keep a load balancer inside.
func internalNotes() []struct{ cloud, key, value string } {
	return []struct{ cloud, key, value string }{
		{"eks", "service.beta.kubernetes.io/aws-load-balancer-internal", "true"},
		{"eks", "service.beta.kubernetes.io/aws-load-balancer-internal", "0.0.0.0/0"},
		{"eks", "service.beta.kubernetes.io/aws-load-balancer-scheme", "internal"},
		{"aks", "service.beta.kubernetes.io/azure-load-balancer-internal", "true"},
		{"gke", "networking.gke.io/load-balancer-type", "Internal"},
		{"gke", "cloud.google.com/load-balancer-type", "Internal"},
		{"openstack", "service.beta.kubernetes.io/openstack-internal-load-balancer", "true"},
		{"oke", "service.beta.kubernetes.io/oci-load-balancer-internal", "true"},
		{"ack", "service.beta.kubernetes.io/alibaba-cloud-loadbalancer-address-type", "intranet"},
		{"iks", "service.kubernetes.io/ibm-load-balancer-cloud-provider-ip-type", "private"},
	}
}

// internalNote reports whether annotations keep a load balancer inside. Where it is
// known whose cloud it is, those of another one say nothing.
func internalNote(notes map[string]string, cloud string) bool {
	return slices.ContainsFunc(internalNotes(), func(n struct{ cloud, key, value string }) bool {
		return notes[n.key] == n.value && (cloud == "" || n.cloud == cloud)
	})
}

func readService(o *inventory.Object, content map[string]any, cloud string) *service {
	s := &service{
		obj: o, namespace: space(o), kind: cmp.Or(text(content, "spec", "type"), "ClusterIP"),
		selector: labels(content, "spec", "selector"), externalIPs: texts(content, "spec", "externalIPs"),
		internal: internalNote(labels(content, "metadata", "annotations"), cloud),
	}
	for _, p := range list(content, "spec", "ports") {
		n, _ := number(p, "port")
		s.ports = append(s.ports, servicePort{text(p, "name"), cmp.Or(text(p, "protocol"), "TCP"), n, portOf(p, "targetPort")})
	}
	return s
}

// service gives a Service that is here, or nil.
func (ix *Index) service(namespace, name string) *service {
	if v := ix.all().by[namespace]; v != nil && (ix.whole == nil || v == ix) {
		return v.services().names[name]
	}
	return nil
}

func podRefs(all []*workload) []bulwark.ObjectRef {
	var out []bulwark.ObjectRef
	for i, w := range all {
		if i == 10 {
			break
		}
		out = append(out, w.ref())
	}
	return out
}

// uses gives who refers to which Secret or ConfigMap.
func (ix *Index) uses() map[target][]use {
	return ix.wants.get(func() map[target][]use {
		if ix.whole == nil {
			return ix.joinUses()
		}
		out := map[target][]use{}
		for _, w := range ix.workloads().all {
			for _, u := range w.refs {
				out[u.target] = append(out[u.target], u)
			}
		}
		ix.usesOfOthers(func(u use) {
			u.namespace, u.name = strings.Clone(u.namespace), strings.Clone(u.name)
			out[u.target] = append(out[u.target], u)
		})
		for _, all := range out {
			slices.SortStableFunc(all, inOrder)
		}
		return out
	})
}

// joinUses puts the uses of all namespaces together.
func (ix *Index) joinUses() map[target][]use {
	out, several := map[target][]use{}, map[target]bool{}
	for _, v := range ix.all().list {
		for t, more := range v.uses() {
			if len(out[t]) == 0 {
				out[t] = more
				continue
			}
			several[t] = true
			out[t] = slices.Concat(out[t], more)
		}
	}
	for t := range several {
		slices.SortStableFunc(out[t], inOrder)
	}
	return out
}

func inOrder(a, b use) int {
	return cmp.Or(cmp.Compare(a.by.Kind, b.by.Kind), cmp.Compare(a.by.Namespace, b.by.Namespace), cmp.Compare(a.by.Name, b.by.Name), cmp.Compare(a.field, b.field))
}
