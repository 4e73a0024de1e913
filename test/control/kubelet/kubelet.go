// Package kubelet is a node whose containers are plain processes: one network
// namespace for each pod, one root directory for each container, the program
// being the static binary, or the file tree, that an image's name is mapped to.
// It does what tests of a proxy need: probes, volumes that follow their objects,
// tokens, exec, attach, port-forward and logs. It does not isolate: pods are
// trusted programs.
package kubelet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"bulwark.dev/bulwark/test/control/mirror"
)

// Config is what Start needs. Client acts as system:node:NODE.
type Config struct {
	Client     kubernetes.Interface
	Log        *slog.Logger
	Now        func() time.Time
	Node       string   // the node's name
	NodeIP     string   // the kubelet serves on its port 10250
	DNS        string   // name server of the pods
	APIService string   // address of the Service kubernetes.default
	PodRange   string   // pods' addresses
	Images     Images   // what images run
	Dir        string   // pods live here, a directory each
	PKI        string   // has ca.crt, kubelet.crt and kubelet.key
	Pause      []string // a command that waits for SIGTERM; it holds a pod's network namespace
	SetUsers   bool     // processes may become other users
}

type kubelet struct {
	Config
	addresses *pool
	objects   *objects
	pods      *mirror.Objects[*corev1.Pod]
	wake      chan struct{} // holds one: "look again"
	wg        sync.WaitGroup

	mu      sync.Mutex
	runners map[types.UID]*pod
}

// retryPause is how soon the kubelet asks an API server again that did not answer.
const retryPause = 200 * time.Millisecond

// Start registers the node and runs its pods until stop, which kills them and
// waits for everything it started.
func Start(ctx context.Context, c Config) (stop func(), err error) {
	if c.Client == nil || c.Log == nil || c.Now == nil || len(c.Pause) == 0 {
		return nil, errors.New("kubelet: client, log, clock and pause command are required")
	}
	pods, err := netip.ParsePrefix(c.PodRange)
	if err != nil {
		return nil, fmt.Errorf("kubelet: pod range: %w", err)
	}
	// Pods of an earlier run are gone with their namespaces; nothing is mounted there now.
	if err := os.RemoveAll(c.Dir); err != nil {
		return nil, fmt.Errorf("kubelet: clear pods' directory: %w", err)
	}
	k := &kubelet{Config: c, addresses: newPool(pods), wake: make(chan struct{}, 1), runners: map[types.UID]*pod{}}
	ctx, cancel := context.WithCancel(ctx)
	k.objects = newObjects(c.Client, k.refresh)
	closeServer, err := k.serve(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	if err := k.register(ctx); err != nil {
		cancel()
		closeServer()
		return nil, err
	}
	k.wg.Go(func() { k.renewLease(ctx) })
	client := c.Client.CoreV1().Pods("")
	k.pods = mirror.Start[*corev1.Pod](ctx, mirror.Source[*corev1.PodList]{
		Client: c.Client, List: client.List, Watch: client.Watch, Fields: fields.OneTermEqualSelector("spec.nodeName", c.Node).String(),
	}, k.again)
	k.wg.Go(func() { k.loop(ctx) })
	return func() {
		cancel()
		k.pods.Stop()
		closeServer()
		k.wg.Wait()
		k.objects.stop()
	}, nil
}

func (k *kubelet) again() {
	select {
	case k.wake <- struct{}{}:
	default: // it will look anyway
	}
}

func (k *kubelet) loop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
		}
		if k.pods.Synced() {
			k.sync(ctx)
		}
	}
}

// sync starts a runner for every pod that is new, tells the others what their
// pod is now, and ends those whose pod is gone.
func (k *kubelet) sync(ctx context.Context) {
	k.mu.Lock()
	defer k.mu.Unlock()
	seen := map[types.UID]bool{}
	for _, p := range k.pods.All() {
		seen[p.UID] = true
		if r := k.runners[p.UID]; r != nil {
			r.update(p)
			continue
		}
		over := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		if over && p.DeletionTimestamp == nil {
			continue
		}
		r := newPod(k, p)
		k.runners[p.UID] = r
		k.wg.Go(func() {
			if p.DeletionTimestamp == nil {
				r.run(ctx)
			}
			if r.deleted() {
				k.confirmDeleted(ctx, p)
			}
			k.forget(p.UID)
		})
	}
	for uid, r := range k.runners {
		if !seen[uid] {
			r.kill()
		}
	}
}

func (k *kubelet) forget(uid types.UID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.runners, uid)
}

// find gives the runner of a pod by name.
func (k *kubelet) find(namespace, name string) (*pod, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.runners {
		if r.namespace == namespace && r.name == name {
			return r, true
		}
	}
	return nil, false
}

// refresh tells every pod that an object they may have mounted has changed.
func (k *kubelet) refresh() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.runners {
		r.refreshVolumes()
	}
}

// confirmDeleted removes a pod whose processes have ended from the API.
func (k *kubelet) confirmDeleted(ctx context.Context, p *corev1.Pod) {
	now := int64(0)
	for ctx.Err() == nil {
		err := k.Client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{
			GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &p.UID},
		})
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return
		}
		k.Log.LogAttrs(ctx, slog.LevelDebug, "delete pod", slog.String("pod", p.Namespace+"/"+p.Name), slog.Any("error", err))
		pause(ctx, retryPause)
	}
}

func (k *kubelet) podDir(uid types.UID) string { return filepath.Join(k.Dir, string(uid)) }

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// pool gives out pod addresses, the one freed longest ago last.
type pool struct {
	mu    sync.Mutex
	in    netip.Prefix
	last  netip.Addr
	taken map[netip.Addr]bool
	n     int
}

func newPool(in netip.Prefix) *pool {
	return &pool{in: in, last: in.Masked().Addr(), taken: map[netip.Addr]bool{}}
}

// take gives an address and a number that no other pod of this run has.
func (p *pool) take() (netip.Addr, int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range 1 << (32 - p.in.Bits()) {
		p.last = p.last.Next()
		if !p.in.Contains(p.last) {
			p.last = p.in.Masked().Addr().Next()
		}
		if !p.taken[p.last] {
			p.taken[p.last] = true
			p.n++
			return p.last, p.n, nil
		}
	}
	return netip.Addr{}, 0, fmt.Errorf("every pod address of %s is taken", p.in)
}

func (p *pool) free(ip netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.taken, ip)
}
