// Package trailtest is what tests of the audit trail on a real API server share: the
// program, a control plane whose API server tells it what happens, and reading what the
// trail took.
//
//	func TestMain(m *testing.M) { os.Exit(trailtest.Main(m, trailtest.Cluster{Policy: policy})) }
package trailtest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"bulwark.dev/bulwark/test/controltest"
)

// Server is the name under which the API server sends.
const Server = "apiserver-0"

// Cluster says how the API server tells what happens. Without Webhook it writes
// Path("audit.log").
type Cluster struct {
	// Policy is its audit policy.
	Policy string
	// Webhook is the address to which it sends, over TLS and with a token: see ServeFlags.
	Webhook string
	// Users are lines of a token file, where people without certificates are needed.
	Users string
	// Files are more files, by their names.
	Files map[string]string
	// Flags are more flags of the control plane.
	Flags []string
}

// Main runs m's tests inside such a cluster and gives the exit status.
func Main(m *testing.M, c Cluster) int {
	return controltest.Main(m, controltest.Options{Flags: c.prepare})
}

// prepare builds the program into dir and writes what the API server is started with.
func (c Cluster) prepare(dir string) ([]string, error) {
	if err := build(dir); err != nil {
		return nil, err
	}
	p := func(name string) string { return filepath.Join(dir, name) }
	flags := append([]string{"--audit-policy", p("policy.yaml")}, c.Flags...)
	files := map[string]string{"policy.yaml": c.Policy}
	maps.Copy(files, c.Files)
	if c.Users != "" {
		files["users.csv"] = c.Users
		flags = append(flags, "--apiserver-arg=--token-auth-file="+p("users.csv"))
	}
	if c.Webhook == "" {
		flags = append(flags, "--audit-log")
	} else {
		cert, key, err := certificate()
		if err != nil {
			return nil, fmt.Errorf("make the webhook's certificate: %w", err)
		}
		token := rand.Text()
		files["webhook.crt"], files["webhook.key"], files["webhook.token"] = string(cert), string(key), token+"\n"
		files["webhook.yaml"] = fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: bulwark, cluster: {server: "https://%s/audit/v1/%s", certificate-authority-data: %s}}]
users: [{name: apiserver, user: {token: %s}}]
contexts: [{name: bulwark, context: {cluster: bulwark, user: apiserver}}]
current-context: bulwark
`, c.Webhook, Server, base64.StdEncoding.EncodeToString(cert), token)
		flags = append(flags, "--audit-webhook-config", p("webhook.yaml"), "--apiserver-arg=--audit-webhook-batch-max-wait=200ms", "--apiserver-arg=--audit-webhook-initial-backoff=500ms")
	}
	for name, text := range files {
		if err := errors.Join(os.MkdirAll(filepath.Dir(p(name)), 0o700), os.WriteFile(p(name), []byte(text), 0o600)); err != nil {
			return nil, fmt.Errorf("write %s: %w", name, err)
		}
	}
	return flags, nil
}

// build builds the program with the flags of make build, so that nothing is compiled
// twice.
func build(dir string) error {
	root, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(root, "cmd", "bulwark")); err == nil {
			break
		}
		if root == filepath.Dir(root) {
			err = errors.New("cmd/bulwark is not in a folder above")
		}
		root = filepath.Dir(root)
	}
	if err != nil {
		return fmt.Errorf("find Bulwark: %w", err)
	}
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Join(dir, "bulwark"), "./cmd/bulwark")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build Bulwark: %w\n%s", err, out)
	}
	return nil
}

// certificate makes one for this machine that is its own authority.
func certificate() (cert, key []byte, err error) {
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bulwark"}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		return nil, nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), nil
}

// Path gives the path of a file of Cluster.Files, of "audit.log", or of what belongs to
// the webhook: "webhook.crt" and "webhook.key".
func Path(name string) string { return filepath.Join(controltest.DataDir(), name) }

// ServeFlags are those of "bulwark serve audit" by which it takes what the API server
// sends to an address.
func ServeFlags(data, address string) []string {
	return []string{
		"serve", "audit", "--data", data, "--listen", address, "--tls-cert", Path("webhook.crt"), "--tls-key", Path("webhook.key"),
		"--token-file", Path("webhook.token"), "--log-format", "text",
	}
}

// Run runs the program and gives what it printed; want is its exit code.
func Run(t *testing.T, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), Path("bulwark"), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == want || err == nil && want == 0 {
		return out.String(), errs.String()
	}
	t.Fatalf("bulwark %q: %v, want %d\n%s%s", args, err, want, out.Bytes(), errs.Bytes())
	return "", ""
}

// Process is a program that runs until it is ended, at the latest with the test.
type Process struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
	ended  chan struct{}
}

// Start starts the program. When the test fails, it shows what the program said.
func Start(t *testing.T, args ...string) *Process {
	t.Helper()
	p := &Process{cmd: exec.CommandContext(context.WithoutCancel(t.Context()), Path("bulwark"), args...), ended: make(chan struct{})}
	p.cmd.Stderr = &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // it is told to end, or Ended tells
	}()
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("bulwark %q:\n%s", args[:min(2, len(args))], p.stderr.String())
		}
	})
	return p
}

// Stop asks it to end, and waits for it.
func (p *Process) Stop() { p.end(os.Interrupt) }

// Kill ends it as a crash would.
func (p *Process) Kill() { p.end(os.Kill) }

func (p *Process) end(signal os.Signal) {
	_ = p.cmd.Process.Signal(signal) // it may have ended
	<-p.ended
}

// Ended reports whether it has ended, and what it said until then.
func (p *Process) Ended() (said string, ended bool) {
	select {
	case <-p.ended:
		return p.stderr.String(), true
	default:
		return "", false
	}
}

// Alert is one as "bulwark audit alerts" prints it.
type Alert struct {
	Time     time.Time `json:"time"`
	Rule     string    `json:"rule"`
	Actor    string    `json:"actor"`
	Summary  string    `json:"summary"`
	Evidence []uint64  `json:"evidence"`
}

// Alerts gives all alerts of a trail.
func Alerts(t *testing.T, data string) []Alert {
	t.Helper()
	out, _ := Run(t, 0, "audit", "alerts", "--data", data, "-o", "json", "--limit", "0")
	var all []Alert
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	return all
}

// Event is one as a search prints it.
type Event struct {
	Seq       uint64 `json:"seq"`
	AuditID   string `json:"auditID"`
	UserAgent string `json:"userAgent"`
}

// Search gives all events of a trail that a query finds.
func Search(t *testing.T, data, query string) []Event {
	t.Helper()
	text, _ := Run(t, 0, "audit", "search", query, "--data", data, "-o", "json", "--limit", "0")
	var out []Event
	for dec := json.NewDecoder(bytes.NewReader([]byte(text))); ; {
		var e Event
		if err := dec.Decode(&e); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatalf("search %q: %v", query, err)
		}
		out = append(out, e)
	}
}

// APIServer gives the API server's address, and whom to trust for it.
func APIServer(t *testing.T) (address string, trust *tls.Config, ca []byte) {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", controltest.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	if trust, err = rest.TLSConfigFor(rest.AnonymousClientConfig(cfg)); err != nil {
		t.Fatal(err)
	}
	if ca = cfg.CAData; len(ca) == 0 {
		if ca, err = os.ReadFile(cfg.CAFile); err != nil {
			t.Fatal(err)
		}
	}
	return cfg.Host, trust, ca
}
