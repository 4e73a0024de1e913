package pki

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

func parse(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEnsure(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "pki")
	c := Config{Dir: dir, Node: "node-1", NodeIP: "10.243.0.1", ServiceIP: "10.96.0.1", Now: time.Now()}
	if err := Ensure(c); err != nil {
		t.Fatal(err)
	}
	root, front := x509.NewCertPool(), x509.NewCertPool()
	root.AddCert(parse(t, filepath.Join(dir, "ca.crt")))
	front.AddCert(parse(t, filepath.Join(dir, "front-proxy-ca.crt")))
	seen := 0
	for _, l := range c.leaves() {
		cert := parse(t, filepath.Join(dir, l.file+".crt"))
		usage := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		if _, err := cert.Verify(x509.VerifyOptions{Roots: root, KeyUsages: usage}); err != nil {
			t.Errorf("%s: %v", l.file, err)
		}
		if _, err := cert.Verify(x509.VerifyOptions{Roots: front, KeyUsages: usage}); err == nil {
			t.Errorf("%s is good for the front proxy too", l.file)
		}
		for _, name := range append(l.ips, l.names...) {
			if err := cert.VerifyHostname(name); err != nil {
				t.Errorf("%s: %v", l.file, err)
			}
		}
		if server := len(l.ips)+len(l.names) > 0; server != (len(cert.ExtKeyUsage) == 2) {
			t.Errorf("%s has usages %v", l.file, cert.ExtKeyUsage)
		}
		if _, err := tls.LoadX509KeyPair(filepath.Join(dir, l.file+".crt"), filepath.Join(dir, l.file+".key")); err != nil {
			t.Errorf("%s: %v", l.file, err)
		}
		seen++
	}
	if seen == 0 {
		t.Error("no certificates")
	}
	rc, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "admin.kubeconfig"))
	if err != nil || rc.Host != "https://10.243.0.1:6443" || rc.ServerName != "kubernetes" {
		t.Errorf("admin.kubeconfig leads to %v, %v", rc, err)
	}
	// A second time keeps everything.
	before := parse(t, filepath.Join(dir, "ca.crt"))
	if err := Ensure(c); err != nil {
		t.Fatal(err)
	}
	if !before.Equal(parse(t, filepath.Join(dir, "ca.crt"))) {
		t.Error("the authority was made anew")
	}
	for name, bad := range map[string]Config{"nothing": {}, "no time": {Dir: dir, Node: "n", NodeIP: "10.0.0.1", ServiceIP: "10.0.0.2"}, "no address": {Dir: t.TempDir(), Node: "n", NodeIP: "x", ServiceIP: "10.0.0.2", Now: c.Now}} {
		if err := Ensure(bad); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
