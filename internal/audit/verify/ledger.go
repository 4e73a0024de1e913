package verify

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api/layout"
	"golang.org/x/mod/sumdb/note"

	"bulwark.dev/bulwark/internal/audit/proof"
	"bulwark.dev/bulwark/internal/audit/proof/witness"
)

// ledgerName is the ledger's directory, as findings name it.
const ledgerName = "tlog"

// leaves are the ledger's leaf hashes as the two places that have them say.
type leaves struct {
	raw     [][]byte     // the records' bytes; nil where they cannot be read
	tile    []proof.Hash // from the tiles of the lowest level
	inTiles []bool
	file    []string // the file that a record stands in
}

// hash is the leaf hash of record i: that of its bytes, or, if wanted or there are no bytes, that of the
// tile.
func (l *leaves) hash(i int, fromTile bool) (proof.Hash, bool) {
	if l.raw[i] != nil && (!fromTile || !l.inTiles[i]) {
		return proof.LeafHash(l.raw[i]), true
	}
	return l.tile[i], l.inTiles[i]
}

// root is the root over the hashes of one source.
func (l *leaves) root(size uint64, fromTile bool) ([]proof.Hash, bool) {
	if uint64(len(l.raw)) < size {
		return nil, false
	}
	hashes := make([]proof.Hash, size)
	for i := range hashes {
		var ok bool
		if hashes[i], ok = l.hash(i, fromTile); !ok {
			return nil, false
		}
	}
	return hashes, true
}

// ledger verifies checkpoint, tiles and records, and gives the records that are sound,
// by number; nil stands for one that is not.
func (v *verifier) ledger(ctx context.Context) ([]*proof.Record, error) {
	files := proof.NewFiles(os.DirFS(proof.LedgerPath(v.options.Dir)))
	now, there := v.checkpoint(files)
	if !there {
		return nil, nil
	}
	v.report.Ledger.Origin, v.report.Ledger.Size, v.report.Ledger.Root = now.Origin, now.Size, fmt.Sprintf("%x", now.Root)
	l := v.readLeaves(files, now.Size)
	v.whole = uint64(len(l.raw)) == now.Size
	hashes, sound := v.judge(l, now)
	if sound {
		v.tiles(files, hashes)
	}
	if err := v.kept(ctx, now, hashes, sound); err != nil {
		return nil, err
	}
	return v.records(l, hashes, sound), nil
}

// checkpoint reads the published checkpoint. One that is not signed is still followed,
// to say more than that.
func (v *verifier) checkpoint(files proof.Files) (proof.Checkpoint, bool) {
	at := Place{File: path.Join(ledgerName, layout.CheckpointPath)}
	raw, err := files.Checkpoint()
	if err != nil {
		v.find(KindCheckpoint, at, "cannot be read, so nothing is proven: %v", err)
		return proof.Checkpoint{}, false
	}
	now, err := proof.ParseCheckpoint(raw, v.key)
	if err == nil {
		v.report.Ledger.Signed = true
		return now, true
	}
	claimed, peekErr := proof.PeekCheckpoint(raw)
	at.Size = claimed.Size
	switch {
	case peekErr != nil:
		v.find(KindCheckpoint, at, "is no checkpoint: %v", peekErr)
		return proof.Checkpoint{}, false
	case claimed.Origin != v.key.Name() && v.sameKey(raw, claimed.Origin):
		v.find(KindCheckpoint, at, "is of log %q: the key of log %q was used for another log", claimed.Origin, v.key.Name())
	case claimed.Origin != v.key.Name():
		v.find(KindCheckpoint, at, "is of log %q, and the key that was given is of log %q: %v", claimed.Origin, v.key.Name(), err)
	case errors.Is(err, proof.ErrSignature):
		v.find(KindCheckpoint, at, "was edited after it was signed: the signature of the log's key does not fit its text")
	default:
		v.find(KindCheckpoint, at, "is not signed with the key that was given: %v", err)
	}
	return claimed, true
}

// sameKey reports whether a checkpoint is signed with the very key that was given, under another
// name.
func (v *verifier) sameKey(raw []byte, name string) bool {
	parts := strings.SplitN(strings.TrimSpace(v.options.Key), "+", 3) // name, hash, algorithm and key
	public, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(public) != 1+ed25519.PublicKeySize {
		return false
	}
	text, err := note.NewEd25519VerifierKey(name, public[1:])
	if err != nil {
		return false
	}
	key, err := proof.ParseVerifier(text)
	if err != nil {
		return false
	}
	_, err = proof.ParseCheckpoint(raw, key)
	return err == nil
}

// readLeaves reads the records and the lowest tiles. An end that neither has is told
// once and not looked for further.
func (v *verifier) readLeaves(files proof.Files, size uint64) *leaves {
	l := &leaves{}
	for index := uint64(0); index*layout.TileWidth < size; index++ {
		first := index * layout.TileWidth
		count := min(size-first, layout.TileWidth)
		entries, file, entriesErr := files.Bundle(index, size)
		nodes, tileFile, tileErr := files.Tile(0, index, size)
		at := Place{File: path.Join(ledgerName, file), Segment: first + 1, Size: size}
		if entriesErr != nil && tileErr != nil && errors.Is(entriesErr, fs.ErrNotExist) && errors.Is(tileErr, fs.ErrNotExist) {
			v.find(KindRecord, at, "records %d to %d are missing from the ledger", first+1, size)
			break
		}
		if entriesErr != nil {
			v.find(KindRecord, at, "records %d to %d cannot be read: %v", first+1, first+count, entriesErr)
			entries = make([][]byte, count)
		}
		if tileErr != nil {
			v.find(KindTile, Place{File: path.Join(ledgerName, tileFile), Size: size}, "cannot be read: %v", tileErr)
			nodes = nil
		}
		for i := range count {
			l.raw, l.file = append(l.raw, entries[i]), append(l.file, at.File)
			if nodes != nil {
				l.tile, l.inTiles = append(l.tile, nodes[i]), append(l.inTiles, true)
			} else {
				l.tile, l.inTiles = append(l.tile, proof.Hash{}), append(l.inTiles, false)
			}
		}
	}
	return l
}

// judge finds out which of the two sources gives the root that is signed, and blames the
// other where they differ.
func (v *verifier) judge(l *leaves, now proof.Checkpoint) (hashes []proof.Hash, sound bool) {
	byRecords, whole := l.root(now.Size, false)
	if whole && proof.Root(byRecords) == now.Root {
		for i := range l.raw {
			if l.inTiles[i] && l.tile[i] != byRecords[i] {
				index := uint64(i) / layout.TileWidth
				file := layout.TilePath(0, index, layout.PartialTileSize(0, index, now.Size))
				v.find(KindTile, Place{File: path.Join(ledgerName, file), Size: now.Size}, "its hash of record %d is not that record's", i+1)
			}
		}
		return byRecords, true
	}
	byTiles, whole := l.root(now.Size, true)
	sound = whole && proof.Root(byTiles) == now.Root
	for i, raw := range l.raw {
		if raw != nil && l.inTiles[i] && l.tile[i] != proof.LeafHash(raw) {
			detail := "record %d is not the one that was signed"
			if !sound {
				detail = "record %d and its hash in the ledger's tile do not agree"
			}
			v.find(KindRecord, Place{File: l.file[i], Segment: uint64(i) + 1, Size: now.Size}, detail, i+1)
		}
	}
	if !sound && uint64(len(l.raw)) == now.Size {
		v.find(KindCheckpoint, Place{File: path.Join(ledgerName, layout.CheckpointPath), Size: now.Size},
			"signs the root %x, and the ledger's %d records do not give it", now.Root, now.Size)
	}
	return byTiles, sound
}

// tiles compares the tiles above the lowest with what the leaves give.
func (v *verifier) tiles(files proof.Files, hashes []proof.Hash) {
	size := uint64(len(hashes))
	type tile struct {
		nodes []proof.Hash
		bad   bool
	}
	read := map[[2]uint64]*tile{}
	visit := func(id compact.NodeID, hash []byte) {
		if id.Level == 0 || id.Level%layout.TileHeight != 0 {
			return
		}
		level, index := uint64(id.Level/layout.TileHeight), id.Index/layout.TileWidth
		t := read[[2]uint64{level, index}]
		if t == nil {
			nodes, file, err := files.Tile(level, index, size)
			t = &tile{nodes: nodes, bad: err != nil}
			read[[2]uint64{level, index}] = t
			if err != nil {
				v.find(KindTile, Place{File: path.Join(ledgerName, file), Size: size}, "cannot be read: %v", err)
			}
		}
		if !t.bad && t.nodes[id.Index%layout.TileWidth] != proof.Hash(hash) {
			t.bad = true
			file := layout.TilePath(level, index, layout.PartialTileSize(level, index, size))
			v.find(KindTile, Place{File: path.Join(ledgerName, file), Size: size}, "its node %d is not the hash of the records under it", id.Index%layout.TileWidth)
		}
	}
	edge := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	for i := range hashes {
		if err := edge.Append(hashes[i][:], visit); err != nil {
			v.find(KindTile, Place{File: ledgerName, Size: size}, "the tree cannot be built: %v", err)
			return
		}
	}
}

// records parses the records and follows their links.
func (v *verifier) records(l *leaves, hashes []proof.Hash, sound bool) []*proof.Record {
	records := make([]*proof.Record, len(l.raw))
	var before proof.Record
	var digest proof.Hash
	linked := true
	for i, raw := range l.raw {
		number := uint64(i) + 1
		at := Place{File: l.file[i], Segment: number}
		trusted := raw != nil && (!sound || proof.LeafHash(raw) == hashes[i])
		if !trusted {
			linked = false // told already
			continue
		}
		r, err := proof.ParseRecord(raw)
		if err != nil {
			v.find(KindRecord, at, "cannot be read: %v", err)
			linked = false
			continue
		}
		if linked {
			if err := proof.Follows(&before, digest, &r); err != nil {
				v.find(KindRecord, at, "%v", err)
			}
		} else if r.Number != number {
			v.find(KindRecord, at, "record %d stands where %d should", r.Number, number)
			continue
		}
		before, digest, linked = r, proof.RecordHash(raw), true
		records[i] = &r
	}
	return records
}

// kept compares the ledger with older checkpoints: those that were given, those that
// witnesses signed, and the copies beside the ledger.
func (v *verifier) kept(ctx context.Context, now proof.Checkpoint, hashes []proof.Hash, sound bool) error {
	for i, raw := range v.options.Kept {
		v.extends(fmt.Sprintf("kept checkpoint %d", i+1), raw, now, hashes, sound)
	}
	wanted := map[string]bool{}
	for _, text := range v.options.Witnesses {
		key, err := witness.ParseVerifier(text)
		if err != nil {
			return err
		}
		path := witness.CosignedPath(v.options.Dir, key)
		wanted[path] = true
		v.cosigned(path, key, now, hashes, sound)
	}
	// Without their keys the witnesses' signatures say nothing, but the log's own on the
	// same text does.
	beside, err := filepath.Glob(filepath.Join(proof.LedgerPath(v.options.Dir), "witness", "*.checkpoint"))
	if err != nil {
		return err
	}
	for _, path := range beside {
		if wanted[path] {
			continue
		}
		if raw, err := os.ReadFile(path); err == nil { //nolint:gosec // in the directory to verify
			v.extends(v.name(path), raw, now, hashes, sound)
		}
	}
	return ctx.Err()
}

// cosigned verifies what a witness signed.
func (v *verifier) cosigned(path string, key note.Verifier, now proof.Checkpoint, hashes []proof.Hash, sound bool) {
	at := Place{File: v.name(path)}
	raw, err := os.ReadFile(path) //nolint:gosec // in the directory to verify
	if err != nil {
		v.find(KindWitness, at, "witness %s has signed nothing that is here: %v", key.Name(), err)
		return
	}
	if _, err := note.Open(raw, note.VerifierList(key)); err != nil {
		v.find(KindWitness, at, "is not signed by witness %s+%08x: %v", key.Name(), key.KeyHash(), err)
		return
	}
	old, fits := v.extends(v.name(path), raw, now, hashes, sound)
	if fits && old.Size < now.Size {
		v.note(KindWitness, at, "witness %s signed the first %d of %d records", key.Name(), old.Size, now.Size)
	}
}

// extends reports whether the ledger grew out of an older checkpoint.
func (v *verifier) extends(file string, raw []byte, now proof.Checkpoint, hashes []proof.Hash, sound bool) (proof.Checkpoint, bool) {
	old, err := proof.ParseCheckpoint(raw, v.key)
	at := Place{File: file, Size: old.Size}
	switch {
	case err != nil:
		v.find(KindCheckpoint, at, "cannot be compared: %v", err)
	case old.Size > now.Size:
		v.find(KindRollback, at, "signs %d records, and the ledger has %d: it was rolled back, the last %d segments are gone from it",
			old.Size, now.Size, old.Size-now.Size)
	case !sound:
		v.note(KindCheckpoint, at, "cannot be compared with a ledger whose own root does not fit")
	case proof.Root(hashes[:old.Size]) != old.Root:
		v.find(KindFork, at, "signs another root for the first %d records: the past was written anew, or this is another log under the same name and key", old.Size)
	default:
		v.report.Kept++
		return old, true
	}
	return old, false
}
