//go:build unix

package upstream

import (
	"errors"
	"syscall"
)

// peek looks at a socket's receive buffer. The socket is in non-blocking mode.
func peek(fd uintptr) peekResult {
	var b [1]byte
	for {
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			return peekQuiet
		case err == nil && n > 0:
			return peekReadable
		}
		return peekEnded
	}
}
