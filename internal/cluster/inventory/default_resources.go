package inventory

import (
	"encoding/json"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"
)

// defaultPodResources fills the resources of a Pod as a whole, where it has some:
// limits of huge pages from those of its containers, requests from those of its
// containers and then from its limits.
func defaultPodResources(spec map[string]any) {
	own := object(spec, "resources")
	if limits, requests := object(own, "limits"), object(own, "requests"); len(limits)+len(requests) == 0 {
		return
	}
	pod, ok := podResources(spec)
	if !ok {
		return
	}
	defer dropEmpty(own, "limits", "requests")
	limits, requests := need(own, "limits"), need(own, "requests")
	if limits == nil || requests == nil {
		return
	}
	given := len(limits) > 0
	for name, v := range resource.AggregateContainerLimits(pod, resource.PodResourcesOptions{}) {
		if strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) && requests[string(name)] == nil {
			fillNil(limits, string(name), v.String())
			given = true
		}
	}
	if !given {
		return
	}
	for name, v := range resource.AggregateContainerRequests(pod, resource.PodResourcesOptions{}) {
		if name == corev1.ResourceCPU || name == corev1.ResourceMemory {
			fillNil(requests, string(name), v.String())
		}
	}
	for name, v := range limits {
		if resource.IsSupportedPodLevelResource(corev1.ResourceName(name)) {
			fillNil(requests, name, v)
		}
	}
}

// podResources gives what the library counts with, and false where some of it is
// not what the API takes.
func podResources(spec map[string]any) (*corev1.Pod, bool) {
	if endless(spec["resources"]) {
		return nil, false
	}
	part, bad := map[string]any{}, false
	for _, list := range []string{"containers", "initContainers"} {
		var all []any
		each(spec, list, func(c map[string]any) {
			bad = bad || endless(c["resources"])
			all = append(all, map[string]any{"resources": c["resources"], "restartPolicy": c["restartPolicy"]})
		})
		part[list] = all
	}
	text, err := json.Marshal(map[string]any{"spec": part})
	if err != nil || bad {
		return nil, false
	}
	pod := &corev1.Pod{}
	return pod, json.Unmarshal(text, pod) == nil
}

// endless reports whether Endless is true of one of the texts in v.
func endless(v any) bool {
	switch v := v.(type) {
	case string:
		return Endless(v)
	case map[string]any:
		for _, e := range v {
			if endless(e) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, endless)
	}
	return false
}
