//go:build !unix

package logfile

import (
	"fmt"
	"os"
)

// identity is not to be had here: a file is known by its beginning alone.
func identity(f *os.File) (device, inode uint64, size int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, 0, 0, fmt.Errorf("look at %s: %w", f.Name(), err)
	}
	return 0, 0, info.Size(), nil
}
