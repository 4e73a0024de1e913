package kubelet

import (
	"fmt"
	"io"
	"os"
	"sync"

	corev1 "k8s.io/api/core/v1"
)

// streams is the near side of a process's standard files: what it prints is
// read here. far are the process's own ends, closed once it has them.
type streams struct {
	stdout, stderr *os.File // stderr is nil with a terminal
	far            []*os.File
	once           sync.Once
}

// streams opens the standard files of the container and hands the far ends to p.
func (t *task) streams(spec *corev1.Container, p *program) (_ *streams, err error) {
	s := &streams{}
	defer func() {
		if err != nil {
			s.abandon()
		}
	}()
	if spec.TTY {
		near, far, err := openTerminal()
		if err != nil {
			return nil, err
		}
		s.stdout, s.far = near, []*os.File{far}
		p.in, p.out, p.err = far, far, far
		t.tty = near
		if spec.Stdin {
			t.stdin = near
		}
		return s, nil
	}
	if s.stdout, p.out, err = os.Pipe(); err != nil {
		return nil, fmt.Errorf("standard output: %w", err)
	}
	s.far = append(s.far, p.out)
	if s.stderr, p.err, err = os.Pipe(); err != nil {
		return nil, fmt.Errorf("standard error: %w", err)
	}
	s.far = append(s.far, p.err)
	if spec.Stdin {
		in, w, err := os.Pipe()
		if err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
		p.in, t.stdin = in, w
		s.far = append(s.far, in)
	}
	return s, nil
}

// follow copies what the process prints to out; the channel is closed when both
// streams have ended. The process has started.
func (s *streams) follow(out *output) <-chan struct{} {
	s.closeFar()
	done := make(chan struct{})
	go func() {
		defer close(done)
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = io.Copy(out.stream(stdoutStream), s.stdout) }) // a terminal ends with an error
		if s.stderr != nil {
			wg.Go(func() { _, _ = io.Copy(out.stream(stderrStream), s.stderr) })
		}
		wg.Wait()
	}()
	return done
}

func (s *streams) closeFar() {
	for _, f := range s.far {
		_ = f.Close() // the process has its own
	}
	s.far = nil
}

func (s *streams) close() {
	s.once.Do(func() {
		for _, f := range []*os.File{s.stdout, s.stderr} {
			if f != nil {
				_ = f.Close() // only read from
			}
		}
	})
}

// abandon closes everything: no process was started.
func (s *streams) abandon() {
	s.closeFar()
	s.close()
}
