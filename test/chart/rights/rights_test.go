// Package rights proves that the chart gives the controller exactly the rights
// that it uses: in a real control plane it lives through everything it is for,
// and the audit log says what it asked. Nothing was refused, so the rights
// suffice; every right was used, so without any of them something breaks.
package rights

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark/internal/cluster/identity"
	"bulwark.dev/bulwark/test/chart"
)

const (
	namespace = "bulwark-system"
	account   = "system:serviceaccount:" + namespace + ":bulwark-controller"
)

// output runs a command with further environment and gives what it prints.
func output(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.Output()
	if err != nil {
		var stderr string
		if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // exec gives this type itself
			stderr = string(exit.Stderr)
		}
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, out, stderr)
	}
	return strings.TrimSpace(string(out))
}

// right is one thing that a rule permits or that somebody asked for, as
// "verb resource.group" and, in Bulwark's own namespace, the object's name.
func right(own bool, verb, resource, group, name string) string {
	s := strings.TrimSuffix(verb+" "+resource+"."+group, ".")
	if own {
		s += " in its namespace " + name
		// A rule cannot name what is yet to be created.
		if verb == "create" {
			s = strings.TrimSuffix(s, name)
		}
	}
	return strings.TrimSpace(s)
}

// given lists what the rendered rules permit the controller.
func given(t *testing.T, r *chart.Release) []string {
	t.Helper()
	set := map[string]bool{}
	for _, m := range r.Objects {
		var role rbacv1.Role // a ClusterRole has the same fields that matter here
		if err := yaml.Unmarshal([]byte(m.Text), &role); err != nil {
			t.Fatal(err)
		}
		if (m.Kind != "Role" && m.Kind != "ClusterRole") || role.Name != "bulwark-controller" {
			continue
		}
		for _, rule := range role.Rules {
			names := rule.ResourceNames
			if len(names) == 0 {
				names = []string{""}
			}
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, verb := range rule.Verbs {
						for _, name := range names {
							set[right(m.Kind == "Role", verb, resource, group, name)] = true
						}
					}
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// asked lists what the controller asked of the API server, and what of that was
// refused for want of a right. What everybody may ask is left out.
func asked(t *testing.T, log string) (used, refused []string) {
	t.Helper()
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	all, bad := map[string]bool{}, map[string]bool{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e struct {
			Verb string `json:"verb"`
			User struct {
				Username string `json:"username"`
			} `json:"user"`
			ObjectRef *struct {
				Resource, Subresource, Namespace, Name, APIGroup string
			} `json:"objectRef"`
			ResponseStatus struct {
				Code int `json:"code"`
			} `json:"responseStatus"`
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("audit log: %v", err)
		}
		if e.User.Username != account || e.ObjectRef == nil || e.ResponseStatus.Code == 0 {
			continue
		}
		o, resource := e.ObjectRef, e.ObjectRef.Resource
		if o.Subresource != "" {
			resource += "/" + o.Subresource
		}
		s := right(o.Namespace == namespace, e.Verb, resource, o.APIGroup, o.Name)
		all[s] = true
		if e.ResponseStatus.Code == 403 {
			bad[s] = true
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(all)), slices.Sorted(maps.Keys(bad))
}

// oldAuthority gives the Secret of a relay authority that is due for rotation, as
// an installation has it that began 300 days ago.
func oldAuthority(t *testing.T) []byte {
	t.Helper()
	client := fake.NewClientset()
	then := time.Now().Add(-300 * 24 * time.Hour)
	a, err := identity.New(identity.Config{
		Secrets: client.CoreV1(), Namespace: namespace, Names: []string{"bulwark-controller." + namespace + ".svc"},
		Now: func() time.Time { return then }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	secret, err := client.CoreV1().Secrets(namespace).Get(t.Context(), identity.CASecret, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	secret.APIVersion, secret.Kind = "v1", "Secret"
	text, err := yaml.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestExactlyWhatIsUsed(t *testing.T) {
	dir, err := chart.Find(".")
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "..", "..", "..")
	release, err := chart.Render(chart.Options{
		Dir: dir, Release: "bulwark", Namespace: namespace, KubeVersion: "v1.36.3",
		Set: []string{"gateway.autoscaling.enabled=false", "gateway.preStopSeconds=0", "gateway.drainSeconds=1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	if err := os.WriteFile(filepath.Join(work, "bulwark.yaml"), []byte(release.YAML()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(work, "authority.yaml"), oldAuthority(t), 0o600); err != nil {
		t.Fatal(err)
	}
	// The image is a static binary, whatever this test was built with.
	static := []string{"CGO_ENABLED=0", "GOFLAGS=-buildvcs=false"}
	output(t, root, static, "go", "build", "-o", filepath.Join(work, "bulwark"), "./cmd/bulwark")
	control := output(t, root, static, filepath.Join(root, "test", "control", "build"))
	api := output(t, root, static, "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api")
	testdata, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(work, "data")
	output(t, root, []string{
		"WORK=" + work, "CRDS=" + filepath.Join(api, "config", "crd", "standard"), "SCENE=" + filepath.Join(testdata, "scene.yaml"),
	}, control, "run", "--data-dir", data, "--audit-log", "--image", "bulwark.dev/bulwark="+filepath.Join(work, "bulwark"),
		"--", filepath.Join(testdata, "inside.sh"))

	used, refused := asked(t, filepath.Join(data, "audit.log"))
	if len(refused) > 0 {
		t.Errorf("the controller was refused:\n  %s", strings.Join(refused, "\n  "))
	}
	rights := given(t, release)
	if diff := cmp.Diff(used, rights); diff != "" {
		t.Errorf("rights (-used +given): what is given and not used must go, or be used here:\n%s", diff)
	}
	if len(rights) < 30 {
		t.Errorf("only %d rights were compared: %s", len(rights), fmt.Sprint(rights))
	}
}
