package vault

import (
	"bytes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
)

// An encrypted file is a head and then chunks; integers are big-endian.
//
//	head   magic 8 · version 4 · chunk size 4 · role 4 · first 8 · last 8 · lock 72 · CRC 4
//	chunk  ciphertext of chunk size bytes, of the last chunk 1 to so many · tag 16
//
// Only a file of nothing has a last chunk of nothing. The CRC is there to tell a disk
// that forgot from a key that was not given; who edits the head meets the lock's tag.
const (
	fileMagic   = "BWKVAULT"
	fileVersion = 1

	offVersion = 8
	offChunk   = 12
	offRole    = 16
	offFirst   = 20
	offLast    = 28
	offLock    = 36
	offCRC     = offLock + LockSize
	// HeadSize is how many bytes of a file are its head.
	HeadSize = offCRC + 4

	chunkSize = 64 << 10
	// What chunks a file may have: the least is for tests, the most bounds the memory.
	leastChunk = 16
	mostChunk  = 1 << 20
	// cached is how many chunks a reader keeps.
	cached = 4
)

// Role is what a file is for, so that one is not taken for another of the same events.
type Role uint32

// Roles of files.
const (
	RoleSegment Role = 1 + iota // a sealed segment
	RoleState                   // the state of detections
)

// Label says which file it is: its role, and the first and last of its events.
type Label struct {
	Role        Role
	First, Last uint64
}

// Writer encrypts a file from its begin to its end. It must be closed: without its last
// chunk a file is damaged.
type Writer struct {
	to    io.Writer
	aead  cipher.AEAD
	size  int
	buf   []byte // the chunk that is gathered, with room for its tag
	index uint64
	nonce [NonceSize]byte
	err   error
}

// NewWriter writes the head of a file, which the first key encrypts.
func NewWriter(to io.Writer, keys Keys, random io.Reader, label Label) (*Writer, error) {
	return newWriter(to, keys, random, label, chunkSize)
}

func newWriter(to io.Writer, keys Keys, random io.Reader, label Label, size int) (*Writer, error) {
	head := make([]byte, offLock, HeadSize)
	copy(head, fileMagic)
	binary.BigEndian.PutUint32(head[offVersion:], fileVersion)
	binary.BigEndian.PutUint32(head[offChunk:], uint32(size)) //nolint:gosec // a constant, or a test's
	binary.BigEndian.PutUint32(head[offRole:], uint32(label.Role))
	binary.BigEndian.PutUint64(head[offFirst:], label.First)
	binary.BigEndian.PutUint64(head[offLast:], label.Last)
	lock, aead, err := keys.NewLock(random, head)
	if err != nil {
		return nil, err
	}
	head = append(head, lock[:]...)
	head = binary.BigEndian.AppendUint32(head, crc32.Checksum(head, castagnoli()))
	if _, err := to.Write(head); err != nil {
		return nil, fmt.Errorf("write an encrypted file: %w", err)
	}
	return &Writer{to: to, aead: aead, size: size, buf: make([]byte, 0, size+Overhead)}, nil
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// chunkNonce is the number of a chunk, and whether it is the last.
func chunkNonce(nonce *[NonceSize]byte, index uint64, last bool) []byte {
	*nonce = [NonceSize]byte{}
	binary.BigEndian.PutUint64(nonce[3:], index)
	if last {
		nonce[NonceSize-1] = 1
	}
	return nonce[:]
}

// Write takes more of the file.
func (w *Writer) Write(p []byte) (int, error) {
	done := 0
	for len(p) > 0 && w.err == nil {
		// A full chunk is only written when more comes: it could be the last.
		if len(w.buf) == w.size {
			if w.flush(false); w.err != nil {
				break
			}
		}
		n := min(len(p), w.size-len(w.buf))
		w.buf = append(w.buf, p[:n]...)
		p = p[n:]
		done += n
	}
	return done, w.err
}

func (w *Writer) flush(last bool) {
	sealed := w.aead.Seal(w.buf[:0], chunkNonce(&w.nonce, w.index, last), w.buf, nil)
	if _, err := w.to.Write(sealed); err != nil {
		w.err = fmt.Errorf("write an encrypted file: %w", err)
	}
	w.index++
	w.buf = w.buf[:0]
}

// Close writes the last chunk. What it writes to stays open. After an error it writes
// nothing and gives the error.
func (w *Writer) Close() error {
	if w.err != nil {
		return w.err
	}
	w.flush(true)
	err := w.err
	w.err = errors.New("write an encrypted file: it is closed")
	return err
}

// Info is what the head of a file says, as far as it can be read without a key.
type Info struct {
	Label Label
	Key   ID
}

// IsFile reports whether what a file begins with is the head of an encrypted one.
func IsFile(begin []byte) bool {
	return len(begin) >= len(fileMagic) && string(begin[:len(fileMagic)]) == fileMagic
}

// ParseHead reads a file's head without a key: nothing of it is certain.
func ParseHead(path string, head []byte) (Info, error) {
	if !IsFile(head) {
		return Info{}, fmt.Errorf("%s: it does not begin as an encrypted file: %w", path, ErrDamaged)
	}
	if len(head) < HeadSize {
		return Info{}, fmt.Errorf("%s: %d bytes are too few for a head: %w", path, len(head), ErrDamaged)
	}
	chunk := binary.BigEndian.Uint32(head[offChunk:])
	switch version := binary.BigEndian.Uint32(head[offVersion:]); {
	case binary.BigEndian.Uint32(head[offCRC:]) != crc32.Checksum(head[:offCRC], castagnoli()):
		return Info{}, fmt.Errorf("%s: the head's checksum is wrong: %w", path, ErrDamaged)
	case version != fileVersion:
		return Info{}, fmt.Errorf("%s: version %d is not known: %w", path, version, ErrDamaged)
	case chunk < leastChunk || chunk > mostChunk:
		return Info{}, fmt.Errorf("%s: chunks of %d bytes: %w", path, chunk, ErrDamaged)
	}
	lock := (*Lock)(head[offLock:])
	return Info{
		Label: Label{
			Role:  Role(binary.BigEndian.Uint32(head[offRole:])),
			First: binary.BigEndian.Uint64(head[offFirst:]), Last: binary.BigEndian.Uint64(head[offLast:]),
		},
		Key: lock.ID(),
	}, nil
}

// Reader reads an encrypted file at any place. It may be used by many goroutines at
// once, and keeps a few chunks.
type Reader struct {
	src    io.ReaderAt
	path   string
	aead   cipher.AEAD
	chunk  int64
	chunks uint64
	size   int64

	mu    sync.Mutex
	cache [cached]struct {
		index uint64
		plain []byte // nil when there is none
	}
	turn  int
	spare sync.Pool // of *[]byte
}

// Open reads the head and the last chunk of a file of size bytes, so that one that was
// cut short or grew is told at once. The file must say that it is what want says.
func Open(src io.ReaderAt, size int64, path string, keys Keys, want Label) (*Reader, error) {
	head := make([]byte, min(max(size, 0), HeadSize))
	if n, err := src.ReadAt(head, 0); n < len(head) {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	info, err := ParseHead(path, head)
	if err != nil {
		return nil, err
	}
	if info.Label != want {
		return nil, fmt.Errorf("%s: its head says that it is another file (role %d, events %d to %d): %w",
			path, info.Label.Role, info.Label.First, info.Label.Last, ErrDamaged)
	}
	aead, err := keys.Open(path, (*Lock)(head[offLock:]), head[:offLock])
	if err != nil {
		return nil, err
	}
	r := &Reader{src: src, path: path, aead: aead, chunk: int64(binary.BigEndian.Uint32(head[offChunk:]))}
	body := size - HeadSize
	r.chunks = uint64(body / (r.chunk + Overhead)) //nolint:gosec // not negative
	if body%(r.chunk+Overhead) > 0 {
		r.chunks++
	}
	r.size = body - int64(r.chunks)*Overhead            //nolint:gosec // at most body
	rest := body - int64(r.chunks-1)*(r.chunk+Overhead) //nolint:gosec // likewise
	if r.chunks == 0 || rest < Overhead || rest == Overhead && r.chunks > 1 {
		return nil, fmt.Errorf("%s: it ends in the middle of a chunk: %w", path, ErrDamaged)
	}
	if _, err := r.held(r.chunks - 1); err != nil {
		return nil, err
	}
	return r, nil
}

// Size is the length of what is encrypted.
func (r *Reader) Size() int64 { return r.size }

// ReadAt reads as io.ReaderAt says. Nothing of a chunk that does not decrypt is given.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read %s: negative offset", r.path)
	}
	done := 0
	for done < len(p) {
		at := off + int64(done)
		if at >= r.size {
			return done, io.EOF
		}
		index := uint64(at / r.chunk) //nolint:gosec // not negative
		if at%r.chunk == 0 && int64(len(p)-done) >= r.chunk && index < r.chunks-1 {
			// A whole chunk goes to where it is wanted.
			if err := r.decryptTo(p[done:done:done+int(r.chunk)], index); err != nil {
				return done, err
			}
			done += int(r.chunk)
			continue
		}
		plain, err := r.held(index)
		if err != nil {
			return done, err
		}
		done += copy(p[done:], plain[at%r.chunk:])
	}
	return done, nil
}

// held gives a chunk, which is not changed any more.
func (r *Reader) held(index uint64) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.cache {
		if c := &r.cache[i]; c.plain != nil && c.index == index {
			return c.plain, nil
		}
	}
	sealed, err := r.sealed(nil, index)
	if err != nil {
		return nil, err
	}
	plain, err := r.decrypt(sealed[:0], sealed, index)
	if err != nil {
		return nil, err
	}
	c := &r.cache[r.turn]
	c.index, c.plain = index, plain
	r.turn = (r.turn + 1) % cached
	return plain, nil
}

// decryptTo appends a chunk to dst, which has room for it.
func (r *Reader) decryptTo(dst []byte, index uint64) error {
	buf, _ := r.spare.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
	}
	defer r.spare.Put(buf)
	sealed, err := r.sealed(*buf, index)
	if err != nil {
		return err
	}
	*buf = sealed
	_, err = r.decrypt(dst, sealed, index)
	return err
}

// sealed reads a chunk as it lies in the file, into buf where that is long enough.
func (r *Reader) sealed(buf []byte, index uint64) ([]byte, error) {
	length := r.chunk
	if index == r.chunks-1 {
		length = r.size - int64(index)*r.chunk //nolint:gosec // below chunks
	}
	length += Overhead
	if int64(cap(buf)) < length {
		buf = make([]byte, length)
	}
	buf = buf[:length]
	at := HeadSize + int64(index)*(r.chunk+Overhead) //nolint:gosec // below chunks
	if n, err := r.src.ReadAt(buf, at); n < len(buf) {
		return nil, fmt.Errorf("read %s, chunk %d: %w", r.path, index+1, err)
	}
	return buf, nil
}

func (r *Reader) decrypt(dst, sealed []byte, index uint64) ([]byte, error) {
	var nonce [NonceSize]byte
	plain, err := r.aead.Open(dst, chunkNonce(&nonce, index, index == r.chunks-1), sealed, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: chunk %d of %d is not as it was written, or not in its place: %w", r.path, index+1, r.chunks, ErrDamaged)
	}
	return plain, nil
}

// Encrypt makes an encrypted file of a small text.
func Encrypt(plain []byte, keys Keys, random io.Reader, label Label) ([]byte, error) {
	var out bytes.Buffer
	w, err := NewWriter(&out, keys, random, label)
	if err != nil {
		return nil, err
	}
	_, err = w.Write(plain)
	if err == nil {
		err = w.Close()
	}
	return out.Bytes(), err
}

// Decrypt gives what Encrypt was given.
func Decrypt(file []byte, path string, keys Keys, want Label) ([]byte, error) {
	r, err := Open(bytes.NewReader(file), int64(len(file)), path, keys, want)
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	if err != nil {
		return nil, err //nolint:wrapcheck // it is the reader's own
	}
	return plain, nil
}
