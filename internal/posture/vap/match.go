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

// answer says whether something matches: yes, no, or, with a reason, unknown.
type answer struct {
	yes bool
	why string
}

func (a answer) no() bool { return !a.yes && a.why == "" }

// every is yes if all are, and no if one is.
func every(all ...answer) answer {
	out := answer{yes: true}
	for _, a := range all {
		switch {
		case a.no():
			return a
		case !a.yes && out.yes:
			out = a
		}
	}
	return out
}

// target is an object that is asked about.
type target struct {
	*inventory.Object
	kinds *kinds
	// values is what Content gives, made when it is first asked for.
	values map[string]any
	err    error
}

// content gives the object's values, which nobody changes.
func (t *target) content() (map[string]any, error) {
	if t.values == nil && t.err == nil {
		t.values, t.err = t.Content()
	}
	return t.values, t.err
}

// matches reports whether constraints hold for an object. nil holds for all.
func matches(m *admissionregistrationv1.MatchResources, t *target) answer {
	if m == nil {
		return answer{yes: true}
	}
	exact := m.MatchPolicy != nil && *m.MatchPolicy == admissionregistrationv1.Exact
	in := answer{yes: true}
	if len(m.ResourceRules) > 0 {
		in = t.among(m.ResourceRules, exact)
	}
	if in.no() {
		return in
	}
	out := t.among(m.ExcludeResourceRules, exact)
	switch {
	case out.yes:
		return answer{}
	case out.no():
		out.yes = true
	}
	return every(t.inNamespace(m.NamespaceSelector), t.labelled(m.ObjectSelector), out, in)
}

// among reports whether one of the rules is for the creation of the object.
func (t *target) among(rules []admissionregistrationv1.NamedRuleWithOperations, exact bool) answer {
	var out answer
	for i := range rules {
		switch a := t.rule(&rules[i], exact); {
		case a.yes:
			return a
		case out.why == "":
			out = a
		}
	}
	return out
}

func (t *target) rule(r *admissionregistrationv1.NamedRuleWithOperations, exact bool) answer {
	created := slices.Contains(r.Operations, admissionregistrationv1.OperationAll) || slices.Contains(r.Operations, admissionregistrationv1.Create)
	group := slices.Contains(r.APIGroups, "*") || slices.Contains(r.APIGroups, t.Group())
	named := len(r.ResourceNames) == 0 || slices.Contains(r.ResourceNames, t.Name)
	if !created || !group || !named {
		return answer{}
	}
	return every(t.resource(r), t.scope(r), t.version(r, exact))
}

// resource asks for the resource of the object itself: "pods", "*", and with its
// subresources "pods/*" or "*/*".
func (t *target) resource(r *admissionregistrationv1.NamedRuleWithOperations) answer {
	name, sure := t.kinds.resource(t.Group(), t.Kind)
	var out answer
	for _, text := range r.Resources {
		res, sub, _ := strings.Cut(text, "/")
		switch {
		case sub != "" && sub != "*":
		case res == "*", res == name:
			return answer{yes: true}
		case !sure && may(res, t.Kind):
			out.why = fmt.Sprintf("whether %s is what a %s is called is not known without its CustomResourceDefinition", res, t.Kind)
		}
	}
	return out
}

func (t *target) scope(r *admissionregistrationv1.NamedRuleWithOperations) answer {
	if r.Scope == nil || *r.Scope == admissionregistrationv1.AllScopes {
		return answer{yes: true}
	}
	namespaced, known := t.namespaced()
	if !known {
		return answer{why: "whether a " + t.Kind + " lives in a namespace is not known, and the policy chooses by that"}
	}
	return answer{yes: namespaced == (*r.Scope == admissionregistrationv1.NamespacedScope)}
}

// namespaced reports whether the object lives in a namespace, whether it names it
// or not, and whether that is known.
func (t *target) namespaced() (yes, known bool) {
	if t.Namespace != "" || t.kinds.snap.Facts.Live {
		return t.Namespace != "", true
	}
	return t.kinds.namespaced(t.Group(), t.Kind)
}

// version asks for the version that the object is written in. Unless the policy
// wants exactly that, the API server converts it, which a scan cannot.
func (t *target) version(r *admissionregistrationv1.NamedRuleWithOperations, exact bool) answer {
	if slices.Contains(r.APIVersions, "*") || slices.Contains(r.APIVersions, t.APIVersion[strings.LastIndex(t.APIVersion, "/")+1:]) {
		return answer{yes: true}
	}
	if exact {
		return answer{}
	}
	return answer{why: fmt.Sprintf("the object is written as %s, and the policy judges it as version %s", t.APIVersion, strings.Join(r.APIVersions, " or "))}
}

// inNamespace asks a selector for the object's namespace. A Namespace is asked for
// itself, and what has none always matches.
func (t *target) inNamespace(s *metav1.LabelSelector) answer {
	if empty(s) {
		return answer{yes: true}
	}
	if t.Kind == "Namespace" && t.Group() == "" {
		return selects(s, withName(t.Labels, t.Name), "")
	}
	if t.Namespace == "" {
		switch namespaced, known := t.namespaced(); {
		case !known:
			return answer{why: "whether a " + t.Kind + " lives in a namespace is not known, and the policy chooses by namespace"}
		case namespaced:
			return answer{why: "the object names no namespace, and the policy chooses by namespace"}
		}
		return answer{yes: true}
	}
	if ns := t.kinds.snap.Find("", "Namespace", "", t.Namespace); ns != nil {
		return selects(s, withName(ns.Labels, ns.Name), "")
	}
	return selects(s, map[string]string{nameLabel: t.Namespace}, "the labels of namespace "+t.Namespace+" are not known")
}

// withName gives the labels of a Namespace: whatever is written there, the API
// server sets the one that is its name.
func withName(have map[string]string, name string) map[string]string {
	out := maps.Clone(have)
	if out == nil {
		out = map[string]string{}
	}
	out[nameLabel] = name
	return out
}

// labelled asks a selector for the object's labels, those too that the API server
// fills in.
func (t *target) labelled(s *metav1.LabelSelector) answer {
	if empty(s) {
		return answer{yes: true}
	}
	content, err := t.content()
	if err != nil {
		return answer{why: undecoded}
	}
	have := map[string]string{}
	meta, _ := content["metadata"].(map[string]any)
	given, _ := meta["labels"].(map[string]any)
	for k, v := range given {
		have[k], _ = v.(string)
	}
	return selects(s, have, "")
}

func empty(s *metav1.LabelSelector) bool {
	return s == nil || len(s.MatchLabels)+len(s.MatchExpressions) == 0
}

// selects asks a selector. With unknown, have holds only some of the labels, and
// what asks for others cannot be answered.
func selects(s *metav1.LabelSelector, have map[string]string, unknown string) answer {
	if empty(s) {
		return answer{yes: true}
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return answer{why: "a selector of the policy is not valid"}
	}
	out := answer{yes: true}
	requirements, _ := selector.Requirements()
	for _, r := range requirements {
		if _, ok := have[r.Key()]; unknown != "" && !ok {
			out = every(out, answer{why: unknown})
			continue
		}
		out = every(out, answer{yes: r.Matches(labels.Set(have))})
	}
	return out
}
