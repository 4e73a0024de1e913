package chart

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// selected gives the names of the Deployments whose pods a selector picks.
func selected(t *testing.T, objects []runtime.Object, s *metav1.LabelSelector) []string {
	t.Helper()
	match, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, d := range of[*appsv1.Deployment](objects) {
		if match.Matches(labels.Set(d.Spec.Template.Labels)) {
			out = append(out, d.Name)
		}
	}
	slices.Sort(out)
	return out
}

func TestSelectors(t *testing.T) {
	for name, set := range renderings() {
		objects := decode(t, render(t, options(t, set...)))
		one := func(kind, object string, s *metav1.LabelSelector) {
			t.Helper()
			if got := selected(t, objects, s); !slices.Equal(got, []string{object}) {
				t.Errorf("%s: %s %s selects the pods of %v", name, kind, object, got)
			}
		}
		for _, d := range of[*appsv1.Deployment](objects) {
			one("Deployment", d.Name, d.Spec.Selector)
			for _, c := range d.Spec.Template.Spec.TopologySpreadConstraints {
				one("topology spread of", d.Name, c.LabelSelector)
			}
		}
		services := of[*corev1.Service](objects)
		if len(services) != 2 {
			t.Errorf("%s: %d Services", name, len(services))
		}
		for _, s := range services {
			one("Service", s.Name, &metav1.LabelSelector{MatchLabels: s.Spec.Selector})
			ports := named[*appsv1.Deployment](t, objects, s.Name).Spec.Template.Spec.Containers[0].Ports
			for _, p := range s.Spec.Ports {
				if !slices.ContainsFunc(ports, func(c corev1.ContainerPort) bool { return c.Name == p.TargetPort.StrVal && c.ContainerPort == p.Port }) {
					t.Errorf("%s: Service %s, port %s: no such port of its pods", name, s.Name, p.Name)
				}
			}
		}
		for _, p := range of[*policyv1.PodDisruptionBudget](objects) {
			one("PodDisruptionBudget", p.Name, p.Spec.Selector)
		}
		for _, p := range of[*networkingv1.NetworkPolicy](objects) {
			one("NetworkPolicy", p.Name, &p.Spec.PodSelector)
		}
		for _, h := range of[*autoscalingv2.HorizontalPodAutoscaler](objects) {
			d := named[*appsv1.Deployment](t, objects, h.Spec.ScaleTargetRef.Name)
			if d.Spec.Replicas != nil {
				t.Errorf("%s: %s sets replicas, which fights the autoscaler on each upgrade", name, d.Name)
			}
		}
		for _, m := range of[*podMonitor](objects) {
			if got := selected(t, objects, &m.Spec.Selector); len(got) != 2 {
				t.Errorf("%s: the PodMonitor selects %v", name, got)
			}
		}
	}
}

// An evaluation of the policies as written: who may open which port to whom.
func TestReachability(t *testing.T) {
	objects := decode(t, render(t, options(t)))
	policies := of[*networkingv1.NetworkPolicy](objects)
	if len(policies) != 2 {
		t.Fatalf("%d NetworkPolicies", len(policies))
	}
	for _, p := range policies {
		if !slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeIngress) || !slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress) {
			t.Errorf("%s does not deny by default in both directions: %v", p.Name, p.Spec.PolicyTypes)
		}
	}
	gatewayPods := deployments(t, objects)[gateway].Spec.Template.Labels
	controllerPods := deployments(t, objects)[controller].Spec.Template.Labels
	var (
		outside    = end{ip: "203.0.113.9"}
		metadata   = end{ip: "169.254.169.254"}
		stranger   = end{ns: "shop", labels: map[string]string{"app": "cart"}}
		prometheus = end{ns: "monitoring", labels: map[string]string{"app": "prometheus"}}
		gw         = end{ns: ns, labels: gatewayPods}
		ctl        = end{ns: ns, labels: controllerPods}
	)
	cases := []struct {
		from, to end
		proto    corev1.Protocol
		port     int32
		want     bool
		why      string
	}{
		{outside, gw, corev1.ProtocolTCP, 10000, true, "clients reach listeners"},
		{stranger, gw, corev1.ProtocolTCP, 32767, true, "pods are clients too"},
		{outside, gw, corev1.ProtocolTCP, 9999, false, "no port but a listener's"},
		{outside, gw, corev1.ProtocolUDP, 10000, false, "no UDP"},
		{outside, gw, corev1.ProtocolTCP, 9400, false, "admin is not for clients"},
		{stranger, gw, corev1.ProtocolTCP, 9400, false, "admin is not for pods"},
		{prometheus, gw, corev1.ProtocolTCP, 9400, true, "metrics"},
		{prometheus, ctl, corev1.ProtocolTCP, 9400, true, "metrics"},
		{prometheus, ctl, corev1.ProtocolTCP, 9443, false, "configuration is for gateways"},
		{stranger, ctl, corev1.ProtocolTCP, 9443, false, "configuration is for gateways"},
		{outside, ctl, corev1.ProtocolTCP, 9443, false, "configuration is for gateways"},
		{gw, ctl, corev1.ProtocolTCP, 9443, true, "configuration"},
		{gw, ctl, corev1.ProtocolTCP, 9400, false, "gateways have no business there"},
		{gw, stranger, corev1.ProtocolTCP, 8080, true, "backends"},
		{gw, outside, corev1.ProtocolTCP, 443, true, "key sets"},
		{gw, outside, corev1.ProtocolTCP, 6443, false, "not the API server"},
		{gw, outside, corev1.ProtocolTCP, 22, false, "nothing else outside"},
		{gw, outside, corev1.ProtocolUDP, 53, true, "names"},
		{gw, metadata, corev1.ProtocolTCP, 443, false, "not the cloud's metadata"},
		{gw, metadata, corev1.ProtocolTCP, 80, false, "not the cloud's metadata"},
		{ctl, outside, corev1.ProtocolTCP, 6443, true, "the API server"},
		{ctl, outside, corev1.ProtocolTCP, 80, false, "nothing else"},
		{ctl, stranger, corev1.ProtocolTCP, 8080, false, "the controller calls no backend"},
		{ctl, gw, corev1.ProtocolTCP, 10000, false, "gateways come to the controller"},
	}
	for _, c := range cases {
		if got := allowed(t, policies, c.from, c.to, c.proto, c.port); got != c.want {
			t.Errorf("%v -> %v %s/%d: allowed=%v, want %v: %s", c.from, c.to, c.proto, c.port, got, c.want, c.why)
		}
	}
	// Narrowed to one address, the API server is all that the controller reaches.
	narrow := of[*networkingv1.NetworkPolicy](decode(t, render(t, options(t, "networkPolicy.apiServer.cidrs[0]=203.0.113.9/32"))))
	if !allowed(t, narrow, ctl, outside, corev1.ProtocolTCP, 6443) || allowed(t, narrow, ctl, end{ip: "203.0.113.10"}, corev1.ProtocolTCP, 6443) {
		t.Error("networkPolicy.apiServer.cidrs does not bound the controller")
	}
}
