package graph

import (
	"maps"

	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// widePolicyKinds are those that hold in the whole cluster.
func widePolicyKinds() []Kind {
	return []Kind{
		{"policy.networking.k8s.io", "ClusterNetworkPolicy"},
		{"policy.networking.k8s.io", "AdminNetworkPolicy"},
		{"policy.networking.k8s.io", "BaselineAdminNetworkPolicy"},
		{calicoGroup, "GlobalNetworkPolicy"},
		{calicoCRD, "GlobalNetworkPolicy"},
		{"cilium.io", "CiliumClusterwideNetworkPolicy"},
	}
}

// policiesOf gives those of an object, which nobody changes; one of the whole
// cluster is read once for all views.
func (ix *Index) policiesOf(o *inventory.Object) []*policy {
	if wide()[Kind{o.Group(), o.Kind}] {
		return ix.wideRules()[o]
	}
	return ix.readRules(o)
}

func (ix *Index) readRules(o *inventory.Object) []*policy {
	return keep(ix, o, func() []*policy {
		if content := ix.content(o); content != nil {
			return readPolicies(o, content)
		}
		return nil
	})
}

func (ix *Index) wideRules() map[*inventory.Object][]*policy {
	ix = ix.base()
	return ix.laws.get(func() map[*inventory.Object][]*policy {
		out := map[*inventory.Object][]*policy{}
		for _, k := range widePolicyKinds() {
			for _, o := range ix.Kind(k.Group, k.Kind) {
				out[o] = ix.readRules(o)
			}
		}
		return out
	})
}

// networks gives all network policies, and whom of those here they select.
func (ix *Index) networks() *policies {
	return ix.rules.get(func() *policies {
		if ix.whole == nil {
			return ix.joinNetworks()
		}
		out := &policies{spaces: map[string][]*policy{}, in: map[*workload]*policy{}, out: map[*workload]*policy{}, murky: map[string]string{}}
		known := map[string]*picked{}
		for _, k := range policyKinds() {
			for _, o := range ix.Kind(k.Group, k.Kind) {
				for _, read := range ix.policiesOf(o) {
					p := *read // whom it picks is known here only
					ix.pick(out, &p, known)
				}
			}
		}
		return out
	})
}

// joinNetworks puts what is so in each namespace together.
func (ix *Index) joinNetworks() *policies {
	out := &policies{spaces: map[string][]*policy{}, in: map[*workload]*policy{}, out: map[*workload]*policy{}, murky: map[string]string{}}
	wider := map[*inventory.Object][]*policy{} // in the order of their specifications
	for i, v := range ix.all().list {
		nets := v.networks()
		maps.Copy(out.spaces, nets.spaces)
		maps.Copy(out.in, nets.in)
		maps.Copy(out.out, nets.out)
		maps.Copy(out.murky, nets.murky)
		at := map[*inventory.Object]int{}
		for _, p := range nets.all {
			switch n := at[p.obj]; {
			case p.namespace != "":
				out.all = append(out.all, p)
			case i == 0:
				one := *p
				wider[p.obj] = append(wider[p.obj], &one)
				out.all = append(out.all, &one)
			default:
				wider[p.obj][n].picks = wider[p.obj][n].picks || p.picks
				at[p.obj]++
			}
		}
	}
	return out
}
