package log

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"bulwark.dev/bulwark/internal/audit/vault"
)

// DamageError says that a write-ahead file is not as it was written: acknowledged
// events at or after Seq cannot be read.
type DamageError struct {
	Path   string
	Offset int64
	// Seq is the first event that cannot be trusted.
	Seq  uint64
	What string
}

// Error names the file, the place and the event.
func (e *DamageError) Error() string {
	return fmt.Sprintf("%s: damaged at byte %d, event %d: %s", e.Path, e.Offset, e.Seq, e.What)
}

// errTorn says that a file ends in a frame that was never finished, so never acknowledged.
var errTorn = errors.New("the last frame is not finished")

// record is one event of a frame. The bytes belong to the frame.
type record struct {
	event, openings []byte
	leaf            hash
}

// frame is what one commit wrote.
type frame struct {
	first   uint64
	records []record
}

// reader reads a write-ahead file, frame by frame, and checks what it reads.
type reader struct {
	src  io.ReaderAt
	path string
	size int64

	head head
	seed uint32
	// cipher decrypts the frames; nil where they are not encrypted.
	cipher *frameCipher
	// offset is the end of what was read and is sound, next the number of the event that
	// comes there, and chain the hash before it.
	offset int64
	next   uint64
	chain  hash

	// fresh makes each frame have its own memory.
	fresh   bool
	buf     []byte
	records []record
}

func (r *reader) damage(offset int64, format string, args ...any) error {
	return &DamageError{Path: r.path, Offset: offset, Seq: r.next, What: fmt.Sprintf(format, args...)}
}

// openReader reads the head of a file whose name says that it begins with event first.
// An encrypted file whose key is not there is a vault.MissingKeyError.
func openReader(src io.ReaderAt, size int64, path string, first uint64, keys vault.Keys) (*reader, error) {
	r := &reader{src: src, path: path, size: size, next: first}
	var b [fileHead]byte
	if size < fileHead {
		// A file gets its name after its head was synced, so this is no torn write.
		return nil, r.damage(0, "%d bytes are too few for a head", size)
	}
	if _, err := src.ReadAt(b[:], 0); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	h := &r.head
	h.first = binary.LittleEndian.Uint64(b[offFirst:])
	h.created = time.UnixMicro(int64(binary.LittleEndian.Uint64(b[offCreated:]))).UTC() //nolint:gosec // as it was put there
	copy(h.id[:], b[offID:])
	copy(h.chain[:], b[offChain:])
	copy(h.keyBox[:], b[offKeyBox:])
	version := binary.LittleEndian.Uint32(b[offVersion:])
	switch {
	case string(b[:len(fileMagic)]) != fileMagic:
		return nil, r.damage(0, "it does not begin as a write-ahead file")
	case binary.LittleEndian.Uint32(b[offHeadCRC:]) != checksum(0, b[:offHeadCRC]):
		return nil, r.damage(0, "the head's checksum is wrong")
	case version != fileVersion && version != lockedVersion:
		return nil, r.damage(0, "version %d is not known", version)
	case h.first != first:
		return nil, r.damage(0, "its head says that it begins with event %d, its name with %d", h.first, first)
	}
	if version == lockedVersion {
		if err := r.unlock(keys, b[:offHeadCRC]); err != nil {
			return nil, err
		}
	}
	r.seed, r.offset, r.chain = h.seed(), h.length(), h.chain
	return r, nil
}

// checkKeyBox says whether the key in the head is as it was written, or was taken out.
func (r *reader) checkKeyBox() error {
	var crc [4]byte
	if _, err := r.src.ReadAt(crc[:], offKeyCRC); err != nil {
		return fmt.Errorf("read %s: %w", r.path, err)
	}
	want := checksum(r.seed, r.head.keyBox[:])
	if r.head.keyBox == [keyBoxSize]byte{} {
		want = 0
	}
	if binary.LittleEndian.Uint32(crc[:]) != want {
		return r.damage(offKeyBox, "the checksum of the openings' key is wrong")
	}
	return nil
}

// peek reads the head of the frame at the reader's place: its length as a whole and
// how many events it has. It gives io.EOF at a clean end, errTorn when what is there
// was never finished, and a DamageError otherwise.
func (r *reader) peek() (length int64, count int, err error) {
	rest := r.size - r.offset
	if rest == 0 {
		return 0, 0, io.EOF
	}
	if rest < frameHead {
		return 0, 0, errTorn // no frame is that short, so nobody finished one here
	}
	var b [frameHead]byte
	if _, err := r.src.ReadAt(b[:], r.offset); err != nil {
		return 0, 0, fmt.Errorf("read %s: %w", r.path, err)
	}
	payload, first, n, ok := parseFrameHead(&b, r.seed)
	if !ok {
		return 0, 0, r.judge(r.size, "no frame begins here")
	}
	length = frameHead + int64(payload) + r.overhead() + frameTail
	switch {
	case first != r.next:
		return 0, 0, r.damage(r.offset, "the frame begins with event %d", first)
	case n > payload/recordHead || payload > maxFrame:
		return 0, 0, r.damage(r.offset, "a frame of %d events cannot have %d bytes", n, payload)
	case length > rest:
		later, err := r.findFrame(r.offset + 1)
		if err != nil {
			return 0, 0, err
		}
		if later > 0 {
			return 0, 0, r.damage(r.offset, "bytes are missing; events after it, from %d on, were acknowledged", later)
		}
		return 0, 0, errTorn
	}
	return length, int(n), nil
}

func parseFrameHead(b *[frameHead]byte, seed uint32) (payload uint32, first uint64, count uint32, ok bool) {
	return binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint32(b[16:]),
		string(b[:4]) == frameMagic && binary.LittleEndian.Uint32(b[20:]) == checksum(seed, b[:20])
}

// skip passes over the next frame without reading its events. The chain is then what
// the frame says it is.
func (r *reader) skip() error {
	if r.cipher != nil {
		_, err := r.frame() // the chain hash is encrypted with the records
		return err
	}
	length, count, err := r.peek()
	if err != nil {
		return err
	}
	var tail [frameTail]byte
	if _, err := r.src.ReadAt(tail[:], r.offset+length-frameTail); err != nil {
		return fmt.Errorf("read %s: %w", r.path, err)
	}
	if string(tail[frameTail-4:]) != frameEnd {
		return r.judge(r.offset+length, "the frame has no end")
	}
	copy(r.chain[:], tail[:])
	r.offset += length
	r.next += uint64(count) //nolint:gosec // a count of 32 bits
	return nil
}

// frame reads the next frame; see peek for its errors. Nothing of it is valid after
// the next call, unless the reader is fresh.
func (r *reader) frame() (frame, error) {
	length, count, err := r.peek()
	if err != nil {
		return frame{}, err
	}
	if r.fresh {
		r.buf, r.records = nil, nil
	}
	if int64(cap(r.buf)) < length {
		r.buf = make([]byte, length)
	}
	b := r.buf[:length]
	if _, err := r.src.ReadAt(b, r.offset); err != nil {
		return frame{}, fmt.Errorf("read %s: %w", r.path, err)
	}
	whole, end := b[:length-8], b[length-8:]
	if binary.LittleEndian.Uint32(end) != checksum(r.seed, whole) || string(end[4:]) != frameEnd {
		return frame{}, r.judge(r.offset+length, r.blame(whole, count))
	}
	if r.cipher != nil {
		var ok bool
		if whole, ok = r.cipher.open(b, r.next); !ok {
			return frame{}, r.damage(r.offset, "the frame cannot be decrypted: it was changed, or does not belong there")
		}
	}
	body, tail := whole[:len(whole)-sha256.Size], whole[len(whole)-sha256.Size:]
	f := frame{first: r.next, records: r.records[:0]}
	chain := r.chain
	for rest := body[frameHead:]; len(rest) > 0; {
		rec, after, ok := cutRecord(rest)
		if !ok {
			return frame{}, r.damage(r.offset, "event %d does not lie in its frame", f.first+uint64(len(f.records)))
		}
		rec.leaf = sha256.Sum256(rest[recordHead-1 : recordHead+len(rec.event)])
		chain = link(&chain, &rec.leaf)
		f.records = append(f.records, rec)
		rest = after
	}
	r.records = f.records
	switch {
	case len(f.records) != count:
		return frame{}, r.damage(r.offset, "the frame has %d events and says %d", len(f.records), count)
	case !bytes.Equal(chain[:], tail):
		return frame{}, r.damage(r.offset, "the events do not lead to the frame's chain hash")
	}
	r.offset += length
	r.next += uint64(count) //nolint:gosec // a count of 32 bits
	r.chain = chain
	return f, nil
}

// cutRecord takes the first record off b.
func cutRecord(b []byte) (rec record, rest []byte, ok bool) {
	if len(b) < recordHead {
		return record{}, nil, false
	}
	event, openings := int64(binary.LittleEndian.Uint32(b)), int64(binary.LittleEndian.Uint32(b[4:]))
	end := recordHead + event + openings
	if end > int64(len(b)) || b[recordHead-1] != 0 {
		return record{}, nil, false
	}
	body := b[recordHead:end]
	if binary.LittleEndian.Uint32(b[8:]) != checksum(0, b[:8], body) {
		return record{}, nil, false
	}
	return record{event: body[:event:event], openings: body[event:]}, b[end:], true
}

// blame says which record of an unsound frame is the first that is wrong.
func (r *reader) blame(whole []byte, count int) string {
	if r.cipher != nil {
		return "the frame is not as it was written"
	}
	records := whole[frameHead : len(whole)-sha256.Size]
	for i := range count {
		_, rest, ok := cutRecord(records)
		if !ok {
			return fmt.Sprintf("the record of event %d is not as it was written", r.next+uint64(i))
		}
		records = rest
	}
	return "every record is sound, but the frame's head, chain hash or checksum is not"
}

// sector is the least that a disk writes whole.
const sector = 512

// judge decides what an unsound frame at the reader's place is, whose bytes end at end.
// It was never acknowledged, and so may be cut, only if no frame of this file comes
// after it and part of it never reached the disk: a crash leaves such a part as whole
// sectors of zeros. Written bytes are never a sector of zeros: events are text, openings
// and hashes look random, and a frame ends in letters. Everything else is damage.
func (r *reader) judge(end int64, what string) error {
	later, err := r.findFrame(r.offset + 1)
	if err != nil {
		return err
	}
	if later > 0 {
		return r.damage(r.offset, "%s; events after it, from %d on, were acknowledged", what, later)
	}
	lost, err := r.hasLostSector(r.offset, end)
	if err != nil {
		return err
	}
	if lost {
		return errTorn
	}
	return r.damage(r.offset, "%s", what)
}

// findFrame looks for a frame after the next event, at or after offset, and gives its
// first event, or 0.
func (r *reader) findFrame(offset int64) (uint64, error) {
	buf := make([]byte, min(1<<20, max(0, r.size-offset)))
	for offset+frameHead <= r.size {
		b := buf[:min(int64(len(buf)), r.size-offset)]
		if _, err := r.src.ReadAt(b, offset); err != nil {
			return 0, fmt.Errorf("read %s: %w", r.path, err)
		}
		for at := 0; ; at++ {
			i := bytes.Index(b[at:], []byte(frameMagic))
			if i < 0 || at+i+frameHead > len(b) {
				break
			}
			at += i
			if _, first, _, ok := parseFrameHead((*[frameHead]byte)(b[at:]), r.seed); ok && first > r.next {
				return first, nil
			}
		}
		offset += int64(len(b)) - frameHead + 1 // a head may lie across two pieces
	}
	return 0, nil
}

// hasLostSector reports whether the part of some sector that lies between from and end
// is all zeros.
func (r *reader) hasLostSector(from, end int64) (bool, error) {
	zeros := make([]byte, sector)
	buf := make([]byte, sector)
	for from < end {
		stop := min(end, (from/sector+1)*sector)
		b := buf[:stop-from]
		if _, err := r.src.ReadAt(b, from); err != nil {
			return false, fmt.Errorf("read %s: %w", r.path, err)
		}
		if bytes.Equal(b, zeros[:len(b)]) {
			return true, nil
		}
		from = stop
	}
	return false, nil
}
