package chart

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"k8s.io/utils/ptr"
)

// Kubernetes' own evaluator says that every pod meets the restricted standard.
func TestPodSecurity(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	ran := 0
	for name, set := range renderings() {
		for _, d := range deployments(t, decode(t, render(t, options(t, set...)))) {
			pod := d.Spec.Template
			verdict := policy.AggregateCheckResults(evaluator.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec))
			if !verdict.Allowed {
				t.Errorf("%s: %s: %s", name, d.Name, verdict.ForbiddenDetail())
			}
			pod.Spec.Containers[0].SecurityContext.Capabilities = nil
			if policy.AggregateCheckResults(evaluator.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec)).Allowed {
				t.Errorf("%s: %s: the evaluator does not look", name, d.Name)
			}
			ran++
		}
	}
	if ran != 6 {
		t.Errorf("%d pods were judged, want 6", ran)
	}
}

// What the standard does not ask for, and we promise.
func TestHardening(t *testing.T) {
	for name, set := range renderings() {
		for _, d := range deployments(t, decode(t, render(t, options(t, set...)))) {
			at, spec := name+": "+d.Name, d.Spec.Template.Spec
			if spec.HostNetwork || spec.HostPID || spec.HostIPC || spec.ServiceAccountName == "" || spec.ServiceAccountName == "default" {
				t.Errorf("%s: host namespaces or the default account: %+v", at, spec)
			}
			if ptr.Deref(spec.EnableServiceLinks, true) {
				t.Errorf("%s: the names of all Services go into the environment", at)
			}
			for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
				if !ptr.Deref(c.SecurityContext.ReadOnlyRootFilesystem, false) {
					t.Errorf("%s: the root file system is writable", at)
				}
				for _, r := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
					if c.Resources.Limits[r] == (corev1.ResourceList{})[r] {
						t.Errorf("%s: no limit of %s", at, r)
					}
				}
				if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() {
					t.Errorf("%s: no requests", at)
				}
				if c.LivenessProbe == nil || c.ReadinessProbe == nil || c.LivenessProbe.HTTPGet.Path == c.ReadinessProbe.HTTPGet.Path {
					t.Errorf("%s: the probes must differ: not ready is no reason to restart", at)
				}
			}
			for _, v := range spec.Volumes {
				if v.EmptyDir != nil && (v.EmptyDir.SizeLimit == nil || v.EmptyDir.SizeLimit.IsZero()) {
					t.Errorf("%s: volume %s has no bound", at, v.Name)
				}
				if v.HostPath != nil {
					t.Errorf("%s: volume %s is of the host", at, v.Name)
				}
			}
		}
	}
}

// The time a pod is given covers leaving the endpoints and draining.
func TestGracePeriod(t *testing.T) {
	for _, set := range [][]string{nil, {"gateway.drainSeconds=120", "gateway.preStopSeconds=30"}, {"gateway.preStopSeconds=0"}} {
		d := deployments(t, decode(t, render(t, options(t, set...))))[gateway].Spec.Template.Spec
		var sleep int64
		if l := d.Containers[0].Lifecycle; l != nil {
			sleep = l.PreStop.Sleep.Seconds
		}
		drain, ok := "", false
		for _, a := range d.Containers[0].Args {
			if v, found := strings.CutPrefix(a, "--drain="); found {
				drain, ok = v, true
			}
		}
		seconds := parseSeconds(t, drain)
		if !ok || *d.TerminationGracePeriodSeconds < sleep+seconds+1 {
			t.Errorf("%v: %d s of grace for %d s of sleep and %d s of draining", set, *d.TerminationGracePeriodSeconds, sleep, seconds)
		}
	}
}

// The pod that parses requests from outside can prove nothing to the API server.
func TestGatewayHasNoToken(t *testing.T) {
	for name, set := range renderings() {
		objects := decode(t, render(t, options(t, set...)))
		spec := deployments(t, objects)[gateway].Spec.Template.Spec
		if ptr.Deref(spec.AutomountServiceAccountToken, true) {
			t.Errorf("%s: the gateway's token is mounted", name)
		}
		for _, v := range spec.Volumes {
			if v.Projected != nil || v.Secret != nil && v.Secret.SecretName != "bulwark-relay-client" {
				t.Errorf("%s: volume %s could hold a token: %+v", name, v.Name, v.VolumeSource)
			}
		}
		if sa := named[*corev1.ServiceAccount](t, objects, spec.ServiceAccountName); ptr.Deref(sa.AutomountServiceAccountToken, true) {
			t.Errorf("%s: account %s mounts tokens", name, sa.Name)
		}
		var subjects []rbacv1.Subject
		for _, b := range of[*rbacv1.RoleBinding](objects) {
			subjects = append(subjects, b.Subjects...)
		}
		for _, b := range of[*rbacv1.ClusterRoleBinding](objects) {
			subjects = append(subjects, b.Subjects...)
		}
		want := []rbacv1.Subject{
			{Kind: "ServiceAccount", Name: controller, Namespace: ns},
			{Kind: "ServiceAccount", Name: controller, Namespace: ns},
		}
		if diff := cmp.Diff(want, subjects); diff != "" {
			t.Errorf("%s: rights go to others than the controller (-want +got):\n%s", name, diff)
		}
	}
}

// The image is the same everywhere, and a digest decides where it is given.
func TestImage(t *testing.T) {
	digest := "sha256:" + strings.Repeat("ab", 32)
	for want, set := range map[string][]string{
		"bulwark.dev/bulwark:0.1.0":             nil,
		"bulwark.dev/bulwark:0.1.0@" + digest:   {"image.digest=" + digest},
		"mirror.example/b:v7@" + digest:         {"image.digest=" + digest, "image.tag=v7", "image.repository=mirror.example/b"},
		"mirror.example:5000/team/bulwark:v7.1": {"image.tag=v7.1", "image.repository=mirror.example:5000/team/bulwark"},
	} {
		for _, d := range deployments(t, decode(t, render(t, options(t, set...)))) {
			for _, c := range d.Spec.Template.Spec.Containers {
				if c.Image != want {
					t.Errorf("%s runs %s, want %s", d.Name, c.Image, want)
				}
			}
		}
	}
}
