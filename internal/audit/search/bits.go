package search

import "math/bits"

// rowset is a set of the rows of one segment.
type rowset []uint64

func newRows(n int) rowset { return make(rowset, (n+63)/64) }

// someRows is the set of the rows of a list.
func someRows(n int, rows []int32) rowset {
	s := newRows(n)
	for _, row := range rows {
		s.add(int(row))
	}
	return s
}

func (s rowset) add(row int) { s[row/64] |= 1 << (row % 64) }

// addRange adds from (inclusive) to (exclusive).
func (s rowset) addRange(from, to int) {
	for ; from < to && from%64 != 0; from++ {
		s.add(from)
	}
	for ; from+64 <= to; from += 64 {
		s[from/64] = ^uint64(0)
	}
	for ; from < to; from++ {
		s.add(from)
	}
}

func (s rowset) empty() bool {
	for _, word := range s {
		if word != 0 {
			return false
		}
	}
	return true
}

func (s rowset) count() int {
	n := 0
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	return n
}

func (s rowset) and(o rowset) rowset {
	out := make(rowset, len(s))
	for i := range s {
		out[i] = s[i] & o[i]
	}
	return out
}

func (s rowset) or(o rowset) rowset {
	out := make(rowset, len(s))
	for i := range s {
		out[i] = s[i] | o[i]
	}
	return out
}

// without gives the rows of s that are not in o.
func (s rowset) without(o rowset) rowset {
	out := make(rowset, len(s))
	for i := range s {
		out[i] = s[i] &^ o[i]
	}
	return out
}

// list gives the rows in order.
func (s rowset) list() []int32 {
	out := make([]int32, 0, s.count())
	for i, word := range s {
		for ; word != 0; word &= word - 1 {
			out = append(out, int32(i*64+bits.TrailingZeros64(word))) //nolint:gosec // a segment has at most 2^31 rows
		}
	}
	return out
}
