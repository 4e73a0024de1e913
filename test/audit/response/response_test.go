package response

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark/test/audit/trailtest"
	"bulwark.dev/bulwark/test/controltest"
)

const world = `
{apiVersion: v1, kind: Namespace, metadata: {name: bulwark-system}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: auto}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: guarded}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: responder, namespace: bulwark-system}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: powerless, namespace: bulwark-system}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: responder}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: bulwark-responses}
subjects: [{kind: ServiceAccount, name: responder, namespace: bulwark-system}]
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: cart, namespace: shop, labels: {team: a}}, automountServiceAccountToken: false}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: legacy, namespace: shop}}
---
{apiVersion: v1, kind: Secret, type: kubernetes.io/service-account-token, metadata: {name: legacy-token, namespace: shop, labels: {team: a}, annotations: {kubernetes.io/service-account.name: legacy}}}
---
{apiVersion: v1, kind: Secret, metadata: {name: db, namespace: shop}, stringData: {password: planted-hunter2}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {containers: [{name: main, image: "bulwark.dev/control/pod:1", args: [serve]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: victim, namespace: auto, labels: {app: victim}}
spec: {containers: [{name: main, image: "bulwark.dev/control/pod:1", args: [serve]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: safe, namespace: guarded, labels: {app: safe}}
spec: {containers: [{name: main, image: "bulwark.dev/control/pod:1", args: [serve]}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: eve, namespace: shop, labels: {team: a}}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: eve}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: "eve:all"}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: eve}]
---
{apiVersion: v1, kind: Node, metadata: {name: worker-9}}
---
{apiVersion: v1, kind: Node, metadata: {name: worker-8}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: edge, namespace: shop}, spec: {gatewayClassName: bulwark, listeners: [{name: http, protocol: HTTP, port: 18080}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: bulwark}
spec: {controllerName: bulwark.dev/gateway}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: away, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  rules: [{filters: [{type: RequestRedirect, requestRedirect: {hostname: elsewhere.example}}]}]
---
apiVersion: bulwark.dev/v1alpha1
kind: SecurityPolicy
metadata: {name: edge, namespace: shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  authentication: {anyOf: [{apiKey: {header: X-API-Key, secretSelector: {matchLabels: {keys: edge}}}}]}
  authorization: {rules: [{name: everyone, allow: true, when: "true"}]}
---
{apiVersion: v1, kind: Secret, metadata: {name: key-eve, namespace: shop, labels: {keys: edge}}, stringData: {name: 'eve" || "" == "', hash: "EVE"}}
---
{apiVersion: v1, kind: Secret, metadata: {name: key-ann, namespace: shop, labels: {keys: edge}}, stringData: {name: ann, hash: "ANN"}}
`

const (
	eveKey  = "the key of eve, who is hostile"
	annKey  = "the key of ann, who is never denied"
	eveName = `eve" || "" == "`
)

// apply makes objects. As one list of JSON: kubectl takes a stream that begins with a
// brace for JSON.
func apply(t *testing.T, documents string) {
	t.Helper()
	list := map[string]any{"apiVersion": "v1", "kind": "List"}
	var items []any
	for d := range strings.SplitSeq(documents, "---\n") {
		var o map[string]any
		if err := yaml.Unmarshal([]byte(d), &o); err != nil {
			t.Fatalf("%s: %v", d, err)
		}
		items = append(items, o)
	}
	list["items"] = items
	text, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := controltest.TryKubectl(t.Context(), bytes.NewReader(text), "apply", "--server-side", "-f", "-"); err != nil {
		t.Fatal(err)
	}
}

// build makes the world: the CRDs, the rights that the program prints, the objects.
func build(t *testing.T) {
	t.Helper()
	at, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		t.Fatalf("find Gateway API: %v", err)
	}
	controltest.Kubectl(t, "apply", "--server-side", "-f", filepath.Join(strings.TrimSpace(string(at)), "config/crd/standard"), "-f", "../../../deploy/crds")
	controltest.Kubectl(t, "wait", "--for=condition=established", "crd", "--all", "--timeout=-1s")
	role, _ := trailtest.Run(t, 0, "audit", "response", "list", "-o", "rbac")
	apply(t, role)
	apply(t, strings.NewReplacer("EVE", hashKey(eveKey), "ANN", hashKey(annKey)).Replace(world))
	controltest.Kubectl(t, "wait", "--for=condition=Ready", "pod/web", "-n", "shop", "--timeout=-1s")
	controltest.Kubectl(t, "wait", "--for=condition=Ready", "pod/victim", "-n", "auto", "--timeout=-1s")
	controltest.Kubectl(t, "wait", "--for=condition=Ready", "pod/safe", "-n", "guarded", "--timeout=-1s")
}

// answer is what the commands print with -o json.
type answer struct {
	Run struct {
		ID, State string
		Changes   []struct{ Do string }
	}
	Problem string
}

func respond(t *testing.T, s *server, want int, args ...string) answer {
	t.Helper()
	out, _ := trailtest.Run(t, want, append([]string{"audit", "response", "--data", s.trail, "-o", "json"}, args...)...)
	var a answer
	if out != "" {
		if err := json.Unmarshal([]byte(out), &a); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
	}
	return a
}

// measure is one action by hand: what it changes, and what proves its effect.
type measure struct {
	action  string
	set     []string
	objects [][]string
	effect  func(t *testing.T, run string) error
	// renewed objects come back with another uid; lost have what does not come back.
	after func(t *testing.T)
}

func TestResponses(t *testing.T) {
	build(t)
	e := startEdge(t)
	s := &server{t: t, trail: filepath.Join(t.TempDir(), "trail")}
	s.args = []string{
		"--tail", trailtest.Path("audit.log"), "--tail", filepath.Join(e.data, "events.jsonl"), "--rules", trailtest.Path("rules"), "--respond", trailtest.Path("responses.yaml"), "--respond-kubeconfig", kubeconfig(t, "responder"),
	}
	s.start()
	t.Run("measures", func(t *testing.T) {
		for _, m := range measures(t, e) {
			t.Run(m.action, func(t *testing.T) {
				t.Parallel()
				byHand(t, s, &m)
			})
		}
		t.Run("by itself", func(t *testing.T) {
			t.Parallel()
			byItself(t, s)
		})
		t.Run("alone", func(t *testing.T) {
			t.Parallel()
			alone(t)
		})
		t.Run("refused", func(t *testing.T) {
			t.Parallel()
			refused(t, s)
		})
	})
	t.Run("denied", func(t *testing.T) { denied(t, s, e) })
	counted(t, map[string]float64{
		`s_total{action="deny-identity",outcome="applied"}`: 3, `s_total{action="deny-identity",outcome="undone"}`: 2, `s_total{action="deny-identity",outcome="expired"}`: 1,
		`s_total{action="deny-identity",outcome="refused"}`: 2, `s_total{action="quarantine-pod",outcome="applied"}`: 2, `s_total{action="quarantine-pod",outcome="expired"}`: 1,
		`s_standing{action="deny-identity"}`: 0, `s_oldest_pending_seconds`: 0, `_ledger_unreadable`: 0, `_ledger_failures_total`: 0, `_untold_events`: 0,
	})
	t.Run("killed", func(t *testing.T) { killed(t, s) })
	counted(t, map[string]float64{`s_total{action="cordon-node",outcome="expired"}`: 1, `s_standing{action="cordon-node"}`: 0})
	out, _ := trailtest.Run(t, 0, "audit", "search", "kind=action", "--data", s.trail, "-o", "json", "--limit", "0")
	counts := map[string]int{}
	for _, verb := range []string{"plan", "apply", "stand", "undo", "expire"} {
		counts[verb] = strings.Count(out, `"verb":"`+verb+`"`)
	}
	if counts["plan"] < 16 || counts["apply"] < 9 || counts["apply"] != counts["stand"] || counts["undo"] < 7 || counts["expire"] < 2 {
		t.Errorf("events of kind action: %v", counts)
	}
	if strings.Contains(out, "hunter2") || strings.Contains(out, "eyJ") {
		t.Error("a secret or a token is in the trail")
	}
	trailtest.Run(t, 0, "audit", "verify", "--data", s.trail)
}

func byHand(t *testing.T, s *server, m *measure) {
	t.Helper()
	var before []map[string]any
	for _, o := range m.objects {
		before = append(before, object(t, o...))
	}
	words := []string{m.action, "--reason", "a test"}
	for _, p := range m.set {
		words = append(words, "--set", p)
	}
	plan := respond(t, s, 0, append([]string{"plan"}, words...)...)
	if len(plan.Run.Changes) == 0 || plan.Run.State != "planned" {
		t.Fatalf("plan: %+v", plan)
	}
	for i, o := range m.objects {
		if d := cmp.Diff(before[i], object(t, o...)); d != "" {
			t.Fatalf("the plan changed %v: %s", o, d)
		}
	}
	got := respond(t, s, 0, append([]string{"apply", "--yes"}, words...)...)
	if got.Run.State != "standing" {
		t.Fatalf("apply: %+v", got)
	}
	controltest.Until(t, "the effect of "+m.action, func() error { return m.effect(t, got.Run.ID) })
	undone := respond(t, s, 0, "undo", got.Run.ID)
	if undone.Run.State != "undone" {
		t.Errorf("undo: %+v", undone)
	}
	for i, o := range m.objects {
		controltest.Until(t, "the undoing of "+m.action, func() error {
			if d := cmp.Diff(before[i], object(t, o...)); d != "" {
				return errors.New(d)
			}
			return nil
		})
	}
	if m.after != nil {
		m.after(t)
	}
}

// byItself: a command in a pod is answered, and taken back when its time is over; one in
// a protected namespace is not.
func byItself(t *testing.T, s *server) {
	t.Helper()
	before := object(t, "pod", "victim", "-n", "auto")
	for _, pod := range []string{"safe -n guarded", "victim -n auto"} {
		args := append(append([]string{"exec"}, strings.Fields(pod)...), "--", "/entrypoint", "env", "HOME")
		if _, err := controltest.TryKubectl(t.Context(), nil, args...); err != nil {
			t.Error(err)
		}
	}
	controltest.Until(t, "the quarantine", func() error {
		if policies := controltest.Kubectl(t, "get", "networkpolicies", "-n", "auto", "-o", "name"); policies == "" {
			return errors.New("no policy yet")
		}
		if labels := controltest.Kubectl(t, "get", "pod", "victim", "-n", "auto", "-o", "jsonpath={.metadata.labels}"); !strings.Contains(labels, "bulwark.dev/quarantine") {
			return errors.New(labels)
		}
		return nil
	})
	controltest.Until(t, "its end", func() error {
		if policies := controltest.Kubectl(t, "get", "networkpolicies", "-n", "auto", "-o", "name"); policies != "" {
			return errors.New(policies)
		}
		return nil
	})
	controltest.Until(t, "the labels", func() error {
		if d := cmp.Diff(before, object(t, "pod", "victim", "-n", "auto")); d != "" {
			return errors.New(d)
		}
		return nil
	})
	controltest.Until(t, "the refusal", func() error {
		out, _ := trailtest.Run(t, 0, "audit", "search", "kind=action namespace guarded is protected", "--data", s.trail)
		if !strings.Contains(out, "plan") {
			return errors.New(out)
		}
		return nil
	})
	if labels := controltest.Kubectl(t, "get", "pod", "safe", "-n", "guarded", "-o", "jsonpath={.metadata.labels}"); strings.Contains(labels, "quarantine") {
		t.Errorf("protected, and touched: %s", labels)
	}
}

func refused(t *testing.T, s *server) {
	t.Helper()
	for _, tt := range []struct {
		want string
		args []string
	}{
		{"only the token of a ServiceAccount", []string{"delete-token-secret", "--set", "namespace=shop", "--set", "secret=db"}},
		{"namespace kube-system is protected", []string{"quarantine-namespace", "--set", "namespace=kube-system"}},
		{"bulwark-system is protected", []string{"revoke-serviceaccount-tokens", "--set", "namespace=bulwark-system", "--set", "serviceaccount=responder"}},
		{"is Bulwark itself", []string{"remove-clusterrolebinding", "--set", "binding=responder"}},
		{`identity "ann" is protected`, []string{"deny-identity", "--set", "identity=ann"}},
		{"belongs to Kubernetes itself", []string{"remove-clusterrolebinding", "--set", "binding=system:node-proxier"}},
		{"is no name", []string{"quarantine-pod", "--set", "namespace=shop", "--set", "pod=../../../secrets/db"}},
	} {
		_, stderr := trailtest.Run(t, 1, append([]string{"audit", "response", "apply", "--yes", "--reason", "x", "--data", s.trail}, tt.args...)...)
		if !strings.Contains(stderr, tt.want) {
			t.Errorf("%v: got %s, want %q", tt.args, stderr, tt.want)
		}
	}
	// Without the rights nothing is begun, the message says which is missing, and so does
	// the trail.
	trail := newTrail(t)
	_, stderr := trailtest.Run(t, 1, "audit", "response", "plan", "cordon-node", "--set", "node=worker-9", "--reason", "x", "--data", trail, "--respond-kubeconfig", kubeconfig(t, "powerless"))
	if !strings.Contains(stderr, `cannot get resource "nodes"`) {
		t.Errorf("got %s", stderr)
	}
	if out, _ := trailtest.Run(t, 0, "audit", "search", "kind=action", "--data", trail, "-o", "json"); !strings.Contains(out, `"reason":"Forbidden"`) {
		t.Errorf("got %s", out)
	}
	// Without a server nobody would take it back.
	trailtest.Run(t, 2, "audit", "response", "apply", "cordon-node", "--yes", "--set", "node=worker-9", "--reason", "x", "--data", trail)
}

// newTrail makes a trail that no server writes.
func newTrail(t *testing.T) string {
	t.Helper()
	trail, empty := filepath.Join(t.TempDir(), "trail"), filepath.Join(t.TempDir(), "empty.jsonl")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	trailtest.Run(t, 0, "audit", "import", empty, "--data", trail)
	return trail
}

// alone: without a server the command itself stays and takes it back.
func alone(t *testing.T) {
	t.Helper()
	trail := newTrail(t)
	out, _ := trailtest.Run(t, 0, "audit", "response", "apply", "cordon-node", "--yes", "--wait", "--expiry", "1s", "--set", "node=worker-8", "--reason", "x",
		"--data", trail, "--respond-kubeconfig", kubeconfig(t, "responder"))
	for _, want := range []string{"cordon-node  standing", "spec.unschedulable: (none) -> true", "cordon-node  undone"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	if closed := controltest.Kubectl(t, "get", "node", "worker-8", "-o", "jsonpath={.spec.unschedulable}"); closed != "" {
		t.Errorf("unschedulable: %s", closed)
	}
}

// killed: what stands when the server dies is taken back by the next one, also when
// another file of what stands cannot be read: it starts, tells, and does nothing new.
func killed(t *testing.T, s *server) {
	t.Helper()
	got := respond(t, s, 0, "apply", "cordon-node", "--yes", "--set", "node=worker-9", "--reason", "x", "--expiry", "1s")
	s.process.Kill()
	// A file that was torn, and is no run of ours.
	torn := filepath.Join(s.trail, "responses", "r-ffffffffffff.json")
	if err := os.WriteFile(torn, []byte(`{"id":"r-ffffffffffff","state":"sta`), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	controltest.Until(t, "the expiry", func() error {
		out, _ := trailtest.Run(t, 1, "audit", "response", "status", "--all", "--data", s.trail)
		for line := range strings.Lines(out) {
			if strings.Contains(line, got.Run.ID) && strings.Contains(line, "undone") {
				return nil
			}
		}
		return errors.New(out)
	})
	if closed := controltest.Kubectl(t, "get", "node", "worker-9", "-o", "jsonpath={.spec.unschedulable}"); closed != "" {
		t.Errorf("unschedulable: %s", closed)
	}
	counted(t, map[string]float64{`_ledger_unreadable`: 1})
	if _, stderr := trailtest.Run(t, 1, "audit", "response", "apply", "cordon-node", "--yes", "--set", "node=worker-9", "--reason", "x", "--data", s.trail); !strings.Contains(stderr, "r-ffffffffffff") {
		t.Errorf("with a file that cannot be read: %s", stderr)
	}
}

// can asks the API server as somebody.
func can(t *testing.T, user string, want bool, what ...string) error {
	t.Helper()
	out, err := controltest.TryKubectl(t.Context(), nil, append([]string{"auth", "can-i", "--as", user}, what...)...)
	if got := strings.TrimSpace(out) == "yes"; got != want {
		return fmt.Errorf("%s may %v: %t, %w", user, what, got, err)
	}
	return nil
}

// works says whether a token is taken by the API server.
func works(t *testing.T, token string, want bool) error {
	t.Helper()
	_, err := controltest.TryKubectl(t.Context(), nil, "--kubeconfig", anonymous(t), "--token", token, "auth", "whoami")
	if got := err == nil; got != want {
		return fmt.Errorf("the token works: %t, %w", got, err)
	}
	return nil
}

// anonymous is a kubeconfig without credentials.
func anonymous(t *testing.T) string {
	t.Helper()
	return kubeconfigWith(t, map[string]any{})
}

func measures(t *testing.T, e *edge) []measure {
	t.Helper()
	legacy := ""
	controltest.Until(t, "the token of the Secret", func() error {
		legacy = controltest.Kubectl(t, "get", "secret", "legacy-token", "-n", "shop", "-o", "go-template={{.data.token|base64decode}}")
		if !strings.HasPrefix(legacy, "ey") {
			return errors.New("none yet")
		}
		return nil
	})
	bound := strings.TrimSpace(controltest.Kubectl(t, "create", "token", "cart", "-n", "shop"))
	for _, token := range []string{legacy, bound} {
		if err := works(t, token, true); err != nil {
			t.Fatal(err)
		}
	}
	return []measure{
		{
			action: "quarantine-pod", set: []string{"namespace=shop", "pod=web"}, objects: [][]string{{"pod", "web", "-n", "shop"}},
			effect: func(t *testing.T, run string) error {
				t.Helper()
				o := object(t, "networkpolicy", "bulwark-response-"+run, "-n", "shop")
				if d := cmp.Diff(map[string]any{"podSelector": map[string]any{"matchLabels": map[string]any{"bulwark.dev/quarantine": run}}, "policyTypes": []any{"Ingress", "Egress"}}, o["spec"]); d != "" {
					t.Error(d)
				}
				if ready := controltest.Kubectl(t, "get", "endpointslices", "-n", "shop", "-l", "kubernetes.io/service-name=web", "-o", "jsonpath={.items[*].endpoints[*].addresses}"); ready != "" {
					return errors.New("the Service sends to " + ready)
				}
				return nil
			},
		},
		{
			action: "quarantine-namespace", set: []string{"namespace=default"},
			effect: func(t *testing.T, run string) error {
				t.Helper()
				o := object(t, "networkpolicy", "bulwark-response-"+run, "-n", "default")
				if d := cmp.Diff(map[string]any{"podSelector": map[string]any{}, "policyTypes": []any{"Ingress", "Egress"}}, o["spec"]); d != "" {
					t.Error(d)
				}
				return nil
			},
			after: func(t *testing.T) {
				t.Helper()
				if left := controltest.Kubectl(t, "get", "networkpolicies", "-n", "default", "-o", "name"); left != "" {
					t.Errorf("left: %s", left)
				}
			},
		},
		{
			action: "delete-token-secret", set: []string{"namespace=shop", "secret=legacy-token"},
			effect: func(t *testing.T, _ string) error { t.Helper(); return works(t, legacy, false) },
			after: func(t *testing.T) {
				t.Helper()
				controltest.Until(t, "a new token", func() error {
					token := controltest.Kubectl(t, "get", "secret", "legacy-token", "-n", "shop", "-o", "go-template={{.data.token|base64decode}}")
					if token == legacy {
						return errors.New("it is the old one")
					}
					return works(t, token, true)
				})
				if err := works(t, legacy, false); err != nil {
					t.Errorf("the old one: %v", err)
				}
			},
		},
		{
			action: "revoke-serviceaccount-tokens", set: []string{"namespace=shop", "serviceaccount=cart"}, objects: [][]string{{"serviceaccount", "cart", "-n", "shop"}},
			effect: func(t *testing.T, _ string) error { t.Helper(); return works(t, bound, false) },
		},
		{
			action: "cordon-node", set: []string{"node=worker-9"}, // its taints come from a controller, when that likes
			effect: func(t *testing.T, _ string) error {
				t.Helper()
				if closed := controltest.Kubectl(t, "get", "node", "worker-9", "-o", "jsonpath={.spec.unschedulable}"); closed != "true" {
					return errors.New("it is schedulable")
				}
				return nil
			},
		},
		{
			action: "remove-rolebinding", set: []string{"namespace=shop", "binding=eve"}, objects: [][]string{{"rolebinding", "eve", "-n", "shop"}},
			effect: func(t *testing.T, _ string) error {
				t.Helper()
				if _, err := controltest.TryKubectl(t.Context(), nil, "get", "rolebinding", "eve", "-n", "shop"); err == nil {
					return errors.New("it is there")
				}
				return nil
			},
		},
		{
			action: "remove-clusterrolebinding", set: []string{"binding=eve:all"}, objects: [][]string{{"clusterrolebinding", "eve:all"}},
			effect: func(t *testing.T, _ string) error { t.Helper(); return can(t, "eve", false, "delete", "nodes") },
			after: func(t *testing.T) {
				t.Helper()
				controltest.Until(t, "the rights", func() error { return can(t, "eve", true, "delete", "nodes") })
			},
		},
		{
			action: "deny-identity", set: []string{"identity=" + eveName}, objects: [][]string{{"securitypolicy", "edge", "-n", "shop"}},
			effect: func(t *testing.T, _ string) error {
				t.Helper()
				e.answers(t, annKey, http.StatusFound)
				e.until(t, eveKey, http.StatusForbidden)
				return nil
			},
			after: func(t *testing.T) {
				t.Helper()
				e.until(t, eveKey, http.StatusFound)
			},
		},
	}
}
