package graph

import (
	"slices"
	"strings"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/posture/control"
)

// makerKinds are the objects of operators that bring Secrets from elsewhere.
func makerKinds() []Kind {
	return []Kind{
		{"external-secrets.io", "ExternalSecret"},
		{"bitnami.com", "SealedSecret"},
		{"cert-manager.io", "Certificate"},
		{"secrets.hashicorp.com", "VaultStaticSecret"},
		{"secrets.hashicorp.com", "VaultDynamicSecret"},
		{"secrets-store.csi.x-k8s.io", "SecretProviderClass"},
	}
}

// made gives the Secrets that an operator will bring.
func (ix *Index) made() map[target]bool {
	return ix.brought.get(func() map[target]bool {
		out := map[target]bool{}
		for _, k := range makerKinds() {
			for _, o := range ix.Kind(k.Group, k.Kind) {
				put := func(name string) { out[target{"Secret", space(o), name}] = name != "" }
				content := ix.content(o)
				if k.Group != "cert-manager.io" {
					put(o.Name)
				}
				for _, path := range [][]string{{"spec", "target", "name"}, {"spec", "secretName"}, {"spec", "destination", "name"}, {"spec", "template", "metadata", "name"}} {
					put(text(content, path...))
				}
				for _, s := range list(content, "spec", "secretObjects") {
					put(text(s, "secretName"))
				}
			}
		}
		return out
	})
}

// absent judges the references of workloads to Secrets or ConfigMaps.
func absent(kind string) func(*Index, emitter) {
	return func(ix *Index, emit emitter) {
		for _, w := range ix.workloads().all {
			seen, bad := map[string]bool{}, false
			asked := false
			for _, u := range w.refs {
				if u.kind != kind || u.optional || seen[u.name] {
					continue
				}
				seen[u.name], asked = true, true
				known := ix.find("", kind, u.namespace, u.name) != nil || kind == "ConfigMap" && slices.Contains([]string{"kube-root-ca.crt", "openshift-service-ca.crt"}, u.name) || kind == "Secret" && ix.made()[u.target]
				if known {
					continue
				}
				bad = true
				r := fail(u.field, kind+" "+u.namespace+"/"+u.name+" is not "+ix.here())
				r.Container, r.Key, r.Severity = u.container, kind+" "+u.name, ix.missing(bulwark.SeverityMedium)
				emit(w.obj, r)
			}
			if asked && !bad {
				emit(w.obj, pass())
			}
		}
	}
}

var _ = add(Check{
	Meta: control.Meta{
		ID: "secret-reference-missing", Title: "A workload refers to a Secret that does not exist", Severity: bulwark.SeverityMedium, Category: "secrets",
		Why:         "The pods do not start, and whoever may create a Secret of that name decides what they are given.",
		Remediation: "Create the Secret, name the one that was meant, or mark the reference optional.",
	},
	Reads: append(makerKinds(), Kind{"", "Secret"}), Pods: true, Absence: true, Local: true, Judge: absent("Secret"),
})

var _ = add(Check{
	Meta: control.Meta{
		ID: "configmap-reference-missing", Title: "A workload refers to a ConfigMap that does not exist", Severity: bulwark.SeverityMedium, Category: "pods",
		Why:         "The pods do not start, and whoever may create a ConfigMap of that name decides how they are configured.",
		Remediation: "Create the ConfigMap, name the one that was meant, or mark the reference optional.",
	},
	Reads: []Kind{{"", "ConfigMap"}}, Pods: true, Absence: true, Local: true, Judge: absent("ConfigMap"),
})

var _ = add(Check{
	Meta: control.Meta{
		ID: "secret-unused", Title: "A Secret is used by nothing", Severity: bulwark.SeverityLow, Category: "secrets",
		Why:         "A credential that nobody needs can still be stolen, and nobody notices when it is.",
		Remediation: "Revoke the credential where it is accepted, then delete the Secret.",
	},
	Reads: []Kind{{"", "Secret"}, {"", "ServiceAccount"}, {"networking.k8s.io", "Ingress"}, {gatewayGroup, "Gateway"}}, Pods: true, Any: true, Absence: true,
	Judge: func(ix *Index, emit emitter) {
		for _, o := range ix.Kind("", "Secret") {
			s := ix.secrets()[target{"Secret", space(o), o.Name}]
			if s == nil {
				continue
			}
			helm := strings.HasPrefix(s.kind, "helm.sh/")
			switch {
			case slices.Contains([]string{"kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"}, s.kind) || helm || system(s.namespace) || o.Owner != "":
				emit(o, skip("the cluster or an operator keeps Secrets of this type"))
			case keyed(o.Labels):
				emit(o, skip("it is found by its labels"))
			case len(ix.uses()[target{"Secret", s.namespace, o.Name}]) > 0:
				emit(o, pass())
			case len(ix.Unreadable) > 0:
				u := &ix.Unreadable[0]
				emit(o, unknown("no use was found, but "+u.Kind+" objects could not all be read: "+u.Reason))
			case ix.Facts.Partial:
				emit(o, unknown("no use was found, but the file may have only the kinds that were asked for"))
			default:
				emit(o, fail("", "no workload, route or other object "+ix.here()+" refers to Secret "+s.namespace+"/"+o.Name))
			}
		}
	},
})

// keyed reports whether a Secret has labels by which programs find it.
func keyed(labels map[string]string) bool {
	for k := range labels {
		domain, _, found := strings.Cut(k, "/")
		if found && slices.Contains([]string{"bulwark.dev", "argocd.argoproj.io", "cert-manager.io", "owner", "sealedsecrets.bitnami.com"}, domain) || labels["owner"] == "helm" {
			return true
		}
	}
	return false
}

var _ = add(Check{
	Meta: control.Meta{
		ID: "serviceaccount-missing", Title: "A workload names a ServiceAccount that does not exist", Severity: bulwark.SeverityMedium, Category: "serviceaccounts",
		Why:         "Its pods are not created, until somebody makes a ServiceAccount of that name with rights of their choice.",
		Remediation: "Create the ServiceAccount, or name the one that was meant.",
	},
	Reads: []Kind{{"", "ServiceAccount"}}, Pods: true, Absence: true, Local: true,
	Judge: func(ix *Index, emit emitter) {
		for _, w := range ix.workloads().all {
			if w.account == "default" || ix.find("", "ServiceAccount", w.namespace, w.account) != nil {
				emit(w.obj, pass())
				continue
			}
			r := fail(w.path+".serviceAccountName", "ServiceAccount "+w.namespace+"/"+w.account+" is not "+ix.here())
			r.Key, r.Severity = "serviceAccount "+w.account, ix.missing(bulwark.SeverityMedium)
			emit(w.obj, r)
		}
	},
})

var _ = add(Check{
	Meta: control.Meta{
		ID: "serviceaccount-unused", Title: "A ServiceAccount with rights runs nothing", Severity: bulwark.SeverityLow, Category: "serviceaccounts",
		Why:         "Nobody misses its token, and whoever may create pods in the namespace can run one with its rights.",
		Remediation: "Delete the ServiceAccount and its bindings, or at least the bindings.",
	},
	Reads: append(rbacKinds(), Kind{"", "ServiceAccount"}), Pods: true, Absence: true, Local: true,
	Judge: func(ix *Index, emit emitter) {
		used := map[target]bool{}
		for _, w := range ix.workloads().all {
			used[target{"ServiceAccount", w.namespace, w.account}] = true
		}
		for _, o := range ix.Kind("", "ServiceAccount") {
			namespace := space(o)
			grants := ix.book().Own(namespace, o.Name)
			switch {
			case o.Name == "default" || system(namespace):
				emit(o, skip("Kubernetes makes it itself"))
			case used[target{"ServiceAccount", namespace, o.Name}]:
				emit(o, pass())
			case len(grants) == 0:
				r := fail("", "no workload "+ix.here()+" runs as it")
				r.Severity = bulwark.SeverityInfo
				emit(o, r)
			default:
				emit(o, fail("", "no workload "+ix.here()+" runs as it, and it has rights: "+grants[0].Text(), grants[0].Binding.Ref, grants[0].Role.Ref))
			}
		}
	},
})
