package rights_test

import (
	"encoding/json"
	"flag"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/posture/graph/rights"
)

// oracle is what the API server's own authorizer says of random objects. A test of
// the module test/control writes the file, and holds it to the authorizer.
var oracle = flag.String("oracle", "testdata/oracle.json", "a file with the authorizer's answers")

type answers struct {
	Questions struct {
		Users []struct {
			Name   string   `json:"name"`
			Groups []string `json:"groups"`
		} `json:"users"`
		Verbs      []string `json:"verbs"`
		Resources  []string `json:"resources"`
		Names      []string `json:"names"`
		Namespaces []string `json:"namespaces"`
	} `json:"questions"`
	Worlds []struct {
		Roles               []rbacv1.Role               `json:"roles"`
		ClusterRoles        []rbacv1.ClusterRole        `json:"clusterRoles"`
		RoleBindings        []rbacv1.RoleBinding        `json:"roleBindings"`
		ClusterRoleBindings []rbacv1.ClusterRoleBinding `json:"clusterRoleBindings"`
		Allowed             string                      `json:"allowed"`
	} `json:"worlds"`
}

// TestOracle: all that is granted, and nothing else, is what the authorizer allows.
func TestOracle(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(*oracle)
	if err != nil {
		t.Fatal(err)
	}
	var a answers
	if err := json.Unmarshal(raw, &a); err != nil {
		t.Fatal(err)
	}
	asked, allowed := 0, 0
	for i := range a.Worlds {
		w := &a.Worlds[i]
		b := rights.New(rolesOf(w.Roles, w.ClusterRoles), bindingsOf(w.RoleBindings, w.ClusterRoleBindings), false)
		n := 0
		want := func() bool {
			digit, err := strconv.ParseUint(w.Allowed[n/4:n/4+1], 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			bit := digit&(8>>(n%4)) != 0
			n++
			return bit
		}
		for _, u := range a.Questions.Users {
			grants := b.User(u.Name)
			for _, g := range u.Groups {
				grants = append(grants, b.Group(g)...)
			}
			if rest, ok := strings.CutPrefix(u.Name, "system:serviceaccount:"); ok {
				namespace, name, _ := strings.Cut(rest, ":")
				if own := b.ServiceAccount(namespace, name); len(own) != len(grants) {
					t.Errorf("world %d: ServiceAccount gives %d grants of %s, its user and groups have %d", i, len(own), u.Name, len(grants))
				}
			}
			for _, verb := range a.Questions.Verbs {
				for _, what := range a.Questions.Resources {
					group, resource, _ := strings.Cut(what, ":")
					for _, name := range a.Questions.Names {
						for _, namespace := range a.Questions.Namespaces {
							yes := want()
							asked++
							if yes {
								allowed++
							}
							got := granted(grants, verb, group, resource, name, namespace)
							if got != yes {
								t.Fatalf("world %d: %s %s %s of %q, name %q in %q: %v, the authorizer says %v", i, u.Name, verb, resource, group, name, namespace, got, yes)
							}
						}
					}
				}
			}
			agreeWithFind(t, grants, a.Questions.Verbs, a.Questions.Resources)
		}
		if (n+3)/4 != len(w.Allowed) {
			t.Fatalf("world %d has %d answers to %d questions", i, 4*len(w.Allowed), n)
		}
	}
	t.Logf("%d answers, %d of them yes", asked, allowed)
	if asked < 50000 || allowed < 1000 {
		t.Errorf("only %d answers, %d of them yes", asked, allowed)
	}
}

// granted decides one request as an authorizer does.
func granted(grants []rights.Grant, verb, group, resource, name, namespace string) bool {
	return slices.ContainsFunc(grants, func(g rights.Grant) bool {
		return (g.Namespace == "" || g.Namespace == namespace) && rights.Allows(&g.Rule, verb, group, resource) &&
			(len(g.Rule.ResourceNames) == 0 || slices.Contains(g.Rule.ResourceNames, name))
	})
}

// agreeWithFind: what Find gives of the whole cluster is what requests of every sort
// show. A name that no rule lists stands for any.
func agreeWithFind(t *testing.T, grants []rights.Grant, verbs, resources []string) {
	t.Helper()
	for _, verb := range verbs {
		for _, what := range resources {
			group, resource, _ := strings.Cut(what, ":")
			name := "none of them"
			if slices.Contains([]string{"list", "deletecollection"}, verb) || verb == "create" && !strings.Contains(resource, "/") {
				name = ""
			}
			want := granted(grants, verb, group, resource, name, "")
			ask := rights.Ask{Verbs: []string{verb}, Resources: []string{resource}, Group: group, Everywhere: true}
			if _, got := rights.Find(grants, ask); got != want {
				t.Fatalf("Find says %v of %s on %s of %q in the whole cluster, requests say %v: %v", got, verb, resource, group, want, grants)
			}
		}
	}
}

func rolesOf(roles []rbacv1.Role, clusterRoles []rbacv1.ClusterRole) []rights.Role {
	var out []rights.Role
	for i := range roles {
		r := &roles[i]
		out = append(out, rights.Role{Ref: ref("Role", r.Namespace, r.Name), Labels: r.Labels, Rules: r.Rules})
	}
	for i := range clusterRoles {
		r := &clusterRoles[i]
		one := rights.Role{Ref: ref("ClusterRole", "", r.Name), Labels: r.Labels, Rules: r.Rules}
		if r.AggregationRule != nil {
			one.Aggregate = r.AggregationRule.ClusterRoleSelectors
		}
		out = append(out, one)
	}
	return out
}

func bindingsOf(bindings []rbacv1.RoleBinding, clusterBindings []rbacv1.ClusterRoleBinding) []rights.Binding {
	var out []rights.Binding
	put := func(at bulwark.ObjectRef, to rbacv1.RoleRef, subjects []rbacv1.Subject) {
		out = append(out, rights.Binding{Ref: at, RoleKind: to.Kind, RoleName: to.Name, Subjects: subjects})
	}
	for i := range bindings {
		put(ref("RoleBinding", bindings[i].Namespace, bindings[i].Name), bindings[i].RoleRef, bindings[i].Subjects)
	}
	for i := range clusterBindings {
		put(ref("ClusterRoleBinding", "", clusterBindings[i].Name), clusterBindings[i].RoleRef, clusterBindings[i].Subjects)
	}
	return out
}
