package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// Enter runs this program again with args, as process 1 of new namespaces, and
// returns its exit status. env is added to the environment, files become its
// descriptors 3 and up, and signals are passed on until it ends. The new process
// dies with this one, and everything inside dies with it.
//
// Without root the new process is root in a user namespace that maps one user,
// so nothing inside can change to another.
func Enter(ctx context.Context, args, env []string, files []*os.File, signals <-chan os.Signal) (int, error) {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), env...)
	cmd.ExtraFiles = files
	attr := &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if os.Getuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
	runtime.LockOSThread() // Pdeathsig is bound to the thread that starts the process
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start in new namespaces (user namespaces must be allowed without root): %w", err)
	}
	for _, f := range files {
		_ = f.Close() // the child has its own
	}
	done := make(chan struct{})
	passed := make(chan struct{})
	go func() {
		defer close(passed)
		for {
			select {
			case s := <-signals:
				_ = cmd.Process.Signal(s) // it may be gone already; Wait tells
			case <-done:
				return
			}
		}
	}()
	err := cmd.Wait()
	close(done)
	<-passed
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return exit.ExitCode(), nil
	default:
		return 0, fmt.Errorf("process in namespaces: %w", err)
	}
}

// Listen opens a TCP listener in this process's namespace and gives its file,
// for Enter, and its address. A socket stays in the namespace it was made in.
func Listen(ctx context.Context, addr string) (*os.File, string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, "", fmt.Errorf("publish on %s: %w", addr, err)
	}
	defer func() { _ = l.Close() }()
	t, ok := l.(*net.TCPListener)
	if !ok {
		return nil, "", fmt.Errorf("publish on %s: listener is a %T", addr, l)
	}
	f, err := t.File()
	if err != nil {
		return nil, "", fmt.Errorf("publish on %s: %w", addr, err)
	}
	return f, l.Addr().String(), nil
}
