// Package vault encrypts the files of an audit trail where they lie, with keys that the
// operator keeps elsewhere.
//
// Each file is encrypted under a key of its own, derived with HKDF-SHA256 from one of
// the operator's keys, 32 random bytes of the file, and all that its head says. What its
// head says is what the file is (a segment, a write-ahead file), and which events it has,
// so a file that was put in another's place, or whose head was edited, has another key,
// and is told by a tag in the head before anything is decrypted.
//
// A file that is written once and whole is cut into chunks, each encrypted with
// AES-256-GCM; the nonce is the chunk's number and whether it is the last one (the
// STREAM construction). Chunks cannot be changed, moved, left out or added, and any of
// them can be read alone. A write-ahead file is cut into frames by package log, which
// numbers them; this package only gives it the cipher.
//
// Whoever has the key can write anything. That nothing was rewritten is what the ledger
// says, not this package; and a file that is not encrypted is none of its business.
package vault

import (
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
)

// ErrNoKey says that something is encrypted with a key that was not given.
var ErrNoKey = errors.New("the key was not given")

// ErrDamaged says that something encrypted is not as it was written.
var ErrDamaged = errors.New("damaged")

// MissingKeyError names the key that a file needs. It is an ErrNoKey.
type MissingKeyError struct {
	Path string
	ID   ID
	// Option is the option that gives keys, where it is another than --encryption-key-file.
	Option string
}

// Error says what to do.
func (e *MissingKeyError) Error() string {
	return fmt.Sprintf("%s is encrypted with key %s, which was not given: give its file with %s", e.Path, e.ID, cmp.Or(e.Option, "--encryption-key-file"))
}

// Is says that it is an ErrNoKey.
func (e *MissingKeyError) Is(target error) bool { return target == ErrNoKey }

const (
	saltSize = 32
	tagSize  = 32 // of a head

	// LockSize is the length of a lock.
	LockSize = idSize + saltSize + tagSize
	// Overhead is what encryption adds to each chunk or frame.
	Overhead = 16
	// NonceSize is the length of the nonce of a chunk or frame.
	NonceSize = 12
)

// Lock is what stands in a file's head beside what the file says of itself: the id of
// the key · a random salt · a tag that the key, the salt and the head lead to.
type Lock [LockSize]byte

// ID is the key that the file needs.
func (l *Lock) ID() ID { return ID(l[:idSize]) }

// NewLock makes the lock of a new file, and its cipher. About is what the file says of
// itself. It must be a new lock for each file that is begun, and also for one that is
// written on after a crash: the cipher has been used with nonces that nobody knows of.
func (k Keys) NewLock(random io.Reader, about []byte) (Lock, cipher.AEAD, error) {
	var lock Lock
	if k.Empty() {
		return lock, nil, fmt.Errorf("encrypt: %w", ErrNoKey)
	}
	first := k.list[0]
	copy(lock[:], first.id[:])
	if _, err := io.ReadFull(random, lock[idSize:idSize+saltSize]); err != nil {
		return lock, nil, fmt.Errorf("make a salt: %w", err)
	}
	aead, tag, err := first.derive(&lock, about)
	copy(lock[idSize+saltSize:], tag)
	return lock, aead, err
}

// Open gives the cipher of a file that has a lock and says about of itself. A key that
// was not given is a MissingKeyError, and a tag that is another ErrDamaged.
func (k Keys) Open(path string, lock *Lock, about []byte) (cipher.AEAD, error) {
	for _, key := range k.list {
		if key.id != lock.ID() {
			continue
		}
		aead, tag, err := key.derive(lock, about)
		if err == nil && subtle.ConstantTimeCompare(tag, lock[idSize+saltSize:]) != 1 {
			return nil, fmt.Errorf("%s: its head was changed, or belongs to another file: %w", path, ErrDamaged)
		}
		return aead, err
	}
	return nil, &MissingKeyError{Path: path, ID: lock.ID()}
}

// derive gives a file's cipher and tag. They are two outputs of one HKDF, so the tag
// tells nothing of the cipher's key, and binds it: no other key leads to the same tag.
func (k Key) derive(lock *Lock, about []byte) (cipher.AEAD, []byte, error) {
	info := append([]byte("bulwark audit file v1\x00"), lock[:idSize]...)
	info = append(info, about...)
	out, err := hkdf.Key(sha256.New, k.secret.Reveal(), lock[idSize:idSize+saltSize], string(info), keySize+tagSize)
	if err != nil {
		return nil, nil, fmt.Errorf("derive a file's key: %w", err)
	}
	defer clear(out[:keySize])
	block, err := aes.NewCipher(out[:keySize])
	if err != nil {
		return nil, nil, fmt.Errorf("derive a file's key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, nil, fmt.Errorf("derive a file's key: %w", err)
	}
	return aead, out[keySize:], nil
}
