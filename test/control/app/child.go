package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

const (
	crashPause = 500 * time.Millisecond
	maxCrashes = 5 // in a row; then the cluster ends with the child's last words
	// A stopped API server waits for its watches, for a minute; a test does not.
	stopPatience = 1500 * time.Millisecond
)

// child is this program running one component in a process of its own, started
// again when it ends unasked.
type child struct {
	name    string
	args    []string
	logFile string // empty: standard error
	log     *slog.Logger
	fatal   chan<- error

	mu      sync.Mutex
	cancel  context.CancelFunc // of the running supervision; nil when stopped
	stopped chan struct{}      // closed when it has ended
	process *os.Process
}

// start starts the process unless it runs, and keeps it running until stop or
// the end of ctx; fatal gets its error when it keeps ending.
func (c *child) start(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil {
		return nil
	}
	cmd, done, err := c.spawn()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	c.cancel, c.stopped, c.process = cancel, make(chan struct{}), cmd.Process
	go c.supervise(ctx, cmd, done, c.stopped)
	return nil
}

func (c *child) spawn() (*exec.Cmd, func(), error) {
	cmd := exec.Command("/proc/self/exe", c.args...)
	out, done := os.Stderr, func() {}
	if c.logFile != "" {
		f, err := os.OpenFile(c.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, nil, fmt.Errorf("log of %s: %w", c.name, err)
		}
		out, done = f, func() { _ = f.Close() }
	}
	cmd.Stdout, cmd.Stderr = out, out
	// A signal from the terminal is for the parent, which ends the children in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		done()
		return nil, nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	return cmd, done, nil
}

func (c *child) supervise(ctx context.Context, cmd *exec.Cmd, done func(), stopped chan<- struct{}) {
	defer close(stopped)
	for crashes := 0; ; {
		begun := time.Now()
		err := cmd.Wait()
		done()
		if ctx.Err() != nil {
			return
		}
		if crashes++; time.Since(begun) > time.Minute {
			crashes = 1
		}
		if crashes >= maxCrashes {
			c.fatal <- fmt.Errorf("%s ended %d times, last: %w; its log ends:\n%s", c.name, crashes, orExit(err), c.tail())
			return
		}
		c.log.LogAttrs(ctx, slog.LevelWarn, "component ended, starting it again",
			slog.String("component", c.name), slog.Any("error", orExit(err)), slog.String("log", c.logFile))
		select {
		case <-ctx.Done():
			return
		case <-time.After(crashPause):
		}
		c.mu.Lock()
		if ctx.Err() != nil {
			c.mu.Unlock()
			return
		}
		cmd, done, err = c.spawn()
		if err == nil {
			c.process = cmd.Process
		}
		c.mu.Unlock()
		if err != nil {
			c.fatal <- err
			return
		}
	}
}

// stop ends the process and returns when it is gone; kill spares it the wait.
func (c *child) stop(kill bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel == nil {
		return
	}
	c.cancel()
	sig := syscall.SIGTERM
	if kill {
		sig = syscall.SIGKILL
	}
	_ = c.process.Signal(sig) // gone already is as good
	select {
	case <-c.stopped:
	case <-time.After(stopPatience):
		_ = c.process.Kill()
		<-c.stopped
	}
	c.cancel = nil
}

func (c *child) running() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cancel != nil
}

// tail gives the end of the child's log, for an error.
func (c *child) tail() string {
	const size = 2000
	b, err := os.ReadFile(c.logFile)
	if err != nil {
		return err.Error()
	}
	if len(b) > size {
		b = b[len(b)-size:]
	}
	return string(bytes.TrimSpace(b))
}

func orExit(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}
