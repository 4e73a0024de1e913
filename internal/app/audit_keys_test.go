package app

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"bulwark.dev/bulwark/internal/audit/detect"
	"bulwark.dev/bulwark/internal/audit/vault"
)

// TestEncryptedStore: what the detections remember is encrypted once there is a key, and
// what they kept before is read.
func TestEncryptedStore(t *testing.T) {
	t.Parallel()
	key, err := vault.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := vault.NewKeys(key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "state")
	plain := encryptedStore{Store: detect.FileStore{Path: path}, path: path}
	locked := encryptedStore{Store: detect.FileStore{Path: path}, path: path, keys: keys}
	want := []byte("alice was here")
	if got, err := locked.Load(); got != nil || err != nil {
		t.Errorf("nothing: %q, %v", got, err)
	}
	if err := plain.Save(want); err != nil {
		t.Fatal(err)
	}
	if got, err := locked.Load(); !bytes.Equal(got, want) || err != nil {
		t.Errorf("kept in plain: %q, %v", got, err)
	}
	if err := locked.Save(want); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil || bytes.Contains(raw, []byte("alice")) {
		t.Errorf("%q, %v", raw, err)
	}
	if got, err := locked.Load(); !bytes.Equal(got, want) || err != nil {
		t.Errorf("kept encrypted: %q, %v", got, err)
	}
	if got, err := plain.Load(); got != nil || !errors.Is(err, vault.ErrNoKey) {
		t.Errorf("without the key: %q, %v", got, err)
	}
	raw[len(raw)-1] ^= 1
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := locked.Load(); got != nil || !errors.Is(err, vault.ErrDamaged) {
		t.Errorf("damaged: %q, %v", got, err)
	}
}
