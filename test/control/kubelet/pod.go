package kubelet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"bulwark.dev/bulwark/test/control/netns"
)

// pod runs one pod from its first sight to its end.
type pod struct {
	k               *kubelet
	uid             types.UID
	namespace, name string
	dir             string
	volumes         volumes

	ending  chan struct{} // closed when the pod is to end gracefully
	killed  chan struct{} // closed when it is to end at once
	report  chan struct{} // holds one: "write the status"
	refresh chan struct{} // holds one: "look at the volumes"

	mu         sync.Mutex
	spec       *corev1.Pod // as last seen
	ip         netip.Addr
	sandbox    int // the process that holds the network namespace; 0 before
	initDone   bool
	init       []*container
	containers []*container
	problem    string // why the sandbox is not there
	started    metav1.Time
	written    []byte // the status as the API server has it
	conditions map[corev1.PodConditionType]corev1.PodCondition
	isEnding   bool
	isKilled   bool
}

func newPod(k *kubelet, p *corev1.Pod) *pod {
	r := &pod{
		k: k, uid: p.UID, namespace: p.Namespace, name: p.Name, dir: k.podDir(p.UID), spec: p,
		ending: make(chan struct{}), killed: make(chan struct{}), report: make(chan struct{}, 1), refresh: make(chan struct{}, 1),
	}
	r.volumes.pod = r
	for i := range p.Spec.InitContainers {
		r.init = append(r.init, newContainer(r, &p.Spec.InitContainers[i], true))
	}
	for i := range p.Spec.Containers {
		r.containers = append(r.containers, newContainer(r, &p.Spec.Containers[i], false))
	}
	return r
}

// update takes the pod as it is now.
func (r *pod) update(p *corev1.Pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spec = p
	if p.DeletionTimestamp != nil && !r.isEnding {
		r.isEnding = true
		close(r.ending)
	}
}

// kill ends the pod without grace: it is gone from the API.
func (r *pod) kill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.isKilled {
		r.isKilled = true
		close(r.killed)
	}
}

func (r *pod) current() *corev1.Pod {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.spec
}

func (r *pod) deleted() bool { return r.current().DeletionTimestamp != nil }

func (r *pod) address() netip.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ip
}

// changed asks for the status to be written.
func (r *pod) changed() {
	select {
	case r.report <- struct{}{}:
	default: // asked already
	}
}

func (r *pod) refreshVolumes() {
	select {
	case r.refresh <- struct{}{}:
	default: // asked already
	}
}

func (r *pod) log(ctx context.Context, level slog.Level, text string, err error) {
	r.k.Log.LogAttrs(ctx, level, "pod", slog.String("pod", r.namespace+"/"+r.name), slog.String("what", text), slog.Any("error", err))
}

// run runs the pod until it is deleted, killed, or ctx ends, and cleans up.
func (r *pod) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var others sync.WaitGroup
	defer others.Wait()
	defer cancel()
	others.Go(func() {
		select {
		case <-r.killed:
			cancel()
		case <-ctx.Done():
		}
	})
	written := make(chan struct{})
	statusCtx, lastStatus := context.WithCancel(ctx)
	go func() { defer close(written); r.writeStatus(statusCtx) }()
	defer func() { lastStatus(); <-written }()

	unplug, ok := r.plug(ctx)
	if ok {
		defer unplug()
		r.runContainers(ctx)
	}
	// Over, but not deleted: its logs stay.
	if r.current().DeletionTimestamp == nil {
		select {
		case <-r.ending:
		case <-ctx.Done():
		}
	}
	if ctx.Err() == nil {
		r.writeOnce(ctx)
	}
	r.volumes.close()
	if err := r.unmount(); err != nil {
		// What is still mounted there may be someone else's files: leave it all.
		r.log(ctx, slog.LevelWarn, "keep directory", err)
		return
	}
	if err := os.RemoveAll(r.dir); err != nil {
		r.log(ctx, slog.LevelWarn, "remove directory", err)
	}
}

// plug gives the pod its directory and network, trying until it works; false
// when the pod ended first.
func (r *pod) plug(ctx context.Context) (unplug func(), ok bool) {
	for {
		unplug, err := r.tryPlug(ctx)
		if err == nil {
			r.changed()
			return unplug, true
		}
		r.log(ctx, slog.LevelWarn, "sandbox", err)
		r.mu.Lock()
		r.problem = err.Error()
		r.mu.Unlock()
		r.changed()
		t := time.NewTimer(time.Second)
		select {
		case <-t.C:
		case <-r.ending:
			t.Stop()
			return nil, false
		case <-ctx.Done():
			t.Stop()
			return nil, false
		}
	}
}

func (r *pod) tryPlug(ctx context.Context) (func(), error) {
	if err := os.MkdirAll(filepath.Join(r.dir, "volumes"), 0o755); err != nil {
		return nil, err
	}
	if r.spec.Spec.HostNetwork {
		ip, err := netip.ParseAddr(r.k.NodeIP)
		if err != nil {
			return nil, err
		}
		r.setSandbox(ip, os.Getpid())
		return func() {}, nil
	}
	ip, n, err := r.k.addresses.take()
	if err != nil {
		return nil, err
	}
	// Not bound to ctx: the containers' processes go first.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), r.k.Pause[0], r.k.Pause[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Setpgid: true}
	if err := cmd.Start(); err != nil {
		r.k.addresses.free(ip)
		return nil, fmt.Errorf("pause process: %w", err)
	}
	unplug := func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed, as said
		r.k.addresses.free(ip)
	}
	err = netns.Plug(cmd.Process.Pid, ip, n)
	if err == nil {
		err = netns.Do(cmd.Process.Pid, func() error { return sysctls(r.spec) })
	}
	if err != nil {
		unplug()
		return nil, err
	}
	r.setSandbox(ip, cmd.Process.Pid)
	return unplug, nil
}

func (r *pod) setSandbox(ip netip.Addr, pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ip, r.sandbox, r.problem = ip, pid, ""
}

// runContainers runs init containers one after the other, then all others; it
// returns when none runs and none will.
func (r *pod) runContainers(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var wg, sidecars sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	defer sidecars.Wait()
	wg.Go(func() { r.volumes.follow(ctx) })
	stopSidecars := make(chan struct{})
	defer close(stopSidecars)
	for _, c := range r.init {
		if !c.sidecar() {
			if c.loop(ctx, nil); !c.succeeded() {
				return
			}
			continue
		}
		sidecars.Go(func() { c.loop(ctx, stopSidecars) })
		if !c.waitStarted(ctx) {
			return
		}
	}
	r.mu.Lock()
	r.initDone = true
	r.mu.Unlock()
	r.changed()
	var main sync.WaitGroup
	for _, c := range r.containers {
		main.Go(func() { c.loop(ctx, nil) })
	}
	main.Wait()
}

func (r *pod) unmount() error {
	var errs []error
	for _, c := range append(append([]*container{}, r.containers...), r.init...) {
		errs = append(errs, c.unmount())
	}
	return errors.Join(errs...)
}

// grace is how long the pod's processes may take to end.
func (r *pod) grace() time.Duration {
	p := r.current()
	seconds := int64(corev1.DefaultTerminationGracePeriodSeconds)
	switch {
	case p.DeletionGracePeriodSeconds != nil:
		seconds = *p.DeletionGracePeriodSeconds
	case p.Spec.TerminationGracePeriodSeconds != nil:
		seconds = *p.Spec.TerminationGracePeriodSeconds
	}
	return time.Duration(seconds) * time.Second
}

// container gives the container of that name; the first one for no name.
func (r *pod) container(name string) (*container, error) {
	for _, c := range append(append([]*container{}, r.containers...), r.init...) {
		if c.spec.Name == name || name == "" {
			return c, nil
		}
	}
	return nil, fmt.Errorf("pod %s/%s has no container %q", r.namespace, r.name, name)
}

var errNotRunning = errors.New("container is not running")

// sysctls sets the pod's own network settings; the thread is in its namespace.
func sysctls(p *corev1.Pod) error {
	// As container runtimes do: any user may serve on port 80.
	all := []corev1.Sysctl{{Name: "net.ipv4.ip_unprivileged_port_start", Value: "0"}}
	if sc := p.Spec.SecurityContext; sc != nil {
		all = append(all, sc.Sysctls...)
	}
	for _, s := range all {
		path, err := sysctlPath(s.Name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(s.Value), 0o644); err != nil {
			return fmt.Errorf("sysctl %s: %w", s.Name, err)
		}
	}
	return nil
}
