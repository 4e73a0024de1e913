package graph

import (
	"cmp"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/graph/rights"
)

// builtin reports whether Kubernetes makes a ClusterRole or binding by itself, as far
// as the name tells.
func builtin(name string) bool {
	return strings.HasPrefix(name, "system:") || slices.Contains([]string{"cluster-admin", "admin", "edit", "view"}, name)
}

// inherent reports whether every cluster has the role that a binding names.
func inherent(b *rights.Binding) bool {
	switch b.RoleKind {
	case "ClusterRole":
		return builtin(b.RoleName)
	case "Role":
		return b.Ref.Namespace == "kube-system" && (b.RoleName == "extension-apiserver-authentication-reader" || strings.HasPrefix(b.RoleName, "system:")) ||
			b.Ref.Namespace == "kube-public" && b.RoleName == "system:controller:bootstrap-signer"
	}
	return false
}

var _ = add(Check{
	Meta: control.Meta{
		ID: "binding-role-missing", Title: "A binding names a role that does not exist", Severity: bulwark.SeverityLow, Category: "rbac",
		Why:         "Whoever may create a role of that name decides what the subjects of the binding can do.",
		Remediation: "Delete the binding, or create the role that was meant.",
		References:  []string{rbacDocs},
	},
	Reads: rbacKinds(), Absence: true,
	Judge: func(ix *Index, emit emitter) {
		for _, b := range ix.book().Bindings() {
			o := ix.origin(b.Ref.Kind, b.Ref.Namespace, b.Ref.Name)
			switch {
			case o == nil:
			case ix.book().Role(b) != nil, inherent(b) && !ix.Facts.Live:
				emit(o, pass())
			default:
				r := fail("roleRef", roleName(b)+" is not "+ix.here())
				r.Severity = ix.missing(bulwark.SeverityLow)
				emit(o, r)
			}
		}
	},
})

var _ = add(Check{
	Meta: control.Meta{
		ID: "binding-subject-missing", Title: "A binding names a ServiceAccount that does not exist", Severity: bulwark.SeverityMedium, Category: "rbac",
		Why:         "Whoever may create a ServiceAccount of that name in that namespace has the rights at once.",
		Remediation: "Take the subject out of the binding, or create the ServiceAccount that was meant.",
		References:  []string{rbacDocs},
	},
	Reads: append(rbacKinds(), Kind{"", "ServiceAccount"}), Absence: true, Across: true,
	Judge: func(ix *Index, emit emitter) {
		for _, b := range ix.book().Bindings() {
			o := ix.origin(b.Ref.Kind, b.Ref.Namespace, b.Ref.Name)
			if o == nil {
				continue
			}
			bad, own := false, false
			for i, s := range b.Subjects {
				if s.Kind != rbacv1.ServiceAccountKind {
					continue
				}
				message, namespace := "", cmp.Or(s.Namespace, b.Ref.Namespace)
				switch {
				case namespace == "kube-system" && strings.HasPrefix(b.Ref.Name, "system:"):
					// It is for a controller that may be turned off. Of other namespaces the
					// name proves nothing: anybody may take it.
					own = true
				case namespace == "":
					message = "ServiceAccount " + s.Name + " has no namespace, so it is nobody"
				case s.Name != "default" && ix.find("", "ServiceAccount", namespace, s.Name) == nil:
					message = "ServiceAccount " + namespace + "/" + s.Name + " is not " + ix.here()
				}
				if message != "" {
					bad = true
					r := fail(item("subjects", i), message)
					r.Key, r.Severity = namespace+"/"+s.Name, ix.missing(bulwark.SeverityMedium)
					emit(o, r)
				}
			}
			switch {
			case bad:
			case own:
				emit(o, skip("Kubernetes makes this binding itself"))
			default:
				emit(o, pass())
			}
		}
	},
})

var _ = add(Check{
	Meta: control.Meta{
		ID: "role-unused", Title: "A role is bound to nobody", Severity: bulwark.SeverityInfo, Category: "rbac",
		Why:         "Roles that nobody uses are bound again by mistake, and hide those that matter in a review.",
		Remediation: "Delete the role.",
		References:  []string{rbacDocs},
	},
	Reads: rbacKinds(), Absence: true, Across: true,
	Judge: func(ix *Index, emit emitter) {
		used := map[*rights.Role]bool{}
		for _, b := range ix.book().Bindings() {
			used[ix.book().Role(b)] = true
		}
		for _, kind := range []string{"Role", "ClusterRole"} {
			for _, o := range ix.Kind(rbacGroup, kind) {
				if builtin(o.Name) {
					emit(o, skip("Kubernetes makes this role itself"))
					continue
				}
				if aggregated(o.Labels) {
					emit(o, skip("its rules are part of an aggregated role"))
					continue
				}
				namespace := ""
				if kind == "Role" {
					namespace = space(o)
				}
				probe := rights.Binding{Ref: bulwark.ObjectRef{Namespace: namespace}, RoleKind: kind, RoleName: o.Name}
				if used[ix.book().Role(&probe)] {
					emit(o, pass())
					continue
				}
				emit(o, fail("", "no binding "+ix.here()+" refers to it"))
			}
		}
	},
})

var _ = add(Check{
	Meta: control.Meta{
		ID: "cluster-admin-subjects", Title: "Somebody may do everything in the cluster by a role of another name", Severity: bulwark.SeverityHigh, Category: "rbac",
		Why:         "Each of these names is the whole cluster to whoever steals its credentials, and a search for cluster-admin does not find it.",
		Remediation: "Give people a role that fits their work and a time-limited grant for the rest; keep one break-glass account.",
		References:  []string{rbacDocs},
	},
	Reads: rbacKinds(), Across: true,
	Judge: func(ix *Index, emit emitter) {
		known := map[*rights.Role]bool{}
		for _, b := range ix.book().Bindings() {
			o := ix.origin(b.Ref.Kind, b.Ref.Namespace, b.Ref.Name)
			role := ix.book().Role(b)
			if o == nil || role == nil || b.Ref.Namespace != "" {
				continue
			}
			all, seen := known[role]
			if !seen {
				all = rights.All(role.Rules)
				known[role] = all
			}
			switch {
			case !all:
				emit(o, pass())
				continue
			case b.RoleName == "cluster-admin":
				emit(o, skip("a binding to cluster-admin by its name is what rbac-cluster-admin-binding reports"))
				continue
			}
			for i, s := range b.Subjects {
				if !slices.Contains([]string{rbacv1.UserKind, rbacv1.GroupKind, rbacv1.ServiceAccountKind}, s.Kind) {
					continue // nobody
				}
				if s.Kind == rbacv1.GroupKind && s.Name == "system:masters" {
					emit(o, skip("system:masters passes by RBAC anyway; whom it has is in certificates"))
					continue
				}
				name := s.Kind + " " + s.Name
				if s.Kind == rbacv1.ServiceAccountKind {
					name = s.Kind + " " + s.Namespace + "/" + s.Name
				}
				r := fail(item("subjects", i), name+" may do everything by "+role.Ref.String(), role.Ref)
				r.Key = name
				if everybody(s) {
					r.Severity = bulwark.SeverityCritical
				}
				emit(o, r)
			}
		}
	},
})

// everybody reports whether a subject is a group that a stranger, or any pod, is
// in.
func everybody(s rbacv1.Subject) bool {
	return s.Kind == rbacv1.GroupKind && slices.Contains([]string{"system:authenticated", "system:unauthenticated", "system:serviceaccounts"}, s.Name) ||
		s.Kind == rbacv1.UserKind && s.Name == "system:anonymous"
}

func aggregated(labels map[string]string) bool {
	for k, v := range labels {
		if strings.Contains(k, "aggregate-to-") && v == "true" {
			return true
		}
	}
	return false
}

// roleName names the role of a binding.
func roleName(b *rights.Binding) string {
	if b.RoleKind == "Role" {
		return "Role " + strings.TrimPrefix(b.Ref.Namespace+"/", "/") + b.RoleName
	}
	return b.RoleKind + " " + b.RoleName
}
