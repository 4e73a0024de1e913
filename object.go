package bulwark

import "strings"

// ObjectRef names one Kubernetes object, or something that is shaped like one,
// as a kubelet's configuration file.
type ObjectRef struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"` // "" for what has none
	Name       string `json:"name"`
}

// Group gives the API group, "" for the core one.
func (r ObjectRef) Group() string {
	group, _, ok := strings.Cut(r.APIVersion, "/")
	if !ok {
		return ""
	}
	return group
}

// String gives "Kind namespace/name", or "Kind name" for what has no namespace.
func (r ObjectRef) String() string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}

// Location is a place in what the user gave. Line and Column count from 1; 0 is
// not known, as for objects that came from an API server.
type Location struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}
