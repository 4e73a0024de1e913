package graph

import (
	"maps"
	"slices"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
)

const meshDocs = "https://istio.io/latest/docs/concepts/security/"

// The meshes that take pods in by themselves.
const (
	sidecars = "istio"
	ambient  = "istio in ambient mode"
	linkerd  = "linkerd"
)

// meshed says which mesh takes the pods of a namespace in by itself, or "".
func meshed(labels, notes map[string]string) string {
	switch {
	case labels["istio-injection"] == "enabled" || labels["istio.io/rev"] != "" && labels["istio-injection"] != "disabled" && labels["istio.io/dataplane-mode"] != "ambient":
		return sidecars
	case labels["istio.io/dataplane-mode"] == "ambient":
		return ambient
	case notes["linkerd.io/inject"] == "enabled" || notes["linkerd.io/inject"] == "ingress":
		return linkerd
	}
	return ""
}

// leaves gives the label or annotation by which pods stay out of a mesh, or "".
func (w *workload) leaves(mesh string) string {
	const inject = "sidecar.istio.io/inject"
	label, labelled := w.labels[inject]
	switch {
	case mesh == sidecars && label == "false":
		return `labels["` + inject + `"]`
	case mesh == sidecars && !labelled && w.notes[inject] == "false": // the label goes before it
		return `annotations["` + inject + `"]`
	case mesh == ambient && w.labels["istio.io/dataplane-mode"] == "none":
		return `labels["istio.io/dataplane-mode"]`
	case mesh == linkerd && w.notes["linkerd.io/inject"] == "disabled":
		return `annotations["linkerd.io/inject"]`
	}
	return ""
}

func (ix *Index) mesh(namespace string) string {
	var notes map[string]string
	if o := ix.Find("", "Namespace", "", namespace); o != nil {
		notes = labels(ix.content(o), "metadata", "annotations")
	}
	return meshed(ix.namespaceLabels(namespace), notes)
}

var _ = add(Check{
	Meta: control.Meta{
		ID: "mesh-workload-opts-out", Title: "A workload stays out of the mesh that its namespace is in", Severity: bulwark.SeverityMedium, Category: "mesh",
		Why:         "Its traffic is neither encrypted nor checked by the mesh's policies, and it can call others without an identity.",
		Remediation: "Take the label or annotation away that turns injection off, or move the workload to a namespace of its own.",
		References:  []string{meshDocs},
	},
	Reads: []Kind{{"", "Namespace"}}, Pods: true, Local: true,
	Judge: func(ix *Index, emit emitter) {
		known := map[string]string{}
		for _, w := range ix.workloads().all {
			mesh, seen := known[w.namespace]
			if !seen {
				mesh = ix.mesh(w.namespace)
				known[w.namespace] = mesh
			}
			if mesh == "" {
				continue
			}
			off := w.leaves(mesh)
			switch {
			case w.hostNet:
				emit(w.obj, skip("pods on the host's network cannot be in the mesh"))
			case off == "":
				emit(w.obj, pass())
			default:
				emit(w.obj, fail(w.metadata()+"."+off, "namespace "+w.namespace+" is in the mesh of "+mesh+" and this workload opts out"))
			}
		}
	},
})

// modes are what a PeerAuthentication can say of mutual TLS, the weakest first.
// Unset leaves it to the next wider one.
var modes = []string{"DISABLE", "PERMISSIVE", "STRICT"} //nolint:gochecknoglobals // never changed

// demand is the mode of mutual TLS and who sets it.
type demand struct {
	mode, field string
	by          *inventory.Object
}

// weaker gives the weaker one of two that say something: which of two of one rank
// is in force depends on their age, which files do not show.
func (d demand) weaker(o demand) demand {
	if d.by == nil || o.by != nil && slices.Index(modes, o.mode) < slices.Index(modes, d.mode) {
		return o
	}
	return d
}

// demands gives what the PeerAuthentications of a namespace say: of all its pods,
// and the weakest of what is said of some that are there or of one of their ports.
func (ix *Index) demands(namespace string) (all, some demand) {
	for _, o := range ix.in("security.istio.io", "PeerAuthentication", namespace) {
		spec := fields(ix.content(o), "spec")
		one := demand{text(spec, "mtls", "mode"), "mtls.mode", o}
		if !slices.Contains(modes, one.mode) {
			one = demand{}
		}
		picked := labels(spec, "selector", "matchLabels")
		if len(picked) == 0 {
			all = all.weaker(one)
			continue
		}
		want := equal(picked)
		if !ix.workloads().spaces[namespace].picks(&want) {
			continue
		}
		some = some.weaker(one)
		ports := fields(spec, "portLevelMtls")
		for _, port := range slices.Sorted(maps.Keys(ports)) {
			if mode := text(ports[port], "mode"); slices.Contains(modes, mode) {
				some = some.weaker(demand{mode, "portLevelMtls[" + port + "].mode", o})
			}
		}
	}
	return all, some
}

// strict gives the weakest mode of mutual TLS in a namespace: of some of its pods,
// else of the namespace, else of the whole mesh.
func (ix *Index) strict(namespace string) demand {
	all, some := ix.demands(namespace)
	if all.by == nil {
		all, _ = ix.demands("istio-system")
	}
	if some.by != nil && all.by != nil {
		return all.weaker(some)
	}
	return all
}

// proven reports whether an AuthorizationPolicy of Linkerd for a whole namespace asks
// for the mesh's identity.
func (ix *Index) proven(namespace string) bool {
	return slices.ContainsFunc(ix.in("policy.linkerd.io", "AuthorizationPolicy", namespace), func(o *inventory.Object) bool {
		spec := fields(ix.content(o), "spec")
		return text(spec, "targetRef", "kind") == "Namespace" && slices.ContainsFunc(list(spec, "requiredAuthenticationRefs"), func(r any) bool {
			return text(r, "kind") == "MeshTLSAuthentication" || text(r, "kind") == "ServiceAccount"
		})
	})
}

var _ = add(Check{
	Meta: control.Meta{
		ID: "mesh-mutual-tls-not-strict", Title: "The mesh accepts connections without mutual TLS", Severity: bulwark.SeverityMedium, Category: "mesh",
		Why:         "Any pod, also one outside of the mesh, connects in plain text and without an identity, and policies by identity do not hold it.",
		Remediation: "Add a PeerAuthentication with mtls.mode: STRICT in istio-system, or in the namespace.",
		References:  []string{meshDocs},
	},
	Reads: []Kind{{"", "Namespace"}, {"security.istio.io", "PeerAuthentication"}, {"policy.linkerd.io", "AuthorizationPolicy"}}, Pods: true, Absence: true, Across: true, Local: true,
	Judge: perNamespace(func(ix *Index, name string, o *inventory.Object) control.Result {
		switch ix.mesh(name) {
		case sidecars, ambient:
			d := ix.strict(name)
			switch {
			case d.mode == "STRICT":
				return pass()
			case d.by == nil:
				return fail("", "namespace "+name+" is in the mesh and no PeerAuthentication "+ix.here()+" asks for mutual TLS")
			}
			return fail("", "namespace "+name+": "+d.by.String()+" sets "+d.field+" to "+d.mode, d.by.ObjectRef)
		case linkerd:
			notes := labels(ix.content(o), "metadata", "annotations")
			if slices.Contains([]string{"all-authenticated", "cluster-authenticated", "deny"}, notes["config.linkerd.io/default-inbound-policy"]) || ix.proven(name) {
				return pass()
			}
			return fail(`metadata.annotations["config.linkerd.io/default-inbound-policy"]`, "namespace "+name+" is in the mesh and lets callers in without mutual TLS")
		}
		return skip("the namespace is in no mesh that is known")
	}),
})
