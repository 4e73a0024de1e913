//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package app

import (
	"errors"
	"fmt"
)

func lockFolder(path string) (unlock func() error, err error) {
	return nil, fmt.Errorf("lock %s: %w: this system has no flock", path, errors.ErrUnsupported)
}
