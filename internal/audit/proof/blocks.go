package proof

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
)

// maxBlocks is more than the blocks of any segment take.
const maxBlocks = 16 << 20

// BlocksFile is the name of the file in the ledger that has the block roots of a
// segment, end to end.
func BlocksFile(number uint64) string { return path.Join("blocks", fmt.Sprintf("%020d", number)) }

// ErrBlocks: the block roots that are kept do not fold to the segment's root.
var ErrBlocks = errors.New("the block roots are not those of the segment")

// fit reports whether blocks can be those of a segment.
func fit(blocks []Hash, r *Record) bool {
	return uint64(len(blocks)) == (r.Events+BlockSize-1)/BlockSize && Root(blocks) == r.Root
}

// keepBlocks writes a record's block roots beside the ledger. It comes before the record,
// so that every record written with blocks has them.
func (l *Ledger) keepBlocks(r *Record) error {
	if len(r.Blocks) == 0 {
		return nil
	}
	if !fit(r.Blocks, r) {
		return ErrBlocks
	}
	file := filepath.Join(l.dir, filepath.FromSlash(BlocksFile(r.Number)))
	if info, err := os.Stat(file); err == nil && info.Size() == int64(len(r.Blocks)*sha256.Size) {
		return nil // from an Append that was interrupted
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { //nolint:gosec // as public as the ledger around it
		return err
	}
	raw := make([]byte, 0, len(r.Blocks)*sha256.Size)
	for _, block := range r.Blocks {
		raw = append(raw, block[:]...)
	}
	return WriteFile(file, raw, 0o644)
}

// Blocks gives the block roots that are kept of a segment. They are proven by the
// record: ErrBlocks says that they are not its own.
func (f Files) Blocks(r *Record) ([]Hash, error) {
	raw, err := f.read(BlocksFile(r.Number), maxBlocks)
	if err != nil {
		return nil, err
	}
	blocks := make([]Hash, len(raw)/sha256.Size)
	for i := range blocks {
		blocks[i] = Hash(raw[i*sha256.Size:])
	}
	if len(raw)%sha256.Size != 0 || !fit(blocks, r) {
		return nil, fmt.Errorf("read ledger: %s: %w", BlocksFile(r.Number), ErrBlocks)
	}
	return blocks, nil
}
