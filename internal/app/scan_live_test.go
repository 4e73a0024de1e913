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
	"sync"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/cluster/inventory/saved"
	"bulwark.dev/bulwark/internal/posture/output"
)

// fakeCluster serves answers by their paths and refuses all others.
func fakeCluster(t *testing.T, answers map[string]string) (srv *httptest.Server, kubeconfig string) {
	t.Helper()
	srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		body, ok := answers[r.URL.Path]
		switch {
		case !ok:
			w.WriteHeader(http.StatusForbidden)
			body = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"no"}`
		case body == "":
			w.WriteHeader(http.StatusNotImplemented)
		}
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(srv.Close)
	return srv, writeKubeconfig(t, fmt.Sprintf("cluster: {server: '%s'}", srv.URL), "{}")
}

// writeKubeconfig writes one with a cluster and a user.
func writeKubeconfig(t *testing.T, cluster, user string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "kube")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: c, %s}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: %s}]\ncurrent-context: c\n", cluster, user)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// runScan runs the command in this process.
func runScan(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, bad bytes.Buffer
	code = Main(append([]string{"scan"}, args...), Env{
		Context: t.Context(), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &bad, Now: time.Now, Random: func() uint64 { return 1 },
	})
	return code, out.String(), bad.String()
}

// scanned is the document that a scan prints as JSON.
func scanned(t *testing.T, args ...string) (code int, out *output.Document, bad string) {
	t.Helper()
	code, text, bad := runScan(t, append([]string{"-o", "json"}, args...)...)
	out = &output.Document{}
	if text != "" {
		if err := json.Unmarshal([]byte(text), out); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
	}
	return code, out, bad
}

// A cluster that does not show its Secrets: what depends on them is unknown, the
// rest is judged, and the code is that of the findings.
func TestScanCluster(t *testing.T) {
	t.Parallel()
	srv, kubeconfig := fakeCluster(t, map[string]string{
		"/version": `{"major":"1","minor":"34","gitVersion":"v1.34.1"}`,
		"/apis":    `{"kind":"APIGroupList","apiVersion":"v1","groups":[]}`,
		"/api":     `{"kind":"APIVersions","versions":["v1"]}`,
		"/api/v1": `{"kind":"APIResourceList","groupVersion":"v1","resources":[
			{"name":"pods","kind":"Pod","namespaced":true,"verbs":["list","get"]},
			{"name":"secrets","kind":"Secret","namespaced":true,"verbs":["list","get"]}]}`,
		"/api/v1/pods": `{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[
			{"metadata":{"name":"web","namespace":"shop","uid":"1"},"spec":{"containers":[{"name":"c","securityContext":{"privileged":true}}]}}]}`,
	})
	file := filepath.Join(t.TempDir(), "snap.json")
	var scores []int
	for _, args := range [][]string{{"--kubeconfig", kubeconfig, "--save", file}, {"--kubeconfig", kubeconfig, "--context", "c"}, {file}} {
		code, doc, bad := scanned(t, args...)
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
	if code, _, bad := scanned(t, "--kubeconfig", kubeconfig); code != 2 || !strings.Contains(bad, "read the cluster") {
		t.Errorf("a dead cluster: code %d, %s", code, bad)
	}
}

// An API group that does not even say which kinds it has: nothing of it counts as
// passing, neither in the controls nor in what the frameworks ask for.
func TestScanClusterWithoutGroup(t *testing.T) {
	t.Parallel()
	answers := map[string]string{
		"/version":     `{"major":"1","minor":"34","gitVersion":"v1.34.1"}`,
		"/api":         `{"kind":"APIVersions","versions":["v1"]}`,
		"/api/v1":      `{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"pods","kind":"Pod","namespaced":true,"verbs":["list"]}]}`,
		"/api/v1/pods": `{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[]}`,
		"/apis": `{"kind":"APIGroupList","apiVersion":"v1","groups":[{"name":"apps","versions":[{"version":"v1"}]},
			{"name":"networking.k8s.io","versions":[{"version":"v1"}]},{"name":"rbac.authorization.k8s.io","versions":[{"version":"v1"}]}]}`,
		"/apis/apps/v1": "", "/apis/networking.k8s.io/v1": "", "/apis/rbac.authorization.k8s.io/v1": "",
	}
	_, kubeconfig := fakeCluster(t, answers)
	_, doc, bad := scanned(t, "--kubeconfig", kubeconfig)
	for _, group := range []string{"apps", "networking.k8s.io", "rbac.authorization.k8s.io"} {
		if !strings.Contains(bad, "not read: every kind of the API group \""+group) {
			t.Errorf("%s is not told of: %s", group, bad)
		}
	}
	unknown := 0
	want := map[string]bool{"container-privileged": true, "ingress-no-tls": true, "rbac-cluster-admin-binding": true, "credential-in-object": true, "credential-in-annotation": true}
	for _, c := range doc.Controls {
		if c.Unknown > 0 {
			unknown++
			delete(want, c.ID)
		}
	}
	if len(want) > 0 || unknown < 100 {
		t.Errorf("%d controls are unknown, and not %v", unknown, want)
	}
	for _, f := range doc.Frameworks {
		for _, r := range f.Results {
			for _, p := range r.Controls {
				if strings.HasPrefix(p.ID, "rbac-") && (r.Status == "pass" || r.Status == "partial") {
					t.Errorf("%s %s passes by %s, which could read no role", f.ID, r.ID, p.ID)
				}
			}
		}
	}
	if len(doc.Frameworks) == 0 {
		t.Error("no framework was assessed")
	}
}

// A saved file is whole whoever else writes it or was killed while doing so, is packed
// where its name says so, and is read by its user only.
func TestSaveSnapshot(t *testing.T) {
	t.Parallel()
	snap := func(name string, n int) *inventory.Snapshot {
		var all []*inventory.Object
		for i := range n {
			o, err := inventory.New(fmt.Appendf(nil, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"%s-%d"}}`, name, i), nil)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, o)
		}
		return inventory.NewSnapshot(all, inventory.Facts{}, nil, nil)
	}
	folder := t.TempDir()
	for _, name := range []string{"snap.json", "snap.json.gz"} {
		path := filepath.Join(folder, name)
		// What a run with the same process id left when it was killed, and a file that
		// everybody may read.
		left := filepath.Join(folder, fmt.Sprintf(".%s.%d.0.tmp", name, os.Getpid()))
		for _, f := range []string{left, path} {
			if err := os.WriteFile(f, []byte(`{"bulwark":"snap`), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		var group sync.WaitGroup
		for i := range 8 {
			group.Go(func() {
				if err := saveSnapshot(path, snap(string(rune('a'+i)), 1000+i)); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := saved.Read(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if n, first := len(got.Objects()), got.Objects()[0].Name[0]; n != 1000+int(first-'a') {
			t.Errorf("%s: %d objects of writer %c", name, n, first)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 || (text[0] == 0x1f) != strings.HasSuffix(name, ".gz") {
			t.Errorf("%s: mode %v, begins with %x, %v", name, info.Mode(), text[:2], err)
		}
		if others, _ := filepath.Glob(filepath.Join(folder, "."+name+".*")); len(others) != 1 {
			t.Errorf("%s: left behind: %v", name, others)
		}
		before := text
		if err := saveSnapshot(filepath.Join(folder, "no", "such", name), snap("x", 1)); err == nil {
			t.Error("a folder that is not there was written to")
		}
		if text, _ := os.ReadFile(path); !bytes.Equal(before, text) {
			t.Errorf("%s was changed", name)
		}
	}
}
