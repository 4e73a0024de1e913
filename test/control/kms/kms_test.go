package kms

import (
	"bytes"
	"net"
	"path/filepath"
	"testing"

	"k8s.io/kms/pkg/service"
)

func TestSealAndOpen(t *testing.T) {
	t.Parallel()
	p, err := newPlugin(bytes.Repeat([]byte{1}, keySize))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := p.Encrypt(t.Context(), "uid", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed.Ciphertext, []byte("secret")) {
		t.Error("the text is in the clear")
	}
	open, err := p.Decrypt(t.Context(), "uid", &service.DecryptRequest{Ciphertext: sealed.Ciphertext, KeyID: sealed.KeyID})
	if err != nil || string(open) != "secret" {
		t.Errorf("opened %q, %v", open, err)
	}
	other, err := newPlugin(bytes.Repeat([]byte{2}, keySize))
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(sealed.Ciphertext)
	flipped[len(flipped)-1] ^= 1
	for name, bad := range map[string]struct {
		p   *plugin
		req service.DecryptRequest
	}{
		"other key":      {other, service.DecryptRequest{Ciphertext: sealed.Ciphertext, KeyID: sealed.KeyID}},
		"other key's id": {other, service.DecryptRequest{Ciphertext: sealed.Ciphertext, KeyID: other.id}},
		"changed text":   {p, service.DecryptRequest{Ciphertext: flipped, KeyID: p.id}},
		"short text":     {p, service.DecryptRequest{Ciphertext: []byte{1}, KeyID: p.id}},
	} {
		if out, err := bad.p.Decrypt(t.Context(), "uid", &bad.req); err == nil {
			t.Errorf("%s: opened %q", name, out)
		}
	}
}

func TestServeKeepsItsKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	socket, key := filepath.Join(dir, "s"), filepath.Join(dir, "key")
	for range 2 { // the second time over the first one's socket and key
		stop, _, err := Serve(socket, key)
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		stop()
	}
	first, err := loadKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := loadKey(key); err != nil || !bytes.Equal(first, again) {
		t.Errorf("the key changed, or %v", err)
	}
}
