package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"bulwark.dev/bulwark/test/control/netns"
)

// remote gives one container's streams to the API server.
type remote struct{ c *container }

// ExecInContainer implements remotecommand.Executor.
func (r remote) ExecInContainer(ctx context.Context, _, _, _ string, cmd []string, in io.Reader, out, stderr io.WriteCloser, tty bool, sizes <-chan remotecommand.TerminalSize, _ time.Duration) error {
	t, err := r.c.running()
	if err != nil {
		return err
	}
	return r.c.exec(ctx, t, execution{command: cmd, in: in, out: out, err: stderr, tty: tty, sizes: sizes})
}

// AttachContainer implements remotecommand.Attacher.
func (r remote) AttachContainer(ctx context.Context, _, _, _ string, in io.Reader, out, stderr io.WriteCloser, _ bool, sizes <-chan remotecommand.TerminalSize) error {
	t, err := r.c.running()
	if err != nil {
		return err
	}
	if in != nil && t.stdin == nil {
		return fmt.Errorf("container %s takes no standard input", r.c.spec.Name)
	}
	if out != nil {
		defer t.out.detach(t.out.attach(stdoutStream, out))
	}
	if stderr != nil {
		defer t.out.detach(t.out.attach(stderrStream, stderr))
	}
	if t.tty != nil {
		go follow(ctx, t.tty, sizes)
	}
	if in != nil {
		go func() {
			_, _ = io.Copy(t.stdin, in) // either side may go first
			if r.c.spec.StdinOnce && t.tty == nil {
				_ = t.stdin.Close()
			}
		}()
	}
	select {
	case <-t.done:
	case <-ctx.Done():
	}
	return nil
}

// PortForward implements portforward.PortForwarder.
func (r remote) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	r.c.pod.mu.Lock()
	sandbox := r.c.pod.sandbox
	r.c.pod.mu.Unlock()
	if sandbox == 0 {
		return errors.New("the pod has no network yet")
	}
	var conn net.Conn
	// An address, not a name: resolving would leave the thread, and the namespace.
	err := netns.Do(sandbox, func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
		return err
	})
	if err != nil {
		return fmt.Errorf("pod's port %d: %w", port, err)
	}
	defer func() { _ = conn.Close() }()
	unhook := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer unhook()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		if _, err := io.Copy(conn, stream); err != nil {
			_ = conn.Close()
			return
		}
		if t, ok := conn.(*net.TCPConn); ok {
			_ = t.CloseWrite() // the answer may still come
		}
	}()
	_, err = io.Copy(stream, conn)
	_ = stream.Close() // the caller has read all there is
	_ = conn.Close()
	<-sent
	return err
}

// execution is a command to run beside a container's process.
type execution struct {
	command  []string
	in       io.Reader // nil: none
	out, err io.Writer // err is not used with a terminal
	tty      bool
	sizes    <-chan remotecommand.TerminalSize
}

// exec runs a command in the container as the container's user, and kills it
// when ctx ends. A status other than 0 is a utilexec.CodeExitError.
func (c *container) exec(ctx context.Context, t *task, x execution) error {
	who, err := c.user()
	if err != nil {
		return err
	}
	file, err := t.lookUp(x.command[0])
	if err != nil {
		return err
	}
	p := program{root: t.root, path: file, args: x.command, env: t.env, dir: c.spec.WorkingDir, who: who, tty: x.tty}
	cmd, finish, err := c.pod.run1(ctx, p, x)
	if err != nil {
		return err
	}
	unhook := context.AfterFunc(ctx, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer unhook()
	_ = cmd.Wait() // the state says it
	finish()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if code := exitCode(cmd.ProcessState); code != 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("%s ended with status %d", x.command[0], code), Code: int(code)}
	}
	return nil
}

// run1 starts an execution's process with its streams; finish waits until all it
// printed has been copied.
func (r *pod) run1(ctx context.Context, p program, x execution) (cmd *exec.Cmd, finish func(), err error) {
	if x.tty {
		near, far, err := openTerminal()
		if err != nil {
			return nil, nil, err
		}
		p.in, p.out, p.err = far, far, far
		cmd, err := r.spawn(p)
		_ = far.Close() // the process has its own
		if err != nil {
			_ = near.Close()
			return nil, nil, err
		}
		go follow(ctx, near, x.sizes)
		if x.in != nil {
			go func() { _, _ = io.Copy(near, x.in) }() // ends with the stream
		}
		printed := make(chan struct{})
		go func() { defer close(printed); _, _ = io.Copy(x.out, near) }() // a terminal ends with an error
		return cmd, func() { wait(printed); _ = near.Close(); <-printed }, nil
	}
	var far, near []*os.File
	closeAll := func(files []*os.File) {
		for _, f := range files {
			_ = f.Close() // pipes, in memory
		}
	}
	defer func() {
		closeAll(far)
		if err != nil {
			closeAll(near)
		}
	}()
	pipe := func() (r, w *os.File, err error) {
		if r, w, err = os.Pipe(); err != nil {
			return nil, nil, fmt.Errorf("pipe: %w", err)
		}
		return r, w, nil
	}
	outR, outW, err := pipe()
	if err != nil {
		return nil, nil, err
	}
	far, near, p.out = append(far, outW), append(near, outR), outW
	errR, errW, err := pipe()
	if err != nil {
		return nil, nil, err
	}
	far, near, p.err = append(far, errW), append(near, errR), errW
	var inW *os.File
	if x.in != nil {
		inR, w, err := pipe()
		if err != nil {
			return nil, nil, err
		}
		far, near, p.in, inW = append(far, inR), append(near, w), inR, w
	}
	if cmd, err = r.spawn(p); err != nil {
		return nil, nil, err
	}
	if inW != nil {
		go func() {
			_, _ = io.Copy(inW, x.in) // the process may not read all
			_ = inW.Close()
		}()
	}
	printed := make(chan struct{})
	go func() {
		defer close(printed)
		var wg sync.WaitGroup
		wg.Go(func() { copyOrDrain(x.out, outR) })
		wg.Go(func() { copyOrDrain(x.err, errR) })
		wg.Wait()
	}()
	return cmd, func() { wait(printed); closeAll(near); <-printed }, nil
}

// copyOrDrain goes on reading when nobody listens any more, so that the process
// is not held up.
func copyOrDrain(w io.Writer, r io.Reader) {
	if w != nil {
		_, _ = io.Copy(w, r)
	}
	_, _ = io.Copy(io.Discard, r)
}

// wait gives output a second after the process: something it left behind may
// hold the pipe for ever.
func wait(printed <-chan struct{}) {
	select {
	case <-printed:
	case <-time.After(time.Second):
	}
}

// follow sets the terminal's size whenever the client's changes.
func follow(ctx context.Context, tty *os.File, sizes <-chan remotecommand.TerminalSize) {
	for {
		select {
		case <-ctx.Done():
			return
		case s, ok := <-sizes:
			if !ok {
				return
			}
			_ = resize(tty, s.Width, s.Height) // closed: the process has ended
		}
	}
}

// lookUp finds a command in the container's root, as a shell would. The name
// that a single-binary container was started by is its binary.
func (t *task) lookUp(name string) (string, error) {
	if name == t.argv0 && !t.im.tree {
		return entrypoint, nil
	}
	candidates := []string{name}
	if !strings.Contains(name, "/") {
		candidates = nil
		for dir := range strings.SplitSeq(value(t.env, "PATH"), ":") {
			candidates = append(candidates, path.Join(dir, name))
		}
	}
	for _, c := range candidates {
		file, err := within(t.root, c)
		if err != nil {
			return "", err
		}
		if info, err := os.Stat(file); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return c, nil
		}
	}
	return "", fmt.Errorf("exec %q: no such program in the container", name)
}

func value(env []string, name string) string {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}
