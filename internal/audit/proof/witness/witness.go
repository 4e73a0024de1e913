// Package witness gets the log's checkpoints out of the reach of whoever could change
// the log: into a file elsewhere, or signed by a witness, which is another program
// that remembers the last checkpoint it saw and signs only what grew out of it (C2SP
// tlog-witness). A second Bulwark can be that witness: see Server.
//
// Without either, a data directory that was put back to an older state, or written
// anew by someone who has the key, verifies as well as the true one.
package witness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"

	"bulwark.dev/bulwark/internal/audit/proof"
)

// Why a checkpoint was not kept or signed. Both mean that the log's past is not what it
// was: somebody must look.
var (
	// ErrAhead: the keeper has seen a larger log than the one that is there.
	ErrAhead = errors.New("the ledger was rolled back")
	// ErrForked: the keeper has seen another past.
	ErrForked = errors.New("the ledger's past was changed")
)

// ledger is the log in a data directory, with its newest checkpoint.
type ledger struct {
	files  proof.Files
	key    note.Verifier
	newest proof.Checkpoint
}

func openLedger(dir string) (*ledger, error) {
	text, err := os.ReadFile(proof.VerifierPath(dir))
	if err != nil {
		return nil, fmt.Errorf("read the log's public key: %w", err)
	}
	key, err := proof.ParseVerifier(string(text))
	if err != nil {
		return nil, err
	}
	l := &ledger{files: proof.NewFiles(os.DirFS(proof.LedgerPath(dir))), key: key}
	raw, err := l.files.Checkpoint()
	if err != nil {
		return nil, err
	}
	if l.newest, err = proof.ParseCheckpoint(raw, key); err != nil {
		return nil, err
	}
	return l, nil
}

// grewFrom reports why the newest checkpoint did not grow out of an older one.
func (l *ledger) grewFrom(ctx context.Context, raw []byte) error {
	old, err := proof.ParseCheckpoint(raw, l.key)
	if err != nil {
		return err
	}
	if old.Size > l.newest.Size {
		return fmt.Errorf("%w: it has %d records, %d were signed", ErrAhead, l.newest.Size, old.Size)
	}
	if err := l.files.Extends(ctx, old, l.newest); err != nil {
		return fmt.Errorf("%w: %w", ErrForked, err)
	}
	return nil
}

// File keeps checkpoints in a file, or, where Path is a directory, each size in a file of its
// own, so that a store that can only be added to will do. It never puts an older
// checkpoint over a newer one.
type File struct{ Path string }

// Keep writes the newest checkpoint, if the log grew out of the one that is there.
func (f File) Keep(ctx context.Context, dir string) error {
	l, err := openLedger(dir)
	if err != nil {
		return fmt.Errorf("keep checkpoint in %s: %w", f.Path, err)
	}
	kept, err := Kept(f.Path)
	if err != nil {
		return fmt.Errorf("keep checkpoint in %s: %w", f.Path, err)
	}
	for _, raw := range kept {
		if err := l.grewFrom(ctx, raw); err != nil {
			return fmt.Errorf("keep checkpoint in %s: %w", f.Path, err)
		}
	}
	if len(kept) > 0 && bytes.Equal(kept[0], l.newest.Raw) {
		return nil
	}
	path := f.Path
	if isDir(path) {
		path = filepath.Join(path, fmt.Sprintf("%020d%s", l.newest.Size, suffix))
	}
	return proof.WriteFile(path, l.newest.Raw, 0o644)
}

// suffix ends the names of kept checkpoints in a directory.
const suffix = ".checkpoint"

// Kept reads the newest checkpoint that a File keeps at path, if there is one. The
// list is for verification, which takes several.
func Kept(path string) ([][]byte, error) {
	if isDir(path) {
		// The names are sizes of fixed width, so the last is the newest. It vouches for those
		// before it: it was only written because the log had grown out of them.
		names, err := filepath.Glob(filepath.Join(path, "*"+suffix))
		if err != nil || len(names) == 0 {
			return nil, err
		}
		path = names[len(names)-1]
	}
	raw, err := os.ReadFile(path) //nolint:gosec // a path from the configuration
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read kept checkpoint: %w", err)
	}
	return [][]byte{raw}, nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
