package segment

import "encoding/binary"

// The format counts in int32 and int64. Each conversion says why it cannot overflow.

// count32 is a count of rows, dictionary entries or bytes of one page.
func count32(n int) int32 {
	return int32(n) //nolint:gosec // at most maxPage
}

// seqInt is an event's number as a Parquet INT64.
func seqInt(seq uint64) int64 {
	return int64(seq) //nolint:gosec // Write refuses numbers beyond the largest int64
}

func appendLength(dst []byte, n int) []byte {
	return binary.LittleEndian.AppendUint32(dst, uint32(n)) //nolint:gosec // at most maxPage
}

// plainInt64 is an integer as PLAIN has it.
func plainInt64(v int64) []byte {
	return binary.LittleEndian.AppendUint64(nil, uint64(v)) //nolint:gosec // the same bits
}

// width8 is a width in bits.
func width8(n int) byte {
	return byte(n) //nolint:gosec // at most 32
}

// signed32 has the same bits: the format keeps checksums as int32.
func signed32(v uint32) int32 {
	return int32(v) //nolint:gosec // the same bits
}

// low32 is the lower half: codes have at most 32 bits.
func low32(v uint64) uint32 {
	return uint32(v & 0xffffffff)
}

// sameBits reads the bits as signed.
func sameBits(v uint64) int64 {
	return int64(v) //nolint:gosec // the same bits, on purpose
}

// ordinal is a row group's number.
func ordinal(n int) int16 {
	return int16(n) //nolint:gosec // less than maxGroups
}
