package vault

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"bulwark.dev/bulwark"
)

const (
	keySize = 32
	idSize  = 8

	// maxKeyFile is more than a key's file has.
	maxKeyFile = 4096
	// leastDistinct is how many different bytes a key has at least. Of 32 random bytes
	// fewer are different once in 2^100 keys; of what people type it is usual.
	leastDistinct = 12
)

// ID names a key. It is derived from it, so that two keys never have the same, and a key
// that was mistyped is told; it says nothing of the key.
type ID [idSize]byte

// String gives it in hexadecimal, as it stands in a key's file.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Key is one of the operator's keys. The zero Key is none.
type Key struct {
	id     ID
	secret bulwark.Secret
}

// ID is the key's name.
func (k Key) ID() ID { return k.id }

// NewKey makes a key.
func NewKey(random io.Reader) (Key, error) {
	b := make([]byte, keySize)
	if _, err := io.ReadFull(random, b); err != nil {
		return Key{}, fmt.Errorf("make a key: %w", err)
	}
	return keyOf(b)
}

func keyOf(b []byte) (Key, error) {
	if len(b) != keySize {
		return Key{}, fmt.Errorf("the key has %d bytes, want %d", len(b), keySize)
	}
	seen := map[byte]bool{}
	for _, c := range b {
		seen[c] = true
	}
	if len(seen) < leastDistinct {
		return Key{}, errors.New("the key is not random")
	}
	id, err := hkdf.Key(sha256.New, b, nil, "bulwark audit key id v1", idSize)
	if err != nil {
		return Key{}, fmt.Errorf("name the key: %w", err)
	}
	return Key{id: ID(id), secret: bulwark.NewSecret(b)}, nil
}

// File is what the key's file holds. It is the secret itself: write it where only the
// owner reads, and nowhere else.
func (k Key) File() []byte {
	return []byte("id: " + k.id.String() + "\nkey: " + base64.StdEncoding.EncodeToString(k.secret.Reveal()) + "\n")
}

// ParseKey reads a key's file: a line with its id, and a line with 32 bytes in base64 or
// in hexadecimal. Lines that begin with # and empty ones are passed over; everything
// else is an error. No error has any of the text in it.
func ParseKey(text []byte) (Key, error) {
	if len(text) > maxKeyFile {
		return Key{}, fmt.Errorf("more than %d bytes are no key's file", maxKeyFile)
	}
	var id, secret string
	for n, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, _ := strings.Cut(line, ": ")
		into := map[string]*string{"id": &id, "key": &secret}[name]
		switch {
		case into == nil || value == "":
			return Key{}, fmt.Errorf("line %d: expected \"id: \" and 16 hexadecimal digits, or \"key: \" and 32 bytes in base64 or hexadecimal", n+1)
		case *into != "":
			return Key{}, fmt.Errorf("line %d: a second %q", n+1, name)
		}
		*into = value
	}
	if id == "" || secret == "" {
		return Key{}, errors.New("a line \"id: …\" and a line \"key: …\" are needed")
	}
	b, err := decodeKey(secret)
	if err != nil {
		return Key{}, err
	}
	k, err := keyOf(b)
	if err != nil {
		return Key{}, err
	}
	if k.id.String() != id {
		return Key{}, fmt.Errorf("the key is not the one that the id line names (it is %s): one of the two was changed", k.id)
	}
	return k, nil
}

// decodeKey takes exactly 32 bytes. Neither form is as long as the other.
func decodeKey(s string) ([]byte, error) {
	switch len(s) {
	case hex.EncodedLen(keySize):
		if b, err := hex.DecodeString(s); err == nil {
			return b, nil
		}
	case base64.StdEncoding.EncodedLen(keySize):
		if b, err := base64.StdEncoding.Strict().DecodeString(s); err == nil && len(b) == keySize {
			return b, nil
		}
	}
	return nil, fmt.Errorf("the key line has %d characters and is not %d bytes in base64 (%d) or hexadecimal (%d)",
		len(s), keySize, base64.StdEncoding.EncodedLen(keySize), hex.EncodedLen(keySize))
}

// ReadKey reads a key's file, which only its owner and group may read or write.
func ReadKey(path string) (Key, error) {
	f, err := os.Open(path) //nolint:gosec // the operator names it
	if err != nil {
		return Key{}, fmt.Errorf("read the key: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return Key{}, fmt.Errorf("read the key: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o007 != 0 && runtime.GOOS != "windows" {
		return Key{}, fmt.Errorf("read the key %s: everybody may read or write it (mode %04o): chmod 600 it, or set defaultMode: 0400 on a Secret's volume", path, mode)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return Key{}, fmt.Errorf("read the key: %w", err)
	}
	defer clear(text)
	k, err := ParseKey(text)
	if err != nil {
		return Key{}, fmt.Errorf("read the key %s: %w", path, err)
	}
	return k, nil
}

// Keys are the keys that were given: the first encrypts, all decrypt. The zero Keys are
// none; what they meet encrypted they refuse.
type Keys struct{ list []Key }

// NewKeys takes keys, each of them once.
func NewKeys(keys ...Key) (Keys, error) {
	seen := map[ID]bool{}
	for _, k := range keys {
		if k.secret.Empty() {
			return Keys{}, errors.New("a key is empty")
		}
		if seen[k.id] {
			return Keys{}, fmt.Errorf("key %s was given twice", k.id)
		}
		seen[k.id] = true
	}
	return Keys{list: append([]Key(nil), keys...)}, nil
}

// ReadKeys reads the files of keys.
func ReadKeys(paths ...string) (Keys, error) {
	var keys []Key
	for _, path := range paths {
		k, err := ReadKey(path)
		if err != nil {
			return Keys{}, err
		}
		keys = append(keys, k)
	}
	return NewKeys(keys...)
}

// Empty reports whether there is none.
func (k Keys) Empty() bool { return len(k.list) == 0 }

// First is the id of the key that encrypts, if there is one.
func (k Keys) First() (ID, bool) {
	if k.Empty() {
		return ID{}, false
	}
	return k.list[0].id, true
}

// Has reports whether a key was given.
func (k Keys) Has(id ID) bool {
	for _, key := range k.list {
		if key.id == id {
			return true
		}
	}
	return false
}

// IDs are the ids of all keys, the one that encrypts first.
func (k Keys) IDs() []ID {
	ids := make([]ID, 0, len(k.list))
	for _, key := range k.list {
		ids = append(ids, key.id)
	}
	return ids
}
