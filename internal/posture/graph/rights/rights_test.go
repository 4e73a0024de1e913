package rights_test

import (
	"fmt"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/posture/graph/rights"
)

func TestAllows(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name                     string
		verbs, groups, resources []string
		verb, group, resource    string
		want                     bool
	}{
		{"exact", []string{"get"}, []string{""}, []string{"pods"}, "get", "", "pods", true},
		{"other verb", []string{"get"}, []string{""}, []string{"pods"}, "list", "", "pods", false},
		{"other group", []string{"get"}, []string{"apps"}, []string{"pods"}, "get", "", "pods", false},
		{"all groups", []string{"get"}, []string{"*"}, []string{"pods"}, "get", "apps", "pods", true},
		{"all verbs", []string{"*"}, []string{""}, []string{"pods"}, "escalate", "", "pods", true},
		{"a resource is not its subresources", []string{"create"}, []string{""}, []string{"pods"}, "create", "", "pods/exec", false},
		{"a subresource is not its resource", []string{"get"}, []string{""}, []string{"pods/log"}, "get", "", "pods", false},
		{"everything has subresources, too", []string{"create"}, []string{""}, []string{"*"}, "create", "", "pods/exec", true},
		{"one subresource of all", []string{"create"}, []string{""}, []string{"*/exec"}, "create", "", "pods/exec", true},
		{"one subresource of all is no other", []string{"create"}, []string{""}, []string{"*/scale"}, "create", "", "pods/exec", false},
		{"all subresources of one is no pattern", []string{"create"}, []string{""}, []string{"pods/*"}, "create", "", "pods/exec", false},
		{"upper case is another verb", []string{"GET"}, []string{""}, []string{"pods"}, "get", "", "pods", false},
		{"nothing", nil, nil, nil, "get", "", "pods", false},
		{"a URL rule is no resource rule", []string{"*"}, nil, nil, "get", "", "pods", false},
	}
	for _, tt := range tests {
		r := rbacv1.PolicyRule{Verbs: tt.verbs, APIGroups: tt.groups, Resources: tt.resources, NonResourceURLs: []string{"*"}}
		if got := rights.Allows(&r, tt.verb, tt.group, tt.resource); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func ref(kind, namespace, name string) bulwark.ObjectRef {
	return bulwark.ObjectRef{APIVersion: "rbac.authorization.k8s.io/v1", Kind: kind, Namespace: namespace, Name: name}
}

func secrets(verbs ...string) []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{Verbs: verbs, APIGroups: []string{""}, Resources: []string{"secrets"}}}
}

var readSecrets = rights.Ask{Verbs: []string{"get"}, Resources: []string{"secrets"}}

func TestSubjects(t *testing.T) {
	t.Parallel()
	role := rights.Role{Ref: ref("ClusterRole", "", "reader"), Rules: secrets("get")}
	tests := []struct {
		name    string
		subject rbacv1.Subject
		want    bool
	}{
		{"by name", rbacv1.Subject{Kind: "ServiceAccount", Namespace: "shop", Name: "web"}, true},
		{"other name", rbacv1.Subject{Kind: "ServiceAccount", Namespace: "shop", Name: "api"}, false},
		{"other namespace", rbacv1.Subject{Kind: "ServiceAccount", Namespace: "bank", Name: "web"}, false},
		{"no namespace", rbacv1.Subject{Kind: "ServiceAccount", Name: "web"}, false},
		{"as a user", rbacv1.Subject{Kind: "User", Name: "system:serviceaccount:shop:web"}, true},
		{"all accounts", rbacv1.Subject{Kind: "Group", Name: "system:serviceaccounts"}, true},
		{"all of the namespace", rbacv1.Subject{Kind: "Group", Name: "system:serviceaccounts:shop"}, true},
		{"all of another", rbacv1.Subject{Kind: "Group", Name: "system:serviceaccounts:bank"}, false},
		{"everybody", rbacv1.Subject{Kind: "Group", Name: "system:authenticated"}, true},
		{"strangers", rbacv1.Subject{Kind: "Group", Name: "system:unauthenticated"}, false},
		{"no kind", rbacv1.Subject{Name: "web", Namespace: "shop"}, false},
	}
	for _, tt := range tests {
		b := rights.New([]rights.Role{role}, []rights.Binding{{
			Ref: ref("ClusterRoleBinding", "", "b"), RoleKind: "ClusterRole", RoleName: "reader", Subjects: []rbacv1.Subject{tt.subject, tt.subject},
		}}, false)
		grants := b.ServiceAccount("shop", "web")
		if _, got := rights.Find(grants, readSecrets); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
		if tt.want && len(grants) != 1 {
			t.Errorf("%s: named twice, it is granted %d times", tt.name, len(grants))
		}
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	web := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "shop", Name: "web"}}
	roles := []rights.Role{
		{Ref: ref("ClusterRole", "", "reader"), Rules: secrets("get")},
		{Ref: ref("Role", "shop", "reader"), Rules: secrets("list")},
	}
	b := rights.New(roles, []rights.Binding{
		{Ref: ref("RoleBinding", "bank", "a"), RoleKind: "ClusterRole", RoleName: "reader", Subjects: web},
		{Ref: ref("RoleBinding", "shop", "b"), RoleKind: "Role", RoleName: "reader", Subjects: web},
		{Ref: ref("RoleBinding", "bank", "c"), RoleKind: "Role", RoleName: "reader", Subjects: web}, // no such role there
		{Ref: ref("ClusterRoleBinding", "", "d"), RoleKind: "Role", RoleName: "reader", Subjects: web},
	}, false)
	short := rights.New(roles, []rights.Binding{
		{Ref: ref("RoleBinding", "shop", "e"), RoleKind: "Role", RoleName: "reader", Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "web"}}},
	}, false)
	if len(short.ServiceAccount("shop", "web")) != 1 || len(short.ServiceAccount("bank", "web")) != 0 {
		t.Error("a ServiceAccount without a namespace is one of the RoleBinding's namespace")
	}
	grants := b.ServiceAccount("shop", "web")
	if len(grants) != 2 {
		t.Fatalf("%d grants, want 2: %v", len(grants), grants)
	}
	if g, ok := rights.Find(grants, readSecrets); !ok || g.Namespace != "bank" {
		t.Errorf("get is granted in %q, want bank", g.Namespace)
	}
	everywhere := readSecrets
	everywhere.Everywhere = true
	if _, ok := rights.Find(grants, everywhere); ok {
		t.Error("a RoleBinding grants nothing in the whole cluster")
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	named := func(verb, resource string) bool {
		g := rights.Grant{Rule: rbacv1.PolicyRule{Verbs: []string{verb}, APIGroups: []string{""}, Resources: []string{resource}, ResourceNames: []string{"one"}}}
		_, ok := rights.Find([]rights.Grant{g}, rights.Ask{Verbs: []string{verb}, Resources: []string{resource}, Named: true})
		return ok
	}
	for _, tt := range []struct {
		verb, resource string
		want           bool
	}{
		{"get", "secrets", true},
		{"create", "pods", false}, // a request to create has no name
		{"deletecollection", "pods", false},
		{"create", "serviceaccounts/token", true},
		{"impersonate", "users", true},
	} {
		if got := named(tt.verb, tt.resource); got != tt.want {
			t.Errorf("%s %s limited to a name: %v, want %v", tt.verb, tt.resource, got, tt.want)
		}
	}
}

func TestAll(t *testing.T) {
	t.Parallel()
	rule := func(verbs, groups, resources []string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{Verbs: verbs, APIGroups: groups, Resources: resources}
	}
	star := []string{"*"}
	for _, tt := range []struct {
		name  string
		rules []rbacv1.PolicyRule
		want  bool
	}{
		{"one rule", []rbacv1.PolicyRule{rule(star, star, star)}, true},
		{"and others", []rbacv1.PolicyRule{rule([]string{"get"}, []string{""}, []string{"pods"}), rule(star, star, star)}, true},
		{"core only", []rbacv1.PolicyRule{rule(star, []string{""}, star)}, false},
		{"reads", []rbacv1.PolicyRule{rule([]string{"get"}, star, star)}, false},
		{"nothing", nil, false},
	} {
		if got := rights.All(tt.rules); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestAggregation: circles end, roles reach through others, and what the file says
// of an aggregated role's own rules does not count.
func TestAggregation(t *testing.T) {
	t.Parallel()
	picks := func(values ...string) []metav1.LabelSelector {
		var out []metav1.LabelSelector
		for _, v := range values {
			out = append(out, metav1.LabelSelector{MatchLabels: map[string]string{"into": v}})
		}
		return out
	}
	into := func(v string) map[string]string { return map[string]string{"into": v} }
	roles := []rights.Role{
		{Ref: ref("ClusterRole", "", "a"), Labels: into("b"), Aggregate: picks("a"), Rules: secrets("stale")},
		{Ref: ref("ClusterRole", "", "b"), Labels: into("a"), Aggregate: picks("b", "c")},
		{Ref: ref("ClusterRole", "", "part"), Labels: into("c"), Rules: secrets("get")},
		{Ref: ref("Role", "shop", "no part"), Labels: into("c"), Rules: secrets("list")},
		{Ref: ref("ClusterRole", "", "bad"), Aggregate: []metav1.LabelSelector{{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "into", Operator: "Like"}}}}},
		{Ref: ref("ClusterRole", "", "none"), Aggregate: []metav1.LabelSelector{}},
	}
	b := rights.New(roles, nil, false)
	for name, want := range map[string]int{"a": 1, "b": 1, "bad": 0, "none": 0} {
		r := b.Role(&rights.Binding{Ref: ref("ClusterRoleBinding", "", "x"), RoleKind: "ClusterRole", RoleName: name})
		if len(r.Rules) != want {
			t.Errorf("%s has %d rules, want %d: %v", name, len(r.Rules), want, r.Rules)
		}
	}
}

// TestManyAggregated: thousands of roles that all collect one another cost no more
// than one.
func TestManyAggregated(t *testing.T) {
	t.Parallel()
	var roles []rights.Role
	for i := range 20000 {
		roles = append(roles, rights.Role{
			Ref: ref("ClusterRole", "", fmt.Sprint("loop", i)), Labels: map[string]string{"into": "all"},
			Aggregate: []metav1.LabelSelector{{MatchLabels: map[string]string{"into": "all"}}},
		}, rights.Role{Ref: ref("ClusterRole", "", fmt.Sprint("part", i)), Labels: map[string]string{"into": "all"}, Rules: secrets("get")})
	}
	b := rights.New(roles, nil, false)
	r := b.Role(&rights.Binding{RoleKind: "ClusterRole", RoleName: "loop7"})
	if len(r.Rules) != 20000 {
		t.Errorf("%d rules, want those of 20000 roles", len(r.Rules))
	}
}
