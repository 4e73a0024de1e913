package reconcile

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"bulwark.dev/bulwark/test/controltest"
)

func TestMain(m *testing.M) { os.Exit(controltest.Main(m, controltest.Options{Flags: prepare})) }

// The API server sends its events to a relay of the test's, which sends them on. The
// cluster's network is its own, so these ports are free.
const (
	relayed      = "127.0.0.1:9443"
	listen       = "127.0.0.1:9444"
	throughPort  = "8080"
	webhookToken = "the-api-server-shows-this-token"
)

const users = "gateway-token,gateway,u-gateway\nalice-token,alice,u-alice\n"

const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
`

// prepare builds Bulwark into dir and writes what the API server is started with.
func prepare(dir string) ([]string, error) {
	build := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Join(dir, "bulwark"), "./cmd/bulwark")
	build.Dir, build.Env = "../../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build Bulwark: %w\n%s", err, out)
	}
	p := func(name string) string { return filepath.Join(dir, name) }
	cert, err := certificate(p("webhook.key"))
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	webhook := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: bulwark, cluster: {server: "https://%s/audit/v1/apiserver-0", certificate-authority-data: %s}}]
users: [{name: apiserver, user: {token: %s}}]
contexts: [{name: bulwark, context: {cluster: bulwark, user: apiserver}}]
current-context: bulwark
`, relayed, base64.StdEncoding.EncodeToString(cert), webhookToken)
	err = errors.Join(
		os.WriteFile(p("webhook.crt"), cert, 0o600), os.WriteFile(p("webhook.yaml"), []byte(webhook), 0o600),
		os.WriteFile(p("webhook.token"), []byte(webhookToken+"\n"), 0o600),
		os.WriteFile(p("policy.yaml"), []byte(auditPolicy), 0o600), os.WriteFile(p("users.csv"), []byte(users), 0o600),
	)
	return []string{
		"--audit-policy", p("policy.yaml"), "--audit-webhook-config", p("webhook.yaml"),
		"--apiserver-arg=--audit-webhook-batch-max-wait=200ms", "--apiserver-arg=--audit-webhook-initial-backoff=500ms", "--apiserver-arg=--token-auth-file=" + p("users.csv"),
	}, err
}

// certificate makes one for the webhook, its own authority, and leaves its key in a
// file.
func certificate(keyFile string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bulwark"}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), os.WriteFile(keyFile, text, 0o600)
}

// start runs the program until the test ends.
func start(t *testing.T, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(ctx, filepath.Join(controltest.DataDir(), "bulwark"), args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was told to end
		if t.Failed() {
			t.Logf("bulwark %q:\n%s", args[:2], stderr.String())
		}
	})
}

// read runs the program and gives what it printed.
func read(t *testing.T, args ...string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), filepath.Join(controltest.DataDir(), "bulwark"), args...).Output()
	if err != nil {
		t.Fatalf("bulwark %q: %v", args, err)
	}
	return out
}
