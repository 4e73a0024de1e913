package graph

import (
	"bytes"
	"slices"
	"strings"

	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// usesOfOthers finds the Secrets that objects without pods refer to: by their
// well-known fields, and for kinds that nobody knows by any field whose name says
// that it names a Secret.
func (ix *Index) usesOfOthers(found func(use)) {
	for _, o := range ix.Objects() {
		if carries(o) || quiet(o) || !mentionsSecrets(o) {
			continue
		}
		content := ix.content(o)
		switch {
		case o.Kind == "ServiceAccount" && o.Group() == "":
			for _, f := range []string{"secrets", "imagePullSecrets"} {
				for i, s := range list(content, f) {
					found(use{target: target{"Secret", space(o), text(s, "name")}, by: o, field: item(f, i) + ".name", optional: true})
				}
			}
		case o.Kind == "Ingress":
			for i, t := range list(content, "spec", "tls") {
				if n := text(t, "secretName"); n != "" {
					found(use{target: target{"Secret", space(o), n}, by: o, field: item("spec.tls", i) + ".secretName", optional: true})
				}
			}
			for k, v := range labels(content, "metadata", "annotations") {
				if strings.HasSuffix(k, "-secret") || strings.HasSuffix(k, "auth-tls-secret") {
					found(named(o, v, "metadata.annotations["+k+"]"))
				}
			}
		default:
			walkSecrets(content, "", 0, func(namespace, name, field string) {
				u := named(o, name, field)
				if namespace != "" {
					u.namespace = namespace
				}
				found(u)
			})
		}
	}
}

func named(o *inventory.Object, name, field string) use {
	namespace := space(o)
	if before, after, ok := strings.Cut(name, "/"); ok {
		namespace, name = before, after
	}
	return use{target: target{"Secret", namespace, name}, by: o, field: field, optional: true}
}

// quiet are kinds of which a cluster has many and that name no Secret.
func quiet(o *inventory.Object) bool {
	return slices.Contains([]string{
		"Secret", "ConfigMap", "Pod", "Event", "Endpoints", "EndpointSlice", "Lease", "Namespace", "CustomResourceDefinition",
		"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "Node", "ControllerRevision", "NetworkPolicy",
	}, o.Kind)
}

func mentionsSecrets(o *inventory.Object) bool {
	for _, word := range []string{"ecret", "ertificateRef", `\u`} {
		if bytes.Contains(o.Raw(), []byte(word)) {
			return true
		}
	}
	return false
}

// walkSecrets visits every reference that looks like one to a Secret: a field
// whose name ends in "secretName", a secretRef with a name, and anything of kind
// Secret with a name.
func walkSecrets(v any, path string, depth int, found func(namespace, name, field string)) {
	const deepest = 64
	if depth > deepest {
		return
	}
	switch v := v.(type) {
	case []any:
		for i, e := range v {
			walkSecrets(e, item(path, i), depth+1, found)
		}
	case map[string]any:
		if name := text(v, "name"); name != "" {
			last := strings.ToLower(path[strings.LastIndexByte(path, '.')+1:])
			if text(v, "kind") == "Secret" || strings.Contains(last, "secret") || strings.HasPrefix(last, "certificateref") {
				found(text(v, "namespace"), name, path+".name")
			}
		}
		for k, e := range v {
			sub := strings.TrimPrefix(path+"."+k, ".")
			if s, ok := e.(string); ok && s != "" && strings.HasSuffix(strings.ToLower(k), "secretname") {
				found("", s, sub)
			}
			walkSecrets(e, sub, depth+1, found)
		}
	}
}
