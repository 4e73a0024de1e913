package app

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certificate writes a key pair for 127.0.0.1 and gives who trusts it.
func certificate(t *testing.T, dir string) (certFile, keyFile string, roots *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"webhook"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for file, text := range map[string][]byte{certFile: text, keyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return certFile, keyFile, roots
}

const reviewOfPod = `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u1","operation":"CREATE",
"kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},"namespace":"NAMESPACE","name":"web",
"userInfo":{"username":"ann"},"object":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","namespace":"NAMESPACE"},
"spec":{"containers":[{"name":"app","image":"shop.example/web","securityContext":{"privileged":true}}]}}}}`

// TestServeAdmission runs the whole webhook, as the API server sees it.
func TestServeAdmission(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile, roots := certificate(t, dir)
	exceptions := filepath.Join(dir, "exceptions.yaml")
	if err := os.WriteFile(exceptions, []byte(`
apiVersion: bulwark.dev/v1alpha1
kind: PostureException
metadata: {name: agents}
spec:
  controls: [container-privileged]
  objects: [{kind: Pod, namespace: agents}]
  owner: platform
  reason: agents of the nodes
  expires: "2999-01-01"
`), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	logs, stderr := io.Pipe()
	env := Env{Context: ctx, Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: stderr, Now: time.Now, Random: func() uint64 { return 1 }}
	code := make(chan int)
	go func() {
		code <- Main([]string{
			"serve", "admission", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--tls-cert", certFile, "--tls-key", keyFile,
			"--control", "container-privileged", "--exempt-namespace", "kube-system", "--exceptions", exceptions,
		}, env)
	}()
	var started struct{ Msg, Address, Admin string }
	lines := bufio.NewScanner(logs)
	for started.Msg != "admission webhook" && lines.Scan() {
		if err := json.Unmarshal(lines.Bytes(), &started); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
	}
	go func() { _, _ = io.Copy(io.Discard, logs) }()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "webhook"}}}
	ask := func(namespace string) string {
		body := strings.ReplaceAll(reviewOfPod, "NAMESPACE", namespace)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+started.Address+"/validate?timeout=10s", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%d %s %v", resp.StatusCode, text, err)
		}
		return string(text)
	}
	for namespace, want := range map[string]string{
		"shop": `"allowed":false`, "kube-system": `"exempt":"namespace kube-system"`, "agents": `"excepted":"container-privileged by agents"`,
	} {
		if got := ask(namespace); !strings.Contains(got, want) || strings.Contains(got, `"allowed":true`) == (namespace == "shop") {
			t.Errorf("%s: %s, want %s", namespace, got, want)
		}
	}
	for path, want := range map[string]string{"/readyz": "certificate: ok", "/metrics": `bulwark_admission_requests_total{outcome="denied"} 1`} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+started.Admin+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
		if err != nil || !bytes.Contains(text, []byte(want)) {
			t.Errorf("%s has no %q: %v\n%.2000s", path, want, err, text)
		}
	}
	client.CloseIdleConnections()
	cancel()
	if got := <-code; got != exitOK {
		t.Errorf("it ended with %d", got)
	}
}

func TestAdmissionUsage(t *testing.T) {
	t.Parallel()
	certFile, keyFile, _ := certificate(t, t.TempDir())
	run := func(args ...string) (int, string, string) {
		var out, errs bytes.Buffer
		code := Main(args, Env{Context: t.Context(), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Now: time.Now, Random: func() uint64 { return 1 }})
		return code, out.String(), errs.String()
	}
	serve := []string{"serve", "admission", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}
	for want, args := range map[string][]string{
		"a certificate and its key are required": nil,
		"--deny-at":                              {"--tls-cert", certFile, "--tls-key", keyFile, "--deny-at", "severe"},
		"--unknown":                              {"--tls-cert", certFile, "--tls-key", keyFile, "--unknown", "maybe"},
		"is above that to deny at":               {"--tls-cert", certFile, "--tls-key", keyFile, "--deny-at", "low", "--warn-at", "high"},
		"there is no such control":               {"--tls-cert", certFile, "--tls-key", keyFile, "--control", "none"},
		"--exceptions":                           {"--tls-cert", certFile, "--tls-key", keyFile, "--exceptions", certFile},
		"--client-ca":                            {"--tls-cert", certFile, "--tls-key", keyFile, "--client-ca", keyFile},
		"an exemption has no name":               {"--tls-cert", certFile, "--tls-key", keyFile, "--exempt-user", ""},
		"expected NAMESPACE/NAME":                {"--print-configuration", "--service", "bulwark"},
		"is no port":                             {"--print-configuration", "--service", "a/b:x"},
		`"443x" is no port`:                      {"--print-configuration", "--service", "a/b:443x"},
		`"70000" is no port`:                     {"--print-configuration", "--service", "a/b:70000"},
		"is no name of a namespace":              {"--print-configuration", "--exempt-namespace", "A B"},
		"expected positive times":                {"--print-configuration", "--timeout", "0s"},
		"--failure-policy":                       {"--print-configuration", "--failure-policy", "Maybe"},
		"only certificates belong here":          {"--print-configuration", "--ca-bundle", keyFile},
	} {
		if code, _, errs := run(append(serve, args...)...); code != exitBadUse || !strings.Contains(errs, want) {
			t.Errorf("%v: code %d, %q; want %q", args, code, errs, want)
		}
	}
	code, out, errs := run(append(serve, "--print-configuration", "--ca-bundle", certFile, "--exempt-namespace", "kube-system")...)
	if code != exitOK || !strings.Contains(out, "failurePolicy: Fail") || !strings.Contains(out, "caBundle: LS0t") || !strings.Contains(out, "- kube-system") {
		t.Errorf("code %d, %s %s", code, out, errs)
	}
	for want, args := range map[string][]string{
		"is no action":                           {"--action", "Refuse"},
		"does not take Deny and Warn together":   {"--action", "Deny", "--action", "Warn"},
		"there is no such control":               {"--control", "none"},
		"none of these controls can be a policy": {"--control", "kubelet-anonymous-auth"},
		"is no name of a namespace":              {"--exempt-namespace", "A B"},
	} {
		if code, out, errs := run(append([]string{"policy", "export-vap"}, args...)...); code != exitBadUse || out != "" || !strings.Contains(errs, want) {
			t.Errorf("%v: code %d, %q %q; want %q", args, code, out, errs, want)
		}
	}
	code, out, errs = run("policy", "export-vap", "--control", "container-privileged", "--action", "Deny", "--action", "Audit", "--exempt-namespace", "kube-system")
	if code != exitOK || errs != "" || strings.Count(out, "---\n") != 2 || !strings.Contains(out, "- Audit") || !strings.Contains(out, "- kube-system") {
		t.Errorf("code %d, %s %s", code, out, errs)
	}
}
