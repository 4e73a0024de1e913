package chart

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/fake"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"k8s.io/utils/ptr"
)

const (
	witnessDir = "../../deploy/helm/bulwark-witness"
	witness    = "bulwark-witness"
)

func witnessOptions(set ...string) Options {
	return Options{Dir: witnessDir, Release: "w", Namespace: "others", KubeVersion: "v1.36.3", Set: append([]string{
		"logs[0]=example.com/audit+0123abcd+AbCd=", "logs[1]=other+0123abcd+AbCd=\n", "keySecret=key", "certificateSecret=cert",
	}, set...)}
}

// The witness is one pod that meets the restricted standard, has no token and no right,
// keeps its volume, and has the files that its flags name.
func TestWitness(t *testing.T) {
	objects := decode(t, render(t, witnessOptions()))
	set := named[*appsv1.StatefulSet](t, objects, witness)
	pod := &set.Spec.Template
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if v := policy.AggregateCheckResults(evaluator.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, &pod.ObjectMeta, &pod.Spec)); !v.Allowed {
		t.Error(v.ForbiddenDetail())
	}
	c := pod.Spec.Containers[0]
	if ptr.Deref(pod.Spec.AutomountServiceAccountToken, true) || pod.Spec.ServiceAccountName != witness || ptr.Deref(named[*corev1.ServiceAccount](t, objects, witness).AutomountServiceAccountToken, true) ||
		!ptr.Deref(c.SecurityContext.ReadOnlyRootFilesystem, false) || c.Resources.Limits.Memory().IsZero() || c.Resources.Limits.StorageEphemeral().IsZero() {
		t.Errorf("a token, another's account, a writable root, or no limits: %+v", pod.Spec)
	}
	if n := len(of[*rbacv1.ClusterRoleBinding](objects)) + len(of[*rbacv1.RoleBinding](objects)); n > 0 {
		t.Errorf("%d bindings give rights", n)
	}
	if keep := set.Spec.PersistentVolumeClaimRetentionPolicy; *set.Spec.Replicas != 1 || len(set.Spec.VolumeClaimTemplates) != 1 ||
		keep.WhenDeleted != appsv1.RetainPersistentVolumeClaimRetentionPolicyType || keep.WhenScaled != appsv1.RetainPersistentVolumeClaimRetentionPolicyType {
		t.Errorf("replicas %d, retention %+v", *set.Spec.Replicas, keep)
	}
	if diff := cmp.Diff([]string{"/etc/bulwark/logs/log-0.pub", "/etc/bulwark/logs/log-1.pub"}, arguments(pod, "origin-key")); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"log-0.pub": "example.com/audit+0123abcd+AbCd=\n", "log-1.pub": "other+0123abcd+AbCd=\n"}, named[*corev1.ConfigMap](t, objects, witness).Data); diff != "" {
		t.Errorf("keys of logs (-want +got):\n%s", diff)
	}
	for _, v := range pod.Spec.Volumes {
		if v.Secret != nil && (ptr.Deref(v.Secret.DefaultMode, 0o644) != 0o440 || len(v.Secret.Items) == 0) {
			t.Errorf("volume %s: everybody can read it, or it has more than is used", v.Name)
		}
	}
	for _, want := range []string{"--key-file=/etc/bulwark/key/witness.key", "--tls-cert=/tls/tls.crt", "--tls-key=/tls/tls.key", "--data=/var/lib/bulwark/witness"} {
		if !slices.Contains(c.Args, want) {
			t.Errorf("%s is not among %v", want, c.Args)
		}
	}
	service := named[*corev1.Service](t, objects, witness)
	for k, v := range service.Spec.Selector {
		if pod.Labels[k] != v {
			t.Errorf("the Service wants %s=%s", k, v)
		}
	}
}

// Each value of the witness changes something.
func TestWitnessValues(t *testing.T) {
	base := render(t, witnessOptions()).YAML()
	ran := 0
	for path, set := range map[string]string{
		"image.repository": "=m.example/b", "image.tag": "=v9", "image.digest": "=sha256:" + strings.Repeat("a1", 32), "image.pullPolicy": "=Always", "imagePullSecrets": "[0].name=r",
		"logs": "[0]=another+0123abcd+AbCd=", "keySecret": "=other", "certificateSecret": "=other", "service.type": "=LoadBalancer", "service.annotations": ".team=edge",
		"size": "=2Gi", "storageClass": "=fast", "networkPolicy.enabled": "=false", "networkPolicy.clients": "[0].ipBlock.cidr=10.0.0.0/8", "networkPolicy.monitoring": "[0].ipBlock.cidr=10.0.0.0/8",
		"log.format": "=text", "log.level": "=debug", "resources": ".requests.cpu=1", "goMemLimit": "=1GiB", "nodeSelector": ".pool=edge", "tolerations": "[0].operator=Exists",
		"affinity": ".podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey=zone", "priorityClassName": "=system-cluster-critical",
	} {
		r := render(t, witnessOptions(path+set))
		if r.YAML() == base {
			t.Errorf("%s changes nothing", path)
		}
		decode(t, r)
		ran++
	}
	if want := len(values(t, witnessDir)); ran != want {
		t.Errorf("%d of %d values were changed", ran, want)
	}
}

func TestWitnessReachability(t *testing.T) {
	objects := decode(t, render(t, witnessOptions("networkPolicy.clients[0].ipBlock.cidr=198.51.100.7/32")))
	policies := of[*networkingv1.NetworkPolicy](objects)
	at := end{ns: "others", labels: named[*appsv1.StatefulSet](t, objects, witness).Spec.Template.Labels}
	log, outside, metrics := end{ip: "198.51.100.7"}, end{ip: "203.0.113.9"}, end{ns: "monitoring", labels: map[string]string{"app": "prometheus"}}
	for _, c := range []struct {
		from, to end
		port     int32
		want     bool
	}{
		{log, at, 9643, true},
		{log, at, 9400, false},
		{outside, at, 9643, false},
		{metrics, at, 9400, true},
		{metrics, at, 9643, false},
		{at, outside, 443, false},
		{at, outside, 53, false},
		{at, log, 9443, false},
	} {
		if got := allowed(t, policies, c.from, c.to, corev1.ProtocolTCP, c.port); got != c.want {
			t.Errorf("%v -> %v %d: allowed=%v, want %v", c.from, c.to, c.port, got, c.want)
		}
	}
}

// beside is a cluster in which a StatefulSet is in a namespace.
type beside struct{ namespace, name string }

// GetClientFor is for engine.ClientProvider.
func (b beside) GetClientFor(_, kind string) (dynamic.NamespaceableResourceInterface, bool, error) {
	sets := appsv1.SchemeGroupVersion.WithResource("statefulsets")
	o := object("apps/v1", "StatefulSet", b.name)
	o.SetNamespace(b.namespace)
	client := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
		sets: "StatefulSetList", namespaces: "NamespaceList", crds: "CustomResourceDefinitionList",
	}, o)
	switch kind {
	case "StatefulSet":
		return client.Resource(sets), true, nil
	case "Namespace":
		return client.Resource(namespaces), false, nil
	}
	return client.Resource(crds), false, nil
}

// Whoever has a namespace has all that is in it: a trail and its witness do not share one.
func TestWitnessApart(t *testing.T) {
	for _, c := range []struct {
		options Options
		beside  beside
		want    string
	}{
		{witnessOptions(), beside{"others", trail}, "namespace others has an audit trail"},
		{witnessOptions(), beside{"elsewhere", trail}, ""},
		{witnessOptions(), beside{"others", "bulwark-other"}, ""},
		{options(t, audited()...), beside{ns, witness}, "namespace edge-system has a witness"},
		{options(t, audited()...), beside{"others", witness}, ""},
	} {
		c.options.Cluster = c.beside
		_, err := Render(c.options)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("beside %s in %s: %v, want %q", c.beside.name, c.beside.namespace, err, c.want)
		}
	}
}

func TestWitnessRefused(t *testing.T) {
	for set, want := range map[string]string{
		"keySecret=": "keySecret: name a Secret", "certificateSecret=": "certificateSecret: name a Secret", "logs=null": "logs: nothing would ever be signed",
		"logs[0]=x": "/logs/0", "logs[0]=a+0123abcd+Ab\n  injected: x": "/logs/0", "replicas=2": "additional properties 'replicas' not allowed", "service.type=ExternalName": "/service/type",
	} {
		if _, err := Render(witnessOptions(set)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", set, err, want)
		}
	}
}
