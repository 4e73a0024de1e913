package rights

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/auth/rbac/validation"

	"bulwark.dev/bulwark"
)

const rbacGroup = "rbac.authorization.k8s.io"

// assumed are the roles that each cluster starts with and that somebody could bind
// to an account of his own, as far as the questions asked here go. They stand in
// where the files that were given do not hold them. They aggregate as those of a
// cluster do: a role of a chart with the label adds to them, and a selector that
// fits them takes them in.
func assumed() []Role {
	read := []string{"get", "list", "watch"}
	write := []string{"create", "update", "patch", "delete", "deletecollection"}
	core := []string{"pods", "services", "configmaps", "persistentvolumeclaims", "replicationcontrollers", "serviceaccounts"}
	inside := []string{"secrets", "pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "services/proxy"}
	apps := []string{"deployments", "daemonsets", "replicasets", "statefulsets"}
	all := slices.Concat(read, write)
	out := []Role{
		role("cluster-admin", everything()...),
		aggregated("admin", "", "admin"), aggregated("edit", "admin", "edit"), aggregated("view", "edit", "view"),
		part("view", rule("", read, append(core, "endpoints")...), rule("apps", read, apps...), rule("batch", read, "jobs", "cronjobs")),
		part("edit",
			rule("", all, append(inside, core...)...), rule("", []string{"impersonate"}, "serviceaccounts"),
			rule("", []string{"create"}, "serviceaccounts/token"), rule("apps", all, apps...), rule("batch", all, "jobs", "cronjobs"),
			rule("networking.k8s.io", all, "ingresses", "networkpolicies")),
		part("admin", rule(rbacGroup, all, "roles", "rolebindings")),
		role("system:kube-controller-manager", rule("", append(read, "create", "update", "delete"), "secrets", "serviceaccounts"), rule("", []string{"create"}, "serviceaccounts/token")),
		role("system:kubelet-api-admin", rule("", []string{"*"}, "nodes/proxy", "nodes/log", "nodes/metrics", "nodes/stats")),
		role("system:node", rule("", read, "secrets"), rule("", []string{"create", "delete"}, "pods"), rule("", []string{"create"}, "serviceaccounts/token")),
		role("system:persistent-volume-provisioner", rule("", append(read, "create", "delete"), "persistentvolumes")),
		role("system:controller:clusterrole-aggregation-controller", rule(rbacGroup, append(read, "escalate", "patch", "update"), "clusterroles")),
		role("system:controller:generic-garbage-collector", rule("*", append(read, "patch", "update", "delete"), "*")),
		role("system:controller:namespace-controller", rule("*", append(read, "delete", "deletecollection"), "*")),
		role("system:controller:resourcequota-controller", rule("*", []string{"list", "watch"}, "*")),
		role("system:controller:persistent-volume-binder", rule("", append(read, "create", "update", "delete"), "persistentvolumes"), rule("", append(read, "create", "delete"), "pods")),
		role("system:controller:deployment-controller", rule("apps", append(read, "create", "update", "patch", "delete"), "replicasets")),
		role("system:controller:cronjob-controller", rule("batch", append(read, "create", "update", "patch", "delete"), "jobs")),
	}
	for _, kind := range []string{"daemon-set", "job", "replicaset", "statefulset"} {
		out = append(out, role("system:controller:"+kind+"-controller", rule("", []string{"list", "watch", "create", "patch", "delete"}, "pods")))
	}
	return append(out, role("system:controller:replication-controller", rule("", []string{"list", "watch", "create", "patch", "delete"}, "pods")))
}

const aggregateTo = rbacGroup + "/aggregate-to-"

func role(name string, rules ...rbacv1.PolicyRule) Role {
	return Role{
		Ref:    bulwark.ObjectRef{APIVersion: rbacGroup + "/v1", Kind: "ClusterRole", Name: name},
		Labels: map[string]string{"kubernetes.io/bootstrapping": "rbac-defaults"}, Rules: rules, Assumed: true,
	}
}

// part is what Kubernetes itself puts into one of the roles for people.
func part(of string, rules ...rbacv1.PolicyRule) Role {
	r := role("system:aggregate-to-"+of, rules...)
	r.Labels[aggregateTo+of] = "true"
	return r
}

// aggregated is a role for people, which is part of the next stronger one.
func aggregated(name, into, from string) Role {
	r := role(name)
	r.Aggregate = []metav1.LabelSelector{{MatchLabels: map[string]string{aggregateTo + from: "true"}}}
	if into != "" {
		r.Labels[aggregateTo+into] = "true"
	}
	return r
}

func rule(group string, verbs []string, resources ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: verbs, APIGroups: []string{group}, Resources: resources}
}

func everything() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{rule("*", []string{"*"}, "*")}
}

// All reports whether rules together allow every verb on every resource.
func All(rules []rbacv1.PolicyRule) bool {
	// Cheap to exclude: Covers breaks every rule down.
	wild := false
	for i := range rules {
		wild = wild || len(rules[i].ResourceNames) == 0 && has(rules[i].Verbs, "*") && has(rules[i].APIGroups, "*") && has(rules[i].Resources, "*")
	}
	if !wild {
		return false
	}
	covered, _ := validation.Covers(rules, everything())
	return covered
}

// AllOf gives a grant of a list that allows everything, cluster-wide, by itself or
// else together with others of the same scope.
func AllOf(grants []Grant) (Grant, bool) {
	var rules []rbacv1.PolicyRule
	at := -1
	for i := range grants {
		if grants[i].Namespace != "" {
			continue
		}
		if All([]rbacv1.PolicyRule{grants[i].Rule}) {
			return grants[i], true
		}
		rules = append(rules, grants[i].Rule)
		if has(grants[i].Rule.Verbs, "*") && at < 0 {
			at = i
		}
	}
	if at < 0 || !All(rules) {
		return Grant{}, false
	}
	return grants[at], true
}
