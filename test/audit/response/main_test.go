package response

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark/test/controltest"
)

func TestMain(m *testing.M) { os.Exit(controltest.Main(m, controltest.Options{Flags: prepare})) }

// auditPolicy records what the detection looks at.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata, resources: [{group: "", resources: ["pods/exec"]}]}, {level: None}]
`

// rule alerts on every command in a pod.
const rule = `title: A command was run in a pod
name: any-exec
id: 6f0c3f0e-5b1d-4a57-9a54-0d0f6f2f3b77
logsource: {product: kubernetes, service: audit}
detection:
  selection: {verb: create, objectRef.resource: pods, objectRef.subresource: exec}
  condition: selection
level: high
`

// responses acts on it by itself, in one namespace and not in the other.
const responses = `
expiry: 5m
maxExpiry: 1h
limits: {perHour: 20}
protected: {identities: [ann], namespaces: [guarded]}
responses:
- {detection: any-exec, severity: high, action: quarantine-pod, mode: enforce, expiry: 4s}
`

// prepare builds Bulwark into dir and writes what the API server is started with.
func prepare(dir string) ([]string, error) {
	build := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Join(dir, "bulwark"), "./cmd/bulwark")
	build.Dir, build.Env = "../../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build Bulwark: %w\n%s", err, out)
	}
	modules := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api")
	modules.Dir = "../../.."
	at, err := modules.Output()
	if err != nil {
		return nil, fmt.Errorf("find Gateway API: %w", err)
	}
	p := func(name string) string { return filepath.Join(dir, name) }
	err = errors.Join(
		os.Mkdir(p("rules"), 0o700),
		os.WriteFile(p("gateway-api"), bytes.TrimSpace(at), 0o600), os.WriteFile(p("policy.yaml"), []byte(auditPolicy), 0o600),
		os.WriteFile(p("responses.yaml"), []byte(responses), 0o600), os.WriteFile(p("rules/any-exec.yaml"), []byte(rule), 0o600),
	)
	return []string{"--audit-log", "--audit-policy", p("policy.yaml")}, err
}

func data(name string) string { return filepath.Join(controltest.DataDir(), name) }

// bulwark runs the program and gives what it printed; want is its exit code.
func bulwark(t *testing.T, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), data("bulwark"), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == want || err == nil && want == 0 {
		return out.String(), errs.String()
	}
	t.Fatalf("bulwark %q: %v, want %d\n%s%s", args, err, want, out.Bytes(), errs.Bytes())
	return "", ""
}

// server is a "bulwark serve audit" that takes measures.
type server struct {
	t     *testing.T
	trail string
	args  []string
	cmd   *exec.Cmd
	log   bytes.Buffer
}

// start starts it; it ends with the test.
func (s *server) start() {
	s.t.Helper()
	s.cmd = exec.CommandContext(context.WithoutCancel(s.t.Context()), data("bulwark"), append([]string{"serve", "audit", "--data", s.trail, "--admin", "127.0.0.1:0", "--log-format", "text"}, s.args...)...)
	s.cmd.Stderr = &s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	controltest.Until(s.t, "the server", func() error {
		_, err := exec.CommandContext(s.t.Context(), data("bulwark"), "audit", "response", "undo", "r-none", "--data", s.trail).CombinedOutput()
		exit, ok := errors.AsType[*exec.ExitError](err)
		if ok && exit.ExitCode() == 1 { // it knows no such response
			return nil
		}
		return fmt.Errorf("not there yet: %w", err)
	})
}

// kill ends it as a crash would.
func (s *server) kill() {
	s.t.Helper()
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

func (s *server) stop() {
	_ = s.cmd.Process.Signal(os.Interrupt)
	_ = s.cmd.Wait()
	if s.t.Failed() {
		s.t.Logf("serve audit:\n%s", s.log.String())
	}
}

// kubeconfig writes one for a ServiceAccount of Bulwark's namespace.
func kubeconfig(t *testing.T, account string) string {
	t.Helper()
	token := strings.TrimSpace(controltest.Kubectl(t, "create", "token", account, "-n", "bulwark-system"))
	return kubeconfigWith(t, map[string]any{"token": token})
}

// kubeconfigWith writes one with other credentials.
func kubeconfigWith(t *testing.T, user map[string]any) string {
	t.Helper()
	text, err := os.ReadFile(controltest.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	var cfg map[string]any
	if err := yaml.Unmarshal(text, &cfg); err != nil {
		t.Fatal(err)
	}
	for _, u := range cfg["users"].([]any) {
		u.(map[string]any)["user"] = user
	}
	if text, err = json.Marshal(cfg); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// hashKey is the form in which a Secret holds an API key.
func hashKey(key string) string {
	salt := []byte("0123456789abcdef")
	sum := sha256.Sum256(append(salt, key...))
	return "sha256:" + hex.EncodeToString(salt) + ":" + hex.EncodeToString(sum[:])
}

// object gives an object without what every write changes.
func object(t *testing.T, args ...string) map[string]any {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal([]byte(controltest.Kubectl(t, append([]string{"get", "-o", "json"}, args...)...)), &o); err != nil {
		t.Fatal(err)
	}
	meta := o["metadata"].(map[string]any)
	for _, key := range []string{"resourceVersion", "managedFields", "generation", "uid", "creationTimestamp"} {
		delete(meta, key)
	}
	delete(o, "status")
	return o
}
