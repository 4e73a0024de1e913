package log

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"bulwark.dev/bulwark/internal/audit/log/disk"
	"bulwark.dev/bulwark/internal/audit/vault"
)

// RotateConfig says how the sealed files of a log are encrypted anew.
type RotateConfig struct {
	// Dir is the log's directory. It must be there.
	Dir string
	// Keys have the key to encrypt with, the first, and those that encrypt now.
	Keys   vault.Keys
	Random io.Reader
	// Done, which may be nil, is told of each file that was encrypted anew.
	Done func(SegmentFile)

	// step is called before each step, so that a test can end there.
	step func(name string) error
}

// Rotated says what Rotate did.
type Rotated struct {
	// Encrypted segments have a new file, and Already ones had the right key.
	Encrypted, Already int
	// Waiting write-ahead files do not have the right key, or none. They are encrypted when
	// they are sealed, which the next writer of the trail does.
	Waiting int
}

// Rotate encrypts the segments of a log anew that the first key does not encrypt, also
// those that nothing does. It needs the log for itself: ErrLocked says that a process
// writes it. Each file is written anew beside the old one, synced, read back, compared,
// and then takes its place; a process that ends between any two steps leaves the old file
// or the new one, whole, and the next call goes on from there.
//
// What the file system keeps of the old file, it keeps.
func Rotate(ctx context.Context, cfg RotateConfig) (Rotated, error) {
	r, err := rotate(ctx, cfg)
	if err != nil {
		return r, fmt.Errorf("encrypt the log %s anew: %w", cfg.Dir, err)
	}
	return r, nil
}

func rotate(ctx context.Context, cfg RotateConfig) (done Rotated, err error) {
	if cfg.Dir == "" || cfg.Keys.Empty() || cfg.Random == nil {
		return done, errors.New("a directory, a key and a source of randomness are needed")
	}
	if cfg.step == nil {
		cfg.step = func(string) error { return nil }
	}
	folder := filepath.Join(cfg.Dir, sealedName)
	if _, err := os.Stat(folder); err != nil {
		return done, err // before the lock, which would make a file in any folder
	}
	lock, err := takeLock(filepath.Join(cfg.Dir, lockName))
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, releaseLock(lock)) }()
	if err := MissingKeys(cfg.Dir, cfg.Keys); err != nil {
		return done, err // nothing is begun that cannot be finished
	}
	segments, err := listSpans(folder, sealedSuffix)
	if err != nil {
		return done, err
	}
	for _, s := range segments {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		is, err := appendStored(nil, s.Path, true)
		if err != nil {
			return done, err
		}
		if len(is) == 1 && is[0].Damage != nil {
			return done, is[0].Damage
		}
		if first, _ := cfg.Keys.First(); len(is) == 1 && is[0].Encrypted && is[0].Key == first {
			done.Already++
			continue
		}
		if err := cfg.renew(s); err != nil {
			return done, err
		}
		done.Encrypted++
		if cfg.Done != nil {
			cfg.Done(s)
		}
	}
	done.Waiting, err = cfg.waiting()
	return done, err
}

// renew encrypts one file anew.
func (cfg *RotateConfig) renew(s SegmentFile) error {
	old, err := OpenSealed(s, cfg.Keys)
	if err != nil {
		return err
	}
	defer old.Close() //nolint:errcheck // only read
	was, err := old.digest()
	if err != nil {
		return fmt.Errorf("read %s: %w", s.Path, err)
	}
	beside := SegmentFile{First: s.First, Last: s.Last, Path: s.Path + temporarySuffix}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"write", func() error {
			return disk.WriteSynced(beside.Path, func(w io.Writer) error {
				return WriteSealed(w, beside, cfg.Keys, cfg.Random, func(w io.Writer) error {
					_, err := io.Copy(w, io.NewSectionReader(old, 0, old.Size))
					return err
				})
			})
		}},
		{"compare", func() error { return compareSealed(beside, cfg.Keys, was) }},
		{"rename", func() error { return disk.Publish(beside.Path, s.Path) }},
	} {
		if err := cfg.step(step.name); err != nil {
			return err
		}
		if err := step.do(); err != nil {
			return fmt.Errorf("%s, step %q: %w", s.Path, step.name, err)
		}
	}
	return nil
}

// waiting counts the write-ahead files that the first key does not encrypt.
func (cfg *RotateConfig) waiting() (int, error) {
	files, err := StoredFiles(cfg.Dir)
	first, _ := cfg.Keys.First()
	n := 0
	for _, file := range files {
		if !file.Sealed && (!file.Encrypted || file.Key != first) {
			n++
		}
	}
	return n, err
}
