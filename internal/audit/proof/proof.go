// Package proof has what makes the trail's past hard to change in silence: the
// Merkle tree over the events of a segment, the record that a sealed segment leaves,
// and the ledger, a transparency log of those records whose checkpoints are signed.
//
// A segment's root commits to its events, a record to that root and to the record
// before it, a checkpoint to all records. Whoever keeps a checkpoint elsewhere, or
// has a witness sign it, can tell later that nothing before it was changed, and that
// nothing was cut off. Without one, the whole data directory with its key can be
// put back to an older state and nobody can tell.
//
// The package knows hashes and files, not events: it takes leaf hashes from the log
// and gives proofs to who verifies.
package proof

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"os"
	"path/filepath"
)

// Hash is a SHA-256 hash.
type Hash = [sha256.Size]byte

// The first byte of what is hashed keeps leaves and inner nodes of a tree apart
// (RFC 6962).
const (
	leafPrefix = 0x00
	nodePrefix = 0x01
)

// Hasher makes leaf hashes without allocating. It is for one goroutine at a time.
type Hasher struct {
	digest hash.Hash
	prefix [1]byte
	sum    Hash
}

// NewHasher gives a Hasher.
func NewHasher() *Hasher {
	return &Hasher{digest: sha256.New(), prefix: [1]byte{leafPrefix}}
}

// Leaf is the RFC 6962 leaf hash of an event's canonical bytes.
func (h *Hasher) Leaf(canonical []byte) Hash {
	h.digest.Reset()
	h.digest.Write(h.prefix[:])
	h.digest.Write(canonical)
	h.digest.Sum(h.sum[:0])
	return h.sum
}

// LeafHash is Hasher.Leaf for a single leaf.
func LeafHash(canonical []byte) Hash { return NewHasher().Leaf(canonical) }

// Chain is the next link of the chain over all events: the hash of the link before
// and the leaf hash. The link before the first event is the zero Hash.
func Chain(before, leaf Hash) Hash {
	var both [2 * sha256.Size]byte
	copy(both[:sha256.Size], before[:])
	copy(both[sha256.Size:], leaf[:])
	return sha256.Sum256(both[:])
}

// node is the hash of an inner node.
func node(left, right *Hash) Hash {
	var both [1 + 2*sha256.Size]byte
	both[0] = nodePrefix
	copy(both[1:], left[:])
	copy(both[1+sha256.Size:], right[:])
	return sha256.Sum256(both[:])
}

// WriteFile puts data at path whole or not at all, and durably: it is written beside,
// synced, renamed, and the directory synced.
func WriteFile(path string, data []byte, perm os.FileMode) error {
	beside := path + ".new"
	file, err := os.OpenFile(beside, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm) //nolint:gosec // a path from the configuration
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(beside, path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a directory's entries durable.
func syncDir(dir string) error {
	file, err := os.Open(dir) //nolint:gosec // a path from the configuration
	if err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	err = file.Sync()
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}
