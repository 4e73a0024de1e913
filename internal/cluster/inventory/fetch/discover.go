package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// resource is a kind that can be listed.
type resource struct {
	group, version, kind string
	name                 string // as in addresses and RBAC: "pods"
	namespaced           bool
}

func (k resource) apiVersion() string {
	if k.group == "" {
		return k.version
	}
	return k.group + "/" + k.version
}

func (k resource) path(namespace string) string {
	p := "/apis/" + k.group + "/" + k.version
	if k.group == "" {
		p = "/api/" + k.version
	}
	if namespace != "" {
		p += "/namespaces/" + namespace
	}
	return p + "/" + k.name
}

// why says to people why a list is missing.
func (k resource) why(err error) string {
	if forbidden(err) {
		return fmt.Sprintf("no permission to list %s (RBAC verb list, resource %s, apiGroup %q)", k.name, k.name, k.group)
	}
	return "list " + k.name + ": " + err.Error()
}

// byKind puts what is said of one namespace before what is said of all.
func byKind(a, b inventory.Unreadable) int {
	return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Kind, b.Kind), cmp.Compare(b.Namespace, a.Namespace))
}

// Omission is a kind that is not read on purpose, and why.
type Omission struct {
	Group string
	// Resource is "" for all of the group.
	Resource string
	Reason   string
}

// LeftOut gives the kinds that are not read on purpose.
func LeftOut() []Omission {
	const (
		events  = "what happened, not what is set up; gone after an hour"
		metrics = "measured values, made anew by every request"
		report  = "what other scanners found; often larger than the rest of the cluster"
	)
	return []Omission{
		{"", "events", events},
		{"events.k8s.io", "events", events},
		{"", "componentstatuses", "no stored objects, and not served any more by new versions"},
		{"coordination.k8s.io", "leases", "renewed every few seconds by nodes and controllers"},
		{"coordination.k8s.io", "leasecandidates", "renewed every few seconds by controllers"},
		{"metrics.k8s.io", "", metrics},
		{"custom.metrics.k8s.io", "", metrics},
		{"external.metrics.k8s.io", "", metrics},
		{"wgpolicyk8s.io", "", report},
		{"reports.kyverno.io", "", report},
		{"openreports.io", "", report},
		{"aquasecurity.github.io", "", report},
		{"spdx.softwarecomposition.kubescape.io", "", report},
	}
}

func omitted(group, name string) bool {
	return slices.ContainsFunc(LeftOut(), func(o Omission) bool {
		return o.Group == group && (o.Resource == "" || o.Resource == name)
	})
}

// discover finds the kinds that can be listed, each in the version that the
// server prefers. A group that does not say what it has is unreadable.
func (r *reader) discover(ctx context.Context) ([]resource, error) {
	var core metav1.APIVersions
	if err := r.getJSON(ctx, "/api", &core); err != nil {
		return nil, fmt.Errorf("find the kinds that are there: %w", err)
	}
	var groups metav1.APIGroupList
	if err := r.getJSON(ctx, "/apis", &groups); err != nil {
		return nil, fmt.Errorf("find the kinds that are there: %w", err)
	}
	if !slices.Contains(core.Versions, "v1") {
		return nil, errors.New("find the kinds that are there: the server has no v1, so it is no Kubernetes API server")
	}
	var out []resource
	out = append(out, r.group(ctx, "", []string{"v1"})...)
	for _, g := range groups.Groups {
		if omitted(g.Name, "") {
			continue
		}
		versions := []string{}
		if g.PreferredVersion.Version != "" {
			versions = append(versions, g.PreferredVersion.Version)
		}
		for _, v := range g.Versions {
			if !slices.Contains(versions, v.Version) {
				versions = append(versions, v.Version)
			}
		}
		out = append(out, r.group(ctx, g.Name, versions)...)
	}
	if err := ctx.Err(); err != nil {
		return nil, err //nolint:wrapcheck // Snapshot says what it was doing
	}
	return out, nil
}

// group gives the kinds of a group; of each the first version that has it.
func (r *reader) group(ctx context.Context, group string, versions []string) []resource {
	var out []resource
	unreadable := func(reason string) {
		r.unreadable = append(r.unreadable, inventory.Unreadable{Group: group, Reason: reason})
	}
	if group != "" && len(validation.IsDNS1123Subdomain(group)) > 0 {
		unreadable("the server names a group that is no name")
		return nil
	}
	known := map[string]bool{}
	for _, v := range versions {
		path := "/apis/" + group + "/" + v
		if group == "" {
			path = "/api/" + v
		}
		if len(validation.IsDNS1035Label(v)) > 0 {
			unreadable("the server names a version that is no name")
			continue
		}
		var list metav1.APIResourceList
		if err := r.getJSON(ctx, path, &list); err != nil {
			unreadable(whyGroup(group, err))
			continue
		}
		if list.GroupVersion != strings.TrimPrefix(group+"/"+v, "/") {
			unreadable("the server answered " + path + " with the kinds of another group")
			continue
		}
		for _, res := range list.APIResources {
			switch {
			case strings.Contains(res.Name, "/"), known[res.Name], !slices.Contains([]string(res.Verbs), "list"), omitted(group, res.Name):
				continue
			case len(validation.IsDNS1035Label(res.Name)) > 0 || res.Kind == "":
				unreadable("the server names a kind that is no name")
				continue
			}
			known[res.Name] = true
			out = append(out, resource{group: group, version: v, kind: res.Kind, name: res.Name, namespaced: res.Namespaced})
		}
	}
	return out
}

func whyGroup(group string, err error) string {
	if codeOf(err) == http.StatusServiceUnavailable {
		return fmt.Sprintf("the server behind API group %s does not answer (see its APIService): %v", group, err)
	}
	return fmt.Sprintf("which kinds API group %q has: %v", group, err)
}
