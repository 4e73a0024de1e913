// Package oracle asks the API server's own RBAC authorizer what random roles and
// bindings allow, and writes the answers down for a test of package rights, which
// is in a module that does not have that authorizer.
package oracle_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/kubernetes/pkg/registry/rbac/validation"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac"
)

var (
	update = flag.Bool("update", false, "write the answers anew")
	worlds = flag.Int("worlds", 60, "how many sets of random objects")
	file   = flag.String("file", "../../../internal/posture/graph/rights/testdata/oracle.json", "where the answers are")
)

// world is one set of objects with the answers to all questions, in the order of
// the nested loops in ask, as hexadecimal bits.
type world struct {
	Roles               []*rbacv1.Role               `json:"roles"`
	ClusterRoles        []*rbacv1.ClusterRole        `json:"clusterRoles"`
	RoleBindings        []*rbacv1.RoleBinding        `json:"roleBindings"`
	ClusterRoleBindings []*rbacv1.ClusterRoleBinding `json:"clusterRoleBindings"`
	Allowed             string                       `json:"allowed"`
}

// questions are what is asked of each world: all of them combined.
type questions struct {
	Users      []asker  `json:"users"`
	Verbs      []string `json:"verbs"`
	Resources  []string `json:"resources"` // group:resource or group:resource/subresource
	Names      []string `json:"names"`
	Namespaces []string `json:"namespaces"`
}

type asker struct {
	Name   string   `json:"name"`
	Groups []string `json:"groups"`
}

func asked() questions {
	account := func(namespace, name string) asker {
		return asker{"system:serviceaccount:" + namespace + ":" + name, []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"}}
	}
	return questions{
		Users: []asker{
			account("shop", "web"), account("bank", "web"), account("shop", "api"),
			{"ann", []string{"ops", "system:authenticated"}},
			{"root", []string{"system:masters", "system:authenticated"}},
			{"system:anonymous", []string{"system:unauthenticated"}},
		},
		Verbs:      []string{"get", "list", "create", "deletecollection", "escalate", "impersonate"},
		Resources:  []string{":secrets", ":pods", ":pods/exec", "apps:deployments", "apps:deployments/scale", "rbac.authorization.k8s.io:clusterroles"},
		Names:      []string{"", "web", "x"},
		Namespaces: []string{"", "shop", "bank"},
	}
}

func some(r *rand.Rand, most int, from ...string) []string {
	var out []string
	for range 1 + r.IntN(most) {
		out = append(out, from[r.IntN(len(from))])
	}
	return out
}

func pick(r *rand.Rand, from ...string) string { return from[r.IntN(len(from))] }

func randomRules(r *rand.Rand) []rbacv1.PolicyRule {
	var out []rbacv1.PolicyRule
	for range 1 + r.IntN(3) {
		rule := rbacv1.PolicyRule{
			Verbs:     some(r, 4, "get", "list", "create", "deletecollection", "escalate", "impersonate", "*", "*", "GET", ""),
			APIGroups: some(r, 3, "", "", "apps", "rbac.authorization.k8s.io", "*", "core"),
			Resources: some(r, 5, "secrets", "pods", "pods/exec", "deployments", "deployments/scale", "clusterroles", "*", "*/exec", "*/scale", "pods/*", "*/*", "Pods", "/exec", ""),
		}
		if r.IntN(3) == 0 {
			rule.ResourceNames = some(r, 2, "web", "x", "", "*")
		}
		if r.IntN(6) == 0 {
			rule.NonResourceURLs = some(r, 2, "*", "/healthz", "/api/*")
		}
		if r.IntN(8) == 0 {
			rule.Resources = nil
		}
		out = append(out, rule)
	}
	return out
}

func randomSubjects(r *rand.Rand) []rbacv1.Subject {
	var out []rbacv1.Subject
	for range 1 + r.IntN(3) {
		s := rbacv1.Subject{
			Kind:     pick(r, "ServiceAccount", "ServiceAccount", "ServiceAccount", "User", "User", "Group", "Group", "serviceaccount", "Robot", ""),
			APIGroup: pick(r, "", "rbac.authorization.k8s.io", "nonsense.example"), Namespace: pick(r, "", "shop", "shop", "bank"),
		}
		s.Name = pick(r, "web", "web", "api", "ann", "*", "system:anonymous", "system:serviceaccount:shop:web")
		if s.Kind == "Group" {
			s.Name = pick(r, "ops", "system:authenticated", "system:unauthenticated", "system:serviceaccounts", "system:serviceaccounts:shop", "system:masters", "*")
		}
		out = append(out, s)
		if r.IntN(5) == 0 {
			out = append(out, s) // named twice
		}
	}
	return out
}

func randomRef(r *rand.Rand) rbacv1.RoleRef {
	return rbacv1.RoleRef{
		APIGroup: pick(r, "rbac.authorization.k8s.io", "", "nonsense.example"), Kind: pick(r, "Role", "Role", "ClusterRole", "ClusterRole", "ClusterRole", "clusterrole"),
		Name: pick(r, "a", "b", "c", "gone"),
	}
}

// randomWorld makes objects as an API server could have them, and some that it
// refuses: what they mean is for the authorizer to say.
func randomWorld(r *rand.Rand) *world {
	w := &world{}
	for _, name := range []string{"a", "b", "c", "d"} {
		for _, namespace := range []string{"shop", "bank"} {
			if r.IntN(2) == 0 {
				w.Roles = append(w.Roles, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Rules: randomRules(r)})
			}
		}
		role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: randomRules(r)}
		if r.IntN(2) == 0 {
			role.Labels = map[string]string{"into": pick(r, "one", "two")}
		}
		if r.IntN(4) == 0 {
			role.Rules, role.AggregationRule = nil, &rbacv1.AggregationRule{ClusterRoleSelectors: randomSelectors(r)}
		}
		w.ClusterRoles = append(w.ClusterRoles, role)
	}
	for i := range 2 + r.IntN(4) {
		w.RoleBindings = append(w.RoleBindings, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("n", i), Namespace: pick(r, "shop", "bank")}, RoleRef: randomRef(r), Subjects: randomSubjects(r),
		})
	}
	for i := range r.IntN(4) {
		w.ClusterRoleBindings = append(w.ClusterRoleBindings, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("c", i)}, RoleRef: randomRef(r), Subjects: randomSubjects(r),
		})
	}
	return w
}

func randomSelectors(r *rand.Rand) []metav1.LabelSelector {
	var out []metav1.LabelSelector
	for range 1 + r.IntN(2) {
		s := metav1.LabelSelector{MatchLabels: map[string]string{"into": pick(r, "one", "two", "three")}}
		if r.IntN(2) == 0 {
			// Roles without the label stay out: those that every cluster has are not here.
			s = metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
				{Key: "into", Operator: metav1.LabelSelectorOpExists},
				{Key: "into", Operator: metav1.LabelSelectorOperator(pick(r, "In", "NotIn")), Values: some(r, 2, "one", "two")},
			}}
		}
		out = append(out, s)
	}
	return out
}

// filled gives the ClusterRoles as the controller of aggregation leaves them: each
// of those that aggregate has the rules of what it selects, but for itself, for as
// long as that changes anything.
func filled(t *testing.T, roles []*rbacv1.ClusterRole) []*rbacv1.ClusterRole {
	t.Helper()
	out := make([]*rbacv1.ClusterRole, len(roles))
	for i, r := range roles {
		out[i] = r.DeepCopy()
	}
	for again := true; again; {
		again = false
		for _, r := range out {
			if r.AggregationRule == nil {
				continue
			}
			var rules []rbacv1.PolicyRule
			for i := range r.AggregationRule.ClusterRoleSelectors {
				s, err := metav1.LabelSelectorAsSelector(&r.AggregationRule.ClusterRoleSelectors[i])
				if err != nil {
					t.Fatal(err)
				}
				for _, from := range out {
					if from.Name == r.Name || !s.Matches(labels.Set(from.Labels)) {
						continue
					}
					for _, rule := range from.Rules {
						if !slices.ContainsFunc(rules, func(have rbacv1.PolicyRule) bool { return have.String() == rule.String() }) {
							rules = append(rules, rule)
						}
					}
				}
			}
			again = again || len(rules) != len(r.Rules)
			r.Rules = rules
		}
	}
	return out
}

// ask gives the answers of the authorizer.
func ask(t *testing.T, w *world, q *questions) string {
	t.Helper()
	_, static := validation.NewTestRuleResolver(w.Roles, w.RoleBindings, filled(t, w.ClusterRoles), w.ClusterRoleBindings)
	a := rbac.New(static, static, static, static)
	var bits []bool
	for _, u := range q.Users {
		for _, verb := range q.Verbs {
			for _, what := range q.Resources {
				group, resource, _ := strings.Cut(what, ":")
				resource, sub, _ := strings.Cut(resource, "/")
				for _, name := range q.Names {
					for _, namespace := range q.Namespaces {
						d, _, err := a.Authorize(context.Background(), authorizer.AttributesRecord{
							User: &user.DefaultInfo{Name: u.Name, Groups: u.Groups}, Verb: verb, APIGroup: group, Resource: resource, Subresource: sub,
							Name: name, Namespace: namespace, ResourceRequest: true,
						})
						if err != nil {
							t.Fatal(err)
						}
						bits = append(bits, d == authorizer.DecisionAllow)
					}
				}
			}
		}
	}
	var out strings.Builder
	for chunk := range slices.Chunk(bits, 4) {
		n := int64(0)
		for i, b := range chunk {
			if b {
				n |= 8 >> i
			}
		}
		out.WriteString(strconv.FormatInt(n, 16))
	}
	return out.String()
}

// TestAnswers holds the file with the answers to what the authorizer says now.
func TestAnswers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	q := asked()
	var out bytes.Buffer
	put := func(v any, end string) {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(raw)
		out.WriteString(end)
	}
	out.WriteString("{\"questions\":")
	put(q, ",\n\"worlds\":[\n")
	yes, all := 0, 0
	for i := range *worlds {
		w := randomWorld(r)
		w.Allowed = ask(t, w, &q)
		end := ",\n"
		if i == *worlds-1 {
			end = "\n]}\n"
		}
		put(w, end)
		for _, c := range w.Allowed {
			n, err := strconv.ParseUint(string(c), 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			yes += strings.Count(strconv.FormatUint(n, 2), "1")
			all += 4
		}
	}
	t.Logf("%d worlds, %d answers, %d of them yes", *worlds, all, yes)
	if yes < all/100 {
		t.Errorf("%d of %d answers are yes: too few to prove anything", yes, all)
	}
	if *update {
		if err := os.WriteFile(*file, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(*file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, out.Bytes()) {
		t.Errorf("%s is not what the authorizer says; write it anew with -update", *file)
	}
}
