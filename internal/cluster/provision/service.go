package provision

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// object is what a merge patch says about an object, or a part of one.
type object = map[string]any

// metadata gives labels and annotations of an object made for a Gateway: what
// spec.infrastructure asks for, and ours, which it cannot override.
func metadata(gw *gwv1.Gateway, ours map[string]string) (labels, annotations map[string]string) {
	labels, annotations = map[string]string{}, map[string]string{}
	var keys []string
	if in := gw.Spec.Infrastructure; in != nil {
		for k, v := range in.Labels {
			if _, reserved := ours[string(k)]; !reserved {
				labels[string(k)] = string(v)
				keys = append(keys, "label:"+string(k))
			}
		}
		for k, v := range in.Annotations {
			if k != keysAnnotation {
				annotations[string(k)] = string(v)
				keys = append(keys, "annotation:"+string(k))
			}
		}
	}
	maps.Copy(labels, ours)
	if len(keys) > 0 {
		slices.Sort(keys)
		annotations[keysAnnotation] = strings.Join(keys, ",")
	}
	return labels, annotations
}

// metadataPatch gives what must change in an object's labels and annotations. Of labels and annotations that are there and not wanted, only those
// that an earlier spec.infrastructure asked for are removed: others belong to
// whoever set them.
func metadataPatch(have metav1.Object, labels, annotations map[string]string) object {
	out := object{}
	were := strings.Split(have.GetAnnotations()[keysAnnotation], ",")
	diff := func(field, prefix string, have, want map[string]string) {
		changes := object{}
		for k, v := range want {
			if old, ok := have[k]; !ok || old != v {
				changes[k] = v
			}
		}
		for _, w := range were {
			k, is := strings.CutPrefix(w, prefix)
			_, there := have[k]
			if _, wanted := want[k]; is && there && !wanted {
				changes[k] = nil
			}
		}
		if len(changes) > 0 {
			out[field] = changes
		}
	}
	diff("labels", "label:", have.GetLabels(), labels)
	diff("annotations", "annotation:", have.GetAnnotations(), annotations)
	if _, ok := annotations[keysAnnotation]; !ok && have.GetAnnotations()[keysAnnotation] != "" {
		changes, _ := out["annotations"].(object)
		if changes == nil {
			changes = object{}
			out["annotations"] = changes
		}
		changes[keysAnnotation] = nil
	}
	return out
}

// servicePort is the name by which a Service and its EndpointSlices agree on a
// port.
func servicePort(port int32) string { return fmt.Sprintf("port-%d", port) }

// newService makes the Service of a slot. targets gives the target port of each
// port and has at least one.
func newService(cfg Config, gw *gwv1.Gateway, s slot, targets map[int32]uint16) *corev1.Service {
	labels, annotations := metadata(gw, map[string]string{
		labelManagedBy: ManagedBy, labelInstallation: cfg.Namespace, gwv1.GatewayNameLabelKey: labelValue(gw.Name),
	})
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: gw.Namespace, Name: s.service, Labels: labels, Annotations: annotations,
			OwnerReferences: []metav1.OwnerReference{ownerOf(gw)},
		},
		Spec: corev1.ServiceSpec{Type: cfg.ServiceType, IPFamilies: cfg.IPFamilies},
	}
	if cfg.IPFamilyPolicy != "" {
		svc.Spec.IPFamilyPolicy = new(cfg.IPFamilyPolicy)
	}
	if s.address.IsValid() {
		svc.Spec.LoadBalancerIP = s.address.String()
		// An address has one family, and its Service must have the same.
		svc.Spec.IPFamilyPolicy = new(corev1.IPFamilyPolicySingleStack)
		svc.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
		if s.address.Is6() {
			svc.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol}
		}
	}
	if cfg.ServiceType != corev1.ServiceTypeClusterIP {
		svc.Spec.ExternalTrafficPolicy = cfg.ExternalTrafficPolicy
	}
	for _, port := range slices.Sorted(maps.Keys(targets)) {
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{
			Name: servicePort(port), Protocol: corev1.ProtocolTCP, Port: port, TargetPort: intstr.FromInt32(int32(targets[port])),
		})
	}
	return svc
}

// servicePatch gives what must change in a Service of ours, nil if nothing.
func servicePatch(have, want *corev1.Service) object {
	meta := metadataPatch(have, want.Labels, want.Annotations)
	spec := object{}
	if have.Spec.Type != want.Spec.Type {
		spec["type"] = want.Spec.Type
	}
	if len(have.Spec.Selector) > 0 {
		// With one, Kubernetes would send the Gateway's clients to other pods.
		spec["selector"] = nil
	}
	if have.Spec.LoadBalancerIP != want.Spec.LoadBalancerIP {
		spec["loadBalancerIP"] = want.Spec.LoadBalancerIP
	}
	if p := want.Spec.ExternalTrafficPolicy; p != "" && have.Spec.ExternalTrafficPolicy != p {
		spec["externalTrafficPolicy"] = p
	}
	ports := slices.Clone(want.Spec.Ports)
	for i := range ports {
		at := slices.IndexFunc(have.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == ports[i].Port && p.Protocol == ports[i].Protocol })
		if at >= 0 && want.Spec.Type != corev1.ServiceTypeClusterIP {
			ports[i].NodePort = have.Spec.Ports[at].NodePort
		}
	}
	if !equality.Semantic.DeepEqual(have.Spec.Ports, ports) {
		spec["ports"] = ports
	}
	return patchOf(have, meta, object{"spec": spec})
}

// patchOf completes a merge patch: with the resourceVersion that it was made
// from, so that it is refused if the object is another by now. It gives nil if
// nothing changes.
func patchOf(have metav1.Object, meta, fields object) object {
	out := object{}
	for k, v := range fields {
		if part, ok := v.(object); !ok || len(part) > 0 {
			out[k] = v
		}
	}
	if len(out) == 0 && len(meta) == 0 {
		return nil
	}
	meta["resourceVersion"] = have.GetResourceVersion()
	out["metadata"] = meta
	return out
}
