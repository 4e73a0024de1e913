package forward

import (
	"bytes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"bulwark.dev/bulwark/internal/audit/vault"
)

// An encrypted part begins with a head, and its frames have another payload; integers are
// little-endian, as in a frame.
//
//	head   magic 8 · version 4 · number 8 · lock 72 · CRC 4
//	frame  length 4 · CRC-32C 4 · ciphertext of the payload · tag 16
//
// The CRCs are over what lies on the disk, so a write that was cut is told from the wrong
// key. The nonce of a frame is its place in the file: a part is only written at its end, no
// place of it twice (one write that failed ends it), and never again after its process
// ended. So a frame can also not be moved, left out before another, or taken from another
// part: the head, with the number that the file has as its name, is bound by the lock.
const (
	partMagic   = "BWKSPOOL"
	partVersion = 1

	offNumber = 12
	offLock   = 20
	offCRC    = offLock + vault.LockSize
	partHead  = offCRC + 4
)

// keyOption is the option that gives the keys of a spool.
const keyOption = "--audit-spool-key-file"

func (s *spool) headSize() int64 {
	if s.keys.Empty() {
		return 0
	}
	return partHead
}

// aboutPart is what the head of a part says, and its lock binds.
func aboutPart(number uint64) []byte {
	b := make([]byte, offLock, partHead)
	copy(b, partMagic)
	binary.LittleEndian.PutUint32(b[len(partMagic):], partVersion)
	binary.LittleEndian.PutUint64(b[offNumber:], number)
	return b
}

// lockPart gives the head of a new part, which is nothing where nothing encrypts it.
func (s *spool) lockPart(p *part) ([]byte, error) {
	if s.keys.Empty() {
		return nil, nil
	}
	head := aboutPart(p.number)
	lock, aead, err := s.keys.NewLock(s.random, head)
	if err != nil {
		return nil, err
	}
	head = append(head, lock[:]...)
	head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))
	p.head, p.aead = partHead, aead
	return head, nil
}

// unlock finds out whether a part is encrypted, and what decrypts it. A key that was not
// given is an error: its events are not to be thrown away. A damaged head is none: that
// part is told of as damaged when its turn comes. Of a head that was not written to its
// end there are no frames: all of the part is head.
func (s *spool) unlock(p *part) error {
	path := s.path(p.number)
	f, err := os.Open(path) //nolint:gosec // a number in the folder that this package was given
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	b := make([]byte, partHead)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if b = b[:n]; !bytes.HasPrefix(b, []byte(partMagic)) && (n >= len(partMagic) || !bytes.HasPrefix([]byte(partMagic), b)) {
		return nil // plain
	}
	p.head = min(partHead, p.size)
	if n < partHead {
		return nil
	}
	if binary.LittleEndian.Uint32(b[offCRC:]) != crc32.Checksum(b[:offCRC], castagnoli) {
		return nil
	}
	if version := binary.LittleEndian.Uint32(b[len(partMagic):]); version != partVersion {
		return fmt.Errorf("%s has version %d, and this program reads version %d", path, version, partVersion)
	}
	about := aboutPart(p.number)
	if !bytes.Equal(b[:offLock], about) {
		return nil // it was another part
	}
	lock := vault.Lock(b[offLock:offCRC])
	p.aead, err = s.keys.Open(path, &lock, about)
	if errors.Is(err, vault.ErrDamaged) {
		return nil
	}
	if missing, ok := errors.AsType[*vault.MissingKeyError](err); ok {
		missing.Option = keyOption
	}
	return err
}

// damaged reports whether a part's head is, so that nothing of it can be read.
func (p *part) damaged() bool { return p.head > 0 && p.aead == nil }

// place is the nonce of the frame that begins there.
func place(offset int64) []byte {
	nonce := make([]byte, vault.NonceSize)
	binary.BigEndian.PutUint64(nonce[vault.NonceSize-8:], uint64(offset)) //nolint:gosec // not negative
	return nonce
}

// gather gives the first frames of data as they are to stand in a part, of at most so many
// bytes but of one at least, and how many bytes of data they are.
func (s *spool) gather(data []byte, to *part, most int64) (disk []byte, n int) {
	if to.aead == nil {
		_, n = take(data, int(most), len(data))
		return data[:n], n
	}
	s.box = s.box[:0]
	for rest := data; ; {
		payload, after, ok := open(rest)
		if !ok || n > 0 && int64(len(s.box)+frameHead+len(payload)+vault.Overhead) > most {
			return s.box, n
		}
		s.box = sealFrame(s.box, payload, to.aead, to.size+int64(len(s.box)))
		n, rest = len(data)-len(after), after
	}
}

// sealFrame appends a frame that is encrypted for its place.
func sealFrame(b, payload []byte, aead cipher.AEAD, offset int64) []byte {
	from := len(b)
	b = append(b, make([]byte, frameHead)...)
	b = aead.Seal(b, place(offset), payload, nil)
	seal(b, from)
	return b
}

// take gives the payloads of the first frames of b, which begins at a place of the part.
// A frame that was encrypted otherwise, or for another place, ends it.
func (p *part) take(b []byte, offset int64, most, events int) (payloads [][]byte, n int) {
	if p.head == 0 {
		return take(b, most, events)
	}
	for rest := b; len(payloads) < events; {
		sealed, after, ok := openUpTo(rest, maxPayload+vault.Overhead)
		if !ok || len(payloads) > 0 && n+frameHead+len(sealed) > most {
			break
		}
		payload, err := p.aead.Open(nil, place(offset+int64(n)), sealed, nil)
		if err != nil || len(payload) == 0 {
			break
		}
		payloads = append(payloads, payload)
		n, rest = len(b)-len(after), after
	}
	return payloads, n
}

// warnPlain is what is told of parts that are not encrypted although there is a key.
func (s *spool) warnPlain() string {
	return fmt.Sprintf("%d files of the spool are not encrypted: they were written without a key, or by somebody else; they are sent, and removed", s.plain)
}
