package log

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"time"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/vault"
)

// A write-ahead file is a head and then frames; integers are little-endian.
//
//	head    magic 8 · version 4 · first 8 · created 8 (µs) · id 16 · chain 32 · CRC 4 · key 60 · CRC 4
//	frame   magic 4 · length of records 4 · first 8 · count 4 · CRC 4 · records · chain 32 · CRC 4 · end 4
//	record  length of event 4 · length of openings 4 · CRC 4 · 0 · event · openings
//
// One frame is what one write and one sync put on the disk. The next frame is written
// only after that sync came back, so whatever has a frame behind it was acknowledged,
// and only a last frame can be half there. The chain hash stands once per frame: it is
// derived again from the events whenever they are read, so one per record would cost 32
// bytes and tell nothing that the record's own CRC does not tell.
//
// The CRCs of heads and frames are seeded with the file's random id, so that what is
// left of another file, or was put into an event on purpose, is no frame of this one.
// Neither the format nor the CRCs are proof against somebody who may write the file:
// until a segment is sealed nothing is.
//
// The zero before an event is the leaf prefix of RFC 6962, so that the leaf hash is
// taken of the bytes where they lie.
const (
	fileMagic   = "BWKWAL\r\n"
	fileVersion = 1

	idSize     = 16
	keyBoxSize = 12 + 32 + 16 // nonce, key, tag

	offVersion = 8
	offFirst   = 12
	offCreated = 20
	offID      = 28
	offChain   = offID + idSize
	offHeadCRC = offChain + sha256.Size
	offKeyBox  = offHeadCRC + 4
	offKeyCRC  = offKeyBox + keyBoxSize
	fileHead   = offKeyCRC + 4

	frameMagic = "BWKF"
	frameEnd   = "BWKE"
	frameHead  = 4 + 4 + 8 + 4 + 4
	frameTail  = sha256.Size + 4 + 4

	recordHead = 4 + 4 + 4 + 1

	// maxEvent is the longest event, and the most openings of one event. An API server
	// cuts bodies far below it, and a segment takes four times as much.
	maxEvent = 16 << 20
	// maxAppend is the most that one Append may bring: it becomes one frame.
	maxAppend = 256 << 20
	// maxFrame is the longest frame that is read.
	maxFrame = maxAppend + groupBytes
	// groupBytes is how much one frame gathers from several callers.
	groupBytes = 8 << 20
)

type hash = [sha256.Size]byte

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(seed uint32, parts ...[]byte) uint32 {
	for _, part := range parts {
		seed = crc32.Update(seed, castagnoli, part)
	}
	return seed
}

// link is the chain's next hash.
func link(chain, leaf *hash) hash {
	var both [2 * sha256.Size]byte
	copy(both[:sha256.Size], chain[:])
	copy(both[sha256.Size:], leaf[:])
	return sha256.Sum256(both[:])
}

// head is what a write-ahead file says of itself.
type head struct {
	first   uint64
	created time.Time
	id      [idSize]byte
	// chain is the hash before the file's first event.
	chain hash
	// keyBox is the key of the openings in this file, encrypted; zero when there is none.
	keyBox [keyBoxSize]byte
	// locked says that the file is encrypted, by what lock leads to.
	locked bool
	lock   vault.Lock
}

func (h *head) seed() uint32 { return checksum(0, h.id[:]) }

func (h *head) encode() []byte {
	b := make([]byte, fileHead)
	copy(b, fileMagic)
	binary.LittleEndian.PutUint32(b[offVersion:], fileVersion)
	if h.locked {
		binary.LittleEndian.PutUint32(b[offVersion:], lockedVersion)
	}
	binary.LittleEndian.PutUint64(b[offFirst:], h.first)
	binary.LittleEndian.PutUint64(b[offCreated:], uint64(h.created.UnixMicro()))
	copy(b[offID:], h.id[:])
	copy(b[offChain:], h.chain[:])
	binary.LittleEndian.PutUint32(b[offHeadCRC:], checksum(0, b[:offHeadCRC]))
	if h.keyBox != [keyBoxSize]byte{} {
		copy(b[offKeyBox:], h.keyBox[:])
		binary.LittleEndian.PutUint32(b[offKeyCRC:], checksum(h.seed(), h.keyBox[:]))
	}
	if h.locked {
		return h.appendLock(b)
	}
	return b
}

// appendRecord appends an event and leaves room for no openings.
func appendRecord(dst []byte, e *audit.Event) ([]byte, hash) {
	start := len(dst)
	dst = append(dst, make([]byte, recordHead)...)
	dst = audit.AppendCanonical(dst, e)
	event := dst[start+recordHead:]
	leaf := sha256.Sum256(dst[start+recordHead-1:])
	finishRecord(dst[start:], len(event), 0)
	return dst, leaf
}

// finishRecord fills in the head of a record whose event and openings stand in place.
func finishRecord(record []byte, event, openings int) {
	binary.LittleEndian.PutUint32(record[0:], uint32(event))    //nolint:gosec // at most maxEvent, or refused before it is written
	binary.LittleEndian.PutUint32(record[4:], uint32(openings)) //nolint:gosec // likewise
	record[recordHead-1] = 0
	binary.LittleEndian.PutUint32(record[8:], checksum(0, record[:8], record[recordHead:]))
}

// beginFrame appends an empty head, to be filled in by endFrame.
func beginFrame(dst []byte) []byte { return append(dst, make([]byte, frameHead)...) }

// endFrame completes a frame that begins at the start of b and has its records.
func endFrame(b []byte, seed uint32, first uint64, count int, chain *hash) []byte {
	fillFrameHead(b, seed, first, count)
	b = append(b, chain[:]...)
	b = binary.LittleEndian.AppendUint32(b, checksum(seed, b))
	return append(b, frameEnd...)
}

// fillFrameHead fills in the head of a frame that has its records.
func fillFrameHead(b []byte, seed uint32, first uint64, count int) {
	copy(b, frameMagic)
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-frameHead)) //nolint:gosec // below maxFrame
	binary.LittleEndian.PutUint64(b[8:], first)
	binary.LittleEndian.PutUint32(b[16:], uint32(count)) //nolint:gosec // below maxFrame
	binary.LittleEndian.PutUint32(b[20:], checksum(seed, b[:20]))
}
