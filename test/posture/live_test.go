package posture

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"bulwark.dev/bulwark/internal/cluster/inventory/fetch"
	"bulwark.dev/bulwark/internal/cluster/inventory/redact"
	"bulwark.dev/bulwark/test/controltest"
)

const liveObjects = `
apiVersion: v1
kind: Namespace
metadata: {name: live}
---
apiVersion: v1
kind: Namespace
metadata: {name: other}
---
apiVersion: v1
kind: Secret
metadata: {name: key, namespace: live}
stringData: {password: s3cr3t-value, empty: ""}
---
apiVersion: v1
kind: Secret
metadata: {name: key, namespace: other}
stringData: {password: s3cr3t-value}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: plain, namespace: live}
data: {a: b}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: live}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: live-reader}
rules:
- {apiGroups: [""], resources: [configmaps, namespaces], verbs: [list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: live-reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: live-reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: live}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: live}
rules:
- {apiGroups: [""], resources: [secrets], verbs: [list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: live}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: live}]
`

// live makes the objects, in namespaces of the test's own: what another has left
// may still be going away. It gives a connection with few rights.
func live(t *testing.T, namespace string) *rest.Config {
	t.Helper()
	controltest.Apply(t, strings.NewReplacer("live", namespace, "other", namespace+"-other").Replace(liveObjects))
	cfg := rest.AnonymousClientConfig(admin(t))
	cfg.BearerToken = strings.TrimSpace(controltest.Kubectl(t, "create", "token", "reader", "-n", namespace))
	return cfg
}

func TestReadAll(t *testing.T) {
	live(t, "all")
	kinds := 0
	snap, err := fetch.Snapshot(t.Context(), admin(t), fetch.Options{PageSize: 3, Progress: func(p fetch.Progress) { kinds = p.Total }})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d objects of %d kinds, facts %+v, unreadable %v", len(snap.Objects()), kinds, snap.Facts, snap.Unreadable)
	if !snap.Facts.Live || !strings.HasPrefix(snap.Facts.Version, "v1.") || snap.Facts.Managed != "" {
		t.Errorf("facts are %+v", snap.Facts)
	}
	if kinds < 40 || len(snap.Objects()) < 100 {
		t.Errorf("only %d objects of %d kinds", len(snap.Objects()), kinds)
	}
	for _, u := range snap.Unreadable {
		if u.Kind != "KubeletConfiguration" {
			t.Errorf("unreadable: %+v", u)
		}
	}
	if len(snap.Kind("kubelet.config.k8s.io", "KubeletConfiguration")) == 0 && snap.Unread("kubelet.config.k8s.io", "KubeletConfiguration", "") == "" {
		t.Error("nothing is said of kubelets")
	}
	// As many as kubectl finds, which has its own way of paging.
	for _, kind := range []struct{ group, kind, resource string }{
		{"rbac.authorization.k8s.io", "ClusterRole", "clusterroles"},
		{"", "ConfigMap", "configmaps"},
		{"", "Secret", "secrets"},
		{"apiregistration.k8s.io", "APIService", "apiservices"},
		{"", "Namespace", "namespaces"},
	} {
		want := len(strings.Fields(controltest.Kubectl(t, "get", kind.resource, "-A", "-o", "name")))
		if got := len(snap.Kind(kind.group, kind.kind)); got != want {
			t.Errorf("%d of %s, kubectl finds %d", got, kind.kind, want)
		}
	}
	for _, o := range snap.Objects() {
		if bytes.Contains(o.Raw(), []byte("managedFields")) {
			t.Errorf("%s has managedFields", o)
		}
		if o.Kind == "Event" || o.Kind == "Lease" {
			t.Errorf("%s was read", o)
		}
		if bytes.Contains(o.Raw(), []byte("s3cr3t-value")) || bytes.Contains(o.Raw(), []byte("czNjcjN0LXZhbHVl")) {
			t.Errorf("%s holds the value of a Secret: %s", o, o.Raw())
		}
	}
	if o := snap.Find("", "Secret", "all", "key"); o == nil || !bytes.Contains(o.Raw(), []byte(`"password":"`+redact.Value+`"`)) || !bytes.Contains(o.Raw(), []byte(`"empty":""`)) {
		t.Errorf("the Secret is %s", o.Raw())
	}
}

func TestReadLittle(t *testing.T) {
	snap, err := fetch.Snapshot(t.Context(), live(t, "little"), fetch.Options{Namespaces: []string{"little"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d objects, %d kinds are unreadable", len(snap.Objects()), len(snap.Unreadable))
	for _, q := range []struct {
		group, kind, namespace string
		missing                bool
	}{
		{"", "ConfigMap", "", false},
		{"", "Namespace", "", false},
		{"", "Secret", "little", false},
		{"", "Secret", "little-other", true},
		{"", "Secret", "", true},
		{"", "Pod", "little", true},
		{"rbac.authorization.k8s.io", "ClusterRole", "", true},
		{"apps", "Deployment", "little", true},
		{"kubelet.config.k8s.io", "KubeletConfiguration", "", true},
	} {
		why := snap.Unread(q.group, q.kind, q.namespace)
		if (why != "") != q.missing {
			t.Errorf("%v: missing because %q", q, why)
		}
	}
	if why := snap.Unread("", "Pod", "little"); !strings.Contains(why, `RBAC verb list, resource pods, apiGroup ""`) {
		t.Errorf("Pods are missing because %q", why)
	}
	if n := len(snap.Kind("", "Secret")); n != 1 {
		t.Errorf("%d Secrets, want the one of its namespace", n)
	}
	if snap.Facts.Version == "" {
		t.Error("the version is not known")
	}
}

// TestScanLittle is what somebody with few rights sees: what was not read is
// unknown, and nothing passes for being unseen.
func TestScanLittle(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	cfg := live(t, "scanned")
	if err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:  map[string]*clientcmdapi.Cluster{"a": {Server: cfg.Host, CertificateAuthority: cfg.CAFile, CertificateAuthorityData: cfg.CAData}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{"a": {Token: cfg.BearerToken}},
		Contexts:  map[string]*clientcmdapi.Context{"a": {Cluster: "a", AuthInfo: "a"}}, CurrentContext: "a",
	}, file); err != nil {
		t.Fatal(err)
	}
	cmd := bulwark(t.Context(), "scan", "--kubeconfig", file, "-o", "json")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if exit, failed := errors.AsType[*exec.ExitError](err); err != nil && (!failed || exit.ExitCode() != 1) {
		t.Fatal(err)
	}
	var report struct {
		Unreadable []struct{ Group, Kind, Reason string } `json:"unreadable"`
		Controls   []struct {
			ID      string `json:"id"`
			Pass    int    `json:"pass"`
			Unknown int    `json:"unknown"`
		} `json:"controls"`
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("%v\n%.2000s", err, out)
	}
	if len(report.Unreadable) < 20 {
		t.Errorf("the report names %d unreadable kinds", len(report.Unreadable))
	}
	unknown := 0
	for _, c := range report.Controls {
		if strings.HasPrefix(c.ID, "container-") && c.Pass > 0 {
			t.Errorf("control %s passes %d objects of kinds that were not read", c.ID, c.Pass)
		}
		unknown += min(c.Unknown, 1)
	}
	t.Logf("%d kinds are unreadable, %d of %d controls are unknown somewhere", len(report.Unreadable), unknown, len(report.Controls))
}
