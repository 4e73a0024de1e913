package graph

import (
	"maps"
	"slices"
	"strings"

	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// policy is a network policy of any engine, as far as it says whom it selects
// and in which directions it limits them.
type policy struct {
	obj       *inventory.Object
	content   map[string]any
	namespace string // "" for one of the whole cluster
	// spaces picks namespaces, nil picks all (or its own).
	spaces func(labels map[string]string) bool
	// pods picks pods by label; expr, of Calico, replaces it.
	pods            selector
	expr            expression
	ingress, egress bool
	// bad says why the policy cannot be understood.
	bad string
	// nodes says that it is about the nodes themselves and not about pods.
	nodes bool
	// picks says that it selects somebody.
	picks bool
}

// whole reports whether it selects all pods of where it holds.
func (p *policy) whole() bool {
	return p.bad == "" && !p.nodes && p.expr == nil && p.pods.everything()
}

// holds reports whether it is in force in a namespace.
func (p *policy) holds(ix *Index, namespace string) bool {
	if p.namespace != "" {
		return p.namespace == namespace
	}
	return p.spaces == nil || p.spaces(ix.namespaceLabels(namespace))
}

// policies are all network policies and whom they select.
type policies struct {
	all     []*policy
	spaces  map[string][]*policy // by namespace in which they select somebody, or are
	in, out map[*workload]*policy
	// murky are the namespaces in which a policy holds that cannot be understood,
	// and why; "" is all of them.
	murky map[string]string
}

const calicoGroup, calicoCRD = "projectcalico.org", "crd.projectcalico.org"

func policyKinds() []Kind {
	return []Kind{
		{"networking.k8s.io", "NetworkPolicy"},
		{"policy.networking.k8s.io", "ClusterNetworkPolicy"},
		{"policy.networking.k8s.io", "AdminNetworkPolicy"},
		{"policy.networking.k8s.io", "BaselineAdminNetworkPolicy"},
		{calicoGroup, "NetworkPolicy"},
		{calicoCRD, "NetworkPolicy"},
		{calicoGroup, "GlobalNetworkPolicy"},
		{calicoCRD, "GlobalNetworkPolicy"},
		{"cilium.io", "CiliumNetworkPolicy"},
		{"cilium.io", "CiliumClusterwideNetworkPolicy"},
	}
}

// pick finds whom a policy selects. Those that select alike share what was known.
func (ix *Index) pick(out *policies, p *policy, known map[string]*picked) {
	out.all = append(out.all, p)
	if p.nodes {
		return
	}
	if p.bad != "" && out.murky[p.namespace] == "" {
		out.murky[p.namespace] = p.obj.String() + " cannot be understood: " + p.bad
	}
	spaces := []string{p.namespace}
	if p.namespace == "" {
		spaces = slices.Sorted(maps.Keys(ix.workloads().spaces))
	}
	for _, name := range spaces {
		crowd := ix.workloads().spaces[name]
		if !p.holds(ix, name) {
			continue
		}
		id := name + "\x00" + p.pods.id()
		found := known[id]
		if found == nil || p.expr != nil || p.bad != "" {
			found = &picked{all: crowd.choose(p, name)}
		}
		if p.expr == nil && p.bad == "" {
			known[id] = found
		}
		p.picks = p.picks || len(found.all) > 0
		if len(found.all) > 0 || p.namespace != "" || p.whole() {
			out.spaces[name] = append(out.spaces[name], p)
		}
		if p.ingress && !found.in {
			found.in = true
			mark(out.in, found.all, p)
		}
		if p.egress && !found.out {
			found.out = true
			mark(out.out, found.all, p)
		}
	}
}

// picked is whom one selector picks in one namespace, and the directions in which
// a policy with it limits them already.
type picked struct {
	all     []*workload
	in, out bool
}

// mark notes the first policy that limits each workload.
func mark(limited map[*workload]*policy, all []*workload, p *policy) {
	for _, w := range all {
		if limited[w] == nil {
			limited[w] = p
		}
	}
}

// choose gives the workloads that a policy selects; pods on the host's network
// are nobody's.
func (c *crowd) choose(p *policy, namespace string) []*workload {
	if c == nil || p.bad != "" {
		return nil
	}
	found := c.pods
	if p.expr == nil {
		found = c.find(&p.pods)
	}
	var out []*workload
	for _, w := range found {
		if w.hostNet {
			continue
		}
		if p.expr != nil {
			l := maps.Clone(w.labels)
			if l == nil {
				l = map[string]string{}
			}
			l["projectcalico.org/namespace"], l["projectcalico.org/orchestrator"] = namespace, "k8s"
			l["projectcalico.org/serviceaccount"] = w.account
			if !p.expr(l) {
				continue
			}
		}
		out = append(out, w)
	}
	return out
}

func readPolicies(o *inventory.Object, content map[string]any) []*policy {
	base := policy{obj: o, content: content}
	switch o.Group() {
	case "networking.k8s.io":
		base.namespace = space(o)
		base.readKubernetes()
	case "policy.networking.k8s.io":
		base.readAdmin()
	case "cilium.io":
		return readCilium(o, content)
	default:
		base.readCalico()
	}
	base.note()
	return []*policy{&base}
}

func (p *policy) note() {
	if p.bad == "" {
		p.bad = p.pods.bad
	}
}

func (p *policy) readKubernetes() {
	spec := fields(p.content, "spec")
	if given := at(spec, "podSelector"); given != nil {
		p.pods = parseSelector(given, nil)
	}
	types := texts(spec, "policyTypes")
	p.ingress = len(types) == 0 || slices.Contains(types, "Ingress")
	p.egress = slices.Contains(types, "Egress") || len(types) == 0 && len(list(spec, "egress")) > 0
}

// readAdmin reads the policies of a cluster's administrator. They limit a direction
// only if a rule refuses all in it: what refuses a few leaves the others open.
func (p *policy) readAdmin() {
	spec := fields(p.content, "spec")
	refuses := func(direction, side string) bool {
		return slices.ContainsFunc(list(spec, direction), func(r any) bool {
			return text(r, "action") == "Deny" && len(list(r, "ports"))+len(list(r, "protocols")) == 0 && slices.ContainsFunc(list(r, side), everyone)
		})
	}
	p.ingress, p.egress = refuses("ingress", "from"), refuses("egress", "to")
	subject := fields(spec, "subject")
	switch {
	case at(subject, "namespaces") != nil:
		s := parseSelector(subject["namespaces"], nil)
		p.bad, p.spaces = s.bad, s.matches
	case at(subject, "pods") != nil:
		s := parseSelector(at(subject, "pods", "namespaceSelector"), nil)
		p.bad, p.spaces = s.bad, s.matches
		p.pods = parseSelector(at(subject, "pods", "podSelector"), nil)
	default:
		p.bad = "it has no subject"
	}
}

// everyone reports whether a peer of an administrator's policy is all pods or all
// addresses.
func everyone(peer any) bool {
	all := func(path ...string) bool {
		given := at(peer, path...)
		s := parseSelector(given, nil)
		return given != nil && s.everything()
	}
	return all("namespaces") || all("pods", "namespaceSelector") && all("pods", "podSelector") ||
		slices.ContainsFunc(texts(peer, "networks"), func(n string) bool { return n == "0.0.0.0/0" || n == "::/0" })
}

func (p *policy) readCalico() {
	spec := fields(p.content, "spec")
	types := texts(spec, "types")
	in, out := len(list(spec, "ingress")) > 0, len(list(spec, "egress")) > 0
	p.ingress = slices.Contains(types, "Ingress") || len(types) == 0 && (in || !out)
	p.egress = slices.Contains(types, "Egress") || len(types) == 0 && out
	read := func(field string) expression {
		e, err := parseCalico(text(spec, field))
		if err != nil {
			p.bad = err.Error()
		}
		return e
	}
	if s := strings.TrimSpace(text(spec, "selector")); s != "" && s != "all()" {
		p.expr = read("selector")
	}
	if text(spec, "serviceAccountSelector") != "" {
		p.bad = "it selects by ServiceAccount labels, which are not resolved here"
	}
	if p.obj.Kind == "NetworkPolicy" {
		p.namespace = space(p.obj)
		return
	}
	spaces := strings.TrimSpace(text(spec, "namespaceSelector"))
	// These are only for the addresses of nodes.
	p.nodes = truth(spec, "doNotTrack") || truth(spec, "preDNAT") || spaces == "global()"
	if spaces == "" {
		return
	}
	if fits := read("namespaceSelector"); fits != nil {
		p.spaces = func(labels map[string]string) bool {
			l := map[string]string{"projectcalico.org/name": labels["kubernetes.io/metadata.name"]}
			maps.Copy(l, labels)
			return fits(l)
		}
	}
}

const (
	ciliumSpace  = "io.kubernetes.pod.namespace"
	ciliumLabels = "io.cilium.k8s.namespace.labels."
	ciliumOwn    = "io.cilium.k8s.policy." // labels that Cilium makes: serviceaccount, cluster
)

// ciliumKey takes the source off a Cilium label: "k8s:app" and "any:app" mean the
// label app.
func ciliumKey(key string) string {
	return strings.TrimPrefix(strings.TrimPrefix(key, "k8s:"), "any:")
}

func readCilium(o *inventory.Object, content map[string]any) []*policy {
	specs := list(content, "specs")
	if spec := at(content, "spec"); spec != nil {
		specs = append([]any{spec}, specs...)
	}
	var out []*policy
	for _, spec := range specs {
		p := &policy{obj: o, content: content}
		if o.Kind == "CiliumNetworkPolicy" {
			p.namespace = space(o)
		}
		given := at(spec, "endpointSelector")
		switch {
		case given != nil:
			p.splitCilium(parseSelector(given, ciliumKey))
		case at(spec, "nodeSelector") != nil:
			p.nodes = true
		default:
			p.bad = "it has no selector"
		}
		limits := func(direction string) bool {
			if on, ok := at(spec, "enableDefaultDeny", direction).(bool); ok {
				return on
			}
			// One empty rule refuses all. A list without rules does nothing.
			return len(list(spec, direction)) > 0 || len(list(spec, direction+"Deny")) > 0
		}
		p.ingress, p.egress = limits("ingress"), limits("egress")
		p.note()
		out = append(out, p)
	}
	return out
}

// splitCilium takes what a selector says of namespaces apart from what it says
// of pods.
func (p *policy) splitCilium(s selector) {
	var spaces selector
	p.pods.bad = s.bad
	for _, n := range s.needs {
		switch {
		case strings.HasPrefix(n.key, ciliumOwn):
			p.pods.bad = "it selects by " + n.key + ", which is not resolved here"
		case n.key == ciliumSpace:
			n.key = "kubernetes.io/metadata.name"
			spaces.needs = append(spaces.needs, n)
		case strings.HasPrefix(n.key, ciliumLabels):
			n.key = strings.TrimPrefix(n.key, ciliumLabels)
			spaces.needs = append(spaces.needs, n)
		default:
			p.pods.needs = append(p.pods.needs, n)
		}
	}
	if len(spaces.needs) > 0 {
		p.spaces = spaces.matches
	}
}
