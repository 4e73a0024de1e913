package rights_test

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bulwark.dev/bulwark/internal/posture/graph/rights"
)

func web() []rbacv1.Subject {
	return []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "shop", Name: "web"}}
}

func bound(role string) []rights.Binding {
	return []rights.Binding{{Ref: ref("ClusterRoleBinding", "", "b"), RoleKind: "ClusterRole", RoleName: role, Subjects: web()}}
}

// TestAssumed: roles that files do not hold grant what they do in every cluster,
// with what the files add to them by labels.
func TestAssumed(t *testing.T) {
	t.Parallel()
	into := func(role string) rights.Role {
		return rights.Role{Ref: ref("ClusterRole", "", "more"), Labels: map[string]string{"rbac.authorization.k8s.io/aggregate-to-" + role: "true"}, Rules: secrets("get")}
	}
	picks := func(s metav1.LabelSelector) rights.Role {
		return rights.Role{Ref: ref("ClusterRole", "", "mine"), Aggregate: []metav1.LabelSelector{s}}
	}
	for _, tt := range []struct {
		name  string
		roles []rights.Role
		bound string
		asks  rights.Ask
		want  bool
	}{
		{"view does not read Secrets", nil, "view", readSecrets, false},
		{"edit does", nil, "edit", readSecrets, true},
		{"admin has what edit has", nil, "admin", readSecrets, true},
		{"a chart adds to view", []rights.Role{into("view")}, "view", readSecrets, true},
		{"what is added to view, edit and admin have", []rights.Role{into("view")}, "admin", rights.Ask{Verbs: []string{"get"}, Resources: []string{"secrets"}}, true},
		{"what is added to admin, view has not", []rights.Role{into("admin")}, "view", readSecrets, false},
		{"a selector that fits all takes cluster-admin in", []rights.Role{picks(metav1.LabelSelector{})}, "mine", readSecrets, true},
		{
			"and so does one for the label of default roles",
			[]rights.Role{picks(metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/bootstrapping": "rbac-defaults"}})},
			"mine", readSecrets, true,
		},
		{"a role of the files stands for itself", []rights.Role{{Ref: ref("ClusterRole", "", "edit")}}, "edit", readSecrets, false},
		{
			"a controller's role in the hands of others", nil, "system:controller:clusterrole-aggregation-controller",
			rights.Ask{Verbs: []string{"escalate"}, Group: "rbac.authorization.k8s.io", Resources: []string{"clusterroles"}, Everywhere: true},
			true,
		},
	} {
		b := rights.New(tt.roles, bound(tt.bound), false)
		if _, got := rights.Find(b.ServiceAccount("shop", "web"), tt.asks); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	if b := rights.New(nil, bound("cluster-admin"), true); len(b.ServiceAccount("shop", "web")) != 0 {
		t.Error("a cluster that has no such role grants nothing by it")
	}
}

// TestEmptyName: a request without a name has the name "", which a rule can list.
func TestEmptyName(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		verb, resource string
		names          []string
		some, all      bool
	}{
		{"list", "secrets", []string{"one"}, true, false},
		{"list", "secrets", []string{""}, true, true},
		{"list", "secrets", []string{"one", ""}, true, true},
		{"watch", "secrets", []string{""}, true, true},
		{"create", "pods", []string{""}, true, true},
		{"create", "pods", []string{"one"}, false, false},
		{"create", "serviceaccounts/token", []string{""}, false, false},
		{"create", "serviceaccounts/token", []string{"one", ""}, true, false},
		{"deletecollection", "pods", []string{""}, true, true},
		{"get", "secrets", []string{""}, false, false}, // no object has that name
		{"get", "secrets", []string{"", "one"}, true, false},
	} {
		grants := []rights.Grant{{Rule: rbacv1.PolicyRule{Verbs: []string{tt.verb}, APIGroups: []string{""}, Resources: []string{tt.resource}, ResourceNames: tt.names}}}
		ask := rights.Ask{Verbs: []string{tt.verb}, Resources: []string{tt.resource}}
		_, all := rights.Find(grants, ask)
		ask.Named = true
		found, some := rights.Find(grants, ask)
		if all != tt.all || some != tt.some || some && found.Named == tt.all {
			t.Errorf("%s %s of %q: for all %v, for some %v (%v); want %v, %v", tt.verb, tt.resource, tt.names, all, some, found.Named, tt.all, tt.some)
		}
	}
}

// TestAllOf names the grant that is enough by itself.
func TestAllOf(t *testing.T) {
	t.Parallel()
	b := rights.New([]rights.Role{{Ref: ref("ClusterRole", "", "part"), Rules: []rbacv1.PolicyRule{{Verbs: []string{"*"}, APIGroups: []string{""}, Resources: []string{"configmaps"}}}}}, append(
		[]rights.Binding{{Ref: ref("ClusterRoleBinding", "", "a"), RoleKind: "ClusterRole", RoleName: "part", Subjects: web()}}, bound("cluster-admin")...,
	), false)
	g, ok := rights.AllOf(b.ServiceAccount("shop", "web"))
	if !ok || g.Role.Ref.Name != "cluster-admin" {
		t.Errorf("%v, %v; want the grant by cluster-admin", g, ok)
	}
}
