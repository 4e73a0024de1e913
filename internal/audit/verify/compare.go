package verify

import (
	"fmt"
	"slices"

	"bulwark.dev/bulwark/internal/audit/proof"
)

// How far the search for the wrong event goes.
const (
	maxSearched = 4  // blocks in which exchanged events are looked for
	maxNamed    = 20 // events that are named one by one
)

// compare says what is different between a segment that was sealed and what its file
// has now. What was sealed is known by its root, and by the roots of its blocks, of
// which the ledger and the file itself each keep a copy: one that folds to the root is
// authentic, and tells in which blocks the difference is. The tags tell which event,
// unless they were edited too.
func compare(at Place, j *job) []Finding {
	c := comparison{at: at, first: j.record.First, want: int(j.record.Events), leaves: j.leaves, tags: j.tags} //nolint:gosec // a segment's size
	for _, blocks := range [][]proof.Hash{j.kept, j.blocks} {
		if proof.Root(blocks) == j.record.Root && len(blocks) == (c.want+proof.BlockSize-1)/proof.BlockSize {
			c.blocks = blocks
		}
	}
	authentic := c.blocks != nil
	switch {
	case len(c.leaves) < c.want:
		c.missing()
	case len(c.leaves) > c.want:
		c.inserted()
	case authentic && j.root != j.record.Root:
		c.changed()
	case j.root == j.record.Root:
		c.add(KindExchanged, at.First, at.Last, "the file says that its events are %d to %d", j.first, j.last)
	default:
		c.unknown()
	}
	return c.findings
}

// comparison finds the difference.
type comparison struct {
	at       Place
	first    uint64
	want     int
	leaves   []proof.Hash
	tags     [][tagSize]byte
	blocks   []proof.Hash // authentic; nil when none are
	findings []Finding
}

func (c *comparison) add(kind Kind, first, last uint64, format string, args ...any) {
	at := c.at
	at.First, at.Last = first, last
	c.findings = append(c.findings, Finding{kind, at, fmt.Sprintf(format, args...)})
}

// seq is the number of the event that row i should be.
func (c *comparison) seq(i int) uint64 { return c.first + uint64(i) } //nolint:gosec // an index

// block gives the leaves from row from on that a block of the sealed segment would have;
// false when they are not there.
func (c *comparison) block(b, shift int) ([]proof.Hash, bool) {
	from, to := b*proof.BlockSize+shift, min((b+1)*proof.BlockSize, c.want)+shift
	if from < 0 || to > len(c.leaves) || from >= to {
		return nil, false
	}
	return c.leaves[from:to], true
}

// fits reports whether a block is as sealed, its rows moved by shift.
func (c *comparison) fits(b, shift int) bool {
	leaves, ok := c.block(b, shift)
	return ok && proof.Root(leaves) == c.blocks[b]
}

// end is the number of a block's last event.
func (c *comparison) end(b int) uint64 {
	return c.seq(min((b+1)*proof.BlockSize, c.want) - 1)
}

// untagged are the rows from one up to, but not with, another whose event does not fit
// its tag.
func (c *comparison) untagged(from, to int) []int {
	var rows []int
	for i := from; i < to && i < len(c.tags); i++ {
		if c.tags[i] != [tagSize]byte(c.leaves[i][:]) {
			rows = append(rows, i)
		}
	}
	return rows
}

// changed is for as many events as were sealed, with authentic block roots.
func (c *comparison) changed() {
	var bad []int
	for b := range c.blocks {
		if !c.fits(b, 0) {
			bad = append(bad, b)
		}
	}
	if len(bad) == len(c.blocks) && len(bad) > 2 {
		c.add(KindChanged, c.at.First, c.at.Last, "no block of its events is what was sealed: it is of another log, or was written anew")
		return
	}
	if len(bad) <= maxSearched {
		bad = c.swapped(bad)
	}
	for n := 0; n < len(bad); n++ {
		first := bad[n]
		if rows := c.untaggedIn(first); len(rows) > 0 {
			c.name(rows)
			continue
		}
		for n+1 < len(bad) && bad[n+1] == bad[n]+1 && len(c.untaggedIn(bad[n+1])) == 0 {
			n++
		}
		c.add(KindEventChanged, c.seq(first*proof.BlockSize), c.end(bad[n]), "not all of them are what was sealed, or they stand in another order; the tags were changed with them")
	}
}

// untaggedIn are the rows of a block whose event does not fit its tag.
func (c *comparison) untaggedIn(b int) []int {
	return c.untagged(b*proof.BlockSize, min((b+1)*proof.BlockSize, c.want))
}

// unknown is for as many events as were sealed, without anything to tell which.
func (c *comparison) unknown() {
	if rows := c.untagged(0, len(c.leaves)); len(rows) > 0 {
		c.name(rows)
		return
	}
	c.add(KindChanged, c.at.First, c.at.Last, "its events are not those that were sealed, and nothing is left that says which: it is of another log, or events were changed or put in another order")
}

// name names events one by one.
func (c *comparison) name(rows []int) {
	for n, i := range rows {
		if n == maxNamed {
			c.add(KindEventChanged, c.seq(i), c.seq(rows[len(rows)-1]), "and %d more", len(rows)-n)
			return
		}
		c.add(KindEventChanged, c.seq(i), 0, "it is not what was sealed: its hash begins with %x, its tag is %x", c.leaves[i][:tagSize], c.tags[i])
	}
}

// span finds the blocks around a place at which rows were taken out or put in: all before it fit as
// they are, and all after it fit when moved by shift.
func (c *comparison) span(shift int) (from, to int) {
	from, to = 0, len(c.blocks)-1
	for from < to && c.fits(from, 0) {
		from++
	}
	for to > from && c.fits(to, shift) {
		to--
	}
	return from, to
}

// missing is for fewer events than were sealed.
func (c *comparison) missing() {
	gone := c.want - len(c.leaves)
	if c.blocks == nil {
		c.add(KindEventMissing, c.at.First, c.at.Last, "has %d events, and %d were sealed: %d were taken out", len(c.leaves), c.want, gone)
		return
	}
	from, to := c.span(-gone)
	c.add(KindEventMissing, c.seq(from*proof.BlockSize), c.end(to), "%d events were taken out from among these", gone)
}

// inserted is for more events than were sealed.
func (c *comparison) inserted() {
	more := len(c.leaves) - c.want
	if c.blocks == nil {
		c.add(KindEventInserted, c.at.First, c.at.Last, "has %d events, and %d were sealed: %d were put in", len(c.leaves), c.want, more)
		return
	}
	from, to := c.span(more)
	if from == to && more == 1 {
		start, end := from*proof.BlockSize, min((from+1)*proof.BlockSize, c.want)+1
		rest := make([]proof.Hash, 0, end-start)
		for i := start; i < end; i++ {
			rest = append(append(rest[:0], c.leaves[start:i]...), c.leaves[i+1:end]...)
			if proof.Root(rest) == c.blocks[from] {
				c.add(KindEventInserted, c.seq(i), 0, "it was put in: without it the segment is what was sealed")
				return
			}
		}
	}
	c.add(KindEventInserted, c.seq(from*proof.BlockSize), c.end(to), "%d events were put in among these", more)
}

// swapped looks for two events that changed places, and gives the blocks that this does
// not explain.
func (c *comparison) swapped(bad []int) []int {
	rest := slices.Clone(bad)
	explain := func(blocks ...int) bool {
		i, k, ok := c.findSwap(blocks)
		if ok {
			c.add(KindEventReordered, c.seq(i), c.seq(k), "the first and the last of these changed places")
			rest = slices.DeleteFunc(rest, func(b int) bool { return slices.Contains(blocks, b) })
		}
		return ok
	}
	if len(bad) == 2 && explain(bad...) {
		return rest
	}
	for _, b := range bad {
		explain(b)
	}
	return rest
}

// findSwap tries all pairs of rows of one block, or one of each of two blocks.
func (c *comparison) findSwap(blocks []int) (i, k int, ok bool) {
	left, leftOK := c.block(blocks[0], 0)
	right, rightOK := c.block(blocks[len(blocks)-1], 0)
	if !leftOK || !rightOK {
		return 0, 0, false
	}
	l, r := newBlockTree(left), newBlockTree(right)
	wantLeft, wantRight := c.blocks[blocks[0]], c.blocks[blocks[len(blocks)-1]]
	for i := range left {
		start := 0
		if len(blocks) == 1 {
			start = i + 1
		}
		for k := start; k < len(right); k++ {
			if len(blocks) == 1 {
				if l.with(i, left[k], k, left[i]) == wantLeft {
					return blocks[0]*proof.BlockSize + i, blocks[0]*proof.BlockSize + k, true
				}
				continue
			}
			if l.with(i, right[k], -1, proof.Hash{}) == wantLeft && r.with(k, left[i], -1, proof.Hash{}) == wantRight {
				return blocks[0]*proof.BlockSize + i, blocks[1]*proof.BlockSize + k, true
			}
		}
	}
	return 0, 0, false
}

// blockTree is the tree over one block, all levels of it, so that a root with some other
// leaves costs a few hashes.
type blockTree struct{ levels [][]proof.Hash }

func newBlockTree(leaves []proof.Hash) *blockTree {
	t := &blockTree{levels: [][]proof.Hash{leaves}}
	for n := len(leaves); n > 1; n = (n + 1) / 2 {
		below := t.levels[len(t.levels)-1]
		level := make([]proof.Hash, 0, (n+1)/2)
		for i := 0; i < n; i += 2 {
			level = append(level, proof.Root(below[i:min(i+2, n)]))
		}
		t.levels = append(t.levels, level)
	}
	return t
}

// with is the root with another leaf at i, and, unless k is below 0, one at k.
func (t *blockTree) with(i int, atI proof.Hash, k int, atK proof.Hash) proof.Hash {
	for _, level := range t.levels[:len(t.levels)-1] {
		parent := func(n int) proof.Hash {
			var pair [2]proof.Hash
			left := n &^ 1
			for side := range pair {
				switch at := left + side; {
				case at == i:
					pair[side] = atI
				case at == k:
					pair[side] = atK
				case at < len(level):
					pair[side] = level[at]
				default:
					return pair[0] // the odd last one goes up as it is
				}
			}
			return proof.Root(pair[:])
		}
		nextI := parent(i)
		if k >= 0 {
			atK = parent(k)
			k /= 2
		}
		i, atI = i/2, nextI
		if k == i {
			k = -1
		}
	}
	return atI
}
