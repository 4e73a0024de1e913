//go:build !linux

package disk

import (
	"errors"
	"os"
	"syscall"
)

func syncData(f *os.File) error { return f.Sync() }

func allocate(f *os.File, size int64) error { return writeZeros(f, size) }

// IsFull reports whether an error says that there is no room.
func IsFull(err error) bool { return errors.Is(err, syscall.ENOSPC) }
