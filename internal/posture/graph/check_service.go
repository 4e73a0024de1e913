package graph

import (
	"strings"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/posture/control"
)

const serviceDocs = "https://kubernetes.io/docs/concepts/services-networking/service/"

var _ = add(Check{
	Meta: control.Meta{
		ID: "service-without-pods", Title: "A Service selects no pod", Severity: bulwark.SeverityLow, Category: "exposure",
		Why:         "Whoever may create a pod with these labels gets the traffic that is meant for somebody else.",
		Remediation: "Compare the selector with the labels of the pods that it is meant for, or delete the Service.",
		References:  []string{serviceDocs},
	},
	Reads: []Kind{{"", "Service"}}, Pods: true, Absence: true, Local: true,
	Judge: func(ix *Index, emit emitter) {
		for _, s := range ix.services().all {
			switch {
			case s.kind == "ExternalName" || len(s.selector) == 0:
				emit(s.obj, skip("the Service has no selector"))
			case len(s.pods) > 0:
				emit(s.obj, pass())
			default:
				want := equal(s.selector)
				r := fail("spec.selector", "no pod of namespace "+s.namespace+" "+ix.here()+" has the labels "+want.String()+ix.nearest(s))
				r.Severity = ix.missing(bulwark.SeverityLow)
				emit(s.obj, r)
			}
		}
	},
})

// nearest names a workload that fits all but one label of a selector: the one that
// was meant, most often.
func (ix *Index) nearest(s *service) string {
	crowd := ix.workloads().spaces[s.namespace]
	const most = 16 // labels; more is not worth the search
	if crowd == nil || len(s.selector) < 2 || len(s.selector) > most {
		return ""
	}
	best := ""
	for left := range s.selector {
		rest := selector{}
		for k, v := range s.selector {
			if k != left {
				rest.needs = append(rest.needs, need{k, opIn, []string{v}})
			}
		}
		if found := crowd.first(&rest); found != nil {
			hint := "; " + found.obj.String() + " fits but for " + left
			if best == "" || hint < best {
				best = hint
			}
		}
	}
	return best
}

var _ = add(Check{
	Meta: control.Meta{
		ID: "service-port-without-container-port", Title: "A Service names a port that its pods do not have", Severity: bulwark.SeverityLow, Category: "exposure",
		Why:         "Nothing answers there; worse, whatever later listens on that port is published without anybody deciding so.",
		Remediation: "Set targetPort to the name of a port of the containers, or name that port in the containers.",
		References:  []string{serviceDocs},
	},
	Reads: []Kind{{"", "Service"}}, Pods: true, Local: true,
	Judge: func(ix *Index, emit emitter) {
		type asked struct {
			list           **workload
			name, protocol string
		}
		deaf := map[asked]*workload{}
		for _, s := range ix.services().all {
			if len(s.pods) == 0 {
				continue
			}
			bad := false
			for i, p := range s.ports {
				name, named := p.target.(string)
				if !named || name == "" {
					continue // a number needs no declaration
				}
				id := asked{s.list(), name, p.protocol}
				w, seen := deaf[id]
				if !seen {
					w = s.deaf(name, p.protocol)
					deaf[id] = w
				}
				if w != nil {
					bad = true
					r := fail(item("spec.ports", i)+".targetPort", "targetPort \""+name+"\" is no "+p.protocol+" port of "+w.obj.String(), w.ref())
					r.Key = "port " + name
					emit(s.obj, r)
				}
			}
			if !bad {
				emit(s.obj, pass())
			}
		}
	},
})

// deaf gives a workload of the Service without such a port, or nil.
func (s *service) deaf(name, protocol string) *workload {
	for _, w := range s.pods {
		if !w.listens(name, protocol) {
			return w
		}
	}
	return nil
}

func (w *workload) listens(name, protocol string) bool {
	for _, c := range w.containers {
		for _, p := range c.ports {
			if p.name == name && p.protocol == protocol {
				return true
			}
		}
	}
	return false
}

var _ = add(Check{
	Meta: control.Meta{
		ID: "service-leads-to-host-network", Title: "A Service leads to pods on the host's network", Severity: bulwark.SeverityMedium, Category: "exposure",
		Why:         "Network policies do not reach such pods, and who breaks one sees the node's network, also what listens on its loopback address.",
		Remediation: "Take hostNetwork away from the pods; a Service or a Gateway publishes their ports.",
		References:  []string{serviceDocs},
	},
	Reads: []Kind{{"", "Service"}}, Pods: true, Local: true,
	Judge: func(ix *Index, emit emitter) {
		for _, s := range ix.services().all {
			if len(s.pods) == 0 {
				continue
			}
			var on []*workload
			for _, w := range s.pods {
				if w.hostNet && len(on) < 10 {
					on = append(on, w)
				}
			}
			switch {
			case len(on) == 0:
				emit(s.obj, pass())
			case system(s.namespace):
				emit(s.obj, skip("the namespace belongs to Kubernetes itself"))
			default:
				r := fail("spec.selector", on[0].obj.String()+" sets hostNetwork: true", podRefs(on)...)
				if s.outside() {
					r.Severity = bulwark.SeverityHigh
					r.Message += " and the Service is reached from outside"
				}
				emit(s.obj, r)
			}
		}
	},
})

// opened says how a workload is reached from outside.
func opened(all []exposure) (string, []bulwark.ObjectRef) {
	var names []string
	var refs []bulwark.ObjectRef
	for i, e := range all {
		name := e.by.String()
		if e.by.Kind == "Service" {
			name += " (" + e.service.kind + ")"
		}
		names = append(names, name)
		if i < 10 {
			refs = append(refs, e.by.ObjectRef)
		}
	}
	return some(names), refs
}

func exposureReads(more ...Kind) []Kind {
	return append(append(routeKinds(), Kind{"", "Service"}), more...)
}

var _ = add(Check{
	Meta: control.Meta{
		ID: "exposed-privileged-workload", Title: "A privileged workload is reached from outside", Severity: bulwark.SeverityCritical, Category: "exposure",
		Why:         "One flaw in it, used over the network, gives the node and from there most of the cluster.",
		Remediation: "Take the privilege away from the pods, or put an unprivileged proxy in front and keep the Service inside the cluster.",
	},
	Reads: exposureReads(), Pods: true, Local: true,
	Judge: func(ix *Index, emit emitter) {
		for _, w := range ix.workloads().all {
			ways := ix.edges().exposed[w]
			if len(ways) == 0 {
				continue
			}
			field, what, severity := w.nodePower()
			if what == "" {
				emit(w.obj, pass())
				continue
			}
			names, refs := opened(ways)
			r := fail(field, what+", and it is reached from outside by "+names, refs...)
			r.Severity, r.Key = severity, "exposed"
			emit(w.obj, r)
		}
	},
})

// nodePower says what gives a workload power over its node.
func (w *workload) nodePower() (field, what string, severity bulwark.Severity) {
	for _, c := range w.containers {
		if c.privileged {
			return c.path + ".securityContext.privileged", "container \"" + c.name + "\" is privileged", bulwark.SeverityCritical
		}
	}
	for _, v := range w.volumes {
		if sensitive(v.hostPath) {
			return v.path + ".hostPath.path", "it mounts " + v.hostPath + " of the node", bulwark.SeverityCritical
		}
	}
	switch {
	case w.hostPID:
		return w.path + ".hostPID", "it sees all processes of the node", bulwark.SeverityHigh
	case w.hostNet:
		return w.path + ".hostNetwork", "it is on the node's network", bulwark.SeverityHigh
	case w.hostIPC:
		return w.path + ".hostIPC", "it shares memory with the node's processes", bulwark.SeverityHigh
	}
	return "", "", 0
}

// sensitive reports whether a path of the node, as nodePath gives it, is worth the
// node.
func sensitive(path string) bool {
	if path == "" {
		return false
	}
	p := strings.TrimRight(path, "/") + "/"
	for _, s := range []string{"/etc/", "/root/", "/proc/", "/dev/", "/boot/", "/run/", "/var/run/", "/var/lib/kubelet/", "/var/lib/docker/", "/var/lib/containerd/", "/home/", "/lib/modules/", "/sys/"} {
		if strings.HasPrefix(p, s) || strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// consoles are programs whose web page rules something, by a part of the last
// elements of their image's name.
func console(image string) string {
	name := repository(image)
	for _, c := range [][2]string{
		{"kubernetesui/dashboard", "Kubernetes Dashboard"},
		{"kubernetes-dashboard", "Kubernetes Dashboard"},
		{"kubernetesui/dashboard-web", "Kubernetes Dashboard"},
		{"headlamp", "Headlamp"},
		{"argoproj/argocd", "Argo CD"},
		{"argocd-server", "Argo CD"},
		{"argoproj/argocli", "Argo Workflows"},
		{"argo-workflows-server", "Argo Workflows"},
		{"grafana/grafana", "Grafana"},
		{"bitnami/grafana", "Grafana"},
		{"prom/prometheus", "Prometheus"},
		{"prometheus/prometheus", "Prometheus"},
		{"bitnami/prometheus", "Prometheus"},
		{"prometheus/alertmanager", "Alertmanager"},
		{"prom/alertmanager", "Alertmanager"},
		{"kibana", "Kibana"},
		{"opensearch-dashboards", "OpenSearch Dashboards"},
		{"jenkins/jenkins", "Jenkins"},
		{"bitnami/jenkins", "Jenkins"},
		{"rancher/rancher", "Rancher"},
		{"portainer/portainer", "Portainer"},
		{"weaveworks/scope", "Weave Scope"},
		{"kiali/kiali", "Kiali"},
		{"jaegertracing/all-in-one", "Jaeger"},
		{"jaegertracing/jaeger-query", "Jaeger"},
		{"cilium/hubble-ui", "Hubble"},
		{"longhornio/longhorn-ui", "Longhorn"},
		{"apache/airflow", "Airflow"},
		{"jupyter", "Jupyter"},
		{"phpmyadmin", "phpMyAdmin"},
		{"dpage/pgadmin4", "pgAdmin"},
		{"mongo-express", "mongo-express"},
		{"rediscommander", "Redis Commander"},
		{"hashicorp/vault", "Vault"},
		{"minio/console", "MinIO console"},
		{"tektoncd/dashboard", "Tekton Dashboard"},
		{"kubeapps/dashboard", "Kubeapps"},
	} {
		if strings.HasSuffix("/"+name, "/"+c[0]) || strings.Contains("/"+name, "/"+c[0]+"-") || strings.Contains("/"+name, "/"+c[0]+"/") {
			return c[1]
		}
	}
	return ""
}

// repository takes the tag and digest off an image.
func repository(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		image = image[:i]
	}
	return strings.ToLower(image)
}

var _ = add(Check{
	Meta: control.Meta{
		ID: "exposed-admin-interface", Title: "An administration page is reached from outside", Severity: bulwark.SeverityHigh, Category: "exposure",
		Why:         "Such pages run commands, show credentials or the whole cluster, and they are searched for all the time; one weak password or missed update is enough.",
		Remediation: "Make its Service ClusterIP and reach it by port-forward or through a route with authentication of its own.",
	},
	Reads: exposureReads(authKinds()...), Weight: authKinds(), Pods: true, Across: true,
	Judge: func(ix *Index, emit emitter) {
		for _, w := range ix.workloads().all {
			for _, c := range w.containers {
				name := c.console
				if name == "" {
					continue
				}
				ways := ix.edges().exposed[w]
				if len(ways) == 0 {
					emit(w.obj, pass())
					break
				}
				names, refs := opened(ways)
				r := fail(c.path+".image", name+" is reached from outside by "+names, refs...)
				r.Container = c.name
				if ix.allProven(ways) {
					r.Severity = bulwark.SeverityLow
					r.Message += ", which asks for credentials"
				}
				emit(w.obj, r)
				break
			}
		}
	},
})

// allProven reports whether every way asks for credentials.
func (ix *Index) allProven(ways []exposure) bool {
	if len(ways) >= mostWays {
		return false // there may be others
	}
	for _, e := range ways {
		r := ix.edges().byObj[e.by]
		if r == nil {
			return false
		}
		for i := range r.rules {
			if len(r.rules[i].backends) > 0 && ix.authentication().of(ix, r, &r.rules[i]) != accessProven {
				return false
			}
		}
	}
	return true
}
