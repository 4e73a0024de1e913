package pss

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"bulwark.dev/bulwark/internal/posture/control"
)

// most is how many places of one pod are told: a made-up one could hold millions.
const most = 500

// place is a part of a pod that a check does not allow.
type place struct{ field, container, key string }

// find gives the parts that a check does not allow. The checks name no fields, so
// the check itself is asked of pods with one part each: what it does not allow
// alone is a place. So it holds for every version of a check.
func (c *Control) find(s *control.Subject, i int, pod *control.Typed) []place {
	f := finder{c: c, s: s, i: i, pod: pod}
	f.annotations()
	f.ofPod()
	f.volumes()
	f.containers()
	return f.out
}

type finder struct {
	c   *Control
	s   *control.Subject
	i   int
	pod *control.Typed
	out []place
	// podFails: the pod fails without any container, so containers that set nothing
	// are not the reason.
	podFails bool
}

func (f *finder) add(field, container, key string) {
	if field != "" && field[0] != '[' {
		field = "." + field
	}
	f.out = append(f.out, place{f.s.Pods[f.i].Path + field, container, key})
}

// refused asks the check of a pod with some parts only.
func (f *finder) refused(m *metav1.ObjectMeta, s *corev1.PodSpec) bool {
	if m == nil {
		m = &metav1.ObjectMeta{}
	}
	return !f.c.allowed(m, s).Allowed
}

// frame is the pod without its containers and volumes.
func (f *finder) frame() *corev1.PodSpec {
	s := f.pod.Spec
	s.Containers, s.InitContainers, s.EphemeralContainers, s.Volumes = nil, nil, nil, nil
	return &s
}

func (f *finder) annotations() {
	if len(f.c.places.annotations) == 0 || len(f.pod.Metadata.Annotations) == 0 {
		return
	}
	known := map[string]bool{}
	for _, k := range f.s.ContainersOf(f.i) {
		known[text(k.Spec, "name")] = true
	}
	for _, prefix := range f.c.places.annotations {
		for name, value := range f.pod.Metadata.Annotations {
			of, ok := strings.CutPrefix(name, prefix)
			if !ok {
				continue
			}
			named := &corev1.PodSpec{OS: f.pod.Spec.OS}
			if known[of] {
				named.Containers = []corev1.Container{{Name: of}}
			}
			if f.refused(&metav1.ObjectMeta{Annotations: map[string]string{name: value}}, named) {
				f.out = append(f.out, place{
					field: f.s.Pods[f.i].MetadataPath + ".annotations[" + strconv.Quote(name) + "]", key: "annotation " + name,
				})
			}
		}
	}
	slices.SortFunc(f.out, func(a, b place) int { return strings.Compare(a.field, b.field) })
}

// ofPod finds the fields of the pod itself.
func (f *finder) ofPod() {
	p := &f.c.places
	frame := f.frame()
	if p.sysctls && frame.SecurityContext != nil {
		for n, sysctl := range frame.SecurityContext.Sysctls {
			alone := &corev1.PodSpec{OS: frame.OS, SecurityContext: &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{sysctl}}}
			if f.refused(nil, alone) {
				f.add(fmt.Sprintf("securityContext.sysctls[%d]", n), "", "sysctl "+sysctl.Name)
			}
		}
	}
	if len(p.pod) == 0 {
		return
	}
	// A restricted check asks for something of the pod only where a container does
	// not have it, so a pod without containers is refused for what it has itself.
	f.podFails = f.refused(nil, frame)
	if !f.podFails {
		return
	}
	refused := func(part map[string]any) bool {
		spec := &corev1.PodSpec{OS: frame.OS, HostUsers: frame.HostUsers}
		return runtime.DefaultUnstructuredConverter.FromUnstructured(part, spec) == nil && f.refused(nil, spec)
	}
	for _, field := range culprits(f.s.Pods[f.i].Spec, p.pod, refused) {
		f.add(field, "", "pod "+field)
	}
}

// culprits gives those of some fields that are set and for which alone the check
// refuses; all that are set where it refuses none alone.
func culprits(m map[string]any, fields []string, refused func(part map[string]any) bool) []string {
	var there, bad []string
	for _, field := range fields {
		if set(m, field) {
			there = append(there, field)
		}
	}
	if len(there) < 2 {
		return there
	}
	for _, field := range there {
		if refused(part(m, field)) {
			bad = append(bad, field)
		}
	}
	if len(bad) == 0 {
		return there
	}
	return bad
}

// part gives an object that has one field of another.
func part(m map[string]any, path string) map[string]any {
	first, rest, more := strings.Cut(path, ".")
	if !more {
		return map[string]any{first: m[first]}
	}
	inner, _ := m[first].(map[string]any)
	return map[string]any{first: part(inner, rest)}
}

func (f *finder) volumes() {
	field := f.c.places.volumes
	if field == "" {
		return
	}
	for n := range f.pod.Spec.Volumes {
		if len(f.out) >= most {
			return
		}
		v := f.pod.Spec.Volumes[n]
		if f.refused(nil, &corev1.PodSpec{OS: f.pod.Spec.OS, HostUsers: f.pod.Spec.HostUsers, Volumes: []corev1.Volume{v}}) {
			at := fmt.Sprintf("volumes[%d]", n)
			if field != "." {
				at += "." + field
			}
			f.add(at, "", "volume "+v.Name)
		}
	}
}

// containers asks of each container alone.
func (f *finder) containers() {
	p := &f.c.places
	if len(p.container) == 0 && !p.ports {
		return
	}
	frame := f.frame()
	if f.podFails {
		frame = &corev1.PodSpec{OS: frame.OS, HostUsers: frame.HostUsers}
	}
	at := map[string]int{} // how many of a kind came before
	for _, k := range f.s.ContainersOf(f.i) {
		alone := f.alone(frame, k.Kind, at[k.Kind])
		at[k.Kind]++
		if alone == nil || !f.refused(nil, alone) {
			continue
		}
		if len(f.out) >= most {
			return
		}
		name := text(k.Spec, "name")
		rel := strings.TrimPrefix(k.Path, f.s.Pods[f.i].Path+".")
		if p.ports {
			ports, _ := k.Spec["ports"].([]any)
			for n, port := range ports {
				m, _ := port.(map[string]any)
				if number, _ := m["hostPort"].(int64); number != 0 {
					f.add(fmt.Sprintf("%s.ports[%d].hostPort", rel, n), name, fmt.Sprintf("container %s port %d", name, number))
				}
			}
			continue
		}
		fields := culprits(k.Spec, p.container, func(part map[string]any) bool {
			with := *frame
			with.Containers = make([]corev1.Container, 1)
			return runtime.DefaultUnstructuredConverter.FromUnstructured(part, &with.Containers[0]) == nil && f.refused(nil, &with)
		})
		for _, field := range fields {
			f.add(rel+"."+field, name, "container "+name+" "+field)
		}
		if len(fields) == 0 && !f.podFails {
			f.add(rel+"."+p.container[0], name, "container "+name+" "+p.container[0])
		}
	}
}

// alone gives the frame with one container, the nth of its kind.
func (f *finder) alone(frame *corev1.PodSpec, kind string, n int) *corev1.PodSpec {
	s := *frame
	switch all := &f.pod.Spec; {
	case kind == "containers" && n < len(all.Containers):
		s.Containers = all.Containers[n : n+1]
	case kind == "initContainers" && n < len(all.InitContainers):
		s.InitContainers = all.InitContainers[n : n+1]
	case kind == "ephemeralContainers" && n < len(all.EphemeralContainers):
		s.EphemeralContainers = all.EphemeralContainers[n : n+1]
	default:
		return nil
	}
	return &s
}

func text(m map[string]any, field string) string {
	s, _ := m[field].(string)
	return s
}

// set reports whether a field is there, with another value than the one that it has
// anyway.
func set(m map[string]any, path string) bool {
	var at any = m
	for part := range strings.SplitSeq(path, ".") {
		here, ok := at.(map[string]any)
		if !ok {
			return false
		}
		at = here[part]
	}
	switch v := at.(type) {
	case nil:
		return false
	case string:
		return v != ""
	case map[string]any:
		return len(v) > 0
	case []any:
		return len(v) > 0
	}
	return true
}
