package verify

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/audit/proof"
)

// sealedLeaves are the leaf hashes of a segment of n events, the first of which is
// event 1001.
func sealedLeaves(n int) []proof.Hash {
	leaves := make([]proof.Hash, n)
	for i := range leaves {
		leaves[i] = proof.LeafHash(binary.BigEndian.AppendUint64(nil, uint64(i)))
	}
	return leaves
}

func tagsOf(leaves []proof.Hash) [][tagSize]byte {
	tags := make([][tagSize]byte, len(leaves))
	for i := range leaves {
		tags[i] = [tagSize]byte(leaves[i][:])
	}
	return tags
}

func blocksOf(leaves []proof.Hash) []proof.Hash {
	var tree proof.Tree
	for _, leaf := range leaves {
		tree.Append(leaf)
	}
	return tree.Blocks()
}

func strange(i int) proof.Hash { return proof.LeafHash([]byte{byte(i), byte(i >> 8), 's'}) }

// TestCompare: what is said of a segment that is not as sealed, by what its file still
// has: authentic block roots, tags that were not edited, both or neither.
func TestCompare(t *testing.T) {
	t.Parallel()
	const n = 700 // two whole blocks and one of 188
	set := func(rows ...int) func([]proof.Hash) []proof.Hash {
		return func(leaves []proof.Hash) []proof.Hash {
			for _, i := range rows {
				leaves[i] = strange(i)
			}
			return leaves
		}
	}
	swap := func(i, k int) func([]proof.Hash) []proof.Hash {
		return func(leaves []proof.Hash) []proof.Hash {
			leaves[i], leaves[k] = leaves[k], leaves[i]
			return leaves
		}
	}
	remove := func(i, k int) func([]proof.Hash) []proof.Hash {
		return func(leaves []proof.Hash) []proof.Hash { return slices.Delete(leaves, i, k) }
	}
	insert := func(at, count int) func([]proof.Hash) []proof.Hash {
		return func(leaves []proof.Hash) []proof.Hash {
			for i := range count {
				leaves = slices.Insert(leaves, at, strange(i))
			}
			return leaves
		}
	}
	type place struct {
		Kind        Kind
		First, Last uint64
	}
	cases := []struct {
		name         string
		change       func([]proof.Hash) []proof.Hash
		blocks, tags bool // whether the file still has the sealed ones
		want         []place
	}{
		{"changed", set(5), true, true, []place{{KindEventChanged, 1006, 0}}},
		{"changed in two blocks", set(5, 699), true, true, []place{{KindEventChanged, 1006, 0}, {KindEventChanged, 1700, 0}}},
		{"changed, tags too", set(5), true, false, []place{{KindEventChanged, 1001, 1256}}},
		{"changed in the last block, tags too", set(699), true, false, []place{{KindEventChanged, 1513, 1700}}},
		{"changed, block roots too", set(5), false, true, []place{{KindEventChanged, 1006, 0}}},
		{"changed, all too", set(5), false, false, []place{{KindChanged, 1001, 1700}}},
		{"swapped", swap(3, 200), true, true, []place{{KindEventReordered, 1004, 1201}}},
		{"swapped, tags too", swap(3, 200), true, false, []place{{KindEventReordered, 1004, 1201}}},
		{"neighbours swapped in the last block", swap(690, 691), true, false, []place{{KindEventReordered, 1691, 1692}}},
		{"the very last two swapped", swap(698, 699), true, false, []place{{KindEventReordered, 1699, 1700}}},
		{"swapped between blocks", swap(3, 600), true, false, []place{{KindEventReordered, 1004, 1601}}},
		{"swapped, all too", swap(3, 600), false, false, []place{{KindChanged, 1001, 1700}}},
		{"the first taken out", remove(0, 1), true, false, []place{{KindEventMissing, 1001, 1256}}},
		{"taken out", remove(300, 302), true, false, []place{{KindEventMissing, 1257, 1512}}},
		{"the last taken out", remove(699, 700), true, false, []place{{KindEventMissing, 1513, 1700}}},
		{"taken out over blocks", remove(200, 600), true, false, []place{{KindEventMissing, 1001, 1700}}},
		{"taken out, all too", remove(300, 302), false, false, []place{{KindEventMissing, 1001, 1700}}},
		{"put in at the beginning", insert(0, 1), true, false, []place{{KindEventInserted, 1001, 0}}},
		{"put in", insert(300, 1), true, false, []place{{KindEventInserted, 1301, 0}}},
		{"put in at the end", insert(700, 1), true, false, []place{{KindEventInserted, 1701, 0}}},
		{"three put in", insert(300, 3), true, false, []place{{KindEventInserted, 1257, 1512}}},
		{"changed in neighbouring blocks, tags too", set(5, 300), true, false, []place{{KindEventChanged, 1001, 1512}}},
		{"all changed", set(5, 300, 600), true, true, []place{{KindChanged, 1001, 1700}}},
		{"put in, all too", insert(300, 1), false, false, []place{{KindEventInserted, 1001, 1700}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sealed := sealedLeaves(n)
			record := &proof.Record{Number: 2, First: 1001, Last: 1000 + n, Events: n, Root: proof.Root(sealed)}
			leaves := c.change(slices.Clone(sealed))
			j := &job{record: record, leaves: leaves, root: proof.Root(leaves), tags: tagsOf(leaves), blocks: blocksOf(leaves)}
			if c.blocks {
				j.blocks = blocksOf(sealed)
			}
			if c.tags {
				j.tags = tagsOf(sealed)
			}
			var got []place
			for _, f := range compare(Place{Segment: 2, First: record.First, Last: record.Last}, j) {
				got = append(got, place{f.Kind, f.What.First, f.What.Last})
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestCompareNamesFew: a segment in which everything is different is not told event by
// event.
func TestCompareNamesFew(t *testing.T) {
	t.Parallel()
	sealed := sealedLeaves(2000)
	leaves := slices.Clone(sealed)
	for i := range leaves {
		leaves[i] = strange(i)
	}
	record := &proof.Record{Number: 1, First: 1, Last: 2000, Events: 2000, Root: proof.Root(sealed)}
	j := &job{record: record, leaves: leaves, root: proof.Root(leaves), tags: tagsOf(sealed), blocks: blocksOf(leaves)}
	if n := len(compare(Place{}, j)); n != maxNamed+1 {
		t.Errorf("%d findings", n)
	}
}

// TestMoved: events that went into a neighbour, whatever became of the tags.
func TestMoved(t *testing.T) {
	t.Parallel()
	all := sealedLeaves(900)
	part := func(number, from, to int, leaves []proof.Hash) *job {
		return &job{
			record: &proof.Record{Number: uint64(number), Events: uint64(to - from), Root: proof.Root(all[from:to])},
			open:   true, leaves: leaves, root: proof.Root(leaves),
		}
	}
	for name, c := range map[string]struct {
		cut1, cut2 int
		want       bool
	}{
		"one on":          {299, 600, true},
		"all into one":    {0, 900, true},
		"both boundaries": {310, 599, true},
	} {
		jobs := []*job{part(1, 0, 300, all[:c.cut1]), part(2, 300, 600, all[c.cut1:c.cut2]), part(3, 600, 900, all[c.cut2:])}
		for _, j := range jobs {
			j.good = j.root == j.record.Root
		}
		found := runs(jobs)
		if len(found) != 1 || moved(found[0]) != c.want {
			t.Errorf("%s: %d runs", name, len(found))
		}
		jobs[0].leaves = append(slices.Clone(jobs[0].leaves), strange(1))
		if moved(found[0]) {
			t.Errorf("%s: moved with one event more", name)
		}
	}
}
