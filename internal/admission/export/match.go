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

// matches gives the kinds that a control is for.
func matches(c *content.Control) ([]admissionregistrationv1.NamedRuleWithOperations, error) {
	if c.AppliesTo.Pods || c.AppliesTo.Component != "" {
		return workloads(), nil
	}
	var out []admissionregistrationv1.NamedRuleWithOperations
	var no []string
	for _, k := range c.AppliesTo.Kinds {
		if why := unserved(k); why != "" {
			no = append(no, why)
			continue
		}
		if k.Kind == "Pod" && k.Group == "" {
			out = append(out, rule("", []string{"v1"}, pods()))
			continue
		}
		out = append(out, rule(k.Group, versions(c, k), []string{vap.Resource(k.Kind)}))
	}
	if len(no) > 0 {
		return nil, cannot("%s", strings.Join(slices.Compact(no), "; "))
	}
	slices.SortStableFunc(out, func(a, b admissionregistrationv1.NamedRuleWithOperations) int {
		return cmp.Compare(a.APIGroups[0], b.APIGroups[0])
	})
	return out, nil
}

// unserved says why no admission policy sees a kind, or "".
func unserved(k content.Kind) string {
	switch k.Group {
	case "kubelet.config.k8s.io", "kubeproxy.config.k8s.io", "kubescheduler.config.k8s.io", "kubeadm.k8s.io",
		"audit.k8s.io", "apiserver.config.k8s.io", "apiserver.k8s.io", "client.authentication.k8s.io":
		return k.Kind + " is a file of a component, which no API server stores"
	case "admissionregistration.k8s.io":
		return k.Kind + " is exempt from admission policies, so that a wrong one can be taken away"
	case "authentication.k8s.io", "authorization.k8s.io":
		return k.Kind + " is exempt from admission policies"
	}
	if k.Kind == "Config" && k.Group == "" {
		return "Config is a file of kubectl, which no API server stores"
	}
	return ""
}

// versions gives the versions of a kind to match. Of a built-in kind it is the one
// that the control's examples are written in, since the API server converts others
// to it; of custom ones any, for there a version that is not served matches
// nothing.
func versions(c *content.Control, k content.Kind) []string {
	if !builtin(k.Group) {
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

// builtin reports whether a group is the API server's own.
func builtin(group string) bool {
	switch group {
	case "", "apps", "batch", "policy", "autoscaling":
		return true
	}
	name, of, _ := strings.Cut(group, ".")
	return of == "k8s.io" && name != "gateway" && name != "metrics" || of == "authorization.k8s.io"
}
