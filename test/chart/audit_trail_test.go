package chart

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

const (
	witnessKey = "example.org/witness+0123abcd+BAbcdefghijklmnopqrstuvwxyz0123456789ABCDEFG="
	egress     = "networkPolicy.audit.extraEgress[0].to[0].ipBlock.cidr=192.0.2.7/32"
)

// equipped are values that turn on all that a trail can do.
func equipped(set ...string) []string {
	return append(audited(
		egress, "networkPolicy.apiServer.cidrs[0]=10.0.0.1/32", "gateway.apiServers={default/kubernetes:443}",
		"audit.expectServers={apiserver-0}", "audit.silence=5m", "audit.reconcile.ownCredentials=true", "audit.reconcile.grace=2m", "audit.reconcile.unrecorded={/healthz*}",
		"audit.retention.maxBytes=40GiB", "audit.retention.classes[0].name=reading", "audit.retention.classes[0].search=verb=get", "audit.retention.classes[0].keep=30d",
		"audit.encryption.secret=trail-keys", "audit.encryption.keys={new.key,old.key}", "audit.encryption.openingsKey=openings.key",
		"audit.archive.buckets={s3://audit/prod?region=eu-central-1}", "audit.archive.credentialsSecret=bucket",
		"audit.alerts.alertmanager=http://alertmanager.monitoring.svc:9093", "audit.alerts.cloudEvents=https://events.example/in?x=y&z=1",
		"audit.alerts.syslog=tls://siem.example:6514", "audit.alerts.slackSecret=chat", "audit.alerts.severity=high",
		"audit.witness.url=https://witness.example.org:9643", "audit.witness.key="+witnessKey, "audit.witness.ca=-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----\n",
		"audit.respond.enabled=true", "audit.respond.actions={quarantine-pod,cordon-node}", "audit.respond.policy.expiry=30m", "audit.respond.policy.limits.perHour=5",
		"audit.respond.policy.responses[0].detection=pod-exec-reverse-shell", "audit.respond.policy.responses[0].severity=high", "audit.respond.policy.responses[0].action=quarantine-pod",
	), set...)
}

// otherOfTrail is the part of other that needs more of the trail to be on.
func otherOfTrail() map[string][]string {
	out := map[string][]string{}
	for path, set := range map[string]string{
		"encryption.keys": "={other.key}", "encryption.openingsKey": "=other.key", "archive.buckets": "={s3://b/p}", "archive.credentialsSecret": "=other",
		"alerts.alertmanager": "=https://a.example", "alerts.cloudEvents": "=https://a.example", "alerts.syslog": "=tcp://a.example:514", "alerts.slackSecret": "=other",
		"witness.url": "=https://w.example", "witness.key": "=other+0123abcd+BA==", "witness.ca": "=-----BEGIN CERTIFICATE-----\nYg==\n-----END CERTIFICATE-----\n",
		"respond.actions": "={quarantine-pod,deny-identity}", "respond.policy": ".expiry=1m", "reconcile": ".grace=1m",
	} {
		out["audit."+path] = equipped("audit." + path + set)
	}
	out["audit.respond.enabled"] = audited("audit.respond.enabled=true,audit.respond.actions={cordon-node}")
	out["audit.respond.allowBind"] = equipped("audit.respond.allowBind=true", "audit.respond.actions[2]=remove-rolebinding")
	return out
}

// What is said in values stands in flags, and what the flags name is in the pod.
func TestTrailEquipped(t *testing.T) {
	objects := decode(t, render(t, options(t, equipped()...)))
	set := named[*appsv1.StatefulSet](t, objects, trail)
	pod := &set.Spec.Template
	for flag, want := range map[string][]string{
		"expect-server": {"apiserver-0"}, "silence": {"5m"}, "reconcile": {"/etc/bulwark/trail/reconcile.yaml"}, "retention": {"/etc/bulwark/trail/retention.yaml"},
		"encryption-key-file": {"/etc/bulwark/key/new.key", "/etc/bulwark/key/old.key"}, "openings-key": {"/etc/bulwark/key/openings.key"},
		"archive": {"s3://audit/prod?region=eu-central-1"}, "alertmanager": {"http://alertmanager.monitoring.svc:9093"},
		"cloudevents": {"https://events.example/in?x=y&z=1"}, "syslog": {"tls://siem.example:6514"}, "slack-webhook-file": {"/etc/bulwark/slack/url"},
		"notify-severity": {"high"}, "witness-url": {"https://witness.example.org:9643"}, "witness-key": {"/etc/bulwark/trail/witness.pub"},
		"witness-ca-file": {"/etc/bulwark/trail/witness-ca.crt"}, "respond": {"/etc/bulwark/trail/responses.yaml"}, "respond-namespace": {ns},
	} {
		if diff := cmp.Diff(want, arguments(pod, flag)); diff != "" {
			t.Errorf("--%s (-want +got):\n%s", flag, diff)
		}
	}
	files := named[*corev1.ConfigMap](t, objects, trail).Data
	want := map[string]string{
		"reconcile.yaml": "grace: 2m\nownCredentials: true\nstamp: bulwark-\nunrecorded:\n- /healthz*",
		"retention.yaml": "apiVersion: bulwark.dev/v1alpha1\nclasses:\n- keep: 30d\n  name: reading\n  search: verb=get\nkind: RetentionPolicy\nmaxBytes: 40GiB",
		"responses.yaml": "expiry: 30m\nlimits:\n  perHour: 5\nresponses:\n- action: quarantine-pod\n  detection: pod-exec-reverse-shell\n  severity: high",
		"witness.pub":    witnessKey + "\n",
		"witness-ca.crt": "-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----\n",
	}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if stamp := arguments(pods(objects)[gateway], "audit-stamp"); !slices.Equal(stamp, []string{"bulwark-"}) || !slices.Equal(arguments(pods(objects)[gateway], "api-server"), []string{"default/kubernetes:443"}) {
		t.Errorf("gateways stamp %v, and the trail looks for bulwark-", stamp)
	}
	there := map[string]bool{}
	for _, v := range pod.Spec.Volumes {
		switch {
		case v.Secret != nil:
			if ptr.Deref(v.Secret.DefaultMode, 0o644) != 0o440 || len(v.Secret.Items) == 0 && v.Name != "secrets" {
				t.Errorf("volume %s: everybody can read it, or it has more than is used: %+v", v.Name, v.Secret)
			}
			for _, i := range v.Secret.Items {
				there[v.Name+"/"+i.Path] = true
			}
		case v.ConfigMap != nil:
			for f := range files {
				there[v.Name+"/"+f] = true
			}
		}
	}
	at := map[string]string{}
	for _, m := range pod.Spec.Containers[0].VolumeMounts {
		at[m.MountPath] = m.Name
		if m.Name != "trail" && !m.ReadOnly {
			t.Errorf("%s can be written", m.MountPath)
		}
	}
	named := 0
	for _, a := range append(slices.Clone(pod.Spec.Containers[0].Args), "=/etc/bulwark/archive/credentials") {
		if _, path, ok := strings.Cut(a, "=/etc/bulwark/"); ok {
			dir, file := filepath.Split("/etc/bulwark/" + path)
			if !there[at[strings.TrimSuffix(dir, "/")]+"/"+file] {
				t.Errorf("%s is not in the pod", a)
			}
			named++
		}
	}
	if named < 10 {
		t.Errorf("%d files are named", named)
	}
	if !slices.Contains(pod.Spec.Containers[0].Env, corev1.EnvVar{Name: "AWS_SHARED_CREDENTIALS_FILE", Value: "/etc/bulwark/archive/credentials"}) {
		t.Error("nothing says where the credentials of the bucket are")
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if v := policy.AggregateCheckResults(evaluator.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, &pod.ObjectMeta, &pod.Spec)); !v.Allowed {
		t.Error(v.ForbiddenDetail())
	}
	// What is read once takes a new pod; a retention policy is read again.
	const digest = "bulwark.dev/configuration"
	for change, restarts := range map[string]bool{"audit.respond.policy.expiry=20m": true, "audit.reconcile.grace=3m": true, "audit.retention.maxBytes=50GiB": false} {
		changed := podOf(t, equipped(change)...)
		if (changed.Annotations[digest] != pod.Annotations[digest]) != restarts {
			t.Errorf("%s: a new pod should be %v", change, restarts)
		}
	}
}

// podOf is the trail's pod.
func podOf(t *testing.T, set ...string) *corev1.PodTemplateSpec {
	t.Helper()
	return &named[*appsv1.StatefulSet](t, decode(t, render(t, options(t, set...))), trail).Spec.Template
}

// needed reads which rights each action needs, as catalog/responses says.
func needed(t *testing.T) map[string][]string {
	t.Helper()
	all, err := filepath.Glob("../../catalog/responses/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for _, file := range all {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var a struct {
			Name string              `json:"name"`
			RBAC []rbacv1.PolicyRule `json:"rbac"`
		}
		if err := yaml.Unmarshal(text, &a); err != nil {
			t.Fatal(err)
		}
		out[a.Name] = rights(t, a.RBAC)
	}
	if len(out) < 8 {
		t.Fatalf("%d actions read", len(out))
	}
	return out
}

// The trail may do what its actions take, and nothing else: for each, for those that
// share a kind of object, and for all.
func TestTrailRights(t *testing.T) {
	actions := needed(t)
	all := slices.Sorted(maps.Keys(actions))
	sets := [][]string{
		all, {"quarantine-namespace", "quarantine-pod"}, {"quarantine-pod", "revoke-serviceaccount-tokens"}, {"remove-clusterrolebinding", "remove-rolebinding"},
	}
	for _, one := range all {
		sets = append(sets, []string{one})
	}
	for _, names := range sets {
		objects := decode(t, render(t, options(t, audited("audit.respond.enabled=true", "audit.respond.allowBind=true", "audit.respond.actions={"+strings.Join(names, ",")+"}")...)))
		var want []string
		for _, name := range names {
			want = append(want, actions[name]...)
		}
		slices.Sort(want)
		if diff := cmp.Diff(slices.Compact(want), rights(t, named[*rbacv1.ClusterRole](t, objects, trail).Rules)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", names, diff)
		}
		bound := named[*rbacv1.ClusterRoleBinding](t, objects, trail)
		if diff := cmp.Diff([]rbacv1.Subject{{Kind: "ServiceAccount", Name: trail, Namespace: ns}}, bound.Subjects); diff != "" || bound.RoleRef.Name != trail {
			t.Errorf("%v: %s is bound: %s", names, bound.RoleRef.Name, diff)
		}
		if !ptr.Deref(named[*appsv1.StatefulSet](t, objects, trail).Spec.Template.Spec.AutomountServiceAccountToken, false) {
			t.Errorf("%v: the pod has no token", names)
		}
		if roles := of[*rbacv1.Role](objects); len(roles) != 1 || roles[0].Name != controller {
			t.Errorf("%v: Roles %v", names, roles)
		}
	}
	if _, err := Render(options(t, audited("audit.respond.enabled=true", "audit.respond.actions={format-disk}")...)); err == nil {
		t.Error("an action that there is not was rendered")
	}
}

// With measures, receivers and a bucket the trail reaches what they take, and no more;
// gateways reach API servers that are backends.
func TestTrailReachability(t *testing.T) {
	policies := of[*networkingv1.NetworkPolicy](decode(t, render(t, options(t, equipped()...))))
	at := func(component string) end {
		return end{ns: ns, labels: map[string]string{"app.kubernetes.io/name": "bulwark", "app.kubernetes.io/instance": "bulwark", "app.kubernetes.io/component": component}}
	}
	server, receiver, outside := end{ip: "10.0.0.1"}, end{ip: "192.0.2.7"}, end{ip: "203.0.113.9"}
	for _, c := range []struct {
		from, to end
		port     int32
		want     bool
		why      string
	}{
		{at("audit"), server, 6443, true, "measures"},
		{at("audit"), server, 22, false, "the API server only"},
		{at("audit"), receiver, 443, true, "who is told of alerts"},
		{at("audit"), outside, 443, false, "nobody else"},
		{at("audit"), outside, 53, true, "names"},
		{at("audit"), at("controller"), 9443, false, "parts come to the trail"},
		{at("gateway"), server, 6443, true, "an API server as a backend"},
		{at("gateway"), outside, 6443, false, "that one only"},
	} {
		if got := allowed(t, policies, c.from, c.to, corev1.ProtocolTCP, c.port); got != c.want {
			t.Errorf("%v -> %v %d: allowed=%v, want %v: %s", c.from, c.to, c.port, got, c.want, c.why)
		}
	}
	only := of[*networkingv1.NetworkPolicy](decode(t, render(t, options(t, audited("audit.respond.enabled=true", "audit.respond.actions={cordon-node}", "networkPolicy.apiServer.cidrs[0]=10.0.0.1/32")...))))
	if !allowed(t, only, at("audit"), server, corev1.ProtocolTCP, 443) || allowed(t, only, at("audit"), outside, corev1.ProtocolUDP, 53) || allowed(t, only, at("audit"), outside, corev1.ProtocolTCP, 443) {
		t.Error("measures alone take the API server alone")
	}
}

// What cannot work, and what would be unsafe, is refused with a reason.
func TestTrailRefused(t *testing.T) {
	measures := []string{"audit.respond.enabled=true", "audit.respond.actions={cordon-node}"}
	for _, c := range []struct {
		set  []string
		want string
	}{
		{[]string{"audit.extraArgs={--data=/tmp}"}, "--data is the chart's own"},
		{[]string{"audit.extraArgs={--respond=/secrets/r.yaml}"}, "--respond is the chart's own"},
		{[]string{"audit.extraArgs={--token-file=/secrets/all}"}, "--token-file is the chart's own"},
		{[]string{"audit.extraArgs={--pprof}"}, "--pprof is the chart's own"},
		{[]string{"audit.expectServers={apiserver-9}"}, "not among audit.apiServers"},
		{[]string{"audit.silence=soon"}, "/audit/silence"},
		{[]string{"audit.reconcile.grace=1m", "audit.reconcile.proxy=x"}, "gateway.apiServers"},
		{[]string{"gateway.apiServers={default/kubernetes:443}"}, "networkPolicy.apiServer.cidrs"},
		{[]string{"gateway.apiServers={kubernetes:443}"}, "/gateway/apiServers/0"},
		{[]string{"audit.retention.maxBytes=1GiB"}, "audit.retention.classes"},
		{[]string{"audit.retention.classes[0].name=x", "audit.retention.classes[0].keep=long"}, "/audit/retention/classes/0/keep"},
		{[]string{"audit.encryption.openingsKey=x"}, "audit.encryption.secret"},
		{[]string{"audit.encryption.secret=k", "audit.encryption.openingsKey=audit.key"}, "one key for events and for openings"},
		{[]string{"audit.encryption.keys={a/b}"}, "/audit/encryption/keys/0"},
		{[]string{"audit.archive.credentialsSecret=x"}, "audit.archive.buckets"},
		{[]string{"audit.archive.buckets={/mnt/x}", egress}, "/audit/archive/buckets/0"},
		{[]string{"audit.archive.buckets={s3://key:secret@b/p}", egress}, "/audit/archive/buckets/0"},
		{[]string{"audit.archive.buckets={s3://b/p}"}, "networkPolicy.audit.extraEgress"},
		{[]string{"audit.alerts.slackSecret=x"}, "networkPolicy.audit.extraEgress"},
		{[]string{"audit.alerts.alertmanager=http://u:p@a", egress}, "/audit/alerts/alertmanager"},
		{[]string{"audit.alerts.syslog=siem.example", egress}, "/audit/alerts/syslog"},
		{[]string{"audit.witness.url=https://w.example", egress}, "url and key go together"},
		{[]string{"audit.witness.url=http://w.example", "audit.witness.key=" + witnessKey, egress}, "/audit/witness/url"},
		{[]string{"audit.witness.ca=-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----"}, "an authority for no witness"},
		{[]string{"audit.respond.enabled=true"}, "name the actions"},
		{[]string{"audit.respond.actions={cordon-node}"}, "turn it on"},
		{append(slices.Clip(measures), "audit.respond.actions[1]=remove-clusterrolebinding"), "can make himself cluster-admin"},
		{append(slices.Clip(measures), "audit.respond.policy.responses[0].detection=d", "audit.respond.policy.responses[0].severity=high", "audit.respond.policy.responses[0].action=quarantine-pod"), "its rights would be missing"},
		{append(slices.Clip(measures), "audit.respond.policy.mode=enforce"), "additional properties 'mode' not allowed"},
	} {
		if _, err := Render(options(t, audited(c.set...)...)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.set, err, c.want)
		}
	}
	for set, want := range map[string]string{
		"gateway.events.record=refused": "looks forged", "audit.required=false": "looks forged", "audit.reconcile.proxy=x": "give proxy", "audit.reconcile.grace=": "/audit/reconcile/grace",
	} {
		if _, err := Render(options(t, equipped(set)...)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", set, err, want)
		}
	}
}

// The values in the guide render, and each turns something on.
func TestTrailGuide(t *testing.T) {
	text, err := os.ReadFile("../../docs/guide/audit-cluster.md")
	if err != nil {
		t.Fatal(err)
	}
	plain, ran := render(t, options(t, audited("audit.apiServers={apiserver-0}")...)).YAML(), 0
	for i, part := range strings.Split(string(text), "```yml\n")[1:] {
		values, _, ok := strings.Cut(part, "```")
		file := filepath.Join(t.TempDir(), "values.yaml")
		if err := os.WriteFile(file, []byte(values), 0o600); err != nil || !ok {
			t.Fatal(err, ok)
		}
		o := options(t, audited("audit.apiServers={apiserver-0}")...)
		o.Values = []string{file}
		r := render(t, o)
		if r.YAML() == plain {
			t.Errorf("example %d changes nothing", i+1)
		}
		decode(t, r)
		ran++
	}
	if ran < 4 {
		t.Errorf("%d examples were rendered", ran)
	}
}

func TestTrailNotes(t *testing.T) {
	enforced := "audit.respond.policy.responses[0].mode=enforce"
	for _, c := range []struct {
		set  []string
		want string
		not  bool
	}{
		{audited(), "Nothing is ever taken away", false},
		{audited(), "not encrypted", false},
		{audited(), "put back to an older state", false},
		{equipped("networkPolicy.audit.senders[0].ipBlock.cidr=10.0.0.1/32"), "WARNING", true},
		{equipped(), "Nobody outside", true},
		{equipped(), "by these actions: quarantine-pod, cordon-node.", false},
		{equipped(enforced), "WARNING: quarantine-pod is taken without a person when pod-exec-reverse-shell alerts", false},
		{equipped("audit.encryption.openingsKey="), "WARNING: the key of openings", false},
		{equipped("audit.respond.actions[2]=delete-token-secret"), "WARNING: delete-token-secret", false},
		{equipped("networkPolicy.apiServer.cidrs=null", "gateway.apiServers=null", "audit.reconcile=null"), "WARNING: with its token", false},
		{equipped("audit.respond.allowBind=true"), "WARNING: whoever takes over", false},
	} {
		if got := render(t, options(t, c.set...)).Notes; strings.Contains(got, c.want) == c.not {
			t.Errorf("%v: %q in the notes should be %v:\n%s", c.set[len(c.set)-1], c.want, !c.not, got)
		}
	}
}
