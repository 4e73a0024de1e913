package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopWait is how long a process may take to end after a polite signal before
// it is killed.
const stopWait = 5 * time.Second

// stopPoll is how often the children of an ended program are looked for.
const stopPoll = 10 * time.Millisecond

// logLimit bounds how much of a process's output is kept for error messages.
const logLimit = 64 << 10

// Process is a running program with all its children.
type Process struct {
	// Name is what messages call it.
	Name string

	cmd  *exec.Cmd
	log  *tail
	done chan struct{}
	err  error
}

// Start runs a program in a process group of its own. The process ends with
// ctx, or with Stop.
func Start(ctx context.Context, name, path string, args ...string) (*Process, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	p := &Process{Name: name, cmd: cmd, log: &tail{}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = stopWait
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// PID is the process id of the program itself, not of its children.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Log gives the end of what the program printed.
func (p *Process) Log() string { return p.log.String() }

// Exited reports whether the program has ended, and how.
func (p *Process) Exited() (bool, error) {
	select {
	case <-p.done:
		return true, p.err
	default:
		return false, nil
	}
}

// Stop ends the program and its children: politely first, then by force. It
// gives nil for exit code 0 and for a program that lets the signal end it, and
// an error for any other end.
func (p *Process) Stop() error {
	_ = syscall.Kill(-p.PID(), syscall.SIGTERM)
	end := time.Now().Add(stopWait)
	select {
	case <-p.done:
	case <-time.After(stopWait):
	}
	for {
		left, err := groupOf(p.PID())
		if err != nil {
			return fmt.Errorf("stop %s: %w", p.Name, err)
		}
		if len(left) == 0 {
			break
		}
		if time.Now().After(end) {
			_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
			<-p.done
			return fmt.Errorf("stop %s: still there %s after SIGTERM, killed", p.Name, stopWait)
		}
		time.Sleep(stopPoll)
	}
	<-p.done
	if exit, ok := errors.AsType[*exec.ExitError](p.err); ok {
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() && ws.Signal() == syscall.SIGTERM {
			return nil
		}
	}
	if p.err != nil {
		return fmt.Errorf("stop %s: %w", p.Name, p.err)
	}
	return nil
}

// CPU is the processor time, user and system, that the program and its living
// children have used so far. The kernel counts it in ticks of 10 ms.
func (p *Process) CPU() (time.Duration, error) {
	pids, err := groupOf(p.PID())
	if err != nil {
		return 0, fmt.Errorf("processor time of %s: %w", p.Name, err)
	}
	if len(pids) == 0 {
		return 0, fmt.Errorf("processor time of %s: it has ended", p.Name)
	}
	var sum time.Duration
	for _, pid := range pids {
		b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		if err != nil {
			return 0, fmt.Errorf("processor time of %s: %w", p.Name, err)
		}
		st, err := parseStat(b)
		if err != nil {
			return 0, fmt.Errorf("processor time of %s: %w", p.Name, err)
		}
		sum += st.cpu
	}
	return sum, nil
}

// groupOf lists the processes of a process group that have not ended.
func groupOf(pgid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // ended between the listing and the reading
		}
		if err != nil {
			return nil, fmt.Errorf("read process %d: %w", pid, err)
		}
		st, err := parseStat(b)
		if err != nil {
			return nil, fmt.Errorf("read process %d: %w", pid, err)
		}
		if st.pgid == pgid && !st.ended {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// stat is what is read of /proc/PID/stat.
type stat struct {
	pgid  int
	cpu   time.Duration
	ended bool // a zombie: nobody has waited for it yet
}

// tick is the unit of the times in /proc/PID/stat: the kernel's user-visible
// clock has 100 per second on every architecture that Go runs on.
const tick = 10 * time.Millisecond

// parseStat reads /proc/PID/stat (proc(5)). The second field is the command
// name in brackets and may itself hold blanks and brackets, so the fields are
// counted from the last bracket.
func parseStat(b []byte) (stat, error) {
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return stat{}, fmt.Errorf("no command name in %q", b)
	}
	f := strings.Fields(string(b[i+1:]))
	if len(f) < 15 {
		return stat{}, fmt.Errorf("%d fields after the command name, want at least 15", len(f))
	}
	var n [3]int64 // process group (field 5), utime (14), stime (15)
	for k, at := range []int{2, 11, 12} {
		v, err := strconv.ParseInt(f[at], 10, 64)
		if err != nil {
			return stat{}, fmt.Errorf("field %d: %w", at+3, err)
		}
		n[k] = v
	}
	return stat{pgid: int(n[0]), cpu: time.Duration(n[1]+n[2]) * tick, ended: f[0] == "Z" || f[0] == "X"}, nil
}

// Ports gives n different loopback TCP ports that were free a moment ago. They
// are all held until the last is known, so none is given twice.
func Ports(ctx context.Context, n int) ([]int, error) {
	ports := make([]int, 0, n)
	for range n {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer func() { _ = l.Close() }()
		addr, ok := l.Addr().(*net.TCPAddr)
		if !ok {
			return nil, fmt.Errorf("find a free port: unexpected address %s", l.Addr())
		}
		ports = append(ports, addr.Port)
	}
	return ports, nil
}

// tail keeps the end of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

// Write appends, dropping the oldest bytes over the limit.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if over := len(t.b) - logLimit; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

// String is what is kept.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
