// Package numbers has sets of events' numbers, and how they are written in few bytes.
package numbers

import (
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

const (
	// chunkNumbers is how many numbers share a chunk of a set.
	chunkNumbers = 1 << 10
	chunkWords   = chunkNumbers / 64
	// maxNumbers is the largest set that is read, so that a hostile one fits into memory.
	maxNumbers = 1 << 28
	// bitsPrefix begins a set that is written as a map of bits.
	bitsPrefix = "bits:"
)

// Set is a set of events' numbers. It takes little memory also where every second
// number of a long run is in it. The zero Set is empty and ready.
type Set struct {
	chunks map[uint64]*[chunkWords]uint64
}

// Add puts a number into the set.
func (n *Set) Add(seq uint64) { n.AddRange(seq, seq) }

// AddRange puts the numbers first to last into the set.
func (n *Set) AddRange(first, last uint64) {
	if n.chunks == nil {
		n.chunks = map[uint64]*[chunkWords]uint64{}
	}
	for first <= last {
		chunk := n.chunks[first/chunkNumbers]
		if chunk == nil {
			chunk = new([chunkWords]uint64)
			n.chunks[first/chunkNumbers] = chunk
		}
		word := first % chunkNumbers / 64
		low, high := first%64, min(last-first+first%64, 63)
		chunk[word] |= ^uint64(0) << low & (^uint64(0) >> (63 - high))
		next := first + high - low + 1
		if next < first {
			return // the greatest number there is
		}
		first = next
	}
}

// Has reports whether a number is in the set.
func (n *Set) Has(seq uint64) bool {
	chunk := n.chunks[seq/chunkNumbers]
	return chunk != nil && chunk[seq%chunkNumbers/64]&(1<<(seq%64)) != 0
}

// Len is how many numbers are in the set.
func (n *Set) Len() uint64 {
	count := 0
	for _, chunk := range n.chunks {
		for _, word := range chunk {
			count += bits.OnesCount64(word)
		}
	}
	return uint64(count)
}

// AddAll puts all numbers of another set into this one.
func (n *Set) AddAll(other *Set) {
	if n.chunks == nil {
		n.chunks = map[uint64]*[chunkWords]uint64{}
	}
	for id, theirs := range other.chunks {
		mine := n.chunks[id]
		if mine == nil {
			mine = new([chunkWords]uint64)
			n.chunks[id] = mine
		}
		for i := range theirs {
			mine[i] |= theirs[i]
		}
	}
}

// Without is the set of the numbers that are in n and not in other.
func (n *Set) Without(other *Set) *Set {
	return n.with(other, func(mine, theirs uint64) uint64 { return mine &^ theirs })
}

// Both is the set of the numbers that are in n and in other.
func (n *Set) Both(other *Set) *Set {
	return n.with(other, func(mine, theirs uint64) uint64 { return mine & theirs })
}

func (n *Set) with(other *Set, word func(mine, theirs uint64) uint64) *Set {
	out := &Set{chunks: map[uint64]*[chunkWords]uint64{}}
	var none [chunkWords]uint64
	for id, mine := range n.chunks {
		theirs := other.chunks[id]
		if theirs == nil {
			theirs = &none
		}
		chunk := new([chunkWords]uint64)
		for i := range mine {
			chunk[i] = word(mine[i], theirs[i])
		}
		if *chunk != none {
			out.chunks[id] = chunk
		}
	}
	return out
}

// Ranges gives the set as runs of numbers, in their order.
func (n *Set) Ranges() iter.Seq2[uint64, uint64] {
	return func(yield func(first, last uint64) bool) {
		var first, last uint64
		open := false
		for _, id := range slices.Sorted(maps.Keys(n.chunks)) {
			for i, word := range n.chunks[id] {
				base := id*chunkNumbers + uint64(i)*64
				for word != 0 {
					start := uint64(bits.TrailingZeros64(word))              //nolint:gosec // 0 to 63
					length := uint64(bits.TrailingZeros64(^(word >> start))) //nolint:gosec // 1 to 64
					if open && base+start == last+1 {
						last += length
					} else {
						if open && !yield(first, last) {
							return
						}
						first, last, open = base+start, base+start+length-1, true
					}
					if start+length == 64 {
						break
					}
					word &= ^uint64(0) << (start + length)
				}
			}
		}
		if open {
			yield(first, last)
		}
	}
}

// Bounds are the smallest and the greatest number, or 0.
func (n *Set) Bounds() (first, last uint64) {
	for from, to := range n.Ranges() {
		if first == 0 {
			first = from
		}
		last = to
	}
	return first, last
}

// String writes the set: "3,7-12", or where that is longer as a map of bits.
func (n *Set) String() string {
	var b strings.Builder
	for first, last := range n.Ranges() {
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatUint(first, 10))
		if last > first {
			b.WriteByte('-')
			b.WriteString(strconv.FormatUint(last, 10))
		}
	}
	first, last := n.Bounds()
	if span := last - first; span/6 >= uint64(b.Len()) { //nolint:gosec // a length
		return b.String()
	}
	raw := make([]byte, (last-first)/8+1)
	for from, to := range n.Ranges() {
		for seq := from; seq <= to; seq++ {
			raw[(seq-first)/8] |= 1 << ((seq - first) % 8)
		}
	}
	if text := bitsPrefix + strconv.FormatUint(first, 10) + ":" + base64.RawStdEncoding.EncodeToString(raw); len(text) < b.Len() {
		return text
	}
	return b.String()
}

// Parse reads what String writes, and nothing that is much larger in memory than
// it is written.
func Parse(text string) (*Set, error) {
	n := &Set{}
	if rest, ok := strings.CutPrefix(text, bitsPrefix); ok {
		return n, n.parseBits(rest)
	}
	if text == "" {
		return n, nil
	}
	total, before := uint64(0), uint64(0)
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, err := parsePlain(from)
		last := first
		if err == nil && isRange {
			last, err = parsePlain(to)
		}
		if err != nil || last < first || first <= before {
			return nil, fmt.Errorf("%.60q: expected numbers of events and ranges of them, in their order", part)
		}
		if total += last - first + 1; last-first >= maxNumbers || total > maxNumbers {
			return nil, fmt.Errorf("more than %d numbers of events", maxNumbers)
		}
		n.AddRange(first, last)
		before = last
	}
	return n, nil
}

func parsePlain(text string) (uint64, error) {
	v, err := strconv.ParseUint(text, 10, 62)
	if err != nil || v == 0 || text[0] == '0' || text[0] == '+' {
		return 0, errors.New("no number of an event")
	}
	return v, nil
}

func (n *Set) parseBits(text string) error {
	from, encoded, ok := strings.Cut(text, ":")
	first, err := parsePlain(from)
	if !ok || err != nil || len(encoded) > maxNumbers/6 {
		return fmt.Errorf("%.60q: expected the first event and a map of bits", text)
	}
	raw, err := base64.RawStdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return fmt.Errorf("%.60q: expected a map of bits in base64: %w", text, err)
	}
	if first > 1<<62-uint64(len(raw))*8 {
		return fmt.Errorf("%.60q: it has events of impossible numbers", text)
	}
	for i, b := range raw {
		for bit := range 8 {
			if b&(1<<bit) != 0 {
				n.Add(first + uint64(i)*8 + uint64(bit))
			}
		}
	}
	return nil
}
