package graph

import (
	"cmp"
	"slices"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
)

const meshDocs = "https://istio.io/latest/docs/concepts/security/"

// meshed says which mesh takes the pods of a namespace in by itself, or "".
func meshed(labels, notes map[string]string) string {
	switch {
	case labels["istio-injection"] == "enabled" || labels["istio.io/rev"] != "" && labels["istio-injection"] != "disabled" || labels["istio.io/dataplane-mode"] == "ambient":
		return "istio"
	case notes["linkerd.io/inject"] == "enabled" || notes["linkerd.io/inject"] == "ingress":
		return "linkerd"
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
	Reads: []Kind{{"", "Namespace"}}, Pods: true,
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
			meta := w.path[:len(w.path)-len("spec")] + "metadata"
			var off string
			switch {
			case w.hostNet:
				emit(w.obj, skip("pods on the host's network cannot be in the mesh"))
				continue
			case mesh == "istio" && w.labels["sidecar.istio.io/inject"] == "false":
				off = `labels["sidecar.istio.io/inject"]`
			case mesh == "istio" && w.notes["sidecar.istio.io/inject"] == "false":
				off = `annotations["sidecar.istio.io/inject"]`
			case mesh == "istio" && w.labels["istio.io/dataplane-mode"] == "none":
				off = `labels["istio.io/dataplane-mode"]`
			case mesh == "linkerd" && w.notes["linkerd.io/inject"] == "disabled":
				off = `annotations["linkerd.io/inject"]`
			}
			if off == "" {
				emit(w.obj, pass())
				continue
			}
			emit(w.obj, fail(meta+"."+off, "namespace "+w.namespace+" is in the mesh of "+mesh+" and this workload opts out"))
		}
	},
})

// strict gives the mode of mutual TLS in a namespace by PeerAuthentication: that
// of the namespace, else that of the whole mesh.
func (ix *Index) strict(namespace string) (mode string, by *inventory.Object) {
	for _, where := range []string{namespace, "istio-system"} {
		for _, o := range ix.in("security.istio.io", "PeerAuthentication", where) {
			content := ix.content(o)
			if len(fields(content, "spec", "selector", "matchLabels")) > 0 {
				continue
			}
			if m := cmp.Or(text(content, "spec", "mtls", "mode"), "UNSET"); m != "UNSET" {
				return m, o
			}
		}
	}
	return "", nil
}

var _ = add(Check{
	Meta: control.Meta{
		ID: "mesh-mutual-tls-not-strict", Title: "The mesh accepts connections without mutual TLS", Severity: bulwark.SeverityMedium, Category: "mesh",
		Why:         "Any pod, also one outside of the mesh, connects in plain text and without an identity, and policies by identity do not hold it.",
		Remediation: "Add a PeerAuthentication with mtls.mode: STRICT in istio-system, or in the namespace.",
		References:  []string{meshDocs},
	},
	Reads: []Kind{{"", "Namespace"}, {"security.istio.io", "PeerAuthentication"}, {"policy.linkerd.io", "AuthorizationPolicy"}}, Pods: true, Absence: true, Across: true,
	Judge: perNamespace(func(ix *Index, name string, o *inventory.Object) control.Result {
		switch ix.mesh(name) {
		case "istio":
			mode, by := ix.strict(name)
			switch {
			case mode == "STRICT":
				return pass()
			case by == nil:
				return fail("", "namespace "+name+" is in the mesh and no PeerAuthentication "+ix.here()+" asks for mutual TLS")
			}
			return fail("", "namespace "+name+": "+by.String()+" sets mtls.mode to "+mode, by.ObjectRef)
		case "linkerd":
			notes := labels(ix.content(o), "metadata", "annotations")
			if slices.Contains([]string{"all-authenticated", "cluster-authenticated", "deny"}, notes["config.linkerd.io/default-inbound-policy"]) || len(ix.in("policy.linkerd.io", "AuthorizationPolicy", name)) > 0 {
				return pass()
			}
			return fail(`metadata.annotations["config.linkerd.io/default-inbound-policy"]`, "namespace "+name+" is in the mesh and lets callers in without mutual TLS")
		}
		return skip("the namespace is in no mesh that is known")
	}),
})
