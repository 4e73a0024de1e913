package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bulwark.dev/bulwark/test/control/netns"
)

// task is one run of a container's process.
type task struct {
	cmd     *exec.Cmd
	root    string
	env     []string
	argv0   string
	im      image
	started time.Time
	now     func() time.Time
	out     *output
	stdin   io.WriteCloser // nil: the container takes none
	tty     *os.File       // the terminal's near end; nil without one
	message string         // file that the process may leave its last words in
	onError bool           // or its log's end
	done    chan struct{}  // closed when the process and its output have ended
	end     time.Time      // set before done
}

// startError carries the reason that a waiting container shows.
type startError struct {
	reason string
	err    error
}

// Error implements error.
func (e *startError) Error() string { return e.err.Error() }

// Unwrap gives the cause.
func (e *startError) Unwrap() error { return e.err }

// start prepares the container's root and starts its process.
func (c *container) start(ctx context.Context) (*task, error) {
	im, ok := c.pod.k.Images.find(c.spec.Image)
	if !ok {
		return nil, &startError{"ErrImageNeverPull", fmt.Errorf("no program is mapped to image %q", c.spec.Image)}
	}
	who, err := c.user()
	if err != nil {
		return nil, &startError{"CreateContainerConfigError", err}
	}
	if err := c.pod.volumes.prepare(ctx, c.spec); err != nil {
		return nil, &startError{"CreateContainerConfigError", err}
	}
	env, err := c.environment(ctx)
	if err != nil {
		return nil, &startError{"CreateContainerConfigError", err}
	}
	root, err := c.mountRoot(im)
	if err != nil {
		return nil, &startError{"CreateContainerError", err}
	}
	out, err := openOutput(c.dir, c.pod.k.Now)
	if err != nil {
		return nil, &startError{"CreateContainerError", err}
	}
	path, args := argv(im, c.spec, env)
	t := &task{
		root: root, env: env, argv0: args[0], im: im, out: out, now: c.pod.k.Now, done: make(chan struct{}),
		message: filepath.Join(c.dir, terminationFile),
		onError: c.spec.TerminationMessagePolicy == corev1.TerminationMessageFallbackToLogsOnError,
	}
	p := program{root: root, path: path, args: args, env: env, dir: c.spec.WorkingDir, who: who, tty: c.spec.TTY}
	streams, err := t.streams(c.spec, &p)
	if err != nil {
		out.close()
		return nil, &startError{"CreateContainerError", err}
	}
	if t.cmd, err = c.pod.spawn(p); err != nil {
		streams.abandon()
		out.close()
		return nil, &startError{"RunContainerError", err}
	}
	t.started = t.now()
	copied := streams.follow(out)
	go t.wait(copied, streams)
	return t, nil
}

// wait waits for the process, then ends what it left behind.
func (t *task) wait(copied <-chan struct{}, s *streams) {
	defer close(t.done)
	_ = t.cmd.Wait() // terminated reads the status
	t.end = t.now()
	t.kill()
	select {
	case <-copied:
	case <-time.After(time.Second): // a process that left the group holds the output
	}
	s.close()
	<-copied
	t.out.close()
}

func (t *task) id() string { return "process://" + strconv.Itoa(t.cmd.Process.Pid) }

func (t *task) signal(s syscall.Signal) {
	_ = t.cmd.Process.Signal(s) // gone already is as good
}

// kill ends the process and those it started.
func (t *task) kill() {
	_ = syscall.Kill(-t.cmd.Process.Pid, syscall.SIGKILL) // none left is as good
}

// terminated describes the run after its end.
func (t *task) terminated(ctx context.Context) *corev1.ContainerStateTerminated {
	s := &corev1.ContainerStateTerminated{
		Reason: "Completed", StartedAt: metav1.NewTime(t.started), FinishedAt: metav1.NewTime(t.end), ContainerID: t.id(),
	}
	s.ExitCode = exitCode(t.cmd.ProcessState)
	if w, ok := t.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		s.Signal = int32(w.Signal())
	}
	if s.ExitCode != 0 {
		s.Reason = "Error"
	}
	const limit = 4096 // as the kubelet's
	words, err := os.ReadFile(t.message)
	if err == nil && len(words) > 0 {
		s.Message = string(words[:min(len(words), limit)])
	} else if t.onError && s.ExitCode != 0 {
		s.Message = t.out.tail(ctx, limit/2)
	}
	return s
}

// exitCode gives a shell's view: 128 and the signal's number for a killed process.
func exitCode(s *os.ProcessState) int32 {
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int32(w.Signal())
	}
	return int32(s.ExitCode())
}

// program is a process to start inside a container's root.
type program struct {
	root, path string
	args, env  []string
	dir        string
	who        user
	tty        bool
	in         *os.File // nil: /dev/null
	out, err   *os.File
}

// spawn starts p in the pod's network namespace.
func (r *pod) spawn(p program) (*exec.Cmd, error) {
	if p.dir == "" {
		p.dir = "/"
	}
	cmd := &exec.Cmd{Path: p.path, Args: p.args, Env: p.env, Dir: p.dir, Stdout: p.out, Stderr: p.err}
	if p.in != nil { // a nil *os.File would not be a nil Reader
		cmd.Stdin = p.in
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: p.root, Credential: p.who.credential(r.k.SetUsers)}
	if p.tty {
		cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	} else {
		cmd.SysProcAttr.Setpgid = true
	}
	r.mu.Lock()
	sandbox := r.sandbox
	r.mu.Unlock()
	if sandbox == 0 {
		return nil, errors.New("the pod has no network yet")
	}
	if err := netns.Do(sandbox, cmd.Start); err != nil {
		return nil, fmt.Errorf("start %q: %w", strings.Join(p.args, " "), err)
	}
	return cmd, nil
}

// user is who a container's processes run as.
type user struct {
	uid, gid uint32
	groups   []uint32
}

// nonRoot is who runs when a pod asks for anyone but root: the images have no
// user of their own, and this is the one of distroless' nonroot images.
const nonRoot = 65532

// user reads the security contexts; the container's wins over the pod's.
func (c *container) user() (user, error) {
	var uid, gid *int64
	var nonroot *bool
	var u user
	if p := c.pod.current().Spec.SecurityContext; p != nil {
		uid, gid, nonroot = p.RunAsUser, p.RunAsGroup, p.RunAsNonRoot
		for _, g := range p.SupplementalGroups {
			u.groups = append(u.groups, uint32(g))
		}
		if p.FSGroup != nil {
			u.groups = append(u.groups, uint32(*p.FSGroup))
		}
	}
	if s := c.spec.SecurityContext; s != nil {
		uid, gid, nonroot = or(s.RunAsUser, uid), or(s.RunAsGroup, gid), or(s.RunAsNonRoot, nonroot)
	}
	must := nonroot != nil && *nonroot
	switch {
	case uid != nil:
		u.uid = uint32(*uid)
	case must:
		u.uid, u.gid = nonRoot, nonRoot
	}
	if gid != nil {
		u.gid = uint32(*gid)
	}
	if must && u.uid == 0 {
		return u, errors.New("container has runAsNonRoot and runAsUser 0")
	}
	return u, nil
}

// credential is nil where processes cannot change their user: inside a user
// namespace that maps only one.
func (u user) credential(may bool) *syscall.Credential {
	if !may {
		return nil
	}
	return &syscall.Credential{Uid: u.uid, Gid: u.gid, Groups: u.groups}
}

func or[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}
