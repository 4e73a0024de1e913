package controltest_test

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"bulwark.dev/bulwark/test/controltest"
)

const issuerURL = "https://127.0.0.1:9443"

func TestAuditLog(t *testing.T) {
	controltest.Kubectl(t, "get", "namespaces")
	b, err := os.ReadFile(filepath.Join(controltest.DataDir(), "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	users := map[string]bool{}
	for line := range bytes.Lines(b) {
		var e struct {
			User struct{ Username string } `json:"user"`
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		users[e.User.Username] = true
	}
	for _, u := range []string{"kubernetes-admin", "system:node:node-1", "system:kube-scheduler", "system:kube-controller-manager"} {
		if !users[u] {
			t.Errorf("no event of %s", u)
		}
	}
}

func TestSecretsAreEncrypted(t *testing.T) {
	ns := namespace(t)
	apply(t, ns, "{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {k: plainly-visible-in-etcd}}")
	apply(t, ns, "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {k: visible-config-map}}")
	found := func(what string) bool {
		t.Helper()
		hit := false
		err := filepath.WalkDir(filepath.Join(controltest.DataDir(), "etcd"), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			hit = hit || bytes.Contains(b, []byte(what))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return hit
	}
	// The ConfigMap shows that the search would find it.
	for what, want := range map[string]bool{"visible-config-map": true, "k8s:enc:kms:v2:bulwark:": true, "plainly-visible-in-etcd": false} {
		if found(what) != want {
			t.Errorf("etcd's files contain %q: %t", what, !want)
		}
	}
	if got := controltest.Kubectl(t, "get", "secret", "s", "-n", ns, "-o", "go-template={{.data.k|base64decode}}"); got != "plainly-visible-in-etcd" {
		t.Errorf("the secret reads %q", got)
	}
}

func TestStructuredAuthentication(t *testing.T) {
	key := serveIssuer(t)
	token := func(audience string) string {
		t.Helper()
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := jwt.Signed(signer).Claims(jwt.Claims{
			Issuer: issuerURL, Subject: "alice", Audience: jwt.Audience{audience},
			IssuedAt: jwt.NewNumericDate(time.Now()), Expiry: jwt.NewNumericDate(time.Now().Add(time.Hour)),
		}).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	config := anonymous(t)
	// The API server asks for the keys when it wants to: its first try was before the issuer was there.
	controltest.Until(t, "the API server to know the issuer", func() error {
		out, err := controltest.TryKubectl(t.Context(), nil, "--kubeconfig", config, "--token", token("bulwark"), "auth", "whoami")
		if err == nil && !strings.Contains(out, "oidc:alice") {
			err = errors.New(out)
		}
		return err
	})
	if out, err := controltest.TryKubectl(t.Context(), nil, "--kubeconfig", config, "--token", token("other"), "auth", "whoami"); err == nil {
		t.Errorf("a token for another audience was taken: %s", out)
	}
}

// serveIssuer is an identity provider: discovery and keys.
func serveIssuer(t *testing.T) crypto.Signer {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(controltest.DataDir(), "issuer.key"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		t.Fatalf("the key is a %T", parsed)
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(controltest.DataDir(), "issuer.crt"), filepath.Join(controltest.DataDir(), "issuer.key"))
	if err != nil {
		t.Fatal(err)
	}
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"issuer": issuerURL, "jwks_uri": issuerURL + "/keys", "id_token_signing_alg_values_supported": []string{"ES256"}})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
	})
	l, err := tls.Listen("tcp", "127.0.0.1:9443", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: mux}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return key
}

// Two more clusters, started inside this one: same addresses, own namespaces.
// Each gives back its command's status.
func TestTwoAtOnce(t *testing.T) {
	t.Setenv("KUBECONFIG", "")
	var wg sync.WaitGroup
	names := make([]string, 2)
	for i := range names {
		wg.Go(func() {
			script := fmt.Sprintf("kubectl create ns n%d >/dev/null && kubectl get ns -o name; exit %d", i, 3+i)
			cmd := exec.CommandContext(t.Context(), controltest.Bin(), "run", "--", "sh", "-c", script)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 3+i {
				t.Errorf("cluster %d: %v, want status %d\n%s", i, err, 3+i, stderr.String())
			}
			names[i] = string(out)
		})
	}
	wg.Wait()
	for i, got := range names {
		if own, other := fmt.Sprintf("namespace/n%d", i), fmt.Sprintf("namespace/n%d", 1-i); !strings.Contains(got, own) || strings.Contains(got, other) {
			t.Errorf("cluster %d has %q", i, got)
		}
	}
}
