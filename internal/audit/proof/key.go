package proof

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Names of files and directories under the data directory.
const (
	keysDir   = "keys"
	keyFile   = "log.key"
	pubFile   = "log.pub"
	ledgerDir = "tlog"
	sealedDir = "log/sealed"
)

// VerifierPath is where the public half of the log's key stands under a data
// directory. Who verifies should have a copy from elsewhere.
func VerifierPath(dir string) string { return filepath.Join(dir, keysDir, pubFile) }

// LedgerPath is where the ledger stands under a data directory.
func LedgerPath(dir string) string { return filepath.Join(dir, ledgerDir) }

// key is the log's signing key. Its parts are closures, so that it cannot print itself.
type key struct {
	signer   note.Signer
	verifier note.Verifier
	text     string // the verifier's text, which is public
}

// openKey reads DIR/keys/log.key. Without one it makes a new key if that cannot be
// mistaken for the loss of an old one: no public key, no ledger and no sealed segment
// may be there.
func openKey(dir, origin string, random io.Reader) (*key, error) {
	path := filepath.Join(dir, keysDir, keyFile)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if old := remains(dir); old != "" {
			return nil, fmt.Errorf("%s is missing, but %s is there: a new key would begin another log; put the key back, or choose another data directory", path, old)
		}
		return newKey(dir, origin, random)
	case err != nil:
		return nil, fmt.Errorf("read the log's key: %w", err)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s can be read by others (mode %o): it must be 600; who has read it can sign another past", path, info.Mode().Perm())
	}
	text, err := os.ReadFile(path) //nolint:gosec // the data directory's own key
	if err != nil {
		return nil, fmt.Errorf("read the log's key: %w", err)
	}
	k, err := parseKey(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if origin != "" && k.signer.Name() != origin {
		return nil, fmt.Errorf("%s is the key of log %q, but the origin is set to %q: a log keeps its origin for life", path, k.signer.Name(), origin)
	}
	return k, k.publish(dir)
}

// remains names something of an older log in the data directory.
func remains(dir string) string {
	for _, path := range []string{VerifierPath(dir), filepath.Join(LedgerPath(dir), checkpointFile)} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return path
		}
	}
	return anySealed(dir)
}

// anySealed names a sealed segment in the data directory.
func anySealed(dir string) string {
	sealed, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(sealedDir), "*.parquet"))
	if err != nil || len(sealed) == 0 {
		return ""
	}
	return sealed[0]
}

// newKey makes a key and stores both halves.
func newKey(dir, origin string, random io.Reader) (*key, error) {
	if origin == "" {
		id := make([]byte, 8)
		if _, err := io.ReadFull(random, id); err != nil {
			return nil, fmt.Errorf("make an origin for the log: %w", err)
		}
		origin = "bulwark.dev/log/" + hex.EncodeToString(id)
	}
	if strings.ContainsAny(origin, "+ \t\r\n") || len(origin) > 255 {
		return nil, fmt.Errorf("origin %q: it must be one word of at most 255 bytes without a plus, such as example.com/audit", origin)
	}
	text, _, err := note.GenerateKey(random, origin)
	if err != nil {
		return nil, fmt.Errorf("make a key for log %q: %w", origin, err)
	}
	k, err := parseKey(text)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, keysDir), 0o700); err != nil {
		return nil, fmt.Errorf("store the log's key: %w", err)
	}
	if err := WriteFile(filepath.Join(dir, keysDir, keyFile), []byte(text+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("store the log's key: %w", err)
	}
	return k, k.publish(dir)
}

// publish writes the public half, or makes sure that the one there is this key's.
func (k *key) publish(dir string) error {
	path := VerifierPath(dir)
	text, err := os.ReadFile(path) //nolint:gosec // the data directory's own key
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return WriteFile(path, []byte(k.text+"\n"), 0o644)
	case err != nil:
		return fmt.Errorf("read the log's public key: %w", err)
	case strings.TrimSpace(string(text)) != k.text:
		return fmt.Errorf("%s is not the public half of %s: one of them was changed", path, keyFile)
	}
	return nil
}

// parseKey reads the text of a note signer and works out the public half. Its errors
// do not repeat the text.
func parseKey(text string) (*key, error) {
	text = strings.TrimSpace(text)
	signer, err := note.NewSigner(text)
	if err != nil {
		return nil, errors.New("not an Ed25519 note signer key")
	}
	public, err := publicHalf(text)
	if err != nil {
		return nil, err
	}
	verifier, err := note.NewVerifier(public)
	if err != nil {
		return nil, fmt.Errorf("work out the public half: %w", err)
	}
	return &key{signer: signer, verifier: verifier, text: public}, nil
}

// publicHalf gives the verifier's text that belongs to a signer's.
func publicHalf(text string) (string, error) {
	malformed := errors.New("not an Ed25519 note signer key")
	parts := strings.SplitN(text, "+", 5) // PRIVATE, KEY, name, hash, key
	if len(parts) != 5 {
		return "", malformed
	}
	raw, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil || len(raw) != 1+ed25519.SeedSize {
		return "", malformed
	}
	public, ok := ed25519.NewKeyFromSeed(raw[1:]).Public().(ed25519.PublicKey)
	if !ok {
		return "", malformed
	}
	return note.NewEd25519VerifierKey(parts[2], public)
}
