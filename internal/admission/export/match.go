package export

import (
	"cmp"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"bulwark.dev/bulwark/internal/posture/content"
	"bulwark.dev/bulwark/internal/posture/vap"
)

// written are the operations that put an object into its present form.
func written() []admissionregistrationv1.OperationType {
	return []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update}
}

func rule(group string, versions, resources []string) admissionregistrationv1.NamedRuleWithOperations {
	scope := admissionregistrationv1.AllScopes
	return admissionregistrationv1.NamedRuleWithOperations{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
		Operations: written(),
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{group}, APIVersions: versions, Resources: resources, Scope: &scope},
	}}
}

// workloads are the built-in kinds with a pod template.
func workloads() []admissionregistrationv1.NamedRuleWithOperations {
	v1 := []string{"v1"}
	return []admissionregistrationv1.NamedRuleWithOperations{
		rule("", v1, append(pods(), "podtemplates", "replicationcontrollers")),
		rule("apps", v1, []string{"deployments", "replicasets", "statefulsets", "daemonsets"}),
		rule("batch", v1, []string{"jobs", "cronjobs"}),
	}
}

// pods are the resources through which pods are written. By the last two their
// containers change while they run.
func pods() []string { return []string{"pods", "pods/ephemeralcontainers", "pods/resize"} }

// resources are those through which objects of a kind are written.
func resources(k content.Kind) []string {
	switch k {
	case content.Kind{Kind: "Pod"}:
		return pods()
	// The subresources take labels and annotations as well; see relabelling.
	case content.Kind{Kind: "Namespace"}:
		return []string{"namespaces", "namespaces/status", "namespaces/finalize"}
	case content.Kind{Kind: "Service"}:
		return []string{"services", "services/status"}
	case content.Kind{Group: "networking.k8s.io", Kind: "Ingress"}:
		return []string{"ingresses", "ingresses/status"}
	}
	return []string{vap.Resource(k.Kind)}
}

// matches gives the kinds that a control is for.
func matches(c *content.Control) ([]admissionregistrationv1.NamedRuleWithOperations, error) {
	if c.AppliesTo.Pods || c.AppliesTo.Component != "" {
		return workloads(), nil
	}
	var out []admissionregistrationv1.NamedRuleWithOperations
	var no []string
	for _, k := range c.AppliesTo.Kinds {
		if why := vap.Unserved(k.Group, k.Kind); why != "" {
			no = append(no, why)
			continue
		}
		out = append(out, rule(k.Group, versions(c, k), resources(k)))
	}
	if len(no) > 0 {
		return nil, cannot("%s", strings.Join(slices.Compact(no), "; "))
	}
	slices.SortStableFunc(out, func(a, b admissionregistrationv1.NamedRuleWithOperations) int {
		return cmp.Compare(a.APIGroups[0], b.APIGroups[0])
	})
	return out, nil
}

// versions gives the versions of a kind to match. Of a built-in kind it is the one
// that the control's examples are written in, since the API server converts others
// to it; of custom ones any, for there a version that is not served matches
// nothing.
func versions(c *content.Control, k content.Kind) []string {
	if !vap.Builtin(k.Group) {
		return []string{"*"}
	}
	var out []string
	add := func(o map[string]any) {
		apiVersion, _ := o["apiVersion"].(string)
		group, version, ok := strings.Cut(apiVersion, "/")
		if !ok {
			group, version = "", apiVersion
		}
		if o["kind"] == k.Kind && group == k.Group && version != "" && !slices.Contains(out, version) {
			out = append(out, version)
		}
	}
	for _, o := range c.Examples.Pass {
		add(o)
	}
	for _, e := range c.Examples.Fail {
		add(e.Object)
	}
	if len(out) == 0 {
		return []string{"*"}
	}
	slices.Sort(out)
	return out
}
