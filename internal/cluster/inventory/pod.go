package inventory

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
// order initContainers, containers, ephemeralContainers.
func (p *PodTemplate) Containers() []Container {
	return containers(p)
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

// PodTemplates finds the pod specifications of an object by its content, as given
// by Object.Content.
func PodTemplates(content map[string]any) []PodTemplate {
	_ = content
	return nil
}

func containers(p *PodTemplate) []Container {
	_ = p
	return nil
}
