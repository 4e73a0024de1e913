package response

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark/test/audit/trailtest"
	"bulwark.dev/bulwark/test/controltest"
)

func TestMain(m *testing.M) {
	os.Exit(trailtest.Main(m, trailtest.Cluster{
		Policy: auditPolicy, Files: map[string]string{"responses.yaml": responses, "rules/any-exec.yaml": rule, "rules/any-abuse.yaml": abuse},
	}))
}

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

// abuse alerts on what nobody has to look for behind the gateway.
const abuse = `title: Somebody looked for what is not his
name: any-abuse
id: 0c1f4a52-3f0e-4c39-8ec2-0f0a4f1c2b11
logsource: {product: bulwark, service: gateway}
detection:
  selection: {requestURI: /forbidden}
  condition: selection
level: high
`

// responses acts on them by itself, on pods in one namespace and not in the other.
const responses = `
expiry: 5m
maxExpiry: 1h
limits: {perHour: 20}
protected: {identities: [ann], namespaces: ['guard*']}
evidence: {api: [file/audit.log], gateway: [file/events.jsonl], routes: [shop]}
responses:
- {detection: any-exec, severity: high, action: quarantine-pod, mode: enforce, expiry: 4s}
- {detection: any-abuse, severity: high, action: deny-identity, mode: enforce}
`

// admin is where the server shows its metrics.
const admin = "127.0.0.1:9400"

// server is a "bulwark serve audit" that takes measures.
type server struct {
	t       *testing.T
	trail   string
	args    []string
	process *trailtest.Process
}

// start starts it, and waits until it answers; it ends with the test.
func (s *server) start() {
	s.t.Helper()
	s.process = trailtest.Start(s.t, append([]string{"serve", "audit", "--data", s.trail, "--admin", admin, "--log-format", "text"}, s.args...)...)
	controltest.Until(s.t, "the server", func() error {
		if said, ended := s.process.Ended(); ended {
			s.t.Fatalf("the server ended: %s", said)
		}
		// A command that finds no server takes the trail itself, and the server could not.
		if err := ready(s.t); err != nil {
			return err
		}
		_, err := exec.CommandContext(s.t.Context(), trailtest.Path("bulwark"), "audit", "response", "undo", "r-none", "--data", s.trail).CombinedOutput()
		exit, ok := errors.AsType[*exec.ExitError](err)
		if ok && exit.ExitCode() == 1 { // it knows no such response
			return nil
		}
		return fmt.Errorf("not there yet: %w", err)
	})
}

// ready asks the server whether it serves.
func ready(t *testing.T) error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+admin+"/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s, %w", resp.Status, err)
	}
	return nil
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
