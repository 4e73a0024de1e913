// Package disk writes files so that they are on the disk when it says so.
package disk

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// mode is that of each file: what the trail has is its owner's alone.
const mode fs.FileMode = 0o600

// Disk makes the files that the writer appends to. Tests put a failing one in the
// place of the system's.
type Disk interface {
	// Create makes a file that must not be there yet.
	Create(path string) (File, error)
	// Reopen opens a file to append to it.
	Reopen(path string) (File, error)
	// Reserve makes a file of size bytes that really takes that much room.
	Reserve(path string, size int64) error
}

// File is a file that is appended to.
type File interface {
	io.Writer
	// Sync returns when the data, and what is needed to find it, lies on the disk.
	Sync() error
	Truncate(size int64) error
	Close() error
}

// System is the operating system's.
type System struct{}

type systemFile struct{ *os.File }

func (f systemFile) Sync() error { return syncData(f.File) }

func (System) Create(path string) (File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, mode) //nolint:gosec // a name that this package made, in the directory that it was given
	if err != nil {
		return nil, err
	}
	return systemFile{f}, nil
}

func (System) Reopen(path string) (File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, mode) //nolint:gosec // see Create
	if err != nil {
		return nil, err
	}
	return systemFile{f}, nil
}

func (System) Reserve(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode) //nolint:gosec // see Create
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

// SyncFolder makes the names in a folder durable.
func SyncFolder(path string) error {
	f, err := os.Open(path) //nolint:gosec // the directory that this package was given, or one in it
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("sync folder %s: %w", path, err)
	}
	return nil
}

// Publish gives a finished, synced file its name for good.
func Publish(temporary, path string) error {
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	return SyncFolder(filepath.Dir(path))
}

// Remove removes a file and makes that durable. One that is not there is
// removed already.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return SyncFolder(filepath.Dir(path))
}

// RemoveIfThere removes a file.
func RemoveIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// WriteSynced writes a file and syncs it. On failure none is left.
func WriteSynced(path string, write func(w io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode) //nolint:gosec // a name that this package made
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<18)
	err = write(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}
