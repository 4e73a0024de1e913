package log

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"bulwark.dev/bulwark/internal/audit/vault"
)

// An encrypted write-ahead file has the version 2 and a longer head, and its frames
// another body; the rest is as in one that is not encrypted (see frame.go):
//
//	head    as there · lock 72 · CRC 4
//	frame   magic 4 · length of records 4 · first 8 · count 4 · CRC 4 · ciphertext of (records · chain 32) · tag 16 · CRC 4 · end 4
//
// The CRCs are over what lies on the disk, so what a crash or a bad disk did is judged as
// ever, without the key. Then the cipher tells what was done on purpose: the head of the
// file is bound by the lock, and that of the frame is authenticated with it.
//
// The nonce is the number of the frame's first event. A frame that a crash left half
// written was encrypted under a number that comes again after it was cut off, with other
// events: so an encrypted file is never written on after it was closed, by whatever end.
// Open seals what it has and begins a new file, with a new salt, and so a new key. The
// same holds for a folder that was put back to an older state, or copied.
const (
	lockedVersion = 2

	offLock    = fileHead
	offLockCRC = offLock + vault.LockSize
	lockedHead = offLockCRC + 4
)

// length is how many bytes of the file are its head.
func (h *head) length() int64 {
	if h.locked {
		return lockedHead
	}
	return fileHead
}

// encrypt makes the head one of an encrypted file, if there is a key, and gives what
// encrypts its frames, or nil.
func (h *head) encrypt(keys vault.Keys, random io.Reader) (*frameCipher, error) {
	if keys.Empty() {
		return nil, nil //nolint:nilnil // no key is a setting, not a failure
	}
	h.locked = true
	lock, aead, err := keys.NewLock(random, h.about())
	if err != nil {
		return nil, err
	}
	h.lock = lock
	return &frameCipher{aead: aead, next: h.first}, nil
}

// about is what the lock binds: all of the head that is never changed.
func (h *head) about() []byte { return h.encode()[:offHeadCRC] }

// appendLock completes the head of an encrypted file.
func (h *head) appendLock(b []byte) []byte {
	b = append(b, h.lock[:]...)
	return binary.LittleEndian.AppendUint32(b, checksum(h.seed(), h.lock[:]))
}

// frameCipher encrypts and decrypts the frames of one file.
type frameCipher struct {
	aead cipher.AEAD
	// next is the least number that a frame may be encrypted under.
	next  uint64
	nonce [vault.NonceSize]byte
}

func (c *frameCipher) at(first uint64) []byte {
	binary.BigEndian.PutUint64(c.nonce[vault.NonceSize-8:], first)
	return c.nonce[:]
}

// endFrame completes a frame as the function of this name does; where there is a cipher
// its records and chain hash are encrypted in their place.
func (c *frameCipher) endFrame(b []byte, seed uint32, first uint64, count int, chain *hash) ([]byte, error) {
	if c == nil {
		return endFrame(b, seed, first, count, chain), nil
	}
	if first < c.next || count <= 0 {
		return b, fmt.Errorf("encrypt the frame of event %d: a frame of that number, or a later one, is encrypted already", first)
	}
	c.next = first + uint64(count)
	fillFrameHead(b, seed, first, count)
	b = append(b, chain[:]...)
	b = slices.Grow(b, vault.Overhead+4+len(frameEnd))
	sealed := c.aead.Seal(b[frameHead:frameHead], c.at(first), b[frameHead:], b[:frameHead])
	b = b[:frameHead+len(sealed)]
	b = binary.LittleEndian.AppendUint32(b, checksum(seed, b))
	return append(b, frameEnd...), nil
}

// open decrypts a frame in its place, and gives it as it would be in a file that is not
// encrypted, but for its checksum and end.
func (c *frameCipher) open(b []byte, first uint64) ([]byte, bool) {
	plain, err := c.aead.Open(b[frameHead:frameHead], c.at(first), b[frameHead:len(b)-4-len(frameEnd)], b[:frameHead])
	return b[:frameHead+len(plain)], err == nil
}

// unlock reads what an encrypted file has in its head beyond that of others. A key that
// was not given is no damage: nothing is to be set aside because of it.
func (r *reader) unlock(keys vault.Keys, about []byte) error {
	h := &r.head
	h.locked = true
	if r.size < lockedHead {
		return r.damage(0, "%d bytes are too few for the head of an encrypted file", r.size)
	}
	var b [vault.LockSize + 4]byte
	if _, err := r.src.ReadAt(b[:], offLock); err != nil {
		return fmt.Errorf("read %s: %w", r.path, err)
	}
	copy(h.lock[:], b[:])
	if binary.LittleEndian.Uint32(b[vault.LockSize:]) != checksum(h.seed(), h.lock[:]) {
		return r.damage(offLock, "the checksum of the head's lock is wrong")
	}
	aead, err := keys.Open(r.path, &h.lock, about)
	if errors.Is(err, vault.ErrDamaged) {
		return r.damage(0, "its head was changed, or belongs to another file")
	}
	if err != nil {
		return err
	}
	r.cipher = &frameCipher{aead: aead}
	return nil
}

// overhead is what encryption adds to each frame.
func (r *reader) overhead() int64 {
	if r.cipher == nil {
		return 0
	}
	return vault.Overhead
}
