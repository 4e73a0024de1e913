package log

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit"
)

// KeySize is the length of the key that openings are encrypted with.
const KeySize = 32

const (
	nonceSize = 12
	tagSize   = 16
)

// newAEAD makes AES-256-GCM of a key.
func newAEAD(key []byte) (cipher.AEAD, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("the openings' key has %d bytes, want %d", len(key), KeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// master gives the cipher that wraps keys, or nil for an empty secret.
func master(key bulwark.Secret) (cipher.AEAD, error) {
	if key.Empty() {
		return nil, nil //nolint:nilnil // no key is a setting, not a failure
	}
	return newAEAD(key.Reveal())
}

// newKey makes a random key and wraps it: nonce, then ciphertext.
func newKey(by cipher.AEAD, random io.Reader, about []byte) (cipher.AEAD, [keyBoxSize]byte, error) {
	var box [keyBoxSize]byte
	key := make([]byte, KeySize)
	if _, err := io.ReadFull(random, key); err != nil {
		return nil, box, fmt.Errorf("make a key for openings: %w", err)
	}
	if _, err := io.ReadFull(random, box[:nonceSize]); err != nil {
		return nil, box, fmt.Errorf("make a key for openings: %w", err)
	}
	by.Seal(box[:nonceSize], box[:nonceSize], key, about)
	aead, err := newAEAD(key)
	clear(key)
	return aead, box, err
}

// unwrap opens what newKey wrapped.
func unwrap(by cipher.AEAD, box *[keyBoxSize]byte, about []byte) (cipher.AEAD, error) {
	if by == nil {
		return nil, errors.New("no key for openings was given")
	}
	if *box == [keyBoxSize]byte{} {
		return nil, ErrShredded
	}
	key, err := by.Open(nil, box[:nonceSize], box[nonceSize:], about)
	if err != nil {
		return nil, fmt.Errorf("unwrap the openings' key: %w", err)
	}
	aead, err := newAEAD(key)
	clear(key)
	return aead, err
}

// appendSealed appends a random nonce and the ciphertext. What it is about must be
// given again to open it.
func appendSealed(dst []byte, by cipher.AEAD, random io.Reader, plain, about []byte) ([]byte, error) {
	var nonce [nonceSize]byte
	if _, err := io.ReadFull(random, nonce[:]); err != nil {
		return dst, fmt.Errorf("encrypt openings: %w", err)
	}
	dst = append(dst, nonce[:]...)
	return by.Seal(dst, nonce[:], plain, about), nil
}

func openSealed(by cipher.AEAD, sealed, about []byte) ([]byte, error) {
	if len(sealed) < nonceSize+tagSize {
		return nil, errors.New("decrypt openings: too short")
	}
	plain, err := by.Open(nil, sealed[:nonceSize], sealed[nonceSize:], about)
	if err != nil {
		return nil, fmt.Errorf("decrypt openings: %w", err)
	}
	return plain, nil
}

// appendOpenings encodes openings: how many, and of each the path, the salt, whether
// there is a value, and the value.
func appendOpenings(dst []byte, openings []audit.Opening) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(openings)))
	for i := range openings {
		o := &openings[i]
		dst = binary.AppendUvarint(dst, uint64(len(o.Path)))
		dst = append(dst, o.Path...)
		dst = append(dst, o.Salt[:]...)
		if o.Value == nil {
			dst = append(dst, 0)
			continue
		}
		dst = append(dst, 1)
		dst = binary.AppendUvarint(dst, uint64(len(o.Value)))
		dst = append(dst, o.Value...)
	}
	return dst
}

// parseOpenings reads what appendOpenings wrote.
func parseOpenings(b []byte) ([]audit.Opening, error) {
	bad := errors.New("openings are not in the form in which they were written")
	take := func() ([]byte, bool) {
		n, used := binary.Uvarint(b)
		if used <= 0 || n > uint64(len(b)-used) { //nolint:gosec // what was used is within b
			return nil, false
		}
		text := b[used : uint64(used)+n]
		b = b[uint64(used)+n:]
		return text, true
	}
	count, used := binary.Uvarint(b)
	if used <= 0 || count > uint64(len(b)) {
		return nil, bad
	}
	b = b[used:]
	var openings []audit.Opening
	for range count {
		path, ok := take()
		if !ok || len(b) < 33 {
			return nil, bad
		}
		o := audit.Opening{Path: string(path), Salt: [32]byte(b)}
		has := b[32]
		b = b[33:]
		if has == 1 {
			value, ok := take()
			if !ok {
				return nil, bad
			}
			o.Value = append([]byte{}, value...)
		} else if has != 0 {
			return nil, bad
		}
		openings = append(openings, o)
	}
	if len(b) != 0 {
		return nil, bad
	}
	return openings, nil
}
