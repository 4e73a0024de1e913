package graph

import (
	"cmp"
	"slices"

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

// services are all Services, by namespace and by name.
type services struct {
	spaces map[string][]*service
	names  map[target]*service
	all    []*service
}

func (ix *Index) services() *services {
	return ix.servers.get(func() *services {
		out := &services{spaces: map[string][]*service{}, names: map[target]*service{}}
		loads, known := ix.workloads(), map[target][]*workload{}
		for _, o := range ix.Kind("", "Service") {
			content := ix.content(o)
			if content == nil {
				continue
			}
			s := readService(o, content)
			if s.kind != "ExternalName" {
				want := equal(s.selector)
				// Services that select alike share one list.
				id := target{"Service", s.namespace, want.id()}
				found, seen := known[id]
				if !seen {
					found = loads.spaces[s.namespace].find(&want)
					known[id] = found
				}
				s.pods = found
			}
			out.spaces[s.namespace] = append(out.spaces[s.namespace], s)
			out.names[target{"Service", s.namespace, o.Name}] = s
			out.all = append(out.all, s)
		}
		return out
	})
}

// internalNotes are the annotations by which clouds keep a load balancer inside.
func internalNote(notes map[string]string) bool {
	for k, v := range map[string]string{
		"service.beta.kubernetes.io/aws-load-balancer-internal":       "true",
		"service.beta.kubernetes.io/aws-load-balancer-scheme":         "internal",
		"service.beta.kubernetes.io/azure-load-balancer-internal":     "true",
		"networking.gke.io/load-balancer-type":                        "Internal",
		"cloud.google.com/load-balancer-type":                         "Internal",
		"service.beta.kubernetes.io/openstack-internal-load-balancer": "true",
	} {
		if notes[k] == v {
			return true
		}
	}
	return false
}

func readService(o *inventory.Object, content map[string]any) *service {
	s := &service{
		obj: o, namespace: space(o), kind: cmp.Or(text(content, "spec", "type"), "ClusterIP"),
		selector: labels(content, "spec", "selector"), externalIPs: texts(content, "spec", "externalIPs"),
		internal: internalNote(labels(content, "metadata", "annotations")),
	}
	for _, p := range list(content, "spec", "ports") {
		n, _ := number(p, "port")
		s.ports = append(s.ports, servicePort{text(p, "name"), cmp.Or(text(p, "protocol"), "TCP"), n, portOf(p, "targetPort")})
	}
	return s
}

func (ix *Index) service(namespace, name string) *service {
	return ix.services().names[target{"Service", namespace, name}]
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
		out := map[target][]use{}
		for _, w := range ix.workloads().all {
			for _, u := range w.refs {
				out[u.target] = append(out[u.target], u)
			}
		}
		ix.usesOfOthers(func(u use) { out[u.target] = append(out[u.target], u) })
		for _, all := range out {
			slices.SortStableFunc(all, func(a, b use) int {
				return cmp.Or(cmp.Compare(a.by.String(), b.by.String()), cmp.Compare(a.field, b.field))
			})
		}
		return out
	})
}
