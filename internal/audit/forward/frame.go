package forward

import (
	"encoding/binary"
	"hash/crc32"
)

// A frame is how an event stands in the queue and on disk: the payload's length and
// its CRC-32C, four bytes each in little endian, then the payload.
const (
	frameHead  = 8
	maxPayload = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli) //nolint:gochecknoglobals // a constant table

// seal fills the head of the frame that begins at from and ends with b.
func seal(b []byte, from int) {
	payload := b[from+frameHead:]
	binary.LittleEndian.PutUint32(b[from:], uint32(len(payload))) //nolint:gosec // at most maxPayload
	binary.LittleEndian.PutUint32(b[from+4:], crc32.Checksum(payload, castagnoli))
}

// open gives the payload of the first frame of b and what is behind it. It is false
// for a frame that is cut, empty, too long or not what was written.
func open(b []byte) (payload, rest []byte, ok bool) { return openUpTo(b, maxPayload) }

func openUpTo(b []byte, most uint32) (payload, rest []byte, ok bool) {
	if len(b) < frameHead {
		return nil, b, false
	}
	n := binary.LittleEndian.Uint32(b)
	if n == 0 || n > most || int(n) > len(b)-frameHead {
		return nil, b, false
	}
	payload = b[frameHead : frameHead+int(n)]
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return nil, b, false
	}
	return payload, b[frameHead+int(n):], true
}

// take gives the payloads of the first frames of b, of at most so many bytes and
// events but of one at least, and the bytes that they take with their heads.
func take(b []byte, most, events int) (payloads [][]byte, n int) {
	for rest := b; len(payloads) < events; {
		payload, after, ok := open(rest)
		if !ok || len(payloads) > 0 && n+frameHead+len(payload) > most {
			break
		}
		payloads = append(payloads, payload)
		n, rest = len(b)-len(after), after
	}
	return payloads, n
}
