package log

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"bulwark.dev/bulwark/internal/audit/vault"
)

// ActiveFile is what WalkActive saw of a write-ahead file.
type ActiveFile struct {
	Path string
	// First and Last are its first and last event; Last is First-1 when it has none.
	First, Last uint64
	// Before is the chain hash that it begins with, and Chain the one after Last.
	Before, Chain [32]byte
	// Unfinished says that it ends in a frame that was not written to its end: one that was
	// never acknowledged, or is being written now.
	Unfinished bool
	// Damage is what is wrong with it; events before that place were given.
	Damage error
}

// WalkActive reads the write-ahead files of the log in dir for verification, without a
// lock: fn gets each event's canonical bytes, which are its own only for the call, and
// leaf hash. Damage, and a key that was not given, are told in the files, not as an error.
// A file that is sealed while it is looked for is left out.
func WalkActive(ctx context.Context, dir string, keys vault.Keys, fn func(seq uint64, canonical []byte, leaf [32]byte) error) ([]ActiveFile, error) {
	files, err := listActive(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var walked []ActiveFile
	for i, file := range files {
		bound := uint64(1<<64 - 1)
		if i+1 < len(files) {
			bound = files[i+1].first
		}
		a, err := walkActive(ctx, file, bound, keys, fn)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file.path, err)
		}
		walked = append(walked, a)
	}
	return walked, nil
}

// walkActive reads one file up to, but not with, the event bound: a later file has that.
func walkActive(ctx context.Context, file active, bound uint64, keys vault.Keys, fn func(seq uint64, canonical []byte, leaf [32]byte) error) (ActiveFile, error) {
	a := ActiveFile{Path: file.path, First: file.first, Last: file.first - 1}
	f, err := os.Open(file.path)
	if err != nil {
		return a, err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return a, err
	}
	var damage *DamageError
	r, err := openReader(f, info.Size(), file.path, file.first, keys)
	if errors.As(err, &damage) || errors.Is(err, vault.ErrNoKey) {
		a.Damage = err
		return a, nil
	}
	if err != nil {
		return a, err
	}
	a.Before, a.Chain = r.head.chain, r.head.chain
	if err := r.checkKeyBox(); errors.As(err, &damage) {
		a.Damage = err
	} else if err != nil {
		return a, err
	}
	for r.next < bound {
		if err := ctx.Err(); err != nil {
			return a, err
		}
		fr, err := r.frame()
		switch {
		case errors.Is(err, io.EOF):
			return a, nil
		case errors.Is(err, errTorn):
			a.Unfinished = true
			return a, nil
		case errors.As(err, &damage):
			a.Damage = err
			return a, nil
		case err != nil:
			return a, err
		}
		for n, rec := range fr.records {
			if err := fn(fr.first+uint64(n), rec.event, rec.leaf); err != nil {
				return a, err
			}
		}
		a.Last, a.Chain = r.next-1, r.chain
	}
	return a, nil
}
