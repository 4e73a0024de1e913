package chart

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

func parseSeconds(t *testing.T, s string) int64 {
	t.Helper()
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return int64(d / time.Second)
}

// rights lists rules as "verb resource.group[/name]", sorted.
func rights(t *testing.T, rules []rbacv1.PolicyRule) []string {
	t.Helper()
	set := map[string]bool{}
	for _, r := range rules {
		if len(r.NonResourceURLs) > 0 || len(r.APIGroups) != 1 {
			t.Errorf("rule %v: one group per rule, and no URLs", r)
		}
		names := r.ResourceNames
		if len(names) == 0 {
			names = []string{""}
		}
		for _, v := range r.Verbs {
			for _, resource := range r.Resources {
				for _, n := range names {
					line := strings.TrimSuffix(fmt.Sprintf("%s %s.%s", v, resource, r.APIGroups[0]), ".")
					if n != "" {
						line += " " + n
					}
					if set[line] {
						t.Errorf("%s is given twice", line)
					}
					set[line] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// writes leaves out what only reads.
func writes(rights []string) []string {
	return slices.DeleteFunc(slices.Clone(rights), func(r string) bool {
		verb, _, _ := strings.Cut(r, " ")
		return verb == "get" || verb == "list" || verb == "watch"
	})
}

// What the controller may change outside its own namespace is this and no more.
func TestClusterWideWrites(t *testing.T) {
	always := []string{
		"create events.events.k8s.io",
		"patch backendtlspolicies/status.gateway.networking.k8s.io", "patch gatewayclasses/status.gateway.networking.k8s.io",
		"patch gateways/status.gateway.networking.k8s.io", "patch grpcroutes/status.gateway.networking.k8s.io",
		"patch httproutes/status.gateway.networking.k8s.io", "patch listenersets/status.gateway.networking.k8s.io",
		"patch securitypolicies/status.bulwark.dev", "patch tlsroutes/status.gateway.networking.k8s.io",
	}
	provision := []string{
		"create services", "patch services", "delete services",
		"create endpointslices.discovery.k8s.io", "patch endpointslices.discovery.k8s.io", "delete endpointslices.discovery.k8s.io",
	}
	for set, want := range map[string][]string{
		"provision.enabled=true":  slices.Concat(always, provision),
		"provision.enabled=false": always,
	} {
		role := named[*rbacv1.ClusterRole](t, decode(t, render(t, options(t, set))), controller)
		slices.Sort(want)
		if diff := cmp.Diff(want, writes(rights(t, role.Rules))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", set, diff)
		}
	}
}

// What can be bounded to Bulwark's own namespace, and by name, is.
func TestOwnNamespace(t *testing.T) {
	objects := decode(t, render(t, options(t)))
	role := named[*rbacv1.Role](t, objects, controller)
	if role.Namespace != ns {
		t.Errorf("the Role is in %q", role.Namespace)
	}
	for _, r := range rights(t, role.Rules) {
		verb, rest, _ := strings.Cut(r, " ")
		if _, name, ok := strings.Cut(rest, " "); !ok && verb != "create" {
			t.Errorf("%s: names every object of the namespace (%q)", r, name)
		}
	}
	cluster := named[*rbacv1.ClusterRole](t, objects, controller)
	for _, r := range rights(t, cluster.Rules) {
		for _, kept := range []string{"leases", "pods", "serviceaccounts", "tokenreviews", "roles", "clusterroles", "nodes", "deployments"} {
			if strings.Contains(r, " "+kept) {
				t.Errorf("%s is given for the whole cluster", r)
			}
		}
	}
	// The names that rules hold are the names that the pods are told.
	d := deployments(t, objects)
	if !slices.Contains(d[controller].Spec.Template.Spec.Containers[0].Args, "--lease=bulwark-controller") {
		t.Error("the Lease is not the one that the Role names")
	}
	volume := slices.IndexFunc(d[gateway].Spec.Template.Spec.Volumes, func(v corev1.Volume) bool { return v.Secret != nil })
	secret := d[gateway].Spec.Template.Spec.Volumes[volume].Secret.SecretName
	if !slices.Contains(rights(t, role.Rules), "update secrets "+secret) {
		t.Errorf("the controller may not renew %s", secret)
	}
}

// No rule of any rendering is wider than it can be read.
func TestNoWildcards(t *testing.T) {
	for name, set := range renderings() {
		objects := decode(t, render(t, options(t, set...)))
		rules := map[string][]rbacv1.PolicyRule{}
		for _, r := range of[*rbacv1.ClusterRole](objects) {
			rules[r.Name] = r.Rules
			if r.AggregationRule != nil {
				t.Errorf("%s: %s collects rules of others", name, r.Name)
			}
		}
		for _, r := range of[*rbacv1.Role](objects) {
			rules["own/"+r.Name] = r.Rules
		}
		for role, list := range rules {
			for _, right := range rights(t, list) {
				verb, _, _ := strings.Cut(right, " ")
				if strings.Contains(right, "*") || slices.Contains([]string{"escalate", "bind", "impersonate", "deletecollection"}, verb) ||
					strings.Contains(right, "/token") || strings.Contains(right, "/exec") || strings.Contains(right, "/proxy") {
					t.Errorf("%s: %s may %s", name, role, right)
				}
			}
		}
	}
}

// Nobody gains the right to open an API by installing the chart.
func TestAggregation(t *testing.T) {
	to := func(r *rbacv1.ClusterRole) []string {
		var out []string
		for k, v := range r.Labels {
			if into, ok := strings.CutPrefix(k, "rbac.authorization.k8s.io/aggregate-to-"); ok && v == "true" {
				out = append(out, into)
			}
		}
		slices.Sort(out)
		return out
	}
	for set, want := range map[string][]string{"rbac.aggregateEdit=false": nil, "rbac.aggregateEdit=true": {"admin", "edit"}} {
		objects := decode(t, render(t, options(t, set)))
		if diff := cmp.Diff(want, to(named[*rbacv1.ClusterRole](t, objects, "bulwark-policy-edit"))); diff != "" {
			t.Errorf("%s: writing (-want +got):\n%s", set, diff)
		}
		if diff := cmp.Diff([]string{"admin", "edit", "view"}, to(named[*rbacv1.ClusterRole](t, objects, "bulwark-policy-view"))); diff != "" {
			t.Errorf("%s: reading (-want +got):\n%s", set, diff)
		}
	}
}

// Every rule says in the template why it is needed.
func TestEveryRuleHasAReason(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(chartDir, "templates", "rbac.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	rules, reasoned, role := 0, false, false
	for _, line := range lines {
		switch {
		case strings.HasPrefix(line, "kind:"):
			role = line == "kind: ClusterRole" || line == "kind: Role"
		case strings.HasPrefix(line, "  name: bulwark-policy-"):
			role = false // one rule; the role's own comment is its reason
		case strings.HasPrefix(line, "# "):
			reasoned = true
		case role && strings.HasPrefix(line, "- apiGroups:"):
			rules++
			if !reasoned {
				t.Errorf("rule %d has no comment: %s", rules, line)
			}
		case strings.HasPrefix(line, "  verbs:"):
			reasoned = false
		}
	}
	if rules < 10 {
		t.Errorf("%d rules seen; the scan is broken", rules)
	}
}
