package graph

import (
	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/graph/rights"
)

// powerKinds are what the rights of a workload rest on, and what makes them worse.
func powerKinds() []Kind { return append(exposureReads(rbacKinds()...), Kind{"", "ServiceAccount"}) }

var _ = addPowers()

// addPowers adds one check for each power.
func addPowers() (n int) {
	for _, p := range powers() {
		n = add(Check{
			Meta: control.Meta{
				ID: p.id, Title: p.title, Severity: p.severity, Category: "rbac", Why: p.why, Remediation: p.fix, References: []string{rbacDocs},
			},
			Reads: powerKinds(), Weight: exposureReads(), Pods: true, Across: true, Local: true,
			Judge: judgePower(p),
		})
	}
	return n
}

var _ = add(Check{
	Meta: control.Meta{
		ID: "workload-cluster-admin", Title: "A workload may do everything in the cluster", Severity: bulwark.SeverityCritical, Category: "rbac",
		Why:         "Whoever breaks the workload owns the cluster: every Secret, every node, every other workload.",
		Remediation: "Bind its ServiceAccount to a role with only the verbs and resources that it uses; `bulwark rbac suggest` writes one from the audit log.",
		References:  []string{rbacDocs},
	},
	Reads: powerKinds(), Weight: exposureReads(), Pods: true, Across: true, Local: true,
	Judge: func(ix *Index, emit emitter) {
		ix.tenants(func(w *workload, t *tenant) {
			g, all := rights.AllOf(t.grants)
			switch {
			case system(w.namespace):
				emit(w.obj, skip("the namespace belongs to Kubernetes itself"))
			case !all:
				emit(w.obj, pass())
			case !w.holdsToken(t.content):
				emit(w.obj, skip("its pods get no token of ServiceAccount "+w.account))
			case ix.tokenless(w, t) != "":
				emit(w.obj, unknown(ix.tokenless(w, t)))
			default:
				p := power{severity: bulwark.SeverityCritical, words: "do everything"}
				emit(w.obj, p.result(ix, w, &g))
			}
		})
	},
})

var _ = add(Check{
	Meta: control.Meta{
		ID: "exposed-secrets-reader", Title: "A workload that is reached from outside can read Secrets", Severity: bulwark.SeverityHigh, Category: "rbac",
		Why:         "One flaw in it, used over the network, gives all Secrets that its ServiceAccount may read.",
		Remediation: "Mount the one Secret that it needs, and take get, list and watch on secrets out of its role.",
		References:  []string{rbacDocs},
	},
	Reads: powerKinds(), Pods: true, Across: true, Local: true,
	Judge: func(ix *Index, emit emitter) {
		ix.tenants(func(w *workload, t *tenant) {
			ways := ix.edges().exposed[w]
			if len(ways) == 0 {
				return
			}
			g, held := rights.Find(t.grants, rights.Ask{Verbs: []string{"get", "list", "watch"}, Resources: []string{"secrets"}})
			if !held || !w.holdsToken(t.content) {
				emit(w.obj, pass())
				return
			}
			if why := ix.tokenless(w, t); why != "" {
				emit(w.obj, unknown(why))
				return
			}
			names, refs := opened(ways)
			r := fail(w.path+".serviceAccountName", "it is reached from outside by "+names+" and ServiceAccount "+w.account+" can read Secrets: "+g.Text(),
				append(refs, g.Binding.Ref, g.Role.Ref)...)
			r.Key = "serviceAccount " + w.account
			if g.Namespace == "" {
				r.Severity = bulwark.SeverityCritical
			}
			emit(w.obj, r)
		})
	},
})

var _ = add(Check{
	Meta: control.Meta{
		ID: "default-serviceaccount-has-rights", Title: "The default ServiceAccount of a namespace has rights", Severity: bulwark.SeverityHigh, Category: "serviceaccounts",
		Why:         "Every pod that names no ServiceAccount runs as this one, so each of them has the rights that were meant for one.",
		Remediation: "Make a ServiceAccount for the workload that needs the rights, bind them to that one, and name it in serviceAccountName.",
		References:  []string{"https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/"},
	},
	Reads: append(rbacKinds(), Kind{"", "ServiceAccount"}, Kind{"", "Namespace"}), Pods: true, Across: true, Local: true,
	Judge: func(ix *Index, emit emitter) {
		running := map[string][]*workload{}
		ix.tenants(func(w *workload, t *tenant) {
			if w.account == "default" && w.holdsToken(t.content) {
				running[w.namespace] = append(running[w.namespace], w)
			}
		})
		for _, name := range ix.namespaces() {
			o := ix.find("", "ServiceAccount", name, "default")
			grants := ix.book().Own(name, "default")
			missing := ""
			if o == nil {
				o, missing = ix.namespaceObject(name), ix.Unread("", "ServiceAccount", name)
			}
			if o == nil {
				continue
			}
			if missing != "" {
				emit(o, unknown("ServiceAccount objects could not all be read: "+missing))
				continue
			}
			r := pass()
			switch run := running[name]; {
			case len(grants) > 0 && len(run) > 0:
				g := grants[0]
				r = fail("", run[0].obj.String()+" and whatever else names no ServiceAccount in "+name+" has "+count(len(grants), "rule")+"; one: "+g.Text(), append(podRefs(run), g.Binding.Ref, g.Role.Ref)...)
				if _, all := rights.AllOf(grants); all {
					r.Severity = bulwark.SeverityCritical
				}
			case len(grants) > 0:
				r = fail("", "whatever names no ServiceAccount in "+name+" would have "+count(len(grants), "rule")+"; one: "+grants[0].Text(), grants[0].Binding.Ref, grants[0].Role.Ref)
				r.Severity = bulwark.SeverityMedium
			}
			r.Key = "default of " + name
			emit(o, r)
		}
	},
})
