package log

import (
	"sync"
	"sync/atomic"
	"syscall"

	"bulwark.dev/bulwark/internal/audit/log/disk"
)

// faultyDisk is the system's disk that can be held up and made to fail.
type faultyDisk struct {
	disk.System

	mu sync.Mutex
	// failWrite and failSync give the error of the next write or sync; half says that the
	// write puts half of it there first.
	failWrite, failSync func() error
	half                bool
	// full makes everything that takes room fail.
	full atomic.Bool
	gate chan struct{}
	held chan struct{}
}

func newFaultyDisk() *faultyDisk { return &faultyDisk{held: make(chan struct{}, 16)} }

// hold makes syncs wait until release is called.
func (d *faultyDisk) hold() (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	gate := make(chan struct{})
	d.gate = gate
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.gate = nil
		close(gate)
	}
}

func (d *faultyDisk) waitHeld() { <-d.held }

func (d *faultyDisk) Create(path string) (disk.File, error) {
	f, err := d.System.Create(path)
	return faultyFile{f, d}, err
}

func (d *faultyDisk) Reopen(path string) (disk.File, error) {
	f, err := d.System.Reopen(path)
	return faultyFile{f, d}, err
}

func (d *faultyDisk) Reserve(path string, size int64) error {
	if d.full.Load() {
		return syscall.ENOSPC
	}
	return d.System.Reserve(path, size)
}

type faultyFile struct {
	disk.File
	disk *faultyDisk
}

func (f faultyFile) Write(b []byte) (int, error) {
	f.disk.mu.Lock()
	fail, half := f.disk.failWrite, f.disk.half
	f.disk.mu.Unlock()
	if fail == nil {
		return f.File.Write(b)
	}
	if err := fail(); err != nil {
		n := 0
		if half {
			n, _ = f.File.Write(b[:len(b)/2])
		}
		return n, err
	}
	return f.File.Write(b)
}

func (f faultyFile) Sync() error {
	f.disk.mu.Lock()
	gate, fail := f.disk.gate, f.disk.failSync
	f.disk.mu.Unlock()
	if gate != nil {
		f.disk.held <- struct{}{}
		<-gate
	}
	if fail != nil {
		if err := fail(); err != nil {
			return err
		}
	}
	return f.File.Sync()
}

func (d *faultyDisk) set(change func(d *faultyDisk)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}
