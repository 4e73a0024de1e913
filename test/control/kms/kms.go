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

	"google.golang.org/grpc"
	kmsv2 "k8s.io/kms/apis/v2"
)

const keySize = 32

type plugin struct {
	kmsv2.UnsafeKeyManagementServiceServer
	aead cipher.AEAD
	id   string // of the key; tells the API server when it has changed
}

// Serve answers on the unix socket (at most 107 bytes of path) with the key in
// keyFile, which it makes when there is none. It returns when the socket is
// bound; stop closes it. failed yields at most one error, when serving ends.
func Serve(ctx context.Context, socket, keyFile string) (stop func(), failed <-chan error, err error) {
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
	l, err := new(net.ListenConfig).Listen(ctx, "unix", socket)
	if err != nil {
		return nil, nil, fmt.Errorf("kms: serve on %s: %w", socket, err)
	}
	s := grpc.NewServer()
	kmsv2.RegisterKeyManagementServiceServer(s, p)
	ended := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Serve(l); err != nil {
			ended <- err
		}
	}()
	return func() { s.Stop(); <-done }, ended, nil
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

// Status implements kmsv2.KeyManagementServiceServer.
func (p *plugin) Status(context.Context, *kmsv2.StatusRequest) (*kmsv2.StatusResponse, error) {
	return &kmsv2.StatusResponse{Version: "v2", Healthz: "ok", KeyId: p.id}, nil
}

// Encrypt implements kmsv2.KeyManagementServiceServer.
func (p *plugin) Encrypt(_ context.Context, req *kmsv2.EncryptRequest) (*kmsv2.EncryptResponse, error) {
	nonce := make([]byte, p.aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("kms: %w", err)
	}
	return &kmsv2.EncryptResponse{Ciphertext: p.aead.Seal(nonce, nonce, req.GetPlaintext(), []byte(p.id)), KeyId: p.id}, nil
}

// Decrypt implements kmsv2.KeyManagementServiceServer; another key's text is refused.
func (p *plugin) Decrypt(_ context.Context, req *kmsv2.DecryptRequest) (*kmsv2.DecryptResponse, error) {
	if req.GetKeyId() != p.id {
		return nil, fmt.Errorf("kms: no key %q", req.GetKeyId())
	}
	n, text := p.aead.NonceSize(), req.GetCiphertext()
	if len(text) < n {
		return nil, errors.New("kms: text is too short")
	}
	out, err := p.aead.Open(nil, text[:n], text[n:], []byte(p.id))
	if err != nil {
		return nil, errors.New("kms: text does not open")
	}
	return &kmsv2.DecryptResponse{Plaintext: out}, nil
}
