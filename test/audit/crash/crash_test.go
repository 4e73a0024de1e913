package crash

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	rounds = flag.Int("crash.rounds", 12, "how often the server is killed")       //nolint:gochecknoglobals // a flag
	seed   = flag.Uint64("crash.seed", 0, "of the moments; 0 is one of the time") //nolint:gochecknoglobals // likewise
)

const token = "the-senders-show-this-token"

// world is a server that can be started again in the same folder.
type world struct {
	dir, data, address string
	client             *http.Client
	stderr             bytes.Buffer
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{dir: t.TempDir()}
	w.data = w.path("trail")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", w.path("bulwark"), "./cmd/bulwark")
	build.Dir, build.Env = "../../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build Bulwark: %v\n%s", err, out)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bulwark"}, DNSNames: []string{"bulwark"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(crand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, text := range map[string][]byte{"tls.crt": cert, "tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), "token": []byte(token)} {
		if err := os.WriteFile(w.path(name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.address = l.Addr().String()
	_ = l.Close()
	w.client = &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "bulwark"}, MaxIdleConnsPerHost: 8,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, w.address)
		},
	}}
	return w
}

// start starts the server; it seals small segments, so that kills fall on that too.
func (w *world) start(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), w.path("bulwark"), "serve", "audit", "--data", w.data, "--listen", w.address, "--admin", "127.0.0.1:0",
		"--tls-cert", w.path("tls.crt"), "--tls-key", w.path("tls.key"), "--token-file", w.path("token"), "--seal-events", "500", "--log-level", "warn", "--log-format", "text")
	w.stderr.Reset()
	cmd.Stderr = &w.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// event is one of which the number tells it from all others. Every tenth is told of by
// a detection, and has a secret in it.
func event(n int64) string {
	if n%10 == 0 {
		return fmt.Sprintf(`{"level":"Request","auditID":"crash-%d","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/shop/secrets","verb":"create","user":{"username":"n%d"},"objectRef":{"resource":"secrets","namespace":"shop","apiVersion":"v1"},"responseStatus":{"code":201},"requestObject":{"kind":"Secret","apiVersion":"v1","metadata":{"name":"s"},"stringData":{"password":"hunter-%d"}},"stageTimestamp":%q,"annotations":{"authorization.k8s.io/decision":"allow"}}`,
			n, n, n, time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"))
	}
	return fmt.Sprintf(`{"level":"Metadata","auditID":"crash-%d","stage":"ResponseStarted","requestURI":"/api/v1/namespaces/shop/pods/web/exec?command=sh","verb":"get","user":{"username":"n%d"},"objectRef":{"resource":"pods","namespace":"shop","name":"web","subresource":"exec","apiVersion":"v1"},"responseStatus":{"code":101},"stageTimestamp":%q,"annotations":{"authorization.k8s.io/decision":"allow"}}`,
		n, n%7, time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"))
}

// send posts one batch, and reports whether it was acknowledged.
func (w *world) send(ctx context.Context, numbers []int64) bool {
	items := make([]string, len(numbers))
	for i, n := range numbers {
		items[i] = event(n)
	}
	body := `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[` + strings.Join(items, ",") + `]}`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://bulwark/audit/v1/crash", strings.NewReader(body))
	if err != nil {
		return false
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := w.client.Do(req)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// load sends from several connections until ctx ends, and notes what was acknowledged.
func (w *world) load(ctx context.Context, next *atomic.Int64, noted func(numbers []int64)) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				size := 1 + rand.Int64N(60)
				end := next.Add(size)
				numbers := make([]int64, 0, size)
				for n := end - size; n < end; n++ {
					numbers = append(numbers, n)
				}
				if w.send(ctx, numbers) {
					noted(numbers)
				} else {
					time.Sleep(5 * time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
}

// run gives what a command printed.
func (w *world) run(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), w.path("bulwark"), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("bulwark %q: %v\n%s%s", args, err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.Bytes()
}

// TestKilled: whatever was acknowledged is there after every kill, once or, where the
// answer got lost, more than once; the trail verifies; no alert is raised twice for the
// same evidence.
func TestKilled(t *testing.T) {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-crash.seed %d", *seed)
	moments := rand.New(rand.NewPCG(*seed, 0))
	w := newWorld(t)
	var next atomic.Int64
	var mu sync.Mutex
	acknowledged := map[int64]bool{}
	for round := range *rounds {
		cmd := w.start(t)
		ctx, cancel := context.WithCancel(t.Context())
		before := len(acknowledged)
		first := make(chan struct{})
		var once sync.Once
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.load(ctx, &next, func(numbers []int64) {
				mu.Lock()
				for _, n := range numbers {
					acknowledged[n] = true
				}
				mu.Unlock()
				once.Do(func() { close(first) })
			})
		}()
		// Some kills come while it starts and puts in order what the last one left.
		if round%4 != 3 {
			<-first
		}
		time.Sleep(time.Duration(moments.Int64N(int64(700 * time.Millisecond))))
		if err := cmd.Process.Kill(); err != nil {
			t.Fatalf("round %d: it ended by itself: %v\n%s", round, err, w.stderr.String())
		}
		err := cmd.Wait()
		cancel()
		<-done
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.Exited() {
			t.Fatalf("round %d: it ended by itself: %v\n%s", round, err, w.stderr.String())
		}
		if round%10 == 0 {
			t.Logf("round %d: %d acknowledged, %d in all", round, len(acknowledged)-before, len(acknowledged))
		}
	}
	cmd := w.start(t)
	for !w.send(t.Context(), []int64{next.Add(1) - 1}) {
		time.Sleep(20 * time.Millisecond)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, w.stderr.String())
	}
	w.check(t, acknowledged)
}

func (w *world) check(t *testing.T, acknowledged map[int64]bool) {
	t.Helper()
	found := map[int64]int{}
	dec := json.NewDecoder(bytes.NewReader(w.run(t, "audit", "search", "kind=api", "--data", w.data, "-o", "json", "--limit", "0")))
	for {
		var e struct {
			AuditID string `json:"auditID"`
		}
		if err := dec.Decode(&e); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		var n int64
		if _, err := fmt.Sscanf(e.AuditID, "crash-%d", &n); err != nil {
			t.Fatalf("%q: %v", e.AuditID, err)
		}
		found[n]++
	}
	missing := 0
	for n := range acknowledged {
		if found[n] == 0 {
			missing++
			t.Errorf("event %d was acknowledged and is missing", n)
		}
	}
	t.Logf("%d events acknowledged, %d found, %d missing", len(acknowledged), len(found), missing)
	if len(acknowledged) < 100**rounds/4 {
		t.Errorf("too few events: %d", len(acknowledged))
	}
	var alerts []struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(w.run(t, "audit", "alerts", "--data", w.data, "-o", "json", "--limit", "0"), &alerts); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, a := range alerts {
		if seen[a.ID] {
			t.Errorf("alert %s is there twice", a.ID)
		}
		seen[a.ID] = true
	}
	if len(alerts) == 0 {
		t.Error("no alerts at all")
	}
	if out := w.run(t, "audit", "search", `"hunter-"`, "--data", w.data); bytes.Contains(out, []byte("crash-")) {
		t.Errorf("a secret is in the trail:\n%s", out)
	}
	w.run(t, "audit", "verify", "--data", w.data, "--key", filepath.Join(w.data, "keys", "log.pub"))
}
