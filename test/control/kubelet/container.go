package kubelet

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// container is one container of a pod: its process, started again and again.
// Its state is guarded by the pod's lock.
type container struct {
	pod  *pod
	spec *corev1.Container
	init bool
	dir  string

	mounts []string // in order; only the loop's

	task     *task // the running process; nil between runs
	begun    bool  // past its startup probe
	ready    bool
	over     bool // it will not run again
	restarts int32
	waiting  *corev1.ContainerStateWaiting
	last     *corev1.ContainerStateTerminated
}

const (
	maxBackoff  = 10 * time.Second
	steadyAfter = 30 * time.Second // a run this long clears the backoff
)

func newContainer(r *pod, spec *corev1.Container, init bool) *container {
	c := &container{pod: r, spec: spec, init: init, dir: filepath.Join(r.dir, "containers", spec.Name)}
	c.waiting = &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}
	if init || len(r.init) > 0 {
		c.waiting.Reason = "PodInitializing"
	}
	return c
}

// ending is closed when the container is to end with its pod. Sidecars end
// later, when the others have.
func (c *container) ending() <-chan struct{} {
	if c.sidecar() {
		return nil
	}
	return c.pod.ending
}

// sidecar tells an init container that goes on running beside the others.
func (c *container) sidecar() bool {
	return c.init && c.spec.RestartPolicy != nil && *c.spec.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// loop runs the container until it is over, the pod ends, stop closes or ctx ends.
func (c *container) loop(ctx context.Context, stop <-chan struct{}) {
	defer c.set(func() { c.over = true })
	backoff := time.Duration(0)
	for {
		begun := time.Now()
		ended := c.once(ctx, stop)
		if ended || ctx.Err() != nil {
			return
		}
		if time.Since(begun) > steadyAfter {
			backoff = 0
		}
		t := time.NewTimer(backoff)
		select {
		case <-t.C:
		case <-c.ending():
			t.Stop()
			return
		case <-stop:
			t.Stop()
			return
		case <-ctx.Done():
			t.Stop()
			return
		}
		backoff = min(max(2*backoff, time.Second), maxBackoff)
	}
}

// once starts the process and waits for its end; true when it must not run again.
func (c *container) once(ctx context.Context, stop <-chan struct{}) bool {
	select {
	case <-c.ending():
		return true
	case <-stop:
		return true
	default:
	}
	t, err := c.start(ctx)
	if err != nil {
		reason := "CreateContainerError"
		if r := (&startError{}); errors.As(err, &r) {
			reason = r.reason
		}
		c.pod.mu.Lock()
		known := c.waiting != nil && c.waiting.Message == err.Error()
		c.waiting = &corev1.ContainerStateWaiting{Reason: reason, Message: err.Error()}
		c.pod.mu.Unlock()
		if !known {
			c.pod.log(ctx, slog.LevelInfo, "container "+c.spec.Name+": "+reason, err)
			c.pod.changed()
		}
		return false
	}
	c.set(func() {
		c.task, c.waiting = t, nil
		c.begun = c.spec.StartupProbe == nil
		c.ready = c.begun && c.spec.ReadinessProbe == nil
	})
	unhealthy, stopProbes := c.probe(ctx, t)
	if err := c.postStart(ctx, t); err != nil {
		c.pod.log(ctx, slog.LevelWarn, "container "+c.spec.Name+": postStart", err)
		c.terminate(ctx, t, c.pod.grace())
	}
	select {
	case <-t.done:
	case <-c.ending():
		// It stays ready while it drains: its endpoint is then ending, but serving.
		c.terminate(ctx, t, c.pod.grace())
	case <-stop:
		c.terminate(ctx, t, c.pod.grace())
	case g := <-unhealthy:
		c.terminate(ctx, t, g)
	case <-ctx.Done():
	}
	stopProbes()
	t.kill()
	<-t.done
	return c.ended(ctx, t)
}

// ended records a finished run; true when it must not run again.
func (c *container) ended(ctx context.Context, t *task) bool {
	state := t.terminated(ctx)
	c.pod.mu.Lock()
	policy := c.pod.spec.Spec.RestartPolicy
	ending := c.pod.isEnding || c.pod.isKilled
	again := policy == corev1.RestartPolicyAlways || policy == corev1.RestartPolicyOnFailure && state.ExitCode != 0
	if c.init {
		again = c.sidecar() || state.ExitCode != 0 && policy != corev1.RestartPolicyNever
	}
	again = again && !ending
	c.task, c.ready, c.begun, c.last = nil, false, false, state
	if again {
		c.restarts++
		c.waiting = &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "ended, waits to be started again"}
	} else {
		c.over = true
	}
	c.pod.mu.Unlock()
	c.pod.changed()
	return !again
}

// terminate ends a process: the preStop hook and SIGTERM, then SIGKILL when
// grace is over. It returns when the process is gone or ctx ends.
func (c *container) terminate(ctx context.Context, t *task, grace time.Duration) {
	deadline := time.NewTimer(grace)
	defer deadline.Stop()
	hook, stopHook := context.WithTimeout(ctx, grace)
	if err := c.preStop(hook, t); err != nil {
		c.pod.log(ctx, slog.LevelWarn, "container "+c.spec.Name+": preStop", err)
	}
	stopHook()
	t.signal(syscall.SIGTERM)
	select {
	case <-t.done:
	case <-deadline.C:
	case <-ctx.Done():
	}
}

// set changes the state and reports it.
func (c *container) set(f func()) {
	c.pod.mu.Lock()
	f()
	c.pod.mu.Unlock()
	c.pod.changed()
}

// running gives the process, when there is one.
func (c *container) running() (*task, error) {
	c.pod.mu.Lock()
	defer c.pod.mu.Unlock()
	if c.task == nil {
		return nil, errNotRunning
	}
	return c.task, nil
}

func (c *container) succeeded() bool {
	c.pod.mu.Lock()
	defer c.pod.mu.Unlock()
	return c.over && c.last != nil && c.last.ExitCode == 0
}

// waitStarted waits until a sidecar is past its startup probe; false when the
// pod ended first.
func (c *container) waitStarted(ctx context.Context) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		c.pod.mu.Lock()
		begun, over := c.begun, c.over
		c.pod.mu.Unlock()
		if begun || over {
			return begun
		}
		select {
		case <-tick.C:
		case <-c.pod.ending:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// status gives the container's part of the pod's status. The caller holds the lock.
func (c *container) status() corev1.ContainerStatus {
	begun := c.begun
	s := corev1.ContainerStatus{
		Name: c.spec.Name, Image: c.spec.Image, ImageID: "process://" + c.spec.Image,
		RestartCount: c.restarts, Ready: c.ready, Started: &begun,
	}
	switch {
	case c.task != nil:
		s.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(c.task.started)}
		s.ContainerID = c.task.id()
		s.LastTerminationState.Terminated = c.last
	case c.over && c.last != nil:
		s.State.Terminated = c.last
		s.ContainerID = c.last.ContainerID
		if c.init && c.last.ExitCode == 0 {
			s.Ready = true
		}
	default:
		s.State.Waiting = c.waiting
		if c.waiting == nil {
			s.State.Waiting = &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}
		}
		s.LastTerminationState.Terminated = c.last
	}
	return s
}

// argv gives the program's path inside the container and its arguments. A
// single binary is the entry point whatever the command calls it.
func argv(im image, spec *corev1.Container, env []string) (path string, args []string) {
	vars := map[string]string{}
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		vars[name] = value
	}
	for _, a := range append(append([]string{}, spec.Command...), spec.Args...) {
		args = append(args, expand(a, vars))
	}
	if len(spec.Command) == 0 {
		return entrypoint, append([]string{entrypoint}, args...)
	}
	if im.tree {
		return args[0], args
	}
	return entrypoint, args
}

const entrypoint = "/entrypoint"
