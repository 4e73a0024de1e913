// Package kms is a KMS v2 plugin for tests: one AES-256-GCM key in a file. It
// shows that the API server encrypts; it protects nothing, since the key lies
// beside the data.
package kms

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/kms/pkg/service"
)

const (
	keySize = 32
	timeout = 5 * time.Second
)

type plugin struct {
	aead cipher.AEAD
	id   string // of the key; tells the API server when it has changed
}

// Serve answers on the unix socket (at most 107 bytes of path) with the key in
// keyFile, which it makes when there is none. It returns when the socket is
// bound; stop closes it. failed yields at most one error, when serving ends.
func Serve(socket, keyFile string) (stop func(), failed <-chan error, err error) {
	key, err := loadKey(keyFile)
	if err != nil {
		return nil, nil, err
	}
	p, err := newPlugin(key)
	if err != nil {
		return nil, nil, err
	}
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return nil, nil, fmt.Errorf("kms: %w", err)
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("kms: old socket: %w", err)
	}
	s := service.NewGRPCService(socket, timeout, p)
	ended := make(chan error, 1)
	go func() { ended <- s.ListenAndServe() }()
	for {
		select {
		case err := <-ended:
			return nil, nil, fmt.Errorf("kms: serve on %s: %w", socket, err)
		case <-time.After(5 * time.Millisecond):
		}
		c, err := net.DialTimeout("unix", socket, time.Second)
		if err == nil {
			_ = c.Close() // it was only asked whether it is there
			return s.Close, ended, nil
		}
	}
}

func loadKey(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		key = make([]byte, keySize)
		if _, err := rand.Read(key); err != nil {
			return nil, fmt.Errorf("kms: new key: %w", err)
		}
		if err := os.WriteFile(path, key, 0o600); err != nil {
			return nil, fmt.Errorf("kms: new key: %w", err)
		}
		return key, nil
	case err != nil:
		return nil, fmt.Errorf("kms: key: %w", err)
	case len(key) != keySize:
		return nil, fmt.Errorf("kms: key file %s has %d bytes, want %d", path, len(key), keySize)
	default:
		return key, nil
	}
}

func newPlugin(key []byte) (*plugin, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("kms: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("kms: %w", err)
	}
	sum := sha256.Sum256(append([]byte("key id"), key...))
	return &plugin{aead: aead, id: hex.EncodeToString(sum[:8])}, nil
}

// Status implements service.Service.
func (p *plugin) Status(context.Context) (*service.StatusResponse, error) {
	return &service.StatusResponse{Version: "v2", Healthz: "ok", KeyID: p.id}, nil
}

// Encrypt implements service.Service.
func (p *plugin) Encrypt(_ context.Context, _ string, data []byte) (*service.EncryptResponse, error) {
	nonce := make([]byte, p.aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("kms: %w", err)
	}
	return &service.EncryptResponse{Ciphertext: p.aead.Seal(nonce, nonce, data, []byte(p.id)), KeyID: p.id}, nil
}

// Decrypt implements service.Service; another key's text is refused.
func (p *plugin) Decrypt(_ context.Context, _ string, req *service.DecryptRequest) ([]byte, error) {
	if req.KeyID != p.id {
		return nil, fmt.Errorf("kms: no key %q", req.KeyID)
	}
	n := p.aead.NonceSize()
	if len(req.Ciphertext) < n {
		return nil, errors.New("kms: text is too short")
	}
	out, err := p.aead.Open(nil, req.Ciphertext[:n], req.Ciphertext[n:], []byte(p.id))
	if err != nil {
		return nil, errors.New("kms: text does not open")
	}
	return out, nil
}
