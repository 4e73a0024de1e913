package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// world is a cluster with Bulwark in it, and what was put there.
type world struct {
	log     io.Writer
	objects dynamic.Interface
	kube    kubernetes.Interface
	signer  *signer
	address string // of the Gateway
	pods    *pods
	// calm is for how long nothing must happen for all to be settled.
	calm time.Duration
	// version is the path that each route serves, by number.
	version map[route]int
}

func (w *world) say(format string, args ...any) {
	_, _ = fmt.Fprintf(w.log, "%s  "+format+"\n", append([]any{time.Now().Format(time.TimeOnly)}, args...)...)
}

// newWorld installs Bulwark and a Gateway with no routes.
func newWorld(ctx context.Context, log io.Writer, calm time.Duration) (*world, error) {
	root, err := repository()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(root, "test/dev/install"), "standard", filepath.Join(os.Getenv(insideVariable), "bulwark.yaml"))
	cmd.Env = append(os.Environ(), "CONTROL="+os.Getenv(binVariable))
	cmd.Stderr = log
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("install Bulwark: %w", err)
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", os.Getenv(configVariable))
	if err != nil {
		return nil, fmt.Errorf("reach the API server: %w", err)
	}
	cfg.QPS = -1 // the API server says when it is too much
	w := &world{log: log, calm: calm, version: map[route]int{}}
	if w.objects, err = dynamic.NewForConfig(cfg); err != nil {
		return nil, fmt.Errorf("reach the API server: %w", err)
	}
	if w.kube, err = kubernetes.NewForConfig(cfg); err != nil {
		return nil, fmt.Errorf("reach the API server: %w", err)
	}
	if w.signer, err = newSigner(); err != nil {
		return nil, err
	}
	if err := serveBackend(ctx); err != nil {
		return nil, err
	}
	if err := w.furnish(ctx); err != nil {
		return nil, err
	}
	w.pods, err = findPods(ctx, w.kube)
	return w, err
}

// furnish makes what routes need, and waits for the Gateway's address.
func (w *world) furnish(ctx context.Context) error {
	names := []string{edge}
	for r := range route(spaces) {
		names = append(names, r.space())
	}
	for _, n := range names {
		if err := w.create(ctx, nsResource, namespace(n)); err != nil {
			return err
		}
		service, slice := backend(n)
		if err := errors.Join(w.create(ctx, svcResource, service), w.create(ctx, epsResource, slice)); err != nil {
			return err
		}
	}
	jwks, err := w.signer.jwks()
	if err != nil {
		return err
	}
	if err := errors.Join(w.create(ctx, policies, edgePolicy(jwks)), w.create(ctx, gateways, gateway())); err != nil {
		return err
	}
	return until(ctx, 50*time.Millisecond, func() (bool, error) {
		g, err := w.objects.Resource(gateways).Namespace(edge).Get(ctx, edge, metav1.GetOptions{})
		if err != nil {
			return false, fmt.Errorf("read the Gateway: %w", err)
		}
		addresses, _, err := unstructured.NestedSlice(g.Object, "status", "addresses")
		if err != nil || len(addresses) == 0 {
			return false, err
		}
		first, ok := addresses[0].(object)
		if !ok {
			return false, fmt.Errorf("address of the Gateway: %v", addresses[0])
		}
		w.address = fmt.Sprintf("%v:80", first["value"])
		return true, nil
	})
}

// until tries until it succeeds, fails or ctx ends.
func until(ctx context.Context, every time.Duration, try func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		done, err := try()
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// retried repeats what the API server turned away because it has too much to do.
func retried(ctx context.Context, what string, fn func() error) error {
	return until(ctx, 200*time.Millisecond, func() (bool, error) {
		err := fn()
		if apierrors.IsTooManyRequests(err) || apierrors.IsServerTimeout(err) {
			return false, nil
		}
		if err != nil {
			return true, fmt.Errorf("%s: %w", what, err)
		}
		return true, nil
	})
}

func (w *world) create(ctx context.Context, kind schema.GroupVersionResource, o *unstructured.Unstructured) error {
	return retried(ctx, "create "+kind.Resource+" "+o.GetNamespace()+"/"+o.GetName(), func() error {
		var err error
		if o.GetNamespace() == "" {
			_, err = w.objects.Resource(kind).Create(ctx, o, metav1.CreateOptions{})
		} else {
			_, err = w.objects.Resource(kind).Namespace(o.GetNamespace()).Create(ctx, o, metav1.CreateOptions{})
		}
		return err
	})
}

// replace sets one value of a route's HTTPRoute or policy, and gives the
// object's new generation.
func (w *world) replace(ctx context.Context, kind schema.GroupVersionResource, r route, at, value string) (int64, error) {
	patch := fmt.Sprintf(`[{"op":"replace","path":%q,"value":%q}]`, at, value)
	generation := int64(0)
	err := retried(ctx, "edit "+kind.Resource+" "+r.name(), func() error {
		o, err := w.objects.Resource(kind).Namespace(r.space()).Patch(ctx, r.name(), types.JSONPatchType, []byte(patch), metav1.PatchOptions{})
		if err == nil {
			generation = o.GetGeneration()
		}
		return err
	})
	return generation, err
}

// The places that edits change.
const (
	pathField = "/spec/rules/0/matches/0/path/value"
	whenField = "/spec/authorization/rules/0/when"
)

func (w *world) remove(ctx context.Context, kind schema.GroupVersionResource, r route) error {
	return retried(ctx, "delete "+kind.Resource+" "+r.name(), func() error {
		return w.objects.Resource(kind).Namespace(r.space()).Delete(ctx, r.name(), metav1.DeleteOptions{})
	})
}

// add makes a route. Every second pair begins with its policy.
func (w *world) add(ctx context.Context, r route) error {
	makeRoute := func() error { return w.create(ctx, routes, r.httpRoute(0)) }
	makePolicy := func() error { return w.create(ctx, policies, r.policy(r.friend())) }
	switch {
	case !r.own():
		return makeRoute()
	case r%4 == 0:
		return errors.Join(makePolicy(), makeRoute())
	default:
		return errors.Join(makeRoute(), makePolicy())
	}
}

// drop takes a route away, and its policy before or after it.
func (w *world) drop(ctx context.Context, r route) error {
	dropRoute := func() error { return w.remove(ctx, routes, r) }
	dropPolicy := func() error { return w.remove(ctx, policies, r) }
	switch {
	case !r.own():
		return dropRoute()
	case r%4 == 0:
		return errors.Join(dropPolicy(), dropRoute())
	default:
		return errors.Join(dropRoute(), dropPolicy())
	}
}

// prove asks each route for what it must say to a friend and to a stranger.
func (w *world) prove(ctx context.Context, all []route) error {
	c := newCaller(w.address)
	defer c.close()
	var wrong []error
	for _, r := range all {
		for role, want := range map[string]answer{r.friend(): {200, r.name()}, r.stranger(): {status: 403}} {
			token, err := w.signer.token(role)
			if err != nil {
				return err
			}
			got, err := c.get(ctx, r.host(), path(w.version[r]), token)
			if err != nil {
				return err
			}
			if got.status != want.status || want.body != "" && got.body != want.body {
				wrong = append(wrong, fmt.Errorf("route %s says %d %.60q to role %s, not %d %s", r.name(), got.status, got.body, role, want.status, want.body))
			}
		}
	}
	if n := len(wrong); n > 5 {
		wrong = append(wrong[:5], fmt.Errorf("and %d more", n-5))
	}
	return errors.Join(wrong...)
}

// settle waits until every status is written and every data plane is up to date,
// for a while. It gives when that began.
func (w *world) settle(ctx context.Context) (time.Time, error) {
	var since time.Time
	last := -1.0
	err := until(ctx, 100*time.Millisecond, func() (bool, error) {
		c, err := w.pods.scrape(ctx, controller)
		if err != nil {
			return false, err
		}
		revision := c.sum("bulwark_relay_revision")
		if c.sum("bulwark_status_pending") != 0 || c.sum("bulwark_relay_clients_behind") != 0 || revision != last {
			last, since = revision, time.Now()
			return false, nil
		}
		return time.Since(since) > w.calm, nil
	})
	return since, err
}

// proveGone asks for routes that must not be there.
func (w *world) proveGone(ctx context.Context, all []route) error {
	c := newCaller(w.address)
	defer c.close()
	for _, r := range all {
		token, err := w.signer.token(r.friend())
		if err != nil {
			return err
		}
		got, err := c.get(ctx, r.host(), path(w.version[r]), token)
		if err != nil {
			return err
		}
		if got.status != 404 {
			return fmt.Errorf("route %s is gone and says %d", r.name(), got.status)
		}
	}
	return nil
}
