package proof

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/client"
)

// treeStateFile is where Tessera keeps the size and root up to which the tree is
// built. It signs what stands there without a look at the tree.
const treeStateFile = ".state/treeState"

// treeState is the content of that file.
type treeState struct {
	Size uint64 `json:"size"`
	Root []byte `json:"root"`
}

// inspect reads a ledger before Tessera may write to it. Tessera trusts its state file:
// without one it would sign an empty log over the one that is there, and with an older
// one it would fork it. So the state has to cover the published checkpoint, and the
// records and tiles have to give both roots.
func (l *Ledger) inspect(ctx context.Context, config LedgerConfig) error {
	built, err := l.readTreeState()
	fresh := absent(err)
	if err != nil && !fresh {
		return err
	}
	signed, err := l.checkpoint()
	switch {
	case absent(err) && fresh:
		if old := anySealed(config.Dir); old != "" {
			return fmt.Errorf("there is no ledger, but %s was sealed: put the ledger back, or choose another data directory", old)
		}
		if len(config.Kept) > 0 {
			return errors.New("there is no ledger, but a checkpoint of it was kept: it was removed")
		}
		return nil
	case absent(err):
		// A crash on the first start, before the first checkpoint.
		if built.Size != 0 {
			return fmt.Errorf("its checkpoint is missing, with %d records in it", built.Size)
		}
	case err != nil:
		return err
	case fresh:
		return fmt.Errorf("%s is missing, with a checkpoint of %d records", treeStateFile, signed.Size)
	case built.Size < signed.Size:
		return fmt.Errorf("its state is of %d records, but %d are signed: the state was put back", built.Size, signed.Size)
	}
	if err := l.loadTo(signed.Size, signed.Root); err != nil {
		return fmt.Errorf("the %d records that are signed: %w", signed.Size, err)
	}
	if err := l.extends(ctx, config.Kept, signed); err != nil {
		return err
	}
	// After a crash there may be records in the tree that are not signed yet.
	if len(built.Root) != len(Hash{}) {
		return fmt.Errorf("%s has a root of %d bytes", treeStateFile, len(built.Root))
	}
	if err := l.loadTo(built.Size, Hash(built.Root)); err != nil {
		return fmt.Errorf("the %d records that are written: %w", built.Size, err)
	}
	return nil
}

// loadTo reads records up to size, compares their hashes with the tiles, and their
// root with the one that is asked for.
func (l *Ledger) loadTo(size uint64, want Hash) error {
	if size == 0 {
		return nil // ParseCheckpoint knows the root of nothing
	}
	tiles := map[[2]uint64][]Hash{}
	var failed error
	visit := func(id compact.NodeID, hash []byte) {
		if failed != nil || id.Level%layout.TileHeight != 0 {
			return
		}
		level, index := uint64(id.Level/layout.TileHeight), id.Index/layout.TileWidth
		at := [2]uint64{level, index}
		tile, read := tiles[at]
		if !read {
			tile, _, failed = l.files.Tile(level, index, size)
			tiles[at] = tile
		}
		if n := id.Index % layout.TileWidth; failed == nil && tile[n] != Hash(hash) {
			failed = fmt.Errorf("%s does not have the hash of the records under it", layout.TilePath(level, index, layout.PartialTileSize(level, index, size)))
		}
	}
	if err := l.files.load(l.state, size, visit); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	root, err := l.state.root()
	if err != nil {
		return err
	}
	if root != want {
		return fmt.Errorf("their root is %x, want %x", root, want)
	}
	return nil
}

// unchanged reports why the files that the next root will be made of are not those that
// the ledger wrote. It is asked before each record, so that a root over something else
// is not signed at all.
func (l *Ledger) unchanged(ctx context.Context) error {
	root, err := l.state.root()
	if err != nil {
		return err
	}
	built, err := l.readTreeState()
	if err != nil {
		return err
	}
	if built.Size != l.state.size() || !bytes.Equal(built.Root, root[:]) {
		return fmt.Errorf("%s is not what was written: it was changed from outside", treeStateFile)
	}
	nodes, err := client.FetchRangeNodes(ctx, built.Size, l.files.fetch)
	if err != nil {
		return err
	}
	if !slices.EqualFunc(nodes, l.state.edge.Hashes(), bytes.Equal) {
		return errors.New("a tile of the ledger is not what was written: it was changed from outside")
	}
	return nil
}

// extends reports why the ledger is not one that grew out of the kept checkpoints.
func (l *Ledger) extends(ctx context.Context, kept [][]byte, now Checkpoint) error {
	for _, raw := range kept {
		old, err := ParseCheckpoint(raw, l.key.verifier)
		if err != nil {
			return fmt.Errorf("kept checkpoint: %w", err)
		}
		if err := l.files.Extends(ctx, old, now); err != nil {
			return err
		}
	}
	return nil
}

// Extends reports why the ledger at checkpoint now cannot have grown out of what old
// signed.
func (f Files) Extends(ctx context.Context, old, now Checkpoint) error {
	if old.Size > now.Size {
		return fmt.Errorf("the ledger was rolled back: it has %d records, and a kept checkpoint signs %d", now.Size, old.Size)
	}
	if old.Size == 0 {
		return nil // everything begins with nothing
	}
	path, err := f.Consistency(ctx, old.Size, now.Size)
	if err != nil {
		return err
	}
	if err := CheckConsistency(old.Size, now.Size, path, old.Root, now.Root); err != nil {
		return fmt.Errorf("the ledger's past was changed: its first %d records are not those that a kept checkpoint signs: %w", old.Size, err)
	}
	return nil
}

// readTreeState reads Tessera's state.
func (l *Ledger) readTreeState() (treeState, error) {
	raw, err := os.ReadFile(filepath.Join(l.dir, filepath.FromSlash(treeStateFile)))
	if err != nil {
		return treeState{}, fmt.Errorf("read the ledger's state: %w", err)
	}
	var s treeState
	if err := json.Unmarshal(raw, &s); err != nil {
		return treeState{}, fmt.Errorf("read the ledger's state %s: %w", treeStateFile, err)
	}
	return s, nil
}
