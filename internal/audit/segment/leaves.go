package segment

import (
	"crypto/sha256"

	"bulwark.dev/bulwark/internal/audit"
)

// hasher makes RFC 6962 hashes in memory that is used again.
type hasher struct {
	buf []byte
}

func newHasher() *hasher { return new(hasher) }

// leaf is the leaf hash of an event's canonical bytes.
func (h *hasher) leaf(e *audit.Event) [32]byte {
	h.buf = audit.AppendCanonical(append(h.buf[:0], 0), e)
	return sha256.Sum256(h.buf)
}

// root is the Merkle root of leaves, of which there is at least one. It uses their memory.
func (h *hasher) root(leaves [][32]byte) [32]byte {
	// Pairing neighbours and carrying an odd last one upwards gives the tree of RFC 6962.
	for len(leaves) > 1 {
		n := 0
		for i := 0; i < len(leaves); i += 2 {
			if i+1 < len(leaves) {
				leaves[n] = node(leaves[i], leaves[i+1])
			} else {
				leaves[n] = leaves[i]
			}
			n++
		}
		leaves = leaves[:n]
	}
	return leaves[0]
}

func node(left, right [32]byte) [32]byte {
	var pair [65]byte
	pair[0] = 1
	copy(pair[1:], left[:])
	copy(pair[33:], right[:])
	return sha256.Sum256(pair[:])
}

// blocks collects the roots of each blockRows leaves.
type blocks struct {
	hasher *hasher
	open   [][32]byte
	roots  [][32]byte
}

func (b *blocks) add(leaf [32]byte) {
	b.open = append(b.open, leaf)
	if len(b.open) == blockRows {
		b.flush()
	}
}

func (b *blocks) flush() {
	if len(b.open) > 0 {
		b.roots = append(b.roots, b.hasher.root(b.open))
		b.open = b.open[:0]
	}
}
