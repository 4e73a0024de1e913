package inventory

import (
	"slices"
	"strconv"
	"strings"
)

// PodTemplate is a pod specification within an object, of a built-in workload or
// of anything that has the shape of one.
type PodTemplate struct {
	// Path is where the specification stands: "spec" of a Pod,
	// "spec.template.spec" of a Deployment.
	Path string
	// MetadataPath is where its metadata stands, "" where it has none.
	MetadataPath string
	// Spec and Metadata are parts of the content that was given, not copies.
	Spec, Metadata map[string]any
}

// Containers gives all containers with their paths within the object, in the
// order initContainers, containers, ephemeralContainers. What is no object in
// these lists is left out, and the indexes of the others stay.
func (p *PodTemplate) Containers() []Container {
	n := 0
	for _, kind := range containerKinds {
		all, _ := p.Spec[kind].([]any)
		n += len(all)
	}
	if n == 0 {
		return nil
	}
	out := make([]Container, 0, n)
	for _, kind := range containerKinds {
		all, _ := p.Spec[kind].([]any)
		for i, c := range all {
			if spec, ok := c.(map[string]any); ok {
				out = append(out, Container{Path: index(join(p.Path, kind), i), Kind: kind, Spec: spec})
			}
		}
	}
	return out
}

// Container is one container of a pod specification.
type Container struct {
	// Path is where it stands: "spec.template.spec.containers[0]".
	Path string
	// Kind is "containers", "initContainers" or "ephemeralContainers".
	Kind string
	// Spec is a part of the content, not a copy.
	Spec map[string]any
}

var containerKinds = [...]string{"initContainers", "containers", "ephemeralContainers"} //nolint:gochecknoglobals // a constant list

// PodTemplates finds the pod specifications of an object by its content, as given
// by Object.Content: where the API has them in built-in kinds, and by their shape
// in all others, in the order of their paths.
func PodTemplates(content map[string]any) []PodTemplate {
	apiVersion, _ := content["apiVersion"].(string)
	kindName, _ := content["kind"].(string)
	group, _, ok := strings.Cut(apiVersion, "/")
	if !ok {
		group = ""
	}
	if at, ok := templatesAt[kind{group, kindName}]; ok {
		return builtin(content, at)
	}
	if podless(group) {
		return nil
	}
	s := search{budget: maxSearch}
	for _, key := range sortedKeys(content) {
		// Metadata holds no templates, and a status repeats what was asked for.
		if key != "metadata" && key != "status" {
			s.value(content[key], content, join("", key), key, 0)
		}
	}
	return s.found
}

// templatesAt says where built-in kinds have what has the pod specification and
// its metadata.
var templatesAt = map[kind]string{ //nolint:gochecknoglobals // a constant table
	{"", "Pod"}:                   "",
	{"", "PodTemplate"}:           "template",
	{"", "ReplicationController"}: "spec.template",
	{"apps", "Deployment"}:        "spec.template",
	{"apps", "ReplicaSet"}:        "spec.template",
	{"apps", "StatefulSet"}:       "spec.template",
	{"apps", "DaemonSet"}:         "spec.template",
	{"extensions", "Deployment"}:  "spec.template",
	{"extensions", "ReplicaSet"}:  "spec.template",
	{"extensions", "DaemonSet"}:   "spec.template",
	{"batch", "Job"}:              "spec.template",
	{"batch", "CronJob"}:          "spec.jobTemplate.spec.template",
}

func builtin(content map[string]any, path string) []PodTemplate {
	at := content
	for rest := path; rest != ""; {
		var step string
		step, rest, _ = strings.Cut(rest, ".")
		at = object(at, step)
	}
	spec := object(at, "spec")
	if spec == nil {
		return nil
	}
	return []PodTemplate{template(at, spec, path, join(path, "spec"))}
}

func template(around, spec map[string]any, path, specPath string) PodTemplate {
	t := PodTemplate{Path: specPath, Spec: spec}
	if m := object(around, "metadata"); m != nil {
		t.Metadata, t.MetadataPath = m, join(path, "metadata")
	}
	return t
}

// podless reports whether a group is built in and none of its kinds, beside those
// in templatesAt, has pods. Groups that end like built-in ones, as x-k8s.io, are
// those of custom resources.
func podless(group string) bool {
	switch group {
	case "", "apps", "batch", "policy", "autoscaling", "extensions",
		"admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io", "authentication.k8s.io",
		"authorization.k8s.io", "certificates.k8s.io", "coordination.k8s.io", "discovery.k8s.io", "events.k8s.io",
		"flowcontrol.apiserver.k8s.io", "internal.apiserver.k8s.io", "metrics.k8s.io", "networking.k8s.io", "node.k8s.io",
		"rbac.authorization.k8s.io", "resource.k8s.io", "scheduling.k8s.io", "storage.k8s.io", "storagemigration.k8s.io":
		return true
	}
	return false
}

// Limits of the search by shape: how deep the known custom resources have their
// templates, twice, and how many values are looked at in one object.
const (
	maxTemplateDepth = 20
	maxSearch        = 200_000
)

// search finds pod specifications by their shape.
type search struct {
	found  []PodTemplate
	budget int
}

// value looks at v, which stands at path below around by the name of key.
func (s *search) value(v any, around map[string]any, path, key string, depth int) {
	if depth > maxTemplateDepth || s.budget <= 0 {
		return
	}
	s.budget--
	switch v := v.(type) {
	case map[string]any:
		// Where the list is in a "spec", the metadata is beside that.
		if podShape(v, key) {
			outer, isSpec := strings.CutSuffix(path, "spec")
			if !isSpec || key != "spec" {
				around = nil
			}
			t := template(around, v, strings.TrimSuffix(outer, "."), path)
			// The metadata of the object itself is not that of its pods.
			if t.MetadataPath == "metadata" {
				t.Metadata, t.MetadataPath = nil, ""
			}
			s.found = append(s.found, t)
			return
		}
		for _, k := range sortedKeys(v) {
			switch v[k].(type) {
			case map[string]any, []any:
				s.value(v[k], v, join(path, k), k, depth+1)
			}
		}
	case []any:
		for i, e := range v {
			switch e.(type) {
			case map[string]any, []any:
				s.value(e, nil, index(path, i), "", depth+1)
			}
		}
	}
}

// podShape reports whether a map that stands under key looks like a pod
// specification: it has a list of containers that all are objects, and each has
// an image, and a name unless it stands in a "spec", as Knative's do.
func podShape(v map[string]any, key string) bool {
	all, _ := v["containers"].([]any)
	if len(all) == 0 {
		return false
	}
	for _, c := range all {
		c, ok := c.(map[string]any)
		if !ok {
			return false
		}
		image, _ := c["image"].(string)
		name, _ := c["name"].(string)
		if image == "" || name == "" && key != "spec" {
			return false
		}
	}
	return true
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// join gives the path of a field of what is at path.
func join(path, key string) string {
	if !plainKey(key) {
		return path + "[" + strconv.Quote(key) + "]"
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// plainKey reports whether a key needs no quotes in a path.
func plainKey(key string) bool {
	for i := range len(key) {
		c := key[i]
		if c != '_' && c != '-' && c != '$' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return key != ""
}
