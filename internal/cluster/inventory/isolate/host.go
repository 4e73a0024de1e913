// Package isolate has work on hostile input done by another process. The template of
// a chart is a program: it can run without end, use up the memory or the stack, and
// nothing in a Go process ends one of its own goroutines. The worker is ended
// instead, and what started it goes on and says why.
package isolate

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Limits bound each job. None of them may be zero.
type Limits struct {
	// Time is how long a job may run, by the clock on the wall.
	Time time.Duration
	// Memory is how many bytes the worker's heap and stacks may have.
	Memory uint64
}

// Errors of Do, beside those of the job itself.
var (
	ErrTime   = errors.New("the work on it was ended, since it ran for too long")
	ErrMemory = errors.New("the work on it was ended, since it needed too much memory")
	ErrCrash  = errors.New("the work on it ended by itself: its stack or its memory ran out")
)

type request struct {
	Kind   string
	Memory uint64
	Job    []byte
}

type reply struct {
	Err string
	Out []byte
}

// Host hands jobs to a worker. It starts one for the first job, and another one
// after a job that had to be ended. It is safe for use by many goroutines, one of
// which has its job done at a time.
type Host struct {
	limits  Limits
	command func() *exec.Cmd

	mu     sync.Mutex
	worker *worker // nil while there is none
}

// New makes a Host. command gives the command of a worker, which calls Serve with
// its standard input and output.
func New(limits Limits, command func() *exec.Cmd) (*Host, error) {
	if limits.Time <= 0 || limits.Memory == 0 {
		return nil, fmt.Errorf("work apart: limits of %v and %d bytes leave nothing", limits.Time, limits.Memory)
	}
	return &Host{limits: limits, command: command}, nil
}

// Do has a job done by the function of that kind. The end of ctx ends the job.
func (h *Host) Do(ctx context.Context, kind string, job []byte) ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("work apart: %w", err)
	}
	if h.worker == nil {
		w, err := start(h.command())
		if err != nil {
			return nil, fmt.Errorf("start a process to work apart: %w", err)
		}
		h.worker = w
	}
	w := h.worker
	limited, cancel := context.WithTimeout(ctx, h.limits.Time)
	defer cancel()
	release := context.AfterFunc(limited, w.kill)
	var out reply
	err := w.requests.Encode(request{Kind: kind, Memory: h.limits.Memory, Job: job})
	if err == nil {
		err = w.replies.Decode(&out)
	}
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, syscall.EPIPE) {
		w.kill() // it lives, but what it says makes no sense
	}
	if !release() || err != nil {
		h.worker = nil
		w.wait()
	}
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("work apart: %w", ctx.Err())
	case err != nil && limited.Err() != nil:
		return nil, fmt.Errorf("%w: %v is the most", ErrTime, h.limits.Time)
	case err != nil && w.cmd.ProcessState.ExitCode() == exitMemory:
		return nil, fmt.Errorf("%w: %d MiB is the most", ErrMemory, h.limits.Memory>>20)
	case err != nil:
		return nil, ErrCrash
	case out.Err != "":
		return nil, errors.New(out.Err)
	}
	return out.Out, nil
}

// Close ends the worker.
func (h *Host) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.worker != nil {
		h.worker.kill()
		h.worker.wait()
		h.worker = nil
	}
}

type worker struct {
	cmd      *exec.Cmd
	in       io.Closer
	requests *gob.Encoder
	replies  *gob.Decoder
}

func start(cmd *exec.Cmd) (*worker, error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &worker{cmd: cmd, in: in, requests: gob.NewEncoder(in), replies: gob.NewDecoder(out)}, nil
}

// kill ends the process; an error says that it is gone already.
func (w *worker) kill() { _ = w.cmd.Process.Kill() }

// wait takes in a process that is dead or dying. Its exit code says why.
func (w *worker) wait() {
	_ = w.in.Close()
	_ = w.cmd.Wait()
}
