//go:build unix

package app

import (
	"os"

	"golang.org/x/sys/unix"
)

// columns gives the width of a terminal, 0 for what is none.
func columns(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	if size.Col == 0 {
		return 80 // a terminal that does not say, as some consoles
	}
	return int(size.Col)
}
