package graph

import (
	"cmp"
	"slices"
	"strings"

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

// isolation makes a control of network policies of every engine.
func isolation(meta control.Meta, judge func(*Index, emitter)) Check {
	meta.Category, meta.References = "network", []string{netpolDocs}
	return Check{Meta: meta, Reads: append(policyKinds(), Kind{"", "Namespace"}), Pods: true, Absence: true, Local: true, Judge: judge}
}

// withoutPolicy judges namespaces by whether any of their pods is limited in a
// direction. of gives who is, and by what.
func withoutPolicy(direction string, severity bulwark.Severity, of func(*policies) map[*workload]*policy) func(*Index, emitter) {
	return perNamespace(func(ix *Index, name string, o *inventory.Object) control.Result {
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
		r := fail("", "namespace "+name+": "+count(own, "workload")+" and no policy "+ix.here()+" that limits "+direction, podRefs(crowd.pods)...)
		if o.Kind != "Namespace" && len(nets.spaces[name]) == 0 {
			r.Severity = ix.missing(severity) // who keeps the namespace elsewhere may keep its policies there
		}
		return r
	})
}

var _ = add(isolation(control.Meta{
	ID: "namespace-without-ingress-policy", Title: "No network policy limits who may connect to a namespace", Severity: bulwark.SeverityHigh,
	Why:         "Every pod of the cluster can connect to every port in the namespace, so one broken pod reaches all that runs there.",
	Remediation: "Add a NetworkPolicy with an empty podSelector and policyTypes [Ingress], then allow each connection that is needed.",
}, withoutPolicy("incoming connections", bulwark.SeverityHigh, func(p *policies) map[*workload]*policy { return p.in })))

var _ = add(isolation(control.Meta{
	ID: "namespace-without-egress-policy", Title: "No network policy limits where a namespace may connect to", Severity: bulwark.SeverityMedium,
	Why:         "Whoever breaks a pod there can send what he finds anywhere, and reach the cloud's metadata address and all other pods.",
	Remediation: "Add a NetworkPolicy with an empty podSelector and policyTypes [Egress], then allow DNS and each destination that is needed.",
}, withoutPolicy("outgoing connections", bulwark.SeverityMedium, func(p *policies) map[*workload]*policy { return p.out })))

var _ = add(isolation(control.Meta{
	ID: "namespace-default-deny-missing", Title: "No policy refuses by default what nobody allowed", Severity: bulwark.SeverityMedium,
	Why:         "The policies of the namespace pick some pods; each pod that is added later and that none of them picks is open to everybody.",
	Remediation: "Add a NetworkPolicy with an empty podSelector and policyTypes [Ingress, Egress] and no rules.",
}, perNamespace(func(ix *Index, name string, _ *inventory.Object) control.Result {
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
})))

var _ = add(isolation(control.Meta{
	ID: "workload-without-network-policy", Title: "No network policy selects the workload", Severity: bulwark.SeverityMedium,
	Why:         "Its neighbours are protected by policies and it is not: it is open to everybody and may connect to everything.",
	Remediation: "Give its pods the labels that a policy of the namespace selects, or add a policy for them.",
}, func(ix *Index, emit emitter) {
	nets := ix.networks()
	for _, w := range ix.workloads().all {
		emit(w.obj, nets.neighbour(w))
	}
}))

// neighbour judges one workload by whether it is limited as others around it are.
func (p *policies) neighbour(w *workload) control.Result {
	here := p.spaces[w.namespace]
	switch {
	case system(w.namespace):
		return skip("the namespace belongs to Kubernetes itself")
	case w.hostNet:
		return skip("its pods are on the host's network, which policies do not reach")
	case p.in[w] != nil:
		return pass()
	case len(here) == 0:
		return skip("the namespace has no policy at all, which another control reports")
	}
	if why := p.unclear(w.namespace); why != "" {
		return unknown(why)
	}
	return fail(w.metadata()+".labels", "none of the policies in namespace "+w.namespace+" that limit incoming connections selects its pods", here[0].obj.ObjectRef)
}

// metadata gives the path of the metadata of a workload's pods, or where it would
// stand.
func (w *workload) metadata() string {
	if around, ok := strings.CutSuffix(w.path, "spec"); ok && w.meta == "" {
		return around + "metadata"
	}
	return cmp.Or(w.meta, w.path)
}

var _ = add(across(isolation(control.Meta{
	ID: "network-policy-selects-nothing", Title: "A network policy selects no pod", Severity: bulwark.SeverityLow,
	Why:         "Somebody believes that something is protected by it; most often a label is misspelt.",
	Remediation: "Compare the selector with the labels of the pods that it is meant for, or delete the policy.",
}, func(ix *Index, emit emitter) {
	for _, p := range ix.networks().all {
		somewhere := p.namespace != "" || slices.ContainsFunc(ix.namespaces(), func(name string) bool { return p.holds(ix, name) })
		switch {
		case p.nodes:
			emit(p.obj, skip("it is about nodes, not pods"))
		case p.bad != "":
			emit(p.obj, unknown(p.bad))
		case p.picks || p.whole() && somewhere:
			emit(p.obj, pass())
		default:
			r := fail(selectorField(p), "no pod "+ix.here()+" has the labels "+p.pods.String())
			switch {
			case !somewhere:
				r.Message = "no namespace " + ix.here() + " fits its selector of namespaces"
			case p.expr != nil:
				r.Message = "no pod " + ix.here() + " fits the selector " + clip(text(p.content, "spec", "selector"))
			}
			r.Severity = ix.missing(bulwark.SeverityLow)
			emit(p.obj, r)
		}
	}
})))

// across makes a control one for which objects of other namespaces matter.
func across(c Check) Check {
	c.Across, c.Local = true, false
	return c
}

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
		known := map[string]presence{}
		for _, p := range ix.networks().all {
			if p.obj.Group() != "networking.k8s.io" {
				continue
			}
			worst := present
			peers(p.content, func(direction, field string, peer any) {
				q := readPeer(p.namespace, peer)
				if q == nil {
					return
				}
				found, seen := known[q.id()]
				if !seen {
					found = ix.presence(q)
					known[q.id()] = found
				}
				worst = max(worst, found)
				if found == absentee {
					r := fail(field, direction+" rule: no "+q.String()+" "+ix.here())
					r.Key, r.Severity = direction+" "+q.String(), bulwark.SeverityLow
					if !ix.Facts.Live && q.spaced {
						r.Severity = bulwark.SeverityInfo // files seldom hold all that runs in other namespaces
					}
					emit(p.obj, r)
				}
			})
			switch worst {
			case present:
				emit(p.obj, pass())
			case elsewhere:
				emit(p.obj, skip("it names pods of namespaces that were not given"))
			case absentee:
			}
		}
	},
})

// peer is whom a rule of a NetworkPolicy names by labels.
type peer struct {
	own          string // the namespace of the policy
	spaced       bool   // it picks namespaces; else it means its own
	spaces, pods selector
}

// readPeer gives nil for one that names addresses.
func readPeer(own string, v any) *peer {
	pods, spaces := at(v, "podSelector"), at(v, "namespaceSelector")
	if pods == nil && spaces == nil {
		return nil
	}
	q := &peer{own: own, spaced: spaces != nil}
	if pods != nil {
		q.pods = parseSelector(pods, nil)
	}
	if spaces != nil {
		q.spaces = parseSelector(spaces, nil)
	}
	return q
}

func (q *peer) id() string {
	where := q.own
	if q.spaced {
		where = "\x00" + q.spaces.id()
	}
	return where + "\x00" + q.pods.id()
}

func (q *peer) String() string {
	pods := "pod with " + q.pods.String()
	switch {
	case q.spaced && q.pods.everything():
		return "namespace with " + q.spaces.String()
	case q.spaced:
		return pods + " in a namespace with " + q.spaces.String()
	}
	return pods
}

// presence says whether a peer of a rule is there.
type presence uint8

const (
	present presence = iota
	// elsewhere: files that hold none of the namespaces say nothing of their pods.
	elsewhere
	absentee
)

// presence looks for a peer: a namespace that is selected counts if no pod selector
// is given.
func (ix *Index) presence(q *peer) presence {
	if !q.spaced {
		if q.pods.everything() || ix.workloads().spaces[q.own].picks(&q.pods) {
			return present
		}
		return absentee
	}
	missing := absentee
	if !ix.Facts.Live {
		missing = elsewhere
	}
	for _, name := range ix.namespaces() {
		if !q.spaces.matches(ix.namespaceLabels(name)) {
			continue
		}
		if q.pods.everything() || ix.workloads().spaces[name].picks(&q.pods) {
			return present
		}
		missing = absentee
	}
	return missing
}
