// Package rights answers who is granted what by RBAC, from roles and bindings:
// with aggregated roles, groups that ServiceAccounts are in by themselves, and
// rules that are limited to names.
package rights

import (
	"cmp"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8slabels "k8s.io/apimachinery/pkg/labels"

	"bulwark.dev/bulwark"
)

// Role is a Role or ClusterRole.
type Role struct {
	Ref    bulwark.ObjectRef // Namespace is "" for a ClusterRole
	Labels map[string]string
	Rules  []rbacv1.PolicyRule
	// Aggregate are the selectors of an aggregationRule, nil without one.
	Aggregate []metav1.LabelSelector
	// Assumed says that it was not found and that what every cluster has under
	// this name is taken.
	Assumed bool
}

// Binding is a RoleBinding or ClusterRoleBinding.
type Binding struct {
	Ref      bulwark.ObjectRef // Namespace is "" for a ClusterRoleBinding
	RoleKind string
	RoleName string
	Subjects []rbacv1.Subject
}

// Grant is one rule that a subject has.
type Grant struct {
	Rule rbacv1.PolicyRule
	// Namespace is where it holds, "" for the whole cluster.
	Namespace string
	Binding   *Binding
	Role      *Role
	// Named says of what Find gives that it answers for some names only.
	Named bool
}

// Book holds all roles and bindings and may be read by many goroutines.
type Book struct {
	roles    map[key]*Role
	bindings []*Binding
	bySub    map[string][]*Binding // "u:" user or "g:" group
}

type key struct{ kind, namespace, name string }

func keyOf(r *Role) key { return key{r.Ref.Kind, r.Ref.Namespace, r.Ref.Name} }

// New makes a Book. With filled, the roles are all that a cluster has, and the rules
// of an aggregated one are those that its controller has written; else the roles
// that every cluster has stand beside those given, and aggregation is done here.
func New(roles []Role, bindings []Binding, filled bool) *Book {
	b := &Book{roles: make(map[key]*Role, len(roles)), bySub: map[string][]*Binding{}}
	roles = slices.Clone(roles)
	if !filled {
		given := map[key]bool{}
		for i := range roles {
			given[keyOf(&roles[i])] = true
		}
		for _, r := range assumed() {
			if !given[keyOf(&r)] {
				roles = append(roles, r)
			}
		}
	}
	for i := range roles {
		b.roles[keyOf(&roles[i])] = &roles[i]
	}
	if !filled {
		b.aggregate(roles)
	}
	for i := range bindings {
		n := &bindings[i]
		b.bindings = append(b.bindings, n)
		for _, s := range n.Subjects {
			id := subjectID(s, n.Ref.Namespace)
			if known := b.bySub[id]; id != "" && (len(known) == 0 || known[len(known)-1] != n) {
				b.bySub[id] = append(known, n)
			}
		}
	}
	return b
}

// subjectID names a subject as a request's user or one of its groups; "" for one
// that no request can have. A ServiceAccount without a namespace is one of the
// binding's.
func subjectID(s rbacv1.Subject, binding string) string {
	switch s.Kind {
	case rbacv1.UserKind:
		return "u:" + s.Name
	case rbacv1.GroupKind:
		return "g:" + s.Name
	case rbacv1.ServiceAccountKind:
		if namespace := cmp.Or(s.Namespace, binding); namespace != "" {
			return "u:system:serviceaccount:" + namespace + ":" + s.Name
		}
	}
	return ""
}

// aggregate gives each ClusterRole with an aggregationRule the rules of those
// that it selects, also through others that aggregate; cycles end. Roles that
// select alike share one answer, so that many of them cost no more than one.
func (b *Book) aggregate(roles []Role) {
	ask := map[*Role]string{} // aggregated role → its selectors in words
	from := map[string][]k8slabels.Selector{}
	for i := range roles {
		r := &roles[i]
		if r.Aggregate == nil || r.Ref.Kind != "ClusterRole" {
			continue
		}
		var words []string
		var selectors []k8slabels.Selector
		for j := range r.Aggregate {
			// One that is not valid selects nothing.
			if s, err := metav1.LabelSelectorAsSelector(&r.Aggregate[j]); err == nil {
				words, selectors = append(words, s.String()), append(selectors, s)
			}
		}
		slices.Sort(words)
		ask[r] = strings.Join(words, ";")
		from[ask[r]] = selectors
	}
	members := map[string][]*Role{}
	for words, selectors := range from {
		for i := range roles {
			r := &roles[i]
			picks := func(s k8slabels.Selector) bool { return s.Matches(k8slabels.Set(r.Labels)) }
			if r.Ref.Kind == "ClusterRole" && slices.ContainsFunc(selectors, picks) {
				members[words] = append(members[words], r)
			}
		}
	}
	rules := map[string][]rbacv1.PolicyRule{}
	for start := range from {
		seen, queue := map[string]bool{start: true}, []string{start}
		taken := map[*Role]bool{}
		for len(queue) > 0 {
			words := queue[0]
			queue = queue[1:]
			for _, r := range members[words] {
				next, aggregated := ask[r]
				if aggregated && !seen[next] {
					seen[next] = true
					queue = append(queue, next)
				}
				if !aggregated && !taken[r] {
					taken[r] = true
					rules[start] = append(rules[start], r.Rules...)
				}
			}
		}
	}
	for r, words := range ask {
		r.Rules = rules[words]
	}
}

// Role finds the role that a binding names, with the rules that it grants, or nil.
func (b *Book) Role(n *Binding) *Role {
	switch n.RoleKind {
	case "ClusterRole":
		return b.roles[key{"ClusterRole", "", n.RoleName}]
	case "Role":
		if n.Ref.Namespace != "" {
			return b.roles[key{"Role", n.Ref.Namespace, n.RoleName}]
		}
	}
	return nil
}

// Bindings gives all bindings.
func (b *Book) Bindings() []*Binding { return b.bindings }

// ServiceAccount gives what a ServiceAccount may do, also as a member of the
// groups that it is in by itself.
func (b *Book) ServiceAccount(namespace, name string) []Grant {
	return b.grants("u:system:serviceaccount:"+namespace+":"+name,
		"g:system:serviceaccounts", "g:system:serviceaccounts:"+namespace, "g:system:authenticated")
}

// Own gives what is granted to a ServiceAccount itself, by name.
func (b *Book) Own(namespace, name string) []Grant {
	return b.grants("u:system:serviceaccount:" + namespace + ":" + name)
}

// Group gives what the members of a group may do because of it.
func (b *Book) Group(name string) []Grant { return b.grants("g:" + name) }

// User gives what a user may do by name.
func (b *Book) User(name string) []Grant { return b.grants("u:" + name) }

func (b *Book) grants(ids ...string) []Grant {
	var out []Grant
	for _, id := range ids {
		for _, n := range b.bySub[id] {
			r := b.Role(n)
			if r == nil {
				continue
			}
			for _, rule := range r.Rules {
				out = append(out, Grant{Rule: rule, Namespace: n.Ref.Namespace, Binding: n, Role: r})
			}
		}
	}
	return out
}

// Ask is a question to a list of grants.
type Ask struct {
	// Verbs and Resources: any one of each suffices. A resource may have a
	// subresource: "pods/exec".
	Verbs, Resources []string
	Group            string
	// Everywhere wants it in the whole cluster.
	Everywhere bool
	// Named takes rules that are limited to names, too.
	Named bool
}

// Find gives the first grant that answers the question, the cluster-wide ones and
// those without names first.
func Find(grants []Grant, a Ask) (Grant, bool) {
	best, found := Grant{}, false
	rank := func(g *Grant) int {
		n := 0
		if g.Namespace != "" {
			n += 2
		}
		if g.Named {
			n++
		}
		return n
	}
	for i := range grants {
		g := grants[i]
		what := g.answers(a)
		if what == forNone || what == forSome && !a.Named {
			continue
		}
		g.Named = what == forSome
		if !found || rank(&g) < rank(&best) {
			best, found = g, true
		}
	}
	return best, found
}

// reach is for which names a rule allows something.
type reach uint8

const (
	forNone reach = iota
	forSome
	forAll
)

// answers gives the widest of what a grant allows of all that is asked.
func (g *Grant) answers(a Ask) reach {
	best := forNone
	if a.Everywhere && g.Namespace != "" {
		return best
	}
	for _, verb := range a.Verbs {
		for _, resource := range a.Resources {
			if Allows(&g.Rule, verb, a.Group, resource) {
				best = max(best, reachOf(&g.Rule, verb, resource))
			}
		}
	}
	return best
}

// reachOf says for which names a rule allows a verb on a resource. Of a request
// without a name the authorizer compares "", so a rule that lists "" allows it: then
// list and watch give everything, although the rule looks limited.
func reachOf(rule *rbacv1.PolicyRule, verb, resource string) reach {
	if len(rule.ResourceNames) == 0 {
		return forAll
	}
	some := forNone
	if slices.ContainsFunc(rule.ResourceNames, func(n string) bool { return n != "" }) {
		some = forSome
	}
	switch verb {
	case "list", "watch": // with a field selector they do have a name
	case "create":
		if strings.Contains(resource, "/") {
			return some
		}
		some = forNone
	case "deletecollection":
		some = forNone
	default:
		return some
	}
	if slices.Contains(rule.ResourceNames, "") {
		return forAll
	}
	return some
}

// Allows reports whether a rule allows a verb on a resource of a group, if its
// names are left aside. It compares as the API server's authorizer does: "*"
// stands for all resources and subresources, "*/scale" for one subresource of all.
func Allows(rule *rbacv1.PolicyRule, verb, group, resource string) bool {
	if !has(rule.Verbs, verb) || !has(rule.APIGroups, group) {
		return false
	}
	_, sub, isSub := strings.Cut(resource, "/")
	for _, r := range rule.Resources {
		if r == "*" || r == resource || isSub && r == "*/"+sub {
			return true
		}
	}
	return false
}

func has(list []string, s string) bool { return slices.Contains(list, "*") || slices.Contains(list, s) }

// Text describes a grant: what, where and by which binding.
func (g *Grant) Text() string {
	where := "in all namespaces"
	if g.Namespace != "" {
		where = "in namespace " + g.Namespace
	}
	names := ""
	switch {
	case slices.Contains(g.Rule.ResourceNames, ""):
		names = ` (resourceNames has "", which fits every request without a name)`
	case len(g.Rule.ResourceNames) > 0:
		names = " (only " + strings.Join(first(g.Rule.ResourceNames, 3), ", ") + ")"
	}
	what := strings.Join(first(g.Rule.Verbs, 8), ",") + " on " + cmp.Or(strings.Join(first(g.Rule.Resources, 6), ","), strings.Join(first(g.Rule.NonResourceURLs, 4), ","))
	return what + names + " " + where + " by " + g.Binding.Ref.String() + " to " + g.Role.Ref.String()
}

func first(s []string, n int) []string {
	if len(s) > n {
		return append(slices.Clone(s[:n]), "…")
	}
	return s
}
