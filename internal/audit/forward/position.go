package forward

import (
	"encoding/binary"
	"hash/crc32"
)

// slotSize is the length of a position on disk: how often it was written, the part,
// the offset, and the CRC-32C of these. There are two slots, written in turn, so that
// one is whole whenever the process ends.
const slotSize = 28

func appendPosition(b []byte, p position, turn uint64) []byte {
	from := len(b)
	b = binary.LittleEndian.AppendUint64(b, turn)
	b = binary.LittleEndian.AppendUint64(b, p.number)
	b = binary.LittleEndian.AppendUint64(b, uint64(p.offset)) //nolint:gosec // not negative
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[from:], castagnoli))
}

// parsePosition gives the newer whole slot; the beginning where there is none, so that
// events are sent twice rather than never.
func parsePosition(slots []byte) (p position, turn uint64) {
	for ; len(slots) >= slotSize; slots = slots[slotSize:] {
		s := slots[:slotSize]
		n, offset := binary.LittleEndian.Uint64(s), binary.LittleEndian.Uint64(s[16:])
		if crc32.Checksum(s[:24], castagnoli) != binary.LittleEndian.Uint32(s[24:]) || n < turn || offset > 1<<62 || n == 0 {
			continue
		}
		turn, p = n, position{number: binary.LittleEndian.Uint64(s[8:]), offset: int64(offset)}
	}
	return p, turn
}
