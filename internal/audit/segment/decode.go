package segment

import (
	"encoding/binary"
	"fmt"
	"math"
)

func broken(what string, args ...any) error {
	return fmt.Errorf("%w: "+what, append([]any{ErrFormat}, args...)...)
}

// decodeHybrid reads exactly n values of a width in bits from a run-length and bit-packed
// stream into dst, and adds plus to each.
func decodeHybrid(dst []uint32, src []byte, width, n int, plus uint32) ([]uint32, error) {
	if width > 32 {
		return nil, broken("codes of %d bits", width)
	}
	runBytes := (width + 7) / 8
	for n > 0 {
		head, used := binary.Uvarint(src)
		if used <= 0 {
			return nil, broken("a run of codes does not begin")
		}
		src = src[used:]
		count := head >> 1
		if count == 0 {
			return nil, broken("an empty run of codes")
		}
		if head&1 == 0 { // one value, many times
			if count > uint64(n) || runBytes > len(src) {
				return nil, broken("a run of %d codes where %d are left", count, n)
			}
			var value uint32
			for i := range runBytes {
				value |= uint32(src[i]) << (8 * i)
			}
			if uint64(value)>>width != 0 {
				return nil, broken("a code of more than %d bits", width)
			}
			src = src[runBytes:]
			value += plus
			for range count {
				dst = append(dst, value)
			}
			n -= int(count & math.MaxInt32)
			continue
		}
		// Groups of 8 values; the last group may have more than are left.
		if count > uint64(n+7)/8 || int(count&math.MaxInt32)*width > len(src) {
			return nil, broken("%d groups of codes where %d codes are left", count, n)
		}
		take := min(int(count&math.MaxInt32)*8, n)
		packed := src[:int(count&math.MaxInt32)*width]
		src = src[len(packed):]
		dst = unpack(dst, packed, width, take, plus)
		n -= take
	}
	if len(src) > 0 {
		return nil, broken("%d bytes after the last code", len(src))
	}
	return dst, nil
}

// unpack appends n values of width bits, lowest bit first, each with plus added. packed
// has enough of them.
func unpack(dst []uint32, packed []byte, width, n int, plus uint32) []uint32 {
	mask := uint64(1)<<width - 1
	i, bit := 0, 0
	for ; i < n && bit>>3+8 <= len(packed); i++ {
		word := binary.LittleEndian.Uint64(packed[bit>>3:]) >> (bit & 7)
		dst = append(dst, low32(word&mask)+plus)
		bit += width
	}
	for ; i < n; i++ {
		dst = append(dst, low32(tailWord(packed, bit)&mask)+plus)
		bit += width
	}
	return dst
}

// tailWord is the 64 bits from bit on, with zeros after the end.
func tailWord(packed []byte, bit int) uint64 {
	var last [9]byte
	if at := bit >> 3; at < len(packed) {
		copy(last[:], packed[at:])
	}
	word := binary.LittleEndian.Uint64(last[:8]) >> (bit & 7)
	if shift := bit & 7; shift > 0 {
		word |= uint64(last[8]) << (64 - shift)
	}
	return word
}

// decodeDelta reads exactly n integers of DELTA_BINARY_PACKED.
func decodeDelta(dst []int64, src []byte, n int) ([]int64, error) {
	var head [3]uint64 // values in a block, its parts, values in all
	for i := range head {
		v, used := binary.Uvarint(src)
		if used <= 0 {
			return nil, broken("a column of integers does not begin")
		}
		head[i], src = v, src[used:]
	}
	value, used := binary.Varint(src)
	if used <= 0 {
		return nil, broken("a column of integers has no first value")
	}
	src = src[used:]
	const block, parts, each = 128, 4, 32 // as the encoder of Write has them
	if head[0] != block || head[1] != parts || head[2] > maxRows || int(head[2]&math.MaxInt32) != n {
		return nil, broken("%d integers where %d belong", head[2], n)
	}
	dst = append(dst, value)
	for left := n - 1; left > 0; {
		least, used := binary.Varint(src)
		if used <= 0 || len(src)-used < parts {
			return nil, broken("a block of integers ends too early")
		}
		widths := src[used : used+parts]
		src = src[used+parts:]
		for _, width := range widths {
			bytes := each * int(width) / 8
			if width > 64 || bytes > len(src) {
				return nil, broken("integers of %d bits end too early", width)
			}
			take := min(each, left)
			for i := range take {
				var step uint64
				if width > 0 {
					step = tail64(src[:bytes], i*int(width), uint(width))
				}
				value += least + sameBits(step) // may overflow on purpose: differences wrap
				dst = append(dst, value)
			}
			src = src[bytes:]
			left -= take
		}
	}
	if len(src) > 0 {
		return nil, broken("%d bytes after the last integer", len(src))
	}
	return dst, nil
}

func tail64(packed []byte, bit int, width uint) uint64 {
	var word uint64
	if at := bit >> 3; at+9 <= len(packed) {
		word = binary.LittleEndian.Uint64(packed[at:]) >> (bit & 7)
		if shift := bit & 7; shift > 0 {
			word |= uint64(packed[at+8]) << (64 - shift)
		}
	} else {
		word = tailWord(packed, bit)
	}
	return word << (64 - width) >> (64 - width)
}

// decodeTexts cuts n texts, each with its length before it, out of a dictionary.
func decodeTexts(raw string, n int) ([]string, error) {
	if n > len(raw)/4 {
		return nil, broken("%d texts in %d bytes", n, len(raw))
	}
	texts := make([]string, 0, n)
	for range n {
		if len(raw) < 4 {
			return nil, broken("a dictionary ends too early")
		}
		size := uint32(raw[0]) | uint32(raw[1])<<8 | uint32(raw[2])<<16 | uint32(raw[3])<<24
		if int64(size) > int64(len(raw)-4) {
			return nil, broken("a text of %d bytes where %d are left", size, len(raw)-4)
		}
		texts = append(texts, raw[4:4+size])
		raw = raw[4+size:]
	}
	if raw != "" {
		return nil, broken("%d bytes after the last text", len(raw))
	}
	return texts, nil
}
