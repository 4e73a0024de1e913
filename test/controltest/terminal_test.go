package controltest_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"testing"
	"unsafe"
)

// terminal is a pseudo-terminal for kubectl exec -t.
type terminal struct {
	far  *os.File
	mu   sync.Mutex
	text bytes.Buffer
}

func openTerminal(t *testing.T, rows, columns uint16) *terminal {
	t.Helper()
	near, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	var unlock, n int32
	size := [4]uint16{rows, columns}
	for _, c := range []struct {
		op  uintptr
		arg unsafe.Pointer
	}{
		{syscall.TIOCSPTLCK, unsafe.Pointer(&unlock)}, {syscall.TIOCGPTN, unsafe.Pointer(&n)}, {syscall.TIOCSWINSZ, unsafe.Pointer(&size)},
	} {
		if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, near.Fd(), c.op, uintptr(c.arg)); e != 0 {
			t.Fatal(e)
		}
	}
	far, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{far: far}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(term, near) // ends when the far end is closed
	}()
	t.Cleanup(func() {
		_ = far.Close()
		<-done
		_ = near.Close()
	})
	return term
}

// Write implements io.Writer for what the terminal shows.
func (x *terminal) Write(b []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.text.Write(b)
}

func (x *terminal) printed() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.text.String()
}
