package ops

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func writePair(t *testing.T, dir string, serial int64, expires time.Time) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"}, NotAfter: expires, DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	write(t, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write(t, key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
	return cert, key
}

func write(t *testing.T, file string, text []byte) {
	t.Helper()
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := time.Now().Add(time.Hour).Truncate(time.Second)
	certFile, keyFile := writePair(t, dir, 1, first)
	var logged bytes.Buffer
	c, err := OpenCertificate(certFile, keyFile, slog.New(slog.NewTextHandler(&logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	serial := func() int64 {
		got, err := c.Get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return got.Leaf.SerialNumber.Int64()
	}
	tick := make(chan time.Time)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); c.Watch(ctx, tick) }()
	look := func() { tick <- time.Time{}; tick <- time.Time{} } // the second is taken when the first is done
	if look(); serial() != 1 || !c.Expires().Equal(first) {
		t.Errorf("serial %d, expires %s", serial(), c.Expires())
	}
	second := first.Add(time.Hour)
	writePair(t, dir, 2, second)
	if look(); serial() != 2 || !c.Expires().Equal(second) {
		t.Errorf("after a renewal: serial %d, expires %s", serial(), c.Expires())
	}
	// Half of a renewal, a broken file and none at all change nothing.
	key, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	writePair(t, dir, 3, second)
	write(t, keyFile, key)
	look()
	write(t, certFile, []byte("nothing"))
	look()
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	if look(); serial() != 2 {
		t.Errorf("after broken renewals: serial %d", serial())
	}
	cancel()
	<-ended
	if n := strings.Count(logged.String(), "was not renewed"); n < 3 || strings.Contains(logged.String(), "PRIVATE") {
		t.Errorf("log:\n%s", &logged)
	}
	for _, f := range [][2]string{{"", ""}, {keyFile, ""}, {filepath.Join(dir, "none"), keyFile}, {keyFile, keyFile}} {
		if _, err := OpenCertificate(f[0], f[1], slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%v: no error", f)
		}
	}
}
