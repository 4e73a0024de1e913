package action

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"bulwark.dev/bulwark/internal/audit"
)

// cases are all actions, each with what it is used on.
var cases = []struct {
	action string
	set    map[string]string
	// check says why the effect is not there.
	check func(c *fakeCluster, run string) string
}{
	{"quarantine-pod", map[string]string{"namespace": "shop", "pod": "web"}, func(c *fakeCluster, run string) string {
		labels := c.objects["pods shop/web"].GetLabels()
		if want := map[string]string{"bulwark.dev/quarantine": run}; !cmp.Equal(want, labels) {
			return cmp.Diff(want, labels)
		}
		spec := c.objects["networkpolicies shop/bulwark-response-"+run].Object["spec"]
		return cmp.Diff(map[string]any{
			"podSelector": map[string]any{"matchLabels": map[string]any{"bulwark.dev/quarantine": run}}, "policyTypes": []any{"Ingress", "Egress"},
		}, spec)
	}},
	{"quarantine-namespace", map[string]string{"namespace": "shop"}, func(c *fakeCluster, run string) string {
		return cmp.Diff(map[string]any{"podSelector": map[string]any{}, "policyTypes": []any{"Ingress", "Egress"}}, c.objects["networkpolicies shop/bulwark-response-"+run].Object["spec"])
	}},
	{"delete-token-secret", map[string]string{"namespace": "shop", "secret": "cart-token"}, gone("secrets shop/cart-token")},
	{"remove-rolebinding", map[string]string{"namespace": "shop", "binding": "eve"}, gone("rolebindings shop/eve")},
	{"remove-clusterrolebinding", map[string]string{"binding": "eve:all"}, gone("clusterrolebindings /eve:all")},
	{"cordon-node", map[string]string{"node": "worker-1"}, func(c *fakeCluster, _ string) string {
		return cmp.Diff(map[string]any{"unschedulable": true}, c.objects["nodes /worker-1"].Object["spec"])
	}},
	{"revoke-serviceaccount-tokens", map[string]string{"namespace": "shop", "serviceaccount": "cart"}, func(c *fakeCluster, _ string) string {
		if uid := c.objects["serviceaccounts shop/cart"].GetUID(); uid == "sa-1" {
			return "it has its uid still"
		}
		return ""
	}},
	{"deny-identity", map[string]string{"identity": `eve"||true`, "issuer": "https://idp"}, func(c *fakeCluster, run string) string {
		rules, _ := rulesOf(c.objects["securitypolicies shop/api"])
		return cmp.Diff([]any{
			map[string]any{"name": "bulwark-" + run, "when": `identity.name == "eve\u0022\u007c\u007ctrue" && identity.issuer == "https://idp"`},
			map[string]any{"name": "all", "allow": true, "when": "true"},
		}, rules)
	}},
}

func gone(key string) func(*fakeCluster, string) string {
	return func(c *fakeCluster, _ string) string {
		if c.objects[key] != nil {
			return key + " is still there"
		}
		return ""
	}
}

const somebody = "protected: {identities: [root@example.com, 'ops-*']}"

func world(t *testing.T) *lab {
	t.Helper()
	cluster := strings.Replace(strings.Replace(rbEve, "kind: RoleBinding", "kind: ClusterRoleBinding", 1), "name: eve, namespace: shop", "name: 'eve:all'", 1)
	l := newLab(t, somebody, podWeb, svcWeb, nsShop, npOpen, saCart, token, opaque, rbEve, cluster, node1, node2, policy, inner)
	l.cluster.objects["serviceaccounts shop/cart"].SetUID("sa-1")
	return l
}

// TestEveryAction: a dry run changes nothing; the effect is there; the undoing restores
// all; and the trail has each step.
func TestEveryAction(t *testing.T) {
	t.Parallel()
	known := actions(t)
	for _, tt := range cases {
		delete(known, tt.action)
		t.Run(tt.action, func(t *testing.T) {
			t.Parallel()
			l := world(t)
			before := l.cluster.state()
			q := Request{Action: tt.action, Set: tt.set, By: "ann", Reason: "test", Expiry: time.Minute}
			plan, err := l.engine.Plan(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if len(plan.Changes) == 0 || len(l.cluster.writes) > 0 {
				t.Fatalf("plan: %d changes, writes %v", len(plan.Changes), l.cluster.writes)
			}
			r, err := l.engine.Apply(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if d := tt.check(l.cluster, r.ID); d != "" {
				t.Errorf("effect: %s", d)
			}
			if _, err := l.engine.Apply(t.Context(), q); !errors.Is(err, ErrRefused) {
				t.Errorf("applied twice: %v", err)
			}
			l.start() // what stands is known after a restart
			if runs := l.engine.Runs(false); len(runs) == 0 {
				t.Error("nothing stands")
			}
			l.clock = l.clock.Add(30 * time.Second)
			l.engine.Sweep(t.Context())
			if d := tt.check(l.cluster, r.ID); d != "" {
				t.Errorf("before its time is over: %s", d)
			}
			l.clock = l.clock.Add(31 * time.Second)
			l.engine.Sweep(t.Context())
			if d := cmp.Diff(before, l.cluster.state()); d != "" && tt.action != "delete-token-secret" {
				t.Errorf("after it: %s", d)
			}
			if again, err := l.engine.Undo(t.Context(), r.ID, "ann", ""); err != nil || again.State != StateUndone {
				t.Errorf("undone again: %v, %v", again.State, err)
			}
			if told := l.trail.told(); !strings.HasPrefix(told, "plan>plan>apply>stand") || !strings.Contains(told, "expire") {
				t.Errorf("told %q", told)
			}
			for _, e := range l.trail.events {
				if line := audit.AppendCanonical(nil, e); strings.Contains(string(line), "hunter2") || strings.Contains(string(line), "aHVudGVyMg") {
					t.Errorf("a secret is in the trail: %s", line)
				}
			}
		})
	}
	if len(known) > 0 {
		t.Errorf("actions that are not tested: %v", known)
	}
}

func TestTokenSecretComesBackEmpty(t *testing.T) {
	t.Parallel()
	l := world(t)
	r, err := l.engine.Apply(t.Context(), Request{Action: "delete-token-secret", Set: map[string]string{"namespace": "shop", "secret": "cart-token"}, By: "ann", Reason: "x"})
	if err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(filepath.Join(l.dir, r.ID+".json"))
	if err != nil || strings.Contains(string(kept), "hunter2") || strings.Contains(string(kept), "aHVudGVyMg") {
		t.Errorf("the record has the secret: %s, %v", kept, err)
	}
	if _, err := l.engine.Undo(t.Context(), r.ID, "ann", ""); err != nil {
		t.Fatal(err)
	}
	got := l.cluster.objects["secrets shop/cart-token"].Object
	delete(got["metadata"].(map[string]any), "uid")
	delete(got["metadata"].(map[string]any), "resourceVersion")
	if d := cmp.Diff(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": tokenType,
		"metadata": map[string]any{"name": "cart-token", "namespace": "shop", "annotations": map[string]any{accountOf: "cart"}},
	}, got); d != "" {
		t.Error(d)
	}
}

// TestRefused: what is protected, forged or cannot be taken back is never touched.
func TestRefused(t *testing.T) {
	t.Parallel()
	system := strings.ReplaceAll(podWeb, "namespace: shop", "namespace: kube-system")
	masters := strings.Replace(strings.Replace(rbEve, "name: eve, n", "name: boss, n", 1), "kind: User, name: eve", "kind: Group, name: 'system:masters'", 1)
	own := strings.Replace(strings.Replace(rbEve, "name: eve, n", "name: own, n", 1), "apiGroup: rbac.authorization.k8s.io, kind: User, name: eve", "kind: ServiceAccount, name: bulwark-audit, namespace: bulwark-system", 1)
	guarded := strings.Replace(strings.Replace(rbEve, "name: eve, n", "name: guarded, n", 1), "kind: User, name: eve", "kind: User, name: ops-1", 1)
	hostPod := strings.Replace(strings.Replace(podWeb, "name: web,", "name: host,", 1), "spec: {", "spec: {hostNetwork: true, ", 1)
	static := strings.Replace(strings.Replace(podWeb, "name: web,", "name: static,", 1), "labels:", "annotations: {kubernetes.io/config.mirror: x}, labels:", 1)
	control := `{apiVersion: v1, kind: Node, metadata: {name: master, labels: {node-role.kubernetes.io/control-plane: ""}}, spec: {}}`
	full := `{apiVersion: bulwark.dev/v1alpha1, kind: SecurityPolicy, metadata: {name: full, namespace: shop}, spec: {authorization: {rules: [` + strings.Repeat(`{name: x, when: "true"},`, 127) + `{name: y, when: "true"}]}}}`
	pod := func(ns, name string) map[string]string { return map[string]string{"namespace": ns, "pod": name} }
	binding := func(name string) map[string]string { return map[string]string{"namespace": "shop", "binding": name} }
	tests := []struct {
		name, action string
		set          map[string]string
		want         string
		more         []string
	}{
		{"system namespace", "quarantine-pod", pod("kube-system", "web"), "protected", nil},
		{"own namespace", "quarantine-pod", pod("bulwark-system", "web"), "protected", nil},
		{"own namespace, whole", "quarantine-namespace", map[string]string{"namespace": "bulwark-system"}, "protected", nil},
		{"missing", "quarantine-pod", pod("shop", "nobody"), "is not there", nil},
		{"host network", "quarantine-pod", pod("shop", "host"), "host's network", []string{hostPod}},
		{"static pod", "quarantine-pod", pod("shop", "static"), "static pod", []string{static}},
		{"YAML in a name", "quarantine-pod", pod("shop", "web}\nkind: Secret"), "is no name", nil},
		{"path in a name", "quarantine-pod", pod("shop", "../../secrets/db"), "is no name", nil},
		{"path in a namespace", "quarantine-pod", pod("shop/../kube-system", "web"), "is no namespace", nil},
		{"path in a binding", "remove-rolebinding", binding("../eve"), "is no rbac-name", nil},
		{"unknown parameter", "cordon-node", map[string]string{"node": "worker-1", "x": "y"}, "no parameter", nil},
		{"missing parameter", "cordon-node", nil, "is required", nil},
		{"other secret", "delete-token-secret", map[string]string{"namespace": "shop", "secret": "db"}, "only the token", nil},
		{"masters", "remove-rolebinding", binding("boss"), "protected", []string{masters}},
		{"own rights", "remove-rolebinding", binding("own"), "Bulwark itself", []string{own}},
		{"protected user", "remove-rolebinding", binding("guarded"), "protected", []string{guarded}},
		{"control plane", "cordon-node", map[string]string{"node": "master"}, "control plane", []string{control}},
		{"protected identity", "deny-identity", map[string]string{"identity": "root@example.com"}, "protected", nil},
		{"protected pattern", "deny-identity", map[string]string{"identity": "ops-7"}, "protected", nil},
		{"system identity", "deny-identity", map[string]string{"identity": "system:kube-controller-manager"}, "Kubernetes itself", nil},
		{"own identity", "deny-identity", map[string]string{"identity": "system:serviceaccount:bulwark-system:bulwark-audit"}, "protected", nil},
		{"unseen characters", "deny-identity", map[string]string{"identity": "eve\u202e"}, "cannot be seen", nil},
		{"no room", "deny-identity", map[string]string{"identity": "eve"}, "still get in", []string{full}},
		{"own account", "revoke-serviceaccount-tokens", map[string]string{"namespace": "bulwark-system", "serviceaccount": "bulwark-audit"}, "protected", nil},
		{"no such action", "format-disks", nil, "no action", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, somebody, append([]string{podWeb, nsShop, system, opaque, rbEve, node1, node2, policy}, tt.more...)...)
			r, err := l.engine.Apply(t.Context(), Request{Action: tt.action, Set: tt.set, By: "ann", Reason: "x"})
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tt.want) || r != nil {
				t.Errorf("got %v, %v; want refused: %s", r, err, tt.want)
			}
			if len(l.cluster.writes) > 0 || l.trail.told() != "plan:Refused" {
				t.Errorf("wrote %v, told %q", l.cluster.writes, l.trail.told())
			}
		})
	}
	for name, q := range map[string]Request{
		"no reason": {Action: "cordon-node", Set: map[string]string{"node": "worker-1"}, By: "ann"},
		"nobody":    {Action: "cordon-node", Set: map[string]string{"node": "worker-1"}, Reason: "x"},
		"too long":  {Action: "cordon-node", Set: map[string]string{"node": "worker-1"}, Reason: "x", By: "ann", Expiry: 25 * time.Hour},
	} {
		if _, err := world(t).engine.Plan(t.Context(), q); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Somebody must be able to get in.
	l := newLab(t, "{}", policy)
	if _, err := l.engine.Plan(t.Context(), Request{Action: "deny-identity", Set: map[string]string{"identity": "eve"}, By: "ann", Reason: "x"}); !errors.Is(err, ErrRefused) {
		t.Errorf("a refusal that may lock all out: %v", err)
	}
	// The last node that takes pods.
	l = newLab(t, "{}", node1)
	if _, err := l.engine.Plan(t.Context(), Request{Action: "cordon-node", Set: map[string]string{"node": "worker-1"}, By: "ann", Reason: "x"}); !errors.Is(err, ErrRefused) {
		t.Errorf("the last node: %v", err)
	}
}

// TestEvidence: the trail's events decide what is meant, not an alert's words.
func TestEvidence(t *testing.T) {
	t.Parallel()
	gateway := func(code int32, method string) *audit.Event {
		return &audit.Event{Kind: audit.KindGateway, User: audit.User{Username: "eve", Extra: map[string][]string{"method": {method}, "issuer": {"https://idp"}}}, Status: audit.Status{Code: code}}
	}
	byPod := exec("system:serviceaccount:shop:cart", "other", "victim", 403)
	byPod.User.Extra = map[string][]string{"authentication.kubernetes.io/pod-name": {"web"}}
	gone := exec("system:serviceaccount:shop:cart", "other", "victim", 403)
	gone.User.UID = "of the account before this one"
	masters := exec("eve", "shop", "web", 200)
	masters.User.Groups = []string{"system:masters"}
	other := exec("eve", "shop", "web", 101)
	other.Object.UID = "another"
	as := exec("ann", "shop", "web", 200)
	as.Impersonated = &audit.User{Username: "victim"}
	nodes := exec("eve", "shop", "web", 200)
	nodes.Object.Resource = "nodes"
	spoof := gateway(200, "jwt")
	spoof.User.Username = "system:serviceaccount:shop:cart"
	tests := []struct {
		name, action, from string
		events             []*audit.Event
		want               string // a parameter's value, or what the refusal says
		ok                 bool
	}{
		{"exec", "quarantine-pod", "", []*audit.Event{exec("eve", "shop", "web", 101)}, "web", true},
		{"only tried", "quarantine-pod", "", []*audit.Event{exec("eve", "shop", "web", 403)}, "did not succeed", false},
		{"two victims", "quarantine-pod", "", []*audit.Event{exec("eve", "shop", "web", 101), exec("eve", "shop", "db", 101)}, "more than one", false},
		{"another object of the name", "quarantine-pod", "", []*audit.Event{other}, "not the one of the evidence", false},
		{"other kind", "quarantine-pod", "", []*audit.Event{nodes}, "is about", false},
		{"the pod that called", "quarantine-pod", "caller", []*audit.Event{byPod}, "web", true},
		{"tokens of an account that is gone", "revoke-serviceaccount-tokens", "caller", []*audit.Event{gone}, "not the one of the evidence", false},
		{"not proven", "deny-identity", "", []*audit.Event{gateway(401, "basic")}, "was not proven", false},
		{"anonymous", "deny-identity", "", []*audit.Event{gateway(200, "anonymous")}, "was not proven", false},
		{"gateway", "deny-identity", "", []*audit.Event{gateway(403, "jwt")}, "eve", true},
		{"impersonation blames who did it", "deny-identity", "", []*audit.Event{as}, "ann", true},
		{"of masters", "deny-identity", "", []*audit.Event{masters}, "protected", false},
		{"a gateway's issuer says who", "revoke-serviceaccount-tokens", "caller", []*audit.Event{spoof}, "no evidence", false},
		{"an alert as evidence", "deny-identity", "", []*audit.Event{{Kind: audit.KindAlert, User: audit.User{Username: "eve"}}}, "no evidence", false},
		{"no evidence", "deny-identity", "", nil, "no evidence", false},
		{"no such reading", "deny-identity", "object", []*audit.Event{gateway(200, "jwt")}, "cannot read", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := world(t)
			alert := &Alert{ID: "alert-1", Rule: "rule", Seq: 99, Time: l.clock}
			for _, e := range tt.events {
				alert.Evidence = append(alert.Evidence, l.event(e))
			}
			r, err := l.engine.Plan(t.Context(), Request{Action: tt.action, Alert: alert, From: tt.from, By: "ann"})
			if !tt.ok {
				if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Parameters["pod"] + r.Parameters["identity"]; got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestSeal: policies add up, so those that let traffic through are left, or named.
func TestSeal(t *testing.T) {
	t.Parallel()
	l := newLab(t, "{}", podWeb, svcWeb, nsShop, npOpen, npAll)
	r, err := l.engine.Plan(t.Context(), Request{Action: "quarantine-pod", Set: map[string]string{"namespace": "shop", "pod": "web"}, By: "ann", Reason: "x"})
	if err != nil {
		t.Fatal(err)
	}
	said := strings.Join(append(r.Warnings, r.Breaks...), "\n")
	for _, want := range []string{"NOT SEALED: NetworkPolicy shop/everyone", "NetworkPolicy shop/front no longer selects the pod: label tier", "Service shop/web no longer sends to the pod: label app", "ReplicaSet web-1 may let go"} {
		if !strings.Contains(said, want) {
			t.Errorf("not said: %s\n%s", want, said)
		}
	}
}

// TestChangedSince: what somebody else wrote is left, the rest is taken back.
func TestChangedSince(t *testing.T) {
	t.Parallel()
	l := world(t)
	r, err := l.engine.Apply(t.Context(), Request{Action: "quarantine-pod", Set: map[string]string{"namespace": "shop", "pod": "web"}, By: "ann", Reason: "x"})
	if err != nil {
		t.Fatal(err)
	}
	pod := l.cluster.objects["pods shop/web"].DeepCopy()
	pod.SetLabels(map[string]string{"bulwark.dev/quarantine": r.ID, "app": "mine"})
	l.cluster.put("pods", pod)
	got, err := l.engine.Undo(t.Context(), r.ID, "bob", "enough")
	if err == nil || got.State != StatePartly || !strings.Contains(err.Error(), `metadata.labels.app is "mine"`) {
		t.Errorf("got %v, %v", got, err)
	}
	if d := cmp.Diff(map[string]string{"app": "mine", "tier": "front"}, l.cluster.objects["pods shop/web"].GetLabels()); d != "" {
		t.Error(d)
	}
	if l.cluster.objects["networkpolicies shop/bulwark-response-"+r.ID] != nil {
		t.Error("the policy stands")
	}
	if told := l.trail.told(); !strings.HasSuffix(told, "undo:ChangedSince") {
		t.Errorf("told %q", told)
	}
	// Another object of the same name is not ours to touch.
	l = world(t)
	if r, err = l.engine.Apply(t.Context(), Request{Action: "remove-rolebinding", Set: map[string]string{"namespace": "shop", "binding": "eve"}, By: "ann", Reason: "x"}); err != nil {
		t.Fatal(err)
	}
	mine := newCluster(t, strings.Replace(rbEve, "name: edit", "name: view", 1)).objects["rolebindings shop/eve"]
	mine.SetUID("mine")
	l.cluster.put("rolebindings", mine)
	if got, err = l.engine.Undo(t.Context(), r.ID, "bob", ""); err == nil || got.State != StatePartly {
		t.Errorf("got %v, %v", got.State, err)
	}
	if l.cluster.objects["rolebindings shop/eve"].GetUID() != "mine" {
		t.Error("the new one was touched")
	}
	delete(l.cluster.objects, "rolebindings shop/eve")
	if got, err = l.engine.Undo(t.Context(), r.ID, "bob", ""); err != nil || got.State != StateUndone || l.cluster.objects["rolebindings shop/eve"] == nil {
		t.Errorf("once more: %v, %v", got.State, err)
	}
}

// TestEndsMidway: a process that ends before or after any of its calls is followed by one
// that takes back what was done.
func TestEndsMidway(t *testing.T) {
	t.Parallel()
	for _, tt := range cases {
		crashed := 0
		for at := 1; ; at++ {
			l := world(t)
			before := l.cluster.state()
			calls := 0
			finished := func() (finished bool) {
				defer func() { finished = recover() == nil }()
				kill := func() {
					if calls++; calls == at {
						panic("killed")
					}
				}
				l.cluster.fail = func(_, _ string, dryRun bool) error {
					if !dryRun {
						kill()
					}
					return nil
				}
				l.cluster.written = kill
				_, err := l.engine.Apply(t.Context(), Request{Action: tt.action, Set: tt.set, By: "ann", Reason: "x"})
				if err != nil {
					t.Errorf("%s: %v", tt.action, err)
				}
				return true
			}()
			if finished {
				break
			}
			crashed++
			l.cluster.fail, l.cluster.written = nil, nil
			l.start()
			l.engine.Sweep(t.Context())
			after := l.cluster.state()
			if tt.action != "delete-token-secret" {
				if d := cmp.Diff(before, after); d != "" {
					t.Fatalf("%s, killed at call %d: %s", tt.action, at, d)
				}
			} else if after["secrets shop/cart-token"] == nil {
				t.Fatalf("%s, killed at call %d: the Secret is gone", tt.action, at)
			}
			if runs := l.engine.Runs(false); len(runs) > 0 {
				t.Fatalf("%s, killed at call %d: %v stands", tt.action, at, runs[0].State)
			}
		}
		if crashed < 2 {
			t.Errorf("%s: killed %d times", tt.action, crashed)
		}
	}
}

// TestPartialFailure: a step that fails takes those before it back, and a cluster that is
// away then is asked again.
func TestPartialFailure(t *testing.T) {
	t.Parallel()
	l := world(t)
	before := l.cluster.state()
	away := true
	l.cluster.fail = func(verb, _ string, dryRun bool) error {
		switch {
		case dryRun:
		case verb == "patch":
			return apierrors.NewForbidden(of("pods"), "web", errors.New("no right to patch"))
		case verb == "delete" && away:
			return errors.New("the API server is away")
		}
		return nil
	}
	r, err := l.engine.Apply(t.Context(), Request{Action: "quarantine-pod", Set: map[string]string{"namespace": "shop", "pod": "web"}, By: "ann", Reason: "x"})
	if err == nil || r.State != StateUndoing || !apierrors.IsForbidden(err) {
		t.Fatalf("got %v, %v", r, err)
	}
	l.engine.Sweep(t.Context()) // too soon
	l.clock = l.clock.Add(time.Hour)
	l.engine.Sweep(t.Context()) // still away, and not told again
	away = false
	l.start()
	l.clock = l.clock.Add(time.Hour)
	l.engine.Sweep(t.Context())
	if d := cmp.Diff(before, l.cluster.state()); d != "" {
		t.Error(d)
	}
	if told, want := l.trail.told(), "plan>apply>fail:Failed>fail:Failed"; told != want {
		t.Errorf("told %q, want %q", told, want)
	}
	if runs := l.engine.Runs(true); len(runs) != 1 || runs[0].State != StateFailed {
		t.Errorf("got %+v", runs)
	}
	// A right that is missing is found by the dry run, and nothing is begun.
	l = world(t)
	l.cluster.fail = func(verb, key string, _ bool) error {
		if verb == "create" && strings.HasPrefix(key, "rolebindings") {
			return apierrors.NewForbidden(of("rolebindings"), "eve", errors.New("may not grant that"))
		}
		return nil
	}
	_, err = l.engine.Apply(t.Context(), Request{Action: "remove-rolebinding", Set: map[string]string{"namespace": "shop", "binding": "eve"}, By: "ann", Reason: "x"})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "put it back") || len(l.cluster.writes) > 0 || l.trail.told() != "plan:Forbidden" {
		t.Errorf("got %v, wrote %v, told %q", err, l.cluster.writes, l.trail.told())
	}
}

// TestTrailFull: nothing is done that the trail cannot be told of first; what was done is
// told later.
func TestTrailFull(t *testing.T) {
	t.Parallel()
	l := world(t)
	q := Request{Action: "cordon-node", Set: map[string]string{"node": "worker-1"}, By: "ann", Reason: "x"}
	l.trail.full = true
	if _, err := l.engine.Apply(t.Context(), q); err == nil || len(l.cluster.writes) > 0 {
		t.Errorf("got %v, wrote %v", err, l.cluster.writes)
	}
	l.trail.full = false
	r, err := l.engine.Apply(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	l.trail.full = true
	if _, err := l.engine.Undo(t.Context(), r.ID, "ann", ""); err != nil {
		t.Fatal(err)
	}
	l.trail.full = false
	l.start()
	l.engine.Sweep(t.Context())
	l.engine.Sweep(t.Context())
	if told := l.trail.told(); told != "plan>apply>stand>undo" {
		t.Errorf("told %q", told)
	}
}
