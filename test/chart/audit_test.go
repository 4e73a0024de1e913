package chart

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"k8s.io/utils/ptr"
)

const trail = "bulwark-audit"

// audited are values that turn the trail on, with the webhook, and without the CRDs, which
// take longest to render.
func audited(set ...string) []string {
	return append([]string{
		"crds.install=false",
		"audit.enabled=true", "audit.certificateSecret=trail-tls", "audit.tokenSecret=trail-tokens", "audit.apiServers={apiserver-0,apiserver-1}",
		"admission.enabled=true", "admission.certificateSecret=webhook",
	}, set...)
}

// pods gives every pod of a rendering by the name of what makes it.
func pods(objects []runtime.Object) map[string]*corev1.PodTemplateSpec {
	out := map[string]*corev1.PodTemplateSpec{}
	for _, d := range of[*appsv1.Deployment](objects) {
		out[d.Name] = &d.Spec.Template
	}
	for _, s := range of[*appsv1.StatefulSet](objects) {
		out[s.Name] = &s.Spec.Template
	}
	return out
}

func arguments(p *corev1.PodTemplateSpec, name string) []string {
	var out []string
	for _, a := range p.Spec.Containers[0].Args {
		if v, ok := strings.CutPrefix(a, "--"+name+"="); ok {
			out = append(out, v)
		}
	}
	return out
}

// The trail is there when it is asked for only, in one pod that meets the restricted
// standard, has no token and keeps its volume.
func TestAudit(t *testing.T) {
	for _, o := range decode(t, render(t, options(t))) {
		if m, ok := o.(metav1.Object); ok && m.GetName() == trail {
			t.Errorf("%T is there without being asked for", o)
		}
	}
	objects := decode(t, render(t, options(t, audited(`audit.extraArgs={--seal-age=30s,--client-name=aggregator}`, "audit.extraSecret=more", "audit.clusterIP=10.96.0.99", "podMonitor.enabled=true")...)))
	set := named[*appsv1.StatefulSet](t, objects, trail)
	all := pods(objects)
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 4 {
		t.Fatalf("%d kinds of pods", len(all))
	}
	for name, p := range all {
		verdict := policy.AggregateCheckResults(evaluator.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, &p.ObjectMeta, &p.Spec))
		if !verdict.Allowed {
			t.Errorf("%s: %s", name, verdict.ForbiddenDetail())
		}
		c := p.Spec.Containers[0]
		if !ptr.Deref(c.SecurityContext.ReadOnlyRootFilesystem, false) || c.Resources.Limits.Memory().IsZero() || c.LivenessProbe == nil || c.ReadinessProbe == nil {
			t.Errorf("%s has a writable root, or no limits or probes", name)
		}
		for _, v := range p.Spec.Volumes {
			if v.EmptyDir != nil && (v.EmptyDir.SizeLimit == nil || v.EmptyDir.SizeLimit.IsZero()) {
				t.Errorf("%s: volume %s has no bound", name, v.Name)
			}
		}
	}
	spec := set.Spec.Template.Spec
	if ptr.Deref(spec.AutomountServiceAccountToken, true) || spec.ServiceAccountName != trail || ptr.Deref(spec.EnableServiceLinks, true) {
		t.Error("the trail has a token, or another's account")
	}
	if sa := named[*corev1.ServiceAccount](t, objects, trail); ptr.Deref(sa.AutomountServiceAccountToken, true) {
		t.Error("its account mounts tokens")
	}
	for _, b := range of[*rbacv1.ClusterRoleBinding](objects) {
		for _, s := range b.Subjects {
			if s.Name == trail {
				t.Errorf("%s gives it rights", b.Name)
			}
		}
	}
	for _, b := range of[*rbacv1.RoleBinding](objects) {
		for _, s := range b.Subjects {
			if s.Name == trail {
				t.Errorf("%s gives it rights", b.Name)
			}
		}
	}
	keep := set.Spec.PersistentVolumeClaimRetentionPolicy
	if *set.Spec.Replicas != 1 || len(set.Spec.VolumeClaimTemplates) != 1 || keep.WhenDeleted != appsv1.RetainPersistentVolumeClaimRetentionPolicyType || keep.WhenScaled != appsv1.RetainPersistentVolumeClaimRetentionPolicyType {
		t.Errorf("replicas %d, volumes %+v, retention %+v", *set.Spec.Replicas, set.Spec.VolumeClaimTemplates, keep)
	}
	want := []string{"gateway=/tokens/gateway", "controller=/tokens/controller", "admission=/tokens/admission", "apiserver-0=/tokens/apiserver-0", "apiserver-1=/tokens/apiserver-1"}
	if diff := cmp.Diff(want, arguments(&set.Spec.Template, "token-file")); diff != "" {
		t.Errorf("tokens (-want +got):\n%s", diff)
	}
	if got := arguments(&set.Spec.Template, "seal-age"); !slices.Equal(got, []string{"30s"}) {
		t.Errorf("extraArgs are %v", set.Spec.Template.Spec.Containers[0].Args)
	}
	service := named[*corev1.Service](t, objects, trail)
	for k, v := range service.Spec.Selector {
		if set.Spec.Template.Labels[k] != v {
			t.Errorf("the Service wants %s=%s", k, v)
		}
	}
	monitor := of[*podMonitor](objects)[0].Spec
	if !matches(t, &monitor.Selector, set.Spec.Template.Labels) || !slices.ContainsFunc(set.Spec.Template.Spec.Containers[0].Ports, func(p corev1.ContainerPort) bool {
		return p.Name == monitor.PodMetricsEndpoints[0].Port && p.ContainerPort == 9400
	}) {
		t.Errorf("the PodMonitor %+v does not reach it", monitor)
	}
	if service.Spec.ClusterIP != "10.96.0.99" || service.Spec.Ports[0].Port != 9443 || service.Spec.Type != "" {
		t.Errorf("Service %+v", service.Spec)
	}
	if p := named[*policyv1.PodDisruptionBudget](t, objects, trail); p.Spec.Selector.MatchLabels["app.kubernetes.io/component"] != "audit" || p.Spec.MaxUnavailable.IntVal != 1 {
		t.Errorf("disruption budget %+v", p.Spec)
	}
}

// Each part sends under its own name, with its own token, and sees neither another's
// nor the trail's key; its spool fits its volume, and that its container.
func TestAuditSenders(t *testing.T) {
	objects := decode(t, render(t, options(t, audited()...)))
	ran := 0
	for name, p := range pods(objects) {
		if name == trail {
			continue
		}
		ran++
		part := strings.TrimPrefix(name, "bulwark-")
		if got := arguments(p, "audit-url"); !slices.Equal(got, []string{"https://bulwark-audit." + ns + ".svc:9443/audit/v1/" + part}) {
			t.Errorf("%s sends to %v", name, got)
		}
		spool, limit := int64(0), int64(0)
		if _, err := fmt.Sscan(strings.Join(arguments(p, "audit-spool-bytes"), " "), &spool); err != nil {
			t.Fatal(err)
		}
		for _, v := range p.Spec.Volumes {
			switch {
			case v.Name == "spool":
				limit = v.EmptyDir.SizeLimit.Value()
			case v.Name == "audit":
				var items []string
				for _, s := range v.Projected.Sources {
					if s.ServiceAccountToken != nil || s.Secret == nil || len(s.Secret.Items) != 1 {
						t.Fatalf("%s: %+v", name, s)
					}
					items = append(items, s.Secret.Name+"/"+s.Secret.Items[0].Key+" "+s.Secret.Items[0].Path)
				}
				if diff := cmp.Diff([]string{"trail-tokens/" + part + " token", "trail-tls/ca.crt ca.crt"}, items); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			case v.Secret != nil && (v.Secret.SecretName == "trail-tls" || v.Secret.SecretName == "trail-tokens"):
				t.Errorf("%s has all of %s", name, v.Secret.SecretName)
			}
		}
		if local := p.Spec.Containers[0].Resources.Limits.StorageEphemeral().Value(); spool < 1<<20 || spool+2<<20 > limit || limit > local {
			t.Errorf("%s: a spool of %d bytes, a volume of %d, %d for the container", name, spool, limit, local)
		}
		for _, a := range []string{"audit-ca-file=/etc/bulwark/audit/ca.crt", "audit-token-file=/etc/bulwark/audit/token", "audit-spool=/var/spool/bulwark"} {
			if !slices.Contains(p.Spec.Containers[0].Args, "--"+a) {
				t.Errorf("%s lacks --%s", name, a)
			}
		}
		if required := arguments(p, "audit-required"); part == "gateway" && !slices.Equal(required, []string{"true"}) || part != "gateway" && len(required) > 0 {
			t.Errorf("%s: required is %v", name, required)
		}
	}
	if ran != 3 {
		t.Errorf("%d parts send", ran)
	}
	without := deployments(t, decode(t, render(t, options(t))))
	if with := *pods(objects)[gateway].Spec.TerminationGracePeriodSeconds; with < *without[gateway].Spec.Template.Spec.TerminationGracePeriodSeconds+6 {
		t.Errorf("%d seconds of grace leave no time to send the rest", with)
	}
}

// Who may reach the trail, and whom it may.
func TestAuditReachability(t *testing.T) {
	objects := decode(t, render(t, options(t, audited("networkPolicy.audit.senders[0].ipBlock.cidr=10.0.0.1/32")...)))
	policies := of[*networkingv1.NetworkPolicy](objects)
	at := func(name string) end { return end{ns: ns, labels: pods(objects)[name].Labels} }
	var (
		audit    = at(trail)
		server   = end{ip: "10.0.0.1"}
		outside  = end{ip: "203.0.113.9"}
		stranger = end{ns: "shop", labels: map[string]string{"app": "cart"}}
		disguise = end{ns: "shop", labels: at(gateway).labels}
		metrics  = end{ns: "monitoring", labels: map[string]string{"app": "prometheus"}}
	)
	for _, c := range []struct {
		from, to end
		port     int32
		want     bool
		why      string
	}{
		{at(gateway), audit, 9443, true, "gateways send"},
		{at(controller), audit, 9443, true, "controllers send"},
		{at(webhook), audit, 9443, true, "the webhook sends"},
		{server, audit, 9443, true, "an API server that is named sends"},
		{outside, audit, 9443, false, "nobody else does"},
		{stranger, audit, 9443, false, "nobody else does"},
		{disguise, audit, 9443, false, "labels of another namespace are worth nothing"},
		{at(gateway), audit, 9400, false, "gateways have no business there"},
		{metrics, audit, 9400, true, "metrics"},
		{metrics, audit, 9443, false, "metrics only"},
		{audit, outside, 443, false, "the trail calls nobody"},
		{audit, at(controller), 9443, false, "the trail calls nobody"},
		{at(webhook), at(controller), 9443, false, "the webhook calls the trail only"},
		{at(webhook), outside, 443, false, "the webhook calls the trail only"},
	} {
		if got := allowed(t, policies, c.from, c.to, corev1.ProtocolTCP, c.port); got != c.want {
			t.Errorf("%v -> %v %d: allowed=%v, want %v: %s", c.from, c.to, c.port, got, c.want, c.why)
		}
	}
	names := end{ip: "10.96.0.10"}
	for _, part := range []string{gateway, controller, webhook} {
		if !allowed(t, policies, at(part), names, corev1.ProtocolUDP, 53) {
			t.Errorf("%s cannot ask for the trail's name", part)
		}
	}
	plain := of[*networkingv1.NetworkPolicy](decode(t, render(t, options(t, audited()...))))
	if allowed(t, plain, server, audit, corev1.ProtocolTCP, 9443) {
		t.Error("an API server that nobody named may send")
	}
}

func TestAuditRefused(t *testing.T) {
	for set, want := range map[string]string{
		"audit.certificateSecret=":          "audit.certificateSecret",
		"audit.tokenSecret=":                "audit.tokenSecret",
		"gateway.events.record=none":        "have nothing to send",
		"audit.apiServers={gateway}":        "is the name of a part of Bulwark",
		"audit.apiServers={a,a}":            "/audit/apiServers",
		"audit.apiServers={A}":              "/audit/apiServers/0",
		"audit.apiServers={a/b}":            "/audit/apiServers/0",
		"audit.extraArgs={x}":               "/audit/extraArgs/0",
		"audit.extraArgs[0]=--a=b\n- --c=d": "/audit/extraArgs/0",
		"audit.size=much":                   "/audit/size",
		"audit.clusterIP=a.b.c.example":     "/audit/clusterIP",
		"audit.replicas=2":                  "additional properties 'replicas' not allowed",
	} {
		if _, err := Render(options(t, audited(set)...)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", set, err, want)
		}
	}
}

func TestAuditNotes(t *testing.T) {
	for _, c := range []struct {
		set  []string
		want string
		not  bool
	}{
		{nil, "audit", true},
		{audited(), "--url https://ADDRESS:9443/audit/v1/apiserver-0", false},
		{audited("audit.clusterIP=10.96.0.99"), "--url https://10.96.0.99:9443/audit/v1/apiserver-0", false},
		{audited(), "WARNING: no API server may reach", false},
		{audited("networkPolicy.audit.senders[0].ipBlock.cidr=10.0.0.1/32"), "WARNING", true},
		{audited("audit.required=false"), "WARNING: while the audit trail is away", false},
		{[]string{"audit.enabled=true", "audit.certificateSecret=a", "audit.tokenSecret=b"}, "No API server may send", false},
	} {
		if got := render(t, options(t, c.set...)).Notes; strings.Contains(got, c.want) == c.not {
			t.Errorf("%v: %q in the notes should be %v:\n%s", c.set, c.want, !c.not, got)
		}
	}
}
