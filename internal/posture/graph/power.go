package graph

import (
	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/graph/rights"
)

// power is something that RBAC can give and that leads to more than it says.
type power struct {
	id    string
	title string
	why   string
	fix   string
	// asks: any one of them suffices.
	asks []rights.Ask
	// severity is that of the power in the whole cluster; in one namespace it is
	// one step less.
	severity bulwark.Severity
	// words say what its holder can do.
	words string
}

func workloadWriters() []rights.Ask {
	write := []string{"create", "update", "patch"}
	return []rights.Ask{
		{Verbs: []string{"create"}, Resources: []string{"pods"}},
		{Verbs: write, Resources: []string{"replicationcontrollers"}, Named: true},
		{Verbs: write, Group: "apps", Resources: []string{"deployments", "daemonsets", "statefulsets", "replicasets"}, Named: true},
		{Verbs: write, Group: "batch", Resources: []string{"jobs", "cronjobs"}, Named: true},
	}
}

const rbacDocs = "https://kubernetes.io/docs/concepts/security/rbac-good-practices/"

// powers are all that workloads should not hold.
func powers() []power {
	write := []string{"create", "update", "patch"}
	return []power{
		{
			id: "workload-reads-all-secrets", title: "A workload can read Secrets of all namespaces", severity: bulwark.SeverityHigh,
			words: "read all Secrets",
			why:   "Whoever breaks the workload has every password and token that the cluster holds, and with those most of the cluster.",
			fix:   "Grant get on the named Secrets in the namespaces that need it, with Roles instead of a ClusterRole.",
			asks:  []rights.Ask{{Verbs: []string{"get", "list", "watch"}, Resources: []string{"secrets"}, Everywhere: true}},
		},
		{
			id: "workload-creates-workloads", title: "A workload can create pods", severity: bulwark.SeverityHigh,
			words: "create or change workloads",
			why:   "A pod that it creates can use any ServiceAccount and mount any Secret of its namespace and, where nothing forbids it, the node.",
			fix:   "Give the right to a controller of its own, in a namespace of its own, with Pod Security Admission enforced there.",
			asks:  workloadWriters(),
		},
		{
			id: "workload-escalates-rbac", title: "A workload can give itself more rights", severity: bulwark.SeverityCritical,
			words: "give out rights that it does not have",
			why:   "With bind or escalate on roles the holder becomes cluster-admin in two requests.",
			fix:   "Take the verbs bind and escalate away, or limit bind to named roles with resourceNames.",
			asks: []rights.Ask{
				{Verbs: []string{"escalate", "bind"}, Group: rbacGroup, Resources: []string{"clusterroles", "roles"}, Named: true},
			},
		},
		{
			id: "workload-impersonates", title: "A workload can act as somebody else", severity: bulwark.SeverityCritical,
			words: "impersonate",
			why:   "Who may impersonate users, groups or ServiceAccounts has the sum of their rights, and the audit log shows their names.",
			fix:   "Take the verb impersonate away, or limit it to named users with resourceNames.",
			asks: []rights.Ask{
				{Verbs: []string{"impersonate"}, Resources: []string{"users", "groups", "serviceaccounts"}, Named: true},
				// Since 1.36 there are verbs for each sort of user, which impersonate-on limits.
				{Verbs: []string{"impersonate:user-info"}, Group: "authentication.k8s.io", Resources: []string{"users"}, Named: true},
				{Verbs: []string{"impersonate:serviceaccount"}, Group: "authentication.k8s.io", Resources: []string{"serviceaccounts"}, Named: true},
				{Verbs: []string{"impersonate:arbitrary-node", "impersonate:associated-node"}, Group: "authentication.k8s.io", Resources: []string{"nodes"}, Named: true},
			},
		},
		{
			id: "workload-mints-tokens", title: "A workload can make tokens of other ServiceAccounts", severity: bulwark.SeverityHigh,
			words: "make tokens of ServiceAccounts",
			why:   "A token of a stronger ServiceAccount is that ServiceAccount.",
			fix:   "Limit create on serviceaccounts/token to the names that are needed with resourceNames.",
			asks:  []rights.Ask{{Verbs: []string{"create"}, Resources: []string{"serviceaccounts/token"}, Named: true}},
		},
		{
			id: "workload-execs-into-pods", title: "A workload can run commands in other pods", severity: bulwark.SeverityHigh,
			words: "run commands in other pods",
			why:   "In another pod its Secrets and its token are within reach, and no image scan sees what runs.",
			fix:   "Take pods/exec, pods/attach and pods/ephemeralcontainers out of the role.",
			asks: []rights.Ask{
				{Verbs: []string{"create", "get"}, Resources: []string{"pods/exec", "pods/attach"}, Named: true},
				{Verbs: []string{"update", "patch"}, Resources: []string{"pods/ephemeralcontainers"}, Named: true},
			},
		},
		{
			id: "workload-reaches-kubelets", title: "A workload can reach the kubelets' API", severity: bulwark.SeverityCritical,
			words: "reach the kubelets through nodes/proxy",
			why:   "The kubelet runs commands in every pod of its node for whoever may proxy to it, and neither admission nor the audit log sees that.",
			fix:   "Take nodes/proxy out of the role; nodes/metrics, nodes/stats, nodes/log and nodes/configz are narrower.",
			asks:  []rights.Ask{{Verbs: []string{"get", "create"}, Resources: []string{"nodes/proxy"}, Named: true}},
		},
		{
			id: "workload-changes-admission", title: "A workload can change what the API server admits", severity: bulwark.SeverityHigh,
			words: "change admission webhooks or policies",
			why:   "A webhook of its own sees every object that is written, Secrets too, and changes it; policies that are in the way can be deleted.",
			fix:   "Limit the right to the controller that owns the configuration and to its name with resourceNames.",
			asks: []rights.Ask{{
				Verbs: append(write, "delete", "deletecollection"), Group: "admissionregistration.k8s.io",
				Resources: []string{"mutatingwebhookconfigurations", "validatingwebhookconfigurations", "validatingadmissionpolicies", "validatingadmissionpolicybindings", "mutatingadmissionpolicies", "mutatingadmissionpolicybindings"},
			}},
		},
		{
			id: "workload-approves-certificates", title: "A workload can approve certificate requests", severity: bulwark.SeverityHigh,
			words: "approve certificate requests",
			why:   "A certificate that the cluster signs for a name like system:masters is cluster-admin until it ends, and cannot be revoked.",
			fix:   "Leave approval to the controller of Kubernetes, or limit approve to the one signer by resourceNames.",
			asks: []rights.Ask{
				{Verbs: []string{"update", "patch"}, Group: "certificates.k8s.io", Resources: []string{"certificatesigningrequests/approval"}, Everywhere: true, Named: true},
			},
		},
		{
			id: "workload-relabels-namespaces", title: "A workload can change namespaces", severity: bulwark.SeverityMedium,
			words: "change labels of namespaces",
			why:   "The labels of a namespace switch Pod Security Admission off and open network policies that select namespaces.",
			fix:   "Take update and patch on namespaces out of the role, or limit them with resourceNames.",
			asks:  []rights.Ask{{Verbs: []string{"update", "patch"}, Resources: []string{"namespaces"}}},
		},
		{
			id: "workload-writes-persistent-volumes", title: "A workload can create PersistentVolumes", severity: bulwark.SeverityHigh,
			words: "create PersistentVolumes",
			why:   "A PersistentVolume may name a folder of the node, and a claim brings it into a pod that Pod Security Admission has nothing against.",
			fix:   "Leave PersistentVolumes to the storage driver, in a namespace that only it uses.",
			asks:  []rights.Ask{{Verbs: []string{"create"}, Resources: []string{"persistentvolumes"}, Everywhere: true}},
		},
	}
}

// holds finds what gives a power.
func (p *power) holds(grants []rights.Grant) (rights.Grant, bool) {
	best, found := rights.Grant{}, false
	for _, a := range p.asks {
		if g, ok := rights.Find(grants, a); ok && (!found || best.Namespace != "" && g.Namespace == "") {
			best, found = g, true
		}
	}
	return best, found
}

// accounts are the ServiceAccounts that workloads run as, each with one answer.
type tenant struct {
	account target
	grants  []rights.Grant
	object  *inventory.Object
	content map[string]any
}

// tenants calls visit for each workload with what its ServiceAccount may do;
// each ServiceAccount is resolved once.
func (ix *Index) tenants(visit func(w *workload, t *tenant)) {
	held := ix.held.get(ix.findTenants)
	for i, w := range ix.workloads().all {
		visit(w, held[i])
	}
}

// findTenants gives that of each workload.
func (ix *Index) findTenants() []*tenant {
	out := make([]*tenant, 0, len(ix.workloads().all))
	known := map[target]*tenant{}
	for _, w := range ix.workloads().all {
		id := target{"ServiceAccount", w.namespace, w.account}
		t := known[id]
		if t == nil {
			t = &tenant{account: id, grants: ix.book().ServiceAccount(w.namespace, w.account)}
			if t.object = ix.find("", "ServiceAccount", w.namespace, w.account); t.object != nil {
				// All else of it would be held until the end.
				const token = "automountServiceAccountToken"
				t.content = map[string]any{token: ix.content(t.object)[token]}
			}
			known[id] = t
		}
		out = append(out, t)
	}
	return out
}

// tokenless says why the pods may be without a token after all, or "": what turns
// that off stands in a ServiceAccount that could not be read.
func (ix *Index) tokenless(w *workload, t *tenant) string {
	if t.object != nil || w.saysToken() {
		return ""
	}
	if why := ix.Unread("", "ServiceAccount", w.namespace); why != "" {
		return "ServiceAccount " + w.account + " could not be read: " + why
	}
	return ""
}

// judgePower makes the judgement of one power.
func judgePower(p power) func(*Index, emitter) {
	return func(ix *Index, emit emitter) {
		type answer struct {
			grant rights.Grant
			held  bool
			all   bool
		}
		known := map[*tenant]answer{}
		ix.tenants(func(w *workload, t *tenant) {
			a, seen := known[t]
			if !seen {
				a.grant, a.held = p.holds(t.grants)
				_, a.all = rights.AllOf(t.grants)
				known[t] = a
			}
			switch {
			case system(w.namespace):
				emit(w.obj, skip("the namespace belongs to Kubernetes itself"))
			case !a.held:
				emit(w.obj, pass())
			case a.all:
				emit(w.obj, skip("its ServiceAccount may do everything, which another control reports"))
			case !w.holdsToken(t.content):
				emit(w.obj, skip("its pods get no token of ServiceAccount "+w.account))
			case ix.tokenless(w, t) != "":
				emit(w.obj, unknown(ix.tokenless(w, t)))
			default:
				emit(w.obj, p.result(ix, w, &a.grant))
			}
		})
	}
}

func (p *power) result(ix *Index, w *workload, g *rights.Grant) control.Result {
	severity := p.severity
	if g.Namespace != "" && !system(g.Namespace) || g.Named {
		severity--
	}
	message := "ServiceAccount " + w.namespace + "/" + w.account + " can " + p.words + ": " + g.Text()
	related := []bulwark.ObjectRef{g.Binding.Ref, g.Role.Ref}
	if ways := ix.edges().exposed[w]; len(ways) > 0 {
		names, refs := opened(ways)
		message += "; it is reached from outside by " + names
		related = append(related, refs...)
		if severity < bulwark.SeverityCritical {
			severity++
		}
	}
	r := fail(w.path+".serviceAccountName", message, related...)
	r.Key, r.Severity = "serviceAccount "+w.account, severity
	return r
}
