package posture

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark/test/controltest"
)

const fresh = "posture-examples"

// example is an object of a control's file.
type example struct {
	control, name string
	fails         bool
	object        map[string]any
}

// examples reads those of the catalog. That they are what a scan says of them is
// tested beside the engine.
func examples(t *testing.T) []example {
	t.Helper()
	files, err := filepath.Glob("../../catalog/controls/*/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var out []example
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var c struct {
			ID       string `json:"id"`
			Examples struct {
				Pass, Skip []map[string]any
				Fail       []struct{ Object map[string]any }
			} `json:"examples"`
		}
		if err := yaml.Unmarshal(text, &c); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for i, o := range c.Examples.Pass {
			out = append(out, example{c.ID, fmt.Sprintf("pass[%d]", i), false, o})
		}
		for i, o := range c.Examples.Skip {
			out = append(out, example{c.ID, fmt.Sprintf("skip[%d]", i), false, o})
		}
		for i, e := range c.Examples.Fail {
			out = append(out, example{c.ID, fmt.Sprintf("fail[%d]", i), true, e.Object})
		}
	}
	return out
}

// api asks the API server.
type api struct {
	t    *testing.T
	base string
	http *http.Client
	// served are the kinds, by apiVersion and kind.
	served map[[2]string]served
}

type served struct {
	Name       string `json:"name"`
	Kind       string `json:"kind"`
	Namespaced bool   `json:"namespaced"`
}

func newAPI(t *testing.T) *api {
	t.Helper()
	cfg := admin(t)
	h, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &api{t: t, base: cfg.Host, http: h}
}

func (a *api) do(method, path, user string, body []byte) (int, []byte) {
	req, err := http.NewRequestWithContext(a.t.Context(), method, a.base+path, bytes.NewReader(body))
	if err != nil {
		a.t.Error(err)
		return 0, nil
	}
	req.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/strategic-merge-patch+json")
	}
	req.Header.Set("Accept", "application/json")
	if user != "" {
		req.Header.Set("Impersonate-User", user)
		req.Header.Set("Impersonate-Group", "system:masters")
	}
	resp, err := a.http.Do(req)
	if err != nil {
		a.t.Error(err)
		return 0, nil
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Error(err)
	}
	return resp.StatusCode, text
}

func (a *api) get(path string, into any) {
	a.t.Helper()
	code, text := a.do(http.MethodGet, path, "", nil)
	if code != http.StatusOK {
		a.t.Fatalf("GET %s: %d %s", path, code, text)
	}
	if err := json.Unmarshal(text, into); err != nil {
		a.t.Fatal(err)
	}
}

// discover finds what is served.
func (a *api) discover() {
	a.t.Helper()
	a.served = map[[2]string]served{}
	var groups struct {
		Groups []struct {
			Versions []struct{ GroupVersion string }
		}
	}
	a.get("/apis", &groups)
	paths := []string{"/api/v1"}
	for _, g := range groups.Groups {
		for _, v := range g.Versions {
			paths = append(paths, "/apis/"+v.GroupVersion)
		}
	}
	for _, p := range paths {
		var list struct {
			GroupVersion string
			Resources    []served
		}
		a.get(p, &list)
		for _, r := range list.Resources {
			if !strings.Contains(r.Name, "/") {
				a.served[[2]string{list.GroupVersion, r.Kind}] = r
			}
		}
	}
}

func text(o map[string]any, fields ...string) string {
	for _, f := range fields[:len(fields)-1] {
		o, _ = o[f].(map[string]any)
	}
	s, _ := o[fields[len(fields)-1]].(string)
	return s
}

// customs gives a CustomResourceDefinition that takes anything for each kind of
// the examples that is not served.
func customs(have map[[2]string]served, all []example) (string, int) {
	type kind struct{ group, kind string }
	versions, namespaced := map[kind]map[string]bool{}, map[kind]bool{}
	for _, e := range all {
		apiVersion, k := text(e.object, "apiVersion"), text(e.object, "kind")
		group, version, ok := strings.Cut(apiVersion, "/")
		if _, is := have[[2]string{apiVersion, k}]; is || !ok || !strings.Contains(group, ".") || strings.HasSuffix(group, ".config.k8s.io") || group == "audit.k8s.io" || group == "kubeadm.k8s.io" || k == "" {
			continue
		}
		if versions[kind{group, k}] == nil {
			versions[kind{group, k}] = map[string]bool{}
		}
		versions[kind{group, k}][version] = true
		namespaced[kind{group, k}] = namespaced[kind{group, k}] || text(e.object, "metadata", "namespace") != ""
	}
	var b strings.Builder
	for k, vs := range versions {
		name := strings.ToLower(k.kind)
		plural := name + "s"
		switch {
		case strings.HasSuffix(name, "y") && !strings.HasSuffix(name, "ay") && !strings.HasSuffix(name, "ey"):
			plural = name[:len(name)-1] + "ies"
		case strings.HasSuffix(name, "s"), strings.HasSuffix(name, "x"), strings.HasSuffix(name, "ch"):
			plural = name + "es"
		}
		scope := "Cluster"
		if namespaced[k] {
			scope = "Namespaced"
		}
		_, _ = fmt.Fprintf(&b, `---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: %s.%s
  annotations: {api-approved.kubernetes.io: "unapproved, a test"}
spec:
  group: %s
  scope: %s
  names: {plural: %s, singular: %s, kind: %s}
  versions:
`, plural, k.group, k.group, scope, plural, name, k.kind)
		for i, v := range slices.Sorted(maps.Keys(vs)) {
			_, _ = fmt.Fprintf(&b, `  - name: %s
    served: true
    storage: %v
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`, v, i == 0)
		}
	}
	return b.String(), len(versions)
}

// policies are the exported ones, each with one condition more: that a user of its
// name asks. So all are in force at once and each is asked alone.
func policies(t *testing.T) (yamlText string, ids []string) {
	t.Helper()
	cmd := bulwark(t.Context(), "policy", "export-vap", "--action", "Deny")
	left := &strings.Builder{}
	cmd.Stderr = left
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, left)
	}
	t.Logf("%d controls cannot be a policy", strings.Count(left.String(), "\n"))
	var b strings.Builder
	for doc := range strings.SplitSeq(string(out), "---\n") {
		if doc == "" {
			continue
		}
		var o map[string]any
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			t.Fatal(err)
		}
		if o["kind"] == "ValidatingAdmissionPolicy" {
			id := text(o, "metadata", "annotations", "bulwark.dev/control")
			ids = append(ids, id)
			spec, _ := o["spec"].(map[string]any)
			conditions, _ := spec["matchConditions"].([]any)
			spec["matchConditions"] = append([]any{map[string]any{"name": "test-user", "expression": fmt.Sprintf("request.userInfo.username == %q", id)}}, conditions...)
		}
		text, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString("---\n" + string(text))
	}
	return b.String(), ids
}

func apply(t *testing.T, text string) {
	t.Helper()
	if _, err := controltest.TryKubectl(t.Context(), strings.NewReader(text), "create", "-f", "-"); err != nil {
		t.Fatal(err)
	}
}

// forget takes away every policy, for the tests that come after.
func (a *api) forget() {
	for _, resource := range []string{"validatingadmissionpolicybindings", "validatingadmissionpolicies"} {
		if code, answer := a.do(http.MethodDelete, "/apis/admissionregistration.k8s.io/v1/"+resource, "", nil); code != http.StatusOK {
			a.t.Errorf("deleting %s: %d %s", resource, code, answer)
		}
	}
}

// outcome is what became of an example.
type outcome struct {
	example
	code    int
	message string
	denied  bool // by the policy
	// different says why the server judges another object than the example.
	different string
}

// workloads are the kinds with pods that policies match.
var workloads = []string{"Pod", "PodTemplate", "ReplicationController", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob"} //nolint:gochecknoglobals // read only

// TestPolicies installs every exported policy and asks the API server about every
// example.
func TestPolicies(t *testing.T) {
	a := newAPI(t)
	all := examples(t)
	a.discover()
	crds, custom := customs(a.served, all)
	namespaces, accounts := map[string]bool{fresh: true}, map[[2]string]bool{}
	for _, e := range all {
		if account := text(e.object, "spec", "serviceAccountName"); account != "" {
			accounts[[2]string{cmp.Or(text(e.object, "metadata", "namespace"), fresh), account}] = true
		}
		if ns := text(e.object, "metadata", "namespace"); ns != "" {
			namespaces[ns] = true
		}
	}
	for ns := range namespaces {
		a.do(http.MethodPost, "/api/v1/namespaces", "", fmt.Appendf(nil, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":%q}}`, ns))
	}
	for at := range accounts {
		a.do(http.MethodPost, "/api/v1/namespaces/"+at[0]+"/serviceaccounts", "", fmt.Appendf(nil, `{"metadata":{"name":%q}}`, at[1]))
	}
	apply(t, crds)
	controltest.Kubectl(t, "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
	a.discover()
	exported, ids := policies(t)
	defer a.forget()
	apply(t, exported)
	a.inForce(t)

	results := make([]outcome, len(all))
	var wg sync.WaitGroup
	next := make(chan int)
	for range 8 {
		wg.Go(func() {
			for i := range next {
				results[i] = a.try(all[i])
			}
		})
	}
	for i, e := range all {
		if slices.Contains(ids, e.control) {
			next <- i
		}
	}
	close(next)
	wg.Wait()
	var agree, denied, different int
	refused := map[string]int{}
	for _, r := range results {
		switch {
		case r.control == "":
		case r.different != "":
			different++
			t.Logf("another object at admission: %s %s: %s", r.control, r.name, r.different)
		case r.denied != r.fails && (r.denied || r.code/100 == 2):
			t.Errorf("%s %s: the scan says fails=%v, the API server denied=%v (%d): %s", r.control, r.name, r.fails, r.denied, r.code, r.message)
		case r.denied || r.code/100 == 2 || r.code == http.StatusConflict:
			agree++
			if r.denied {
				denied++
			}
		default:
			t.Logf("refused for another reason: %s %s: %d %.200s", r.control, r.name, r.code, r.message)
			refused[r.control]++
		}
	}
	total := 0
	for _, n := range refused {
		total += n
	}
	t.Logf("%d policies; %d examples agree, of them %d are denied; %d of %d controls are refused by the server for other reasons, %d are other objects there; %d permissive CRDs",
		len(ids), agree, denied, total, len(refused), different, custom)
	if len(ids) < 120 || denied < len(ids)/2 {
		t.Errorf("too few ran: %d policies, %d denied", len(ids), denied)
	}
	a.typeChecked(t, len(ids)+1) // the last one too
}

// last is a policy that refuses every ConfigMap of the user of its name. It is made
// after all others.
const last = `---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: last}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
  matchConditions: [{name: test-user, expression: request.userInfo.username == "last"}]
  validations: [{expression: "false", message: the last one is in force}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: last}
spec: {policyName: last, validationActions: [Deny]}
`

// inForce makes one policy more and waits until the API server puts it to use. The
// server sees policies and bindings in the order of their making, so then it uses all.
func (a *api) inForce(t *testing.T) {
	t.Helper()
	apply(t, last)
	controltest.Until(t, "policies in force", func() error {
		code, answer := a.do(http.MethodPost, "/api/v1/namespaces/"+fresh+"/configmaps?dryRun=All", "last", []byte(`{"metadata":{"name":"last"}}`))
		if code/100 != 4 || !strings.Contains(string(answer), "the last one is in force") {
			return fmt.Errorf("%d %s", code, answer)
		}
		return nil
	})
}

// typeChecked waits until the server has checked the types of all policies; it has
// nothing to say.
func (a *api) typeChecked(t *testing.T, n int) {
	t.Helper()
	var list struct {
		Items []struct {
			Metadata struct {
				Name       string
				Generation int64
			}
			Status struct {
				ObservedGeneration int64
				TypeChecking       struct {
					ExpressionWarnings []struct{ FieldRef, Warning string }
				}
			}
		}
	}
	controltest.Until(t, "type checks", func() error {
		list.Items = nil
		a.get("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies", &list)
		checked := 0
		for _, p := range list.Items {
			if p.Status.ObservedGeneration == p.Metadata.Generation {
				checked++
			}
		}
		if checked < n {
			return fmt.Errorf("%d of %d are checked", checked, n)
		}
		return nil
	})
	for _, p := range list.Items {
		for _, w := range p.Status.TypeChecking.ExpressionWarnings {
			t.Errorf("%s: %s: %s", p.Metadata.Name, w.FieldRef, w.Warning)
		}
	}
}

// try has the API server create an example, without doing it.
func (a *api) try(e example) outcome {
	apiVersion, kind := text(e.object, "apiVersion"), text(e.object, "kind")
	if spec, _ := e.object["spec"].(map[string]any); kind == "Pod" && spec["ephemeralContainers"] != nil {
		return a.ephemeral(e)
	}
	s, ok := a.served[[2]string{apiVersion, kind}]
	if !ok {
		return outcome{example: e, message: apiVersion + " " + kind + " is not served"}
	}
	raw, err := json.Marshal(e.object)
	if err != nil {
		return outcome{example: e, message: err.Error()}
	}
	var object map[string]any
	_ = json.Unmarshal(raw, &object)
	path := "/apis/" + apiVersion
	if !strings.Contains(apiVersion, "/") {
		path = "/api/" + apiVersion
	}
	meta, _ := object["metadata"].(map[string]any)
	if s.Namespaced {
		if text(object, "metadata", "namespace") == "" {
			meta["namespace"] = fresh
		}
		path += "/namespaces/" + text(object, "metadata", "namespace")
	}
	raw, err = json.Marshal(object)
	if err != nil {
		return outcome{example: e, message: err.Error()}
	}
	code, answer := a.do(http.MethodPost, path+"/"+s.Name+"?dryRun=All", e.control, raw)
	out := read(e, code, answer)
	_, hasStatus := object["status"]
	spec, _ := object["spec"].(map[string]any)
	_, hasPods := spec["template"]
	switch {
	case out.denied == e.fails:
	case hasStatus && kind == "Pod":
		out.different = "a new Pod has no status"
	case e.fails && hasPods && strings.Contains(apiVersion, ".") && !slices.Contains(workloads, kind):
		out.different = "policies match no custom workloads"
	}
	return out
}

// ephemeral has the API server add the containers of an example to a pod that is
// there without them, and that no node starts.
func (a *api) ephemeral(e example) outcome {
	raw, err := json.Marshal(e.object)
	if err != nil {
		return outcome{example: e, message: err.Error()}
	}
	var pod map[string]any
	_ = json.Unmarshal(raw, &pod)
	spec, _ := pod["spec"].(map[string]any)
	more := spec["ephemeralContainers"]
	delete(spec, "ephemeralContainers")
	if spec["containers"] == nil {
		spec["containers"] = []any{map[string]any{"name": "other", "image": "shop.example/other@sha256:" + strings.Repeat("0", 64)}}
	}
	spec["schedulingGates"] = []any{map[string]any{"name": "posture.example/hold"}}
	for _, c := range more.([]any) {
		c := c.(map[string]any)
		if c["image"] == nil {
			c["image"] = "shop.example/debug@sha256:" + strings.Repeat("0", 64)
		}
	}
	name := strings.ToLower(strings.NewReplacer("[", "-", "]", "").Replace(e.control + "-" + e.name))
	meta, _ := pod["metadata"].(map[string]any)
	meta["name"], meta["namespace"] = name, fresh
	raw, err = json.Marshal(pod)
	if err != nil {
		return outcome{example: e, message: err.Error()}
	}
	path := "/api/v1/namespaces/" + fresh + "/pods"
	if code, answer := a.do(http.MethodPost, path, "", raw); code/100 != 2 && code != http.StatusConflict {
		return read(e, code, answer)
	}
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"ephemeralContainers": more}})
	if err != nil {
		return outcome{example: e, message: err.Error()}
	}
	code, answer := a.do(http.MethodPatch, path+"/"+name+"/ephemeralcontainers?dryRun=All", e.control, patch)
	return read(e, code, answer)
}

// read understands an answer.
func read(e example, code int, answer []byte) outcome {
	var status struct {
		Kind, Message string
	}
	_ = json.Unmarshal(answer, &status)
	out := outcome{example: e, code: code}
	if status.Kind == "Status" {
		out.message = status.Message
		out.denied = strings.Contains(status.Message, "ValidatingAdmissionPolicy 'bulwark-"+e.control+"'")
	}
	return out
}
