package log

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// disk makes the files that the writer appends to. Tests put a failing one in the
// place of the system's.
type disk interface {
	// create makes a file that must not be there yet.
	create(path string) (file, error)
	// reopen opens a file to append to it.
	reopen(path string) (file, error)
	// reserve makes a file of size bytes that really takes that much room.
	reserve(path string, size int64) error
}

// file is a file that is appended to.
type file interface {
	io.Writer
	// Sync returns when the data, and what is needed to find it, lies on the disk.
	Sync() error
	Truncate(size int64) error
	Close() error
}

// systemDisk is the operating system's.
type systemDisk struct{}

type systemFile struct{ *os.File }

func (f systemFile) Sync() error { return syncData(f.File) }

func (systemDisk) create(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, fileMode) //nolint:gosec // a name that this package made, in the directory that it was given
	if err != nil {
		return nil, err
	}
	return systemFile{f}, nil
}

func (systemDisk) reopen(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, fileMode) //nolint:gosec // see create
	if err != nil {
		return nil, err
	}
	return systemFile{f}, nil
}

func (systemDisk) reserve(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, fileMode) //nolint:gosec // see create
	if err != nil {
		return err
	}
	err = allocate(f, size)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// writeZeros takes room where the system cannot be asked for it.
func writeZeros(w io.Writer, size int64) error {
	zeros := make([]byte, 1<<20)
	for size > 0 {
		n, err := w.Write(zeros[:min(size, int64(len(zeros)))])
		if err != nil {
			return err
		}
		size -= int64(n)
	}
	return nil
}

// syncFolder makes the names in a folder durable.
func syncFolder(path string) error {
	f, err := os.Open(path) //nolint:gosec // the directory that this package was given, or one in it
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("sync folder %s: %w", path, err)
	}
	return nil
}

// publish gives a finished, synced file its name for good.
func publish(temporary, path string) error {
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// removeDurably removes a file and makes that durable. One that is not there is
// removed already.
func removeDurably(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return syncFolder(filepath.Dir(path))
}
