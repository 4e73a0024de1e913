package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/posture/output"
)

// A cluster that does not show its Secrets: what depends on them is unknown, the
// rest is judged, and the code is that of the findings.
func TestScanCluster(t *testing.T) {
	t.Parallel()
	answers := map[string]string{
		"/version": `{"major":"1","minor":"34","gitVersion":"v1.34.1"}`,
		"/apis":    `{"kind":"APIGroupList","apiVersion":"v1","groups":[]}`,
		"/api":     `{"kind":"APIVersions","versions":["v1"]}`,
		"/api/v1": `{"kind":"APIResourceList","groupVersion":"v1","resources":[
			{"name":"pods","kind":"Pod","namespaced":true,"verbs":["list","get"]},
			{"name":"secrets","kind":"Secret","namespaced":true,"verbs":["list","get"]}]}`,
		"/api/v1/pods": `{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[
			{"metadata":{"name":"web","namespace":"shop","uid":"1"},"spec":{"containers":[{"name":"c","securityContext":{"privileged":true}}]}}]}`,
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		body, ok := answers[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusForbidden)
			body = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"no"}`
		}
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(srv.Close)
	folder := t.TempDir()
	kubeconfig := filepath.Join(folder, "kube")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: '%s'}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\ncurrent-context: c\n", srv.URL)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (code int, out *output.Document, bad string) {
		var stdout, stderr bytes.Buffer
		code = Main(append([]string{"scan", "-o", "json"}, args...), Env{
			Context: t.Context(), Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Now: time.Now, Random: func() uint64 { return 1 },
		})
		out = &output.Document{}
		if stdout.Len() > 0 {
			if err := json.Unmarshal(stdout.Bytes(), out); err != nil {
				t.Fatalf("%v: %v", args, err)
			}
		}
		return code, out, stderr.String()
	}
	saved := filepath.Join(folder, "snap.json")
	var scores []int
	for _, args := range [][]string{{"--kubeconfig", kubeconfig, "--save", saved}, {"--kubeconfig", kubeconfig, "--context", "c"}, {saved}} {
		code, doc, bad := run(args...)
		if code != 1 || doc.Summary.Fail["critical"] == 0 || doc.Summary.Unknown == 0 || doc.Summary.Score == nil {
			t.Fatalf("%v: code %d, summary %+v, %s", args, code, doc.Summary, bad)
		}
		if doc.Cluster.Version != "v1.34.1" || !strings.Contains(bad, "not read: Secret") {
			t.Errorf("%v: version %q, told %q", args, doc.Cluster.Version, bad)
		}
		for _, f := range doc.Frameworks {
			if f.Title == "CIS Kubernetes Benchmark" && f.ID != "cis-2.0.1" {
				t.Errorf("%s for Kubernetes 1.34", f.ID)
			}
		}
		scores = append(scores, *doc.Summary.Score)
	}
	if scores[0] != scores[1] || scores[0] != scores[2] {
		t.Errorf("scores %v of one cluster", scores)
	}
	srv.Close()
	if code, _, bad := run("--kubeconfig", kubeconfig); code != 2 || !strings.Contains(bad, "read the cluster") {
		t.Errorf("a dead cluster: code %d, %s", code, bad)
	}
}
