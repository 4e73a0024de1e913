package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"bulwark.dev/bulwark/internal/app"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"bulwark": func() { os.Exit(app.Main(os.Args[1:], app.System())) }})
}

// TestScripts is what a person types and sees. Beside testscript's own commands
// there are:
//
//	ports NAME...            free loopback ports as variables
//	expand FILE...           replaces $NAME in files
//	get STATUS URL [TEXT]    asks until it gets that status, with TEXT in the body
//	exits CODE COMMAND...    runs a command and compares its exit code
//	certificate DIR          writes tls.crt, tls.key and ca.crt for 127.0.0.1
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(scripts) < 6 {
		t.Fatalf("%d scripts, error %v", len(scripts), err)
	}
	testscript.Run(t, testscript.Params{
		Files: scripts,
		Setup: func(e *testscript.Env) error {
			examples, err := filepath.Abs(filepath.Join("..", "..", "examples"))
			e.Setenv("EXAMPLES", examples)
			e.Setenv("GORACE", os.Getenv("GORACE"))
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ports": ports, "expand": expand, "get": get, "exits": exits, "certificate": certificate,
		},
	})
}

func ports(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		defer func() { ts.Check(ln.Close()) }()
		ts.Setenv(name, fmt.Sprint(ln.Addr().(*net.TCPAddr).Port))
	}
}

func certificate(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o700))
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	ts.Check(err)
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	ts.Check(err)
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, text := range map[string][]byte{"tls.crt": cert, "ca.crt": cert, "tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})} {
		ts.Check(os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
}

func expand(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		b := os.Expand(ts.ReadFile(name), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(b), 0o600))
	}
}

func get(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: get STATUS URL [TEXT]")
	}
	last := "no try"
	// Some minutes: what is waited for may itself wait longer each time, as a sender does.
	for range 6000 {
		req, err := http.NewRequest(http.MethodGet, args[1], nil)
		ts.Check(err)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			last = err.Error()
			time.Sleep(50 * time.Millisecond)
			continue
		}
		b, err := io.ReadAll(resp.Body)
		ts.Check(err)
		ts.Check(resp.Body.Close())
		last = fmt.Sprintf("%d %s", resp.StatusCode, b)
		if fmt.Sprint(resp.StatusCode) == args[0] && (len(args) < 3 || strings.Contains(string(b), args[2])) {
			ts.Logf("%s", last)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("get %s: %s, want %s", args[1], last, args[0])
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if err != nil {
		if _, scanErr := fmt.Sscanf(err.Error(), "exit status %d", &code); scanErr != nil {
			ts.Fatalf("%v", err)
		}
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}
