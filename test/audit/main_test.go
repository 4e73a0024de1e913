package audit

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

// Where the API server finds Bulwark, and the token that it shows.
const (
	listen       = "127.0.0.1:9443"
	webhookToken = "the-api-server-shows-this-token"
)

// users have a token each, which is their name and "-token".
const users = `alice-token,alice,u-alice,"developers"
ops-token,ops,u-ops,"operators"
mallory-token,mallory,u-mallory,"developers"
ci-bot-token,ci-bot,u-ci-bot,"robots"
eve-token,eve,u-eve,"guests"
`

// people are users and the intruders of the script.
func people() string {
	text := users
	for i := range 30 {
		text += fmt.Sprintf("%[1]s-token,%[1]s,u-%[1]s,intruders\n", intruder(i))
	}
	return text
}

// auditPolicy records everything that rules look at, with bodies.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: RequestResponse}]
`

// prepare builds Bulwark into dir and writes what the API server is started with.
func prepare(dir string) ([]string, error) {
	build := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Join(dir, "bulwark"), "./cmd/bulwark")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
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
`, listen, base64.StdEncoding.EncodeToString(cert), webhookToken)
	err = errors.Join(
		os.WriteFile(p("webhook.crt"), cert, 0o600), os.WriteFile(p("webhook.yaml"), []byte(webhook), 0o600),
		os.WriteFile(p("webhook.token"), []byte(webhookToken+"\n"), 0o600),
		os.WriteFile(p("policy.yaml"), []byte(auditPolicy), 0o600), os.WriteFile(p("users.csv"), []byte(people()), 0o600),
	)
	return []string{
		"--audit-policy", p("policy.yaml"), "--audit-webhook-config", p("webhook.yaml"),
		"--apiserver-arg=--audit-webhook-batch-max-wait=200ms", "--apiserver-arg=--token-auth-file=" + p("users.csv"),
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

// bulwark runs the program and gives what it printed; want is its exit code.
func bulwark(t *testing.T, want int, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(controltest.DataDir(), "bulwark"), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == want || err == nil && want == 0 {
		return stdout.Bytes()
	}
	t.Fatalf("bulwark %q: %v\n%s%s", args, err, stdout.Bytes(), stderr.Bytes())
	return nil
}

// serve runs "bulwark serve audit" until the test ends, and gives its data.
func serve(t *testing.T) string {
	t.Helper()
	p := func(name string) string { return filepath.Join(controltest.DataDir(), name) }
	data := filepath.Join(t.TempDir(), "trail")
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(ctx, p("bulwark"), "serve", "audit", "--data", data, "--listen", listen,
		"--tls-cert", p("webhook.crt"), "--tls-key", p("webhook.key"), "--token-file", p("webhook.token"), "--cluster", "test", "--log-format", "text")
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
			t.Logf("serve audit:\n%s", stderr.String())
		}
	})
	controltest.Until(t, "the trail", func() error {
		_, err := os.Stat(filepath.Join(data, "log"))
		return err
	})
	return data
}
