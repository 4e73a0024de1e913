package graph

import (
	"cmp"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
)

const netpolDocs = "https://kubernetes.io/docs/concepts/services-networking/network-policies/"

// perNamespace judges each namespace in which something runs. Those of Kubernetes
// itself are left out: policies there are the distribution's.
func perNamespace(judge func(ix *Index, name string, o *inventory.Object) control.Result) func(*Index, emitter) {
	return func(ix *Index, emit emitter) {
		for _, name := range ix.namespaces() {
			o := ix.namespaceObject(name)
			switch crowd := ix.workloads().spaces[name]; {
			case o == nil:
			case system(name):
				emit(o, skip("the namespace belongs to Kubernetes itself"))
			case crowd == nil:
				emit(o, skip("nothing runs in the namespace"))
			default:
				r := judge(ix, name, o)
				if o.Kind != "Namespace" {
					r.Key, r.Field = "namespace "+name, ""
				}
				emit(o, r)
			}
		}
	}
}

// unclear gives a policy in force in a namespace that cannot be understood, or "".
func (p *policies) unclear(namespace string) string {
	return cmp.Or(p.murky[namespace], p.murky[""])
}

func withoutPolicy(direction string, of func(*policies) map[*workload]*policy) func(*Index, emitter) {
	return perNamespace(func(ix *Index, name string, _ *inventory.Object) control.Result {
		nets, crowd := ix.networks(), ix.workloads().spaces[name]
		own := 0
		for _, w := range crowd.pods {
			if !w.hostNet {
				own++
			}
			if of(nets)[w] != nil {
				return pass()
			}
		}
		if own == 0 {
			return skip("all its pods are on the host's network, which policies do not reach")
		}
		if why := nets.unclear(name); why != "" {
			return unknown(why)
		}
		return fail("", "namespace "+name+": "+count(own, "workload")+" and no policy "+ix.here()+" that limits "+direction, podRefs(crowd.pods)...)
	})
}

var _ = add(Check{
	Meta: control.Meta{
		ID: "namespace-without-ingress-policy", Title: "No network policy limits who may connect to a namespace", Severity: bulwark.SeverityHigh, Category: "network",
		Why:         "Every pod of the cluster can connect to every port in the namespace, so one broken pod reaches all that runs there.",
		Remediation: "Add a NetworkPolicy with an empty podSelector and policyTypes [Ingress], then allow each connection that is needed.",
		References:  []string{netpolDocs},
	},
	Reads: append(policyKinds(), Kind{"", "Namespace"}), Pods: true, Absence: true,
	Judge: withoutPolicy("incoming connections", func(p *policies) map[*workload]*policy { return p.in }),
})

var _ = add(Check{
	Meta: control.Meta{
		ID: "namespace-without-egress-policy", Title: "No network policy limits where a namespace may connect to", Severity: bulwark.SeverityMedium, Category: "network",
		Why:         "Whoever breaks a pod there can send what he finds anywhere, and reach the cloud's metadata address and all other pods.",
		Remediation: "Add a NetworkPolicy with an empty podSelector and policyTypes [Egress], then allow DNS and each destination that is needed.",
		References:  []string{netpolDocs},
	},
	Reads: append(policyKinds(), Kind{"", "Namespace"}), Pods: true, Absence: true,
	Judge: withoutPolicy("outgoing connections", func(p *policies) map[*workload]*policy { return p.out }),
})

var _ = add(Check{
	Meta: control.Meta{
		ID: "namespace-default-deny-missing", Title: "No policy refuses by default what nobody allowed", Severity: bulwark.SeverityMedium, Category: "network",
		Why:         "The policies of the namespace pick some pods; each pod that is added later and that none of them picks is open to everybody.",
		Remediation: "Add a NetworkPolicy with an empty podSelector and policyTypes [Ingress, Egress] and no rules.",
		References:  []string{netpolDocs},
	},
	Reads: append(policyKinds(), Kind{"", "Namespace"}), Pods: true, Absence: true,
	Judge: perNamespace(func(ix *Index, name string, _ *inventory.Object) control.Result {
		nets := ix.networks()
		here := nets.spaces[name]
		if len(here) == 0 {
			return skip("the namespace has no policy at all, which another control reports")
		}
		in, out := false, false
		for _, p := range here {
			if p.whole() {
				in, out = in || p.ingress, out || p.egress
			}
		}
		if in && out {
			return pass()
		}
		if why := nets.unclear(name); why != "" {
			return unknown(why)
		}
		missing := "incoming and outgoing connections"
		switch {
		case in:
			missing = "outgoing connections"
		case out:
			missing = "incoming connections"
		}
		return fail("", "namespace "+name+": no policy that selects every pod limits "+missing, here[0].obj.ObjectRef)
	}),
})

var _ = add(Check{
	Meta: control.Meta{
		ID: "workload-without-network-policy", Title: "No network policy selects the workload", Severity: bulwark.SeverityMedium, Category: "network",
		Why:         "Its neighbours are protected by policies and it is not: it is open to everybody and may connect to everything.",
		Remediation: "Give its pods the labels that a policy of the namespace selects, or add a policy for them.",
		References:  []string{netpolDocs},
	},
	Reads: append(policyKinds(), Kind{"", "Namespace"}), Pods: true, Absence: true,
	Judge: func(ix *Index, emit emitter) {
		nets := ix.networks()
		for _, w := range ix.workloads().all {
			switch {
			case system(w.namespace):
				emit(w.obj, skip("the namespace belongs to Kubernetes itself"))
			case w.hostNet:
				emit(w.obj, skip("its pods are on the host's network, which policies do not reach"))
			case nets.in[w] != nil:
				emit(w.obj, pass())
			case len(nets.spaces[w.namespace]) == 0:
				emit(w.obj, skip("the namespace has no policy at all, which another control reports"))
			default:
				if why := nets.unclear(w.namespace); why != "" {
					emit(w.obj, unknown(why))
					continue
				}
				emit(w.obj, fail(metadataLabels(w), "none of the policies in namespace "+w.namespace+" that limit incoming connections selects its pods", nets.spaces[w.namespace][0].obj.ObjectRef))
			}
		}
	},
})

// metadataLabels gives the path of a workload's pod labels.
func metadataLabels(w *workload) string {
	if w.path == "spec" {
		return "metadata.labels"
	}
	return w.path[:len(w.path)-len("spec")] + "metadata.labels"
}

var _ = add(Check{
	Meta: control.Meta{
		ID: "network-policy-selects-nothing", Title: "A network policy selects no pod", Severity: bulwark.SeverityLow, Category: "network",
		Why:         "Somebody believes that something is protected by it; most often a label is misspelt.",
		Remediation: "Compare the selector with the labels of the pods that it is meant for, or delete the policy.",
		References:  []string{netpolDocs},
	},
	Reads: append(policyKinds(), Kind{"", "Namespace"}), Pods: true, Absence: true, Across: true,
	Judge: func(ix *Index, emit emitter) {
		for _, p := range ix.networks().all {
			switch {
			case p.bad != "":
				emit(p.obj, unknown(p.bad))
			case p.whole() || p.picks:
				emit(p.obj, pass())
			default:
				r := fail(selectorField(p), "no pod "+ix.here()+" has the labels "+p.pods.String())
				if p.expr != nil {
					r.Message = "no pod " + ix.here() + " fits the selector " + clip(text(p.content, "spec", "selector"))
				}
				r.Severity = ix.missing(bulwark.SeverityLow)
				emit(p.obj, r)
			}
		}
	},
})

func selectorField(p *policy) string {
	switch {
	case p.obj.Group() == "networking.k8s.io":
		return "spec.podSelector"
	case p.obj.Group() == "cilium.io":
		return "spec.endpointSelector"
	case p.obj.Group() == "policy.networking.k8s.io":
		return "spec.subject"
	}
	return "spec.selector"
}

// peers visits the peers of a NetworkPolicy's rules.
func peers(content map[string]any, visit func(direction, field string, peer any)) {
	for direction, side := range map[string]string{"ingress": "from", "egress": "to"} {
		for i, rule := range list(content, "spec", direction) {
			for j, peer := range list(rule, side) {
				visit(direction, item(item("spec."+direction, i)+"."+side, j), peer)
			}
		}
	}
}

var _ = add(Check{
	Meta: control.Meta{
		ID: "network-policy-peer-matches-nothing", Title: "A rule of a network policy names peers that do not exist", Severity: bulwark.SeverityLow, Category: "network",
		Why:         "The rule allows nobody, so either something does not work or a wider rule was added instead; labels that nobody has can be taken by somebody who may create pods.",
		Remediation: "Compare the selectors of the rule with the labels of the namespaces and pods that are meant, or take the rule away.",
		References:  []string{netpolDocs},
	},
	Reads: []Kind{{"networking.k8s.io", "NetworkPolicy"}, {"", "Namespace"}}, Pods: true, Absence: true, Across: true,
	Judge: func(ix *Index, emit emitter) {
		known := map[string]bool{}
		for _, p := range ix.networks().all {
			if p.obj.Group() != "networking.k8s.io" {
				continue
			}
			bad := false
			peers(p.content, func(direction, field string, peer any) {
				pods, spaces := at(peer, "podSelector"), at(peer, "namespaceSelector")
				if pods == nil && spaces == nil {
					return
				}
				s, n := selector{}, selector{}
				if pods != nil {
					s = parseSelector(pods, nil)
				}
				if spaces != nil {
					n = parseSelector(spaces, nil)
				}
				where := p.namespace
				if spaces != nil {
					where = "\x00" + n.id()
				}
				id := where + "\x00" + s.id()
				found, seen := known[id]
				if !seen {
					found = ix.anybody(p.namespace, spaces != nil, &n, &s)
					known[id] = found
				}
				if !found {
					bad = true
					what := "pod with " + s.String()
					switch {
					case spaces != nil && s.everything():
						what = "namespace with " + n.String()
					case spaces != nil:
						what += " in a namespace with " + n.String()
					}
					r := fail(field, direction+" rule: no "+what+" "+ix.here())
					r.Key, r.Severity = direction+" "+what, bulwark.SeverityLow
					if !ix.Facts.Live && spaces != nil {
						r.Severity = bulwark.SeverityInfo // files seldom hold what runs in other namespaces
					}
					emit(p.obj, r)
				}
			})
			if !bad {
				emit(p.obj, pass())
			}
		}
	},
})

// anybody reports whether a peer of a rule is anybody: a namespace that is
// selected counts if no pod selector is given.
func (ix *Index) anybody(own string, spaced bool, spaces, pods *selector) bool {
	if !spaced {
		return pods.everything() || ix.workloads().spaces[own].picks(pods)
	}
	for _, name := range ix.namespaces() {
		if spaces.matches(ix.namespaceLabels(name)) && (pods.everything() || ix.workloads().spaces[name].picks(pods)) {
			return true
		}
	}
	return false
}
