//go:build unix

package logfile

import (
	"fmt"
	"os"
	"syscall"
)

// identity says which file it is, whatever its name, and how long.
func identity(f *os.File) (device, inode uint64, size int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, 0, 0, fmt.Errorf("look at %s: %w", f.Name(), err)
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, 0, fmt.Errorf("look at %s: the system does not number files", f.Name())
	}
	return uint64(sys.Dev), sys.Ino, info.Size(), nil //nolint:unconvert // of another type on other systems
}
