// Package rowset has sets of the rows of one segment, which numbers them from 0.
package rowset

import "math/bits"

// Set is a set of rows. Sets are of one segment when they are put together, and none is
// changed by that.
type Set []uint64

// New makes an empty set of the rows of a segment that has n.
func New(n int) Set { return make(Set, (n+63)/64) }

// Of makes the set of the rows of a list.
func Of(n int, list []int32) Set {
	s := New(n)
	for _, row := range list {
		s.Add(int(row))
	}
	return s
}

// Add adds a row.
func (s Set) Add(row int) { s[row/64] |= 1 << (row % 64) }

// AddRange adds from (inclusive) to (exclusive).
func (s Set) AddRange(from, to int) {
	for ; from < to && from%64 != 0; from++ {
		s.Add(from)
	}
	for ; from+64 <= to; from += 64 {
		s[from/64] = ^uint64(0)
	}
	for ; from < to; from++ {
		s.Add(from)
	}
}

// Empty reports whether no row is in the set.
func (s Set) Empty() bool {
	for _, word := range s {
		if word != 0 {
			return false
		}
	}
	return true
}

func (s Set) count() int {
	n := 0
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	return n
}

// Has reports whether a row is in the set.
func (s Set) Has(row int32) bool { return s[row/64]>>(row%64)&1 == 1 }

// And gives the rows that are in both.
func (s Set) And(o Set) Set {
	out := make(Set, len(s))
	for i := range s {
		out[i] = s[i] & o[i]
	}
	return out
}

// Or gives the rows that are in either.
func (s Set) Or(o Set) Set {
	out := make(Set, len(s))
	for i := range s {
		out[i] = s[i] | o[i]
	}
	return out
}

// Without gives the rows of s that are not in o.
func (s Set) Without(o Set) Set {
	out := make(Set, len(s))
	for i := range s {
		out[i] = s[i] &^ o[i]
	}
	return out
}

// List gives the rows in order.
func (s Set) List() []int32 {
	out := make([]int32, 0, s.count())
	for i, word := range s {
		for ; word != 0; word &= word - 1 {
			out = append(out, int32(i*64+bits.TrailingZeros64(word))) //nolint:gosec // a segment has at most 2^31 rows
		}
	}
	return out
}
