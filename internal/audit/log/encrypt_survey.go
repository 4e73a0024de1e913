package log

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"bulwark.dev/bulwark/internal/audit/vault"
)

// StoredFile is a file of the log that has events, and what encrypts it, as it says
// itself: nothing is decrypted to know it.
type StoredFile struct {
	Path string
	Size int64
	// Sealed says that it is a segment, and not a write-ahead file.
	Sealed bool
	// Encrypted says that it is, with the key Key.
	Encrypted bool
	Key       vault.ID
	// Damage is why that cannot be told.
	Damage error
}

// StoredFiles lists the files of the log in dir that have events, those that are not
// sealed first. It takes no lock: what is sealed meanwhile may be there twice, or once
// as it was before.
func StoredFiles(dir string) ([]StoredFile, error) {
	return storedFiles(dir, math.MaxInt)
}

// storedFiles looks into so many segments at most, evenly spread.
func storedFiles(dir string, most int) ([]StoredFile, error) {
	// Write-ahead files first: one that is gone is in a segment then.
	files, err := listActive(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var found []StoredFile
	for _, file := range files {
		if found, err = appendStored(found, file.path, false); err != nil {
			return nil, err
		}
	}
	segments, err := listSpans(filepath.Join(dir, sealedName), sealedSuffix)
	if err != nil {
		return nil, err
	}
	n := len(segments)
	for i := range min(n, most) {
		at := i
		if n > most {
			at = i * (n - 1) / (most - 1) // the first and the last are always among them
		}
		if found, err = appendStored(found, segments[at].Path, true); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func appendStored(found []StoredFile, path string, isSealed bool) ([]StoredFile, error) {
	f, err := os.Open(path) //nolint:gosec // a file of the log
	if errors.Is(err, fs.ErrNotExist) {
		return found, nil
	}
	if err != nil {
		return nil, fmt.Errorf("see what encrypts the log: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("see what encrypts the log: %w", err)
	}
	s := StoredFile{Path: path, Size: info.Size(), Sealed: isSealed}
	if isSealed {
		err = s.sealedKey(f)
	} else {
		err = s.activeKey(f)
	}
	if err != nil {
		return nil, fmt.Errorf("see what encrypts the log: %w", err)
	}
	return append(found, s), nil
}

func (s *StoredFile) sealedKey(f *os.File) error {
	head := make([]byte, vault.HeadSize)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if !vault.IsFile(head[:n]) {
		return nil
	}
	about, err := vault.ParseHead(s.Path, head[:n])
	s.Encrypted, s.Key, s.Damage = err == nil, about.Key, err
	return nil
}

func (s *StoredFile) activeKey(f *os.File) error {
	first, _ := parseActive(filepath.Base(s.Path))
	r, err := openReader(f, s.Size, s.Path, first, vault.Keys{})
	var needs *vault.MissingKeyError
	var damage *DamageError
	switch {
	case errors.As(err, &needs):
		s.Encrypted, s.Key = true, needs.ID
	case errors.As(err, &damage):
		s.Damage = err
	case err != nil:
		return err
	default:
		s.Encrypted = r.head.locked
	}
	return nil
}

// lookedAt is into how many segments MissingKeys looks, so that it is soon over in a log
// of years.
const lookedAt = 4096

// MissingKeys says which keys the log in dir needs that are not among those that are
// given: a vault.MissingKeyError for each. Of very many segments it looks into some, from
// the first to the last; who comes to read another one is told then. Files whose heads are
// damaged are passed over: who reads them is told of it, too.
func MissingKeys(dir string, keys vault.Keys) error {
	_, err := Survey(dir, keys)
	return err
}
