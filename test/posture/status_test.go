package posture

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"bulwark.dev/bulwark/test/controltest"
)

// TestStatusTakesLabels shows that the API server takes labels with the status and
// the finalizers of a Namespace, and with the status of a Service and an Ingress,
// and that an exported policy refuses them there, but not what changes no label.
func TestStatusTakesLabels(t *testing.T) {
	a := newAPI(t)
	const space = "posture-status"
	at := "/api/v1/namespaces/" + space
	if code, answer := a.do(http.MethodPost, "/api/v1/namespaces", "", fmt.Appendf(nil, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":%q}}`, space)); code/100 != 2 {
		t.Fatalf("%d %s", code, answer)
	}
	for path, object := range map[string]string{
		at + "/services": `{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},"spec":{"ports":[{"port":80}]}}`,
		"/apis/networking.k8s.io/v1/namespaces/" + space + "/ingresses": `{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{"name":"a"},"spec":{"defaultBackend":{"service":{"name":"a","port":{"number":80}}}}}`,
	} {
		if code, answer := a.do(http.MethodPost, path, "", []byte(object)); code/100 != 2 {
			t.Fatalf("%d %s", code, answer)
		}
	}
	const privileged = `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"privileged"}}}`
	// finalize wants the object as a whole.
	_, whole := a.do(http.MethodGet, at, "", nil)
	var now map[string]any
	if err := json.Unmarshal(whole, &now); err != nil {
		t.Fatal(err)
	}
	now["metadata"].(map[string]any)["labels"].(map[string]any)["pod-security.kubernetes.io/enforce"] = "privileged"
	finalize, err := json.Marshal(now)
	if err != nil {
		t.Fatal(err)
	}
	labels := func(answer []byte) string {
		var o struct {
			Metadata struct{ Labels map[string]string }
		}
		_ = json.Unmarshal(answer, &o)
		return o.Metadata.Labels["pod-security.kubernetes.io/enforce"]
	}
	for path, ask := range map[string]struct {
		method string
		body   []byte
	}{
		at + "/status":            {http.MethodPatch, []byte(privileged)},
		at + "/finalize":          {http.MethodPut, finalize},
		at + "/services/a/status": {http.MethodPatch, []byte(privileged)},
		"/apis/networking.k8s.io/v1/namespaces/" + space + "/ingresses/a/status": {http.MethodPatch, []byte(privileged)},
	} {
		if code, answer := a.do(ask.method, path+"?dryRun=All", "", ask.body); code != http.StatusOK || labels(answer) != "privileged" {
			t.Errorf("%s takes no labels: %d %s", path, code, answer)
		}
	}
	cmd := bulwark(t.Context(), "policy", "export-vap", "--action", "Deny", "--control", "namespace-pod-security-privileged")
	exported, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	defer a.forget()
	apply(t, string(exported))
	denied := func(code int, answer []byte) bool {
		return code/100 == 4 && strings.Contains(string(answer), "bulwark-namespace-pod-security-privileged")
	}
	controltest.Until(t, "the policy in force", func() error {
		if code, answer := a.do(http.MethodPatch, at+"?dryRun=All", "", []byte(privileged)); !denied(code, answer) {
			return fmt.Errorf("%d %s", code, answer)
		}
		return nil
	})
	if code, answer := a.do(http.MethodPatch, at+"/status?dryRun=All", "", []byte(privileged)); !denied(code, answer) {
		t.Errorf("by status: %d %s", code, answer)
	}
	if code, answer := a.do(http.MethodPut, at+"/finalize?dryRun=All", "", finalize); !denied(code, answer) {
		t.Errorf("by finalize: %d %s", code, answer)
	}
	if code, answer := a.do(http.MethodPatch, at+"/status?dryRun=All", "", []byte(`{"status":{"phase":"Active"}}`)); code != http.StatusOK {
		t.Errorf("a status without labels: %d %s", code, answer)
	}
}
