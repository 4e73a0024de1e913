package kms

import (
	"bytes"
	"net"
	"path/filepath"
	"testing"

	kmsv2 "k8s.io/kms/apis/v2"
)

func TestSealAndOpen(t *testing.T) {
	t.Parallel()
	p, err := newPlugin(bytes.Repeat([]byte{1}, keySize))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := p.Encrypt(t.Context(), &kmsv2.EncryptRequest{Plaintext: []byte("secret")})
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed.Ciphertext, []byte("secret")) {
		t.Error("the text is in the clear")
	}
	open, err := p.Decrypt(t.Context(), &kmsv2.DecryptRequest{Ciphertext: sealed.Ciphertext, KeyId: sealed.KeyId})
	if err != nil || string(open.GetPlaintext()) != "secret" {
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
		req *kmsv2.DecryptRequest
	}{
		"other key":      {other, &kmsv2.DecryptRequest{Ciphertext: sealed.Ciphertext, KeyId: sealed.KeyId}},
		"other key's id": {other, &kmsv2.DecryptRequest{Ciphertext: sealed.Ciphertext, KeyId: other.id}},
		"changed text":   {p, &kmsv2.DecryptRequest{Ciphertext: flipped, KeyId: p.id}},
		"short text":     {p, &kmsv2.DecryptRequest{Ciphertext: []byte{1}, KeyId: p.id}},
	} {
		if out, err := bad.p.Decrypt(t.Context(), bad.req); err == nil {
			t.Errorf("%s: opened %q", name, out)
		}
	}
}

func TestServeKeepsItsKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	socket, key := filepath.Join(dir, "s"), filepath.Join(dir, "key")
	for range 2 { // the second time over the first one's socket and key
		stop, _, err := Serve(t.Context(), socket, key)
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
