//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package forward

import (
	"errors"
	"fmt"
	"os"
)

func takeLock(path string) (*os.File, error) {
	return nil, fmt.Errorf("lock %s: %w: this system has no flock", path, errors.ErrUnsupported)
}

func releaseLock(f *os.File) error { return f.Close() }
