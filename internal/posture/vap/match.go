package vap

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// nameLabel is set by the API server on each Namespace.
const nameLabel = "kubernetes.io/metadata.name"

// Resource gives the name of a kind's resource, as in addresses and rules. For a
// custom kind it is a guess by the rules of English.
func Resource(kind string) string {
	s := strings.ToLower(kind)
	vowel := len(s) > 1 && strings.ContainsRune("aeiou", rune(s[len(s)-2]))
	switch {
	case s == "endpoints":
		return s
	case strings.HasSuffix(s, "y") && !vowel:
		return s[:len(s)-1] + "ies"
	case strings.HasSuffix(s, "s"), strings.HasSuffix(s, "x"), strings.HasSuffix(s, "ch"), strings.HasSuffix(s, "sh"):
		return s + "es"
	}
	return s + "s"
}

// answer says whether something matches: yes, no, or, with a reason, unknown.
type answer struct {
	yes bool
	why string
}

// matches reports whether constraints hold for an object. nil holds for all.
func matches(m *admissionregistrationv1.MatchResources, ix *inventory.Snapshot, o *inventory.Object) answer {
	if m == nil {
		return answer{yes: true}
	}
	exact := m.MatchPolicy != nil && *m.MatchPolicy == admissionregistrationv1.Exact
	if slices.ContainsFunc(m.ExcludeResourceRules, func(r admissionregistrationv1.NamedRuleWithOperations) bool { return rule(&r, o) && version(&r, o) }) {
		return answer{}
	}
	found, converted := len(m.ResourceRules) == 0, ""
	for i := range m.ResourceRules {
		r := &m.ResourceRules[i]
		switch {
		case !rule(r, o):
		case version(r, o):
			found, converted = true, ""
		case !exact && !found:
			found, converted = true, fmt.Sprintf("the object is written as %s, and the policy judges it as version %s", o.APIVersion, strings.Join(r.APIVersions, " or "))
		}
		if found && converted == "" {
			break
		}
	}
	if !found {
		return answer{}
	}
	if a := selects(m.ObjectSelector, o.Labels, ""); !a.yes {
		return a
	}
	if a := inNamespace(m.NamespaceSelector, ix, o); !a.yes {
		return a
	}
	return answer{yes: converted == "", why: converted}
}

// rule reports whether a rule is for the creation of objects of this kind,
// whatever their version.
func rule(r *admissionregistrationv1.NamedRuleWithOperations, o *inventory.Object) bool {
	created := slices.ContainsFunc(r.Operations, func(op admissionregistrationv1.OperationType) bool {
		return op == admissionregistrationv1.OperationAll || op == admissionregistrationv1.Create
	})
	group := slices.Contains(r.APIGroups, "*") || slices.Contains(r.APIGroups, o.Group())
	resource := slices.Contains(r.Resources, "*") || slices.Contains(r.Resources, "*/*") || slices.Contains(r.Resources, Resource(o.Kind))
	named := len(r.ResourceNames) == 0 || slices.Contains(r.ResourceNames, o.Name)
	scope := r.Scope == nil || *r.Scope != admissionregistrationv1.ClusterScope || o.Namespace == ""
	return created && group && resource && named && scope
}

func version(r *admissionregistrationv1.NamedRuleWithOperations, o *inventory.Object) bool {
	return slices.Contains(r.APIVersions, "*") || slices.Contains(r.APIVersions, o.APIVersion[strings.LastIndex(o.APIVersion, "/")+1:])
}

// inNamespace asks a selector for the object's namespace. A Namespace is asked for
// itself, and what has none always matches.
func inNamespace(s *metav1.LabelSelector, ix *inventory.Snapshot, o *inventory.Object) answer {
	if empty(s) {
		return answer{yes: true}
	}
	if o.Kind == "Namespace" && o.Group() == "" {
		return selects(s, withName(o.Labels, o.Name), "")
	}
	if o.Namespace == "" {
		if ix.Facts.Live {
			return answer{yes: true}
		}
		return answer{why: "the object names no namespace, and the policy chooses by namespace"}
	}
	if ns := ix.Find("", "Namespace", "", o.Namespace); ns != nil {
		return selects(s, withName(ns.Labels, ns.Name), "")
	}
	return selects(s, map[string]string{nameLabel: o.Namespace}, "the labels of namespace "+o.Namespace+" are not known")
}

func withName(have map[string]string, name string) map[string]string {
	out := map[string]string{nameLabel: name}
	maps.Copy(out, have)
	return out
}

func empty(s *metav1.LabelSelector) bool {
	return s == nil || len(s.MatchLabels)+len(s.MatchExpressions) == 0
}

// selects asks a selector. With unknown, have holds only some of the labels, and a
// selector that asks for others cannot be answered.
func selects(s *metav1.LabelSelector, have map[string]string, unknown string) answer {
	if empty(s) {
		return answer{yes: true}
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return answer{why: "a selector of the policy is not valid"}
	}
	requirements, _ := selector.Requirements()
	for _, r := range requirements {
		if _, ok := have[r.Key()]; unknown != "" && !ok {
			return answer{why: unknown}
		}
	}
	return answer{yes: selector.Matches(labels.Set(have))}
}
