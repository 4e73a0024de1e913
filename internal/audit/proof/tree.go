package proof

import (
	"crypto/sha256"
	"fmt"
	"math/bits"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// BlockSize is how many leaves of a segment one block has. Blocks are aligned, so that
// their roots fold to the segment's root, and a wrong event is found within its block.
const BlockSize = 256

// blockLevel is the height of a whole block in the tree.
const blockLevel = 8

// Tree is the RFC 6962 Merkle tree over leaf hashes given in order. It keeps one hash
// per level and the roots of whole blocks. The zero Tree is empty and ready.
type Tree struct {
	size   uint64
	edge   [64]Hash // edge[i] is a whole subtree of height i where bit i of size is set
	blocks []Hash
}

// Append adds the next leaf hash.
func (t *Tree) Append(leaf Hash) {
	level := 0
	for t.size>>level&1 == 1 {
		leaf = node(&t.edge[level], &leaf)
		level++
		if level == blockLevel {
			t.blocks = append(t.blocks, leaf)
		}
	}
	t.edge[level] = leaf
	t.size++
}

// Size is the number of leaves.
func (t *Tree) Size() uint64 { return t.size }

// Root is the root over all leaves; of an empty tree it is the hash of nothing.
func (t *Tree) Root() Hash { return t.fold(t.size) }

// Blocks gives the roots of the aligned blocks, the last of which may have fewer than
// BlockSize leaves. Root(Blocks()) equals Root().
func (t *Tree) Blocks() []Hash {
	blocks := append([]Hash(nil), t.blocks...)
	if part := t.size % BlockSize; part != 0 {
		blocks = append(blocks, t.fold(part))
	}
	return blocks
}

// fold joins the subtrees on the right edge that the bits of size name.
func (t *Tree) fold(size uint64) Hash {
	if size == 0 {
		return sha256.Sum256(nil)
	}
	level := bits.TrailingZeros64(size)
	root := t.edge[level]
	for level++; level < bits.Len64(size); level++ {
		if size>>level&1 == 1 {
			root = node(&t.edge[level], &root)
		}
	}
	return root
}

// Root is the RFC 6962 root over the given hashes: leaf hashes, or the roots of aligned
// blocks.
func Root(hashes []Hash) Hash {
	switch len(hashes) {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return hashes[0]
	}
	cut := split(len(hashes))
	left, right := Root(hashes[:cut]), Root(hashes[cut:])
	return node(&left, &right)
}

// Path is the inclusion path of the hash at index i, from the leaf upwards. For an
// event in a segment it is the path within its block followed by the block's path
// among the blocks' roots.
func Path(hashes []Hash, i int) []Hash {
	if len(hashes) <= 1 {
		return nil
	}
	cut := split(len(hashes))
	if i < cut {
		return append(Path(hashes[:cut], i), Root(hashes[cut:]))
	}
	return append(Path(hashes[cut:], i-cut), Root(hashes[:cut]))
}

// split is the largest power of two below n.
func split(n int) int { return 1 << (bits.Len64(uint64(n-1)) - 1) } //nolint:gosec // n is at least 2

// CheckPath verifies that path leads from the leaf hash at index to the root of a tree
// of the given size.
func CheckPath(leaf Hash, index, size uint64, path []Hash, root Hash) error {
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, size, leaf[:], slicesOf(path), root[:]); err != nil {
		return fmt.Errorf("inclusion of leaf %d in a tree of %d: %w", index, size, err)
	}
	return nil
}

// CheckConsistency verifies that the tree of size to with root toRoot begins with
// exactly the leaves of the tree of size from with root fromRoot.
func CheckConsistency(from, to uint64, path []Hash, fromRoot, toRoot Hash) error {
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, from, to, slicesOf(path), fromRoot[:], toRoot[:]); err != nil {
		return fmt.Errorf("consistency of size %d with size %d: %w", from, to, err)
	}
	return nil
}

func slicesOf(path []Hash) [][]byte {
	out := make([][]byte, len(path))
	for i := range path {
		out[i] = path[i][:]
	}
	return out
}

func hashes(path [][]byte) ([]Hash, error) {
	out := make([]Hash, len(path))
	for i, h := range path {
		if len(h) != sha256.Size {
			return nil, fmt.Errorf("hash %d has %d bytes", i, len(h))
		}
		out[i] = Hash(h)
	}
	return out, nil
}
