package graph

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/graph/rights"
)

const rbacGroup = "rbac.authorization.k8s.io"

func rbacKinds() []Kind {
	return []Kind{{rbacGroup, "Role"}, {rbacGroup, "ClusterRole"}, {rbacGroup, "RoleBinding"}, {rbacGroup, "ClusterRoleBinding"}}
}

// book gives all of RBAC, resolved.
func (ix *Index) book() *rights.Book {
	ix = ix.base()
	return ix.grants.get(func() *rights.Book {
		var roles []rights.Role
		var bindings []rights.Binding
		for _, kind := range []string{"Role", "ClusterRole"} {
			for _, o := range ix.Kind(rbacGroup, kind) {
				roles = append(roles, *keep(ix, o, func() *rights.Role { r := readRole(o, ix.content(o)); return &r }))
			}
		}
		for _, kind := range []string{"RoleBinding", "ClusterRoleBinding"} {
			for _, o := range ix.Kind(rbacGroup, kind) {
				bindings = append(bindings, *keep(ix, o, func() *rights.Binding { b := readBinding(o, ix.content(o)); return &b }))
			}
		}
		return rights.New(roles, bindings, ix.Facts.Live)
	})
}

func readRole(o *inventory.Object, content map[string]any) rights.Role {
	r := rights.Role{Ref: o.ObjectRef, Labels: o.Labels}
	if o.Kind == "Role" {
		r.Ref.Namespace = space(o)
	} else {
		r.Ref.Namespace = ""
	}
	for _, e := range list(content, "rules") {
		r.Rules = append(r.Rules, rbacv1.PolicyRule{
			Verbs: texts(e, "verbs"), APIGroups: texts(e, "apiGroups"), Resources: texts(e, "resources"),
			ResourceNames: names(e, "resourceNames"), NonResourceURLs: texts(e, "nonResourceURLs"),
		})
	}
	if rule := fields(content, "aggregationRule"); rule != nil {
		r.Aggregate = []metav1.LabelSelector{}
		for _, e := range list(rule, "clusterRoleSelectors") {
			s := metav1.LabelSelector{MatchLabels: labels(e, "matchLabels")}
			for _, x := range list(e, "matchExpressions") {
				s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{
					Key: text(x, "key"), Operator: metav1.LabelSelectorOperator(text(x, "operator")), Values: texts(x, "values"),
				})
			}
			r.Aggregate = append(r.Aggregate, s)
		}
	}
	return r
}

// names reads a list of names in which null is "", as an API server takes it.
func names(v any, field string) []string {
	var out []string
	for _, e := range list(v, field) {
		if s, ok := e.(string); ok || e == nil {
			out = append(out, s)
		}
	}
	return out
}

func readBinding(o *inventory.Object, content map[string]any) rights.Binding {
	b := rights.Binding{Ref: o.ObjectRef, RoleKind: text(content, "roleRef", "kind"), RoleName: text(content, "roleRef", "name")}
	if o.Kind == "RoleBinding" {
		b.Ref.Namespace = space(o)
	} else {
		b.Ref.Namespace = ""
	}
	for _, e := range list(content, "subjects") {
		b.Subjects = append(b.Subjects, rbacv1.Subject{Kind: text(e, "kind"), APIGroup: text(e, "apiGroup"), Name: text(e, "name"), Namespace: text(e, "namespace")})
	}
	return b
}

// origin finds the object that a role or binding was read from.
func (ix *Index) origin(kind, namespace, name string) *inventory.Object {
	if namespace == "" {
		return ix.Find(rbacGroup, kind, "", name)
	}
	return ix.find(rbacGroup, kind, namespace, name)
}
