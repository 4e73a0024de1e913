package rights

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/component-helpers/auth/rbac/validation"

	"bulwark.dev/bulwark"
)

// assumed are the roles for people that each cluster starts with, as far as the
// questions asked here go. They stand in where the files that were given do not
// hold them.
func assumed() []Role {
	read := []string{"get", "list", "watch"}
	write := []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}
	core := []string{"pods", "services", "configmaps", "endpoints", "persistentvolumeclaims", "replicationcontrollers", "serviceaccounts"}
	apps := []string{"deployments", "daemonsets", "replicasets", "statefulsets"}
	view := []rbacv1.PolicyRule{
		{Verbs: read, APIGroups: []string{""}, Resources: core},
		{Verbs: read, APIGroups: []string{"apps"}, Resources: apps},
		{Verbs: read, APIGroups: []string{"batch"}, Resources: []string{"jobs", "cronjobs"}},
	}
	edit := append([]rbacv1.PolicyRule{
		{Verbs: write, APIGroups: []string{""}, Resources: append([]string{"secrets", "pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "services/proxy"}, core...)},
		{Verbs: []string{"impersonate"}, APIGroups: []string{""}, Resources: []string{"serviceaccounts"}},
		{Verbs: []string{"create"}, APIGroups: []string{""}, Resources: []string{"serviceaccounts/token"}},
		{Verbs: write, APIGroups: []string{"apps"}, Resources: apps},
		{Verbs: write, APIGroups: []string{"batch"}, Resources: []string{"jobs", "cronjobs"}},
		{Verbs: write, APIGroups: []string{"networking.k8s.io"}, Resources: []string{"ingresses", "networkpolicies"}},
	}, view...)
	admin := append([]rbacv1.PolicyRule{
		{Verbs: write, APIGroups: []string{"rbac.authorization.k8s.io"}, Resources: []string{"roles", "rolebindings"}},
	}, edit...)
	return []Role{
		role("cluster-admin", everything()),
		role("admin", admin), role("edit", edit), role("view", view),
	}
}

func role(name string, rules []rbacv1.PolicyRule) Role {
	return Role{
		Ref:   bulwark.ObjectRef{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRole", Name: name},
		Rules: rules, Assumed: true,
	}
}

func everything() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}}
}

// All reports whether rules together allow every verb on every resource.
func All(rules []rbacv1.PolicyRule) bool {
	// Cheap to exclude: Covers breaks every rule down.
	wild := false
	for i := range rules {
		wild = wild || len(rules[i].ResourceNames) == 0 && has(rules[i].Verbs, "*") && has(rules[i].APIGroups, "*")
	}
	if !wild {
		return false
	}
	covered, _ := validation.Covers(rules, everything())
	return covered
}

// AllOf gives a grant of a list that together with others of the same scope
// allows everything, cluster-wide.
func AllOf(grants []Grant) (Grant, bool) {
	var rules []rbacv1.PolicyRule
	at := -1
	for i := range grants {
		if grants[i].Namespace == "" {
			rules = append(rules, grants[i].Rule)
			if has(grants[i].Rule.Verbs, "*") && at < 0 {
				at = i
			}
		}
	}
	if at < 0 || !All(rules) {
		return Grant{}, false
	}
	return grants[at], true
}
