package graph

import (
	"encoding/json"

	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// podShape is what of a pod can make it worse than the template that it claims to
// be made of.
type podShape struct {
	ServiceAccountName  string           `json:"serviceAccountName"`
	HostNetwork         bool             `json:"hostNetwork"`
	HostPID             bool             `json:"hostPID"`
	HostIPC             bool             `json:"hostIPC"`
	InitContainers      []containerShape `json:"initContainers"`
	Containers          []containerShape `json:"containers"`
	EphemeralContainers []containerShape `json:"ephemeralContainers"`
	Volumes             []struct {
		HostPath struct {
			Path string `json:"path"`
		} `json:"hostPath"`
	} `json:"volumes"`
}

type containerShape struct {
	Image           string `json:"image"`
	SecurityContext struct {
		Privileged bool `json:"privileged"`
	} `json:"securityContext"`
}

// likeness is what was found of an object and one maker.
type likeness struct {
	maker *workload
	same  bool
}

// alike reports whether an object that a cluster has is what its maker's template
// says: then looking at the maker is enough. Sidecars that were put in are fine
// as long as they are not privileged.
func (ix *Index) alike(o *inventory.Object, makers []*workload) bool {
	if len(makers) != 1 {
		return false
	}
	if known, ok := taken[likeness](ix.shelf, o); ok && known.maker == makers[0] {
		return known.same
	}
	same := resembles(o, makers[0])
	if ix.shelf.all {
		put(ix.shelf, o, likeness{makers[0], same})
	}
	return same
}

// resembles reads few fields, for there are many pods; names of fields in other
// letter cases cannot come from an API server.
func resembles(o *inventory.Object, m *workload) bool {
	var meta map[string]string
	var spec podShape
	switch o.Kind {
	case "Pod":
		var pod struct {
			Spec podShape `json:"spec"`
		}
		if json.Unmarshal(o.Raw(), &pod) != nil {
			return false
		}
		meta, spec = o.Labels, pod.Spec
	case "ReplicaSet", "Job":
		var set struct {
			Spec struct {
				Replicas *int `json:"replicas"`
				Template struct {
					Metadata struct {
						Labels map[string]string `json:"labels"`
					} `json:"metadata"`
					Spec podShape `json:"spec"`
				} `json:"template"`
			} `json:"spec"`
		}
		if json.Unmarshal(o.Raw(), &set) != nil {
			return false
		}
		if set.Spec.Replicas != nil && *set.Spec.Replicas == 0 {
			return true // an earlier revision, of which nothing runs
		}
		meta, spec = set.Spec.Template.Metadata.Labels, set.Spec.Template.Spec
	default:
		return false
	}
	for k, v := range m.labels {
		if meta[k] != v {
			return false
		}
	}
	return spec.within(m)
}

// within reports whether a pod has nothing that its template lacks.
func (s *podShape) within(m *workload) bool {
	account := s.ServiceAccountName
	if account == "" {
		account = "default"
	}
	if account != m.account || s.HostNetwork != m.hostNet || s.HostPID != m.hostPID || s.HostIPC != m.hostIPC {
		return false
	}
	images, privileged := map[string]bool{}, map[string]bool{}
	for _, c := range m.containers {
		images[c.image] = true
		privileged[c.image] = privileged[c.image] || c.privileged
	}
	for _, all := range [][]containerShape{s.InitContainers, s.Containers, s.EphemeralContainers} {
		for _, c := range all {
			delete(images, c.Image)
			if c.SecurityContext.Privileged && !privileged[c.Image] {
				return false
			}
		}
	}
	if len(images) > 0 {
		return false // it runs something else than its maker says
	}
	paths := map[string]bool{"": true}
	for _, v := range m.volumes {
		paths[v.hostPath] = true
	}
	for _, v := range s.Volumes {
		if !paths[nodePath(v.HostPath.Path)] {
			return false
		}
	}
	return true
}
