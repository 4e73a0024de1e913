package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// pollEvery is the pause between two looks at the guarded URL, and so the
// resolution of what is measured.
const pollEvery = time.Millisecond

// change is one kind of edit: it does something to a route, and then a friend's
// request to the path gets another answer.
type change struct {
	name string
	// on says whether it needs a route with a policy of its own.
	own bool
	// kind is of the object whose status follows; empty for a deletion.
	kind schema.GroupVersionResource
	// act begins the n-th change of a route and gives the object's generation, the
	// path to look at and the status by which the change shows.
	act func(ctx context.Context, w *world, r route, n int) (generation int64, path string, shows int, err error)
}

// changes are those that are measured. Each leaves the route as the next one
// expects it: friends are admitted after every second one.
func changes() []change {
	return []change{
		{
			name: "HTTPRoute edited", kind: routes,
			act: func(ctx context.Context, w *world, r route, _ int) (int64, string, int, error) {
				next := w.version[r] + 1
				generation, err := w.replace(ctx, routes, r, pathField, path(next))
				w.version[r] = next
				return generation, path(next), 200, err
			},
		},
		{
			name: "SecurityPolicy edited", own: true, kind: policies,
			act: func(ctx context.Context, w *world, r route, n int) (int64, string, int, error) {
				role, shows := "nobody", 403
				if n%2 == 1 {
					role, shows = r.friend(), 200
				}
				generation, err := w.replace(ctx, policies, r, whenField, admits(role))
				return generation, path(w.version[r]), shows, err
			},
		},
		{
			name: "SecurityPolicy deleted", own: true,
			act: func(ctx context.Context, w *world, r route, _ int) (int64, string, int, error) {
				return 0, path(w.version[r]), 403, w.remove(ctx, policies, r)
			},
		},
		{
			name: "SecurityPolicy created", own: true, kind: policies,
			act: func(ctx context.Context, w *world, r route, _ int) (int64, string, int, error) {
				return 1, path(w.version[r]), 200, w.create(ctx, policies, r.policy(r.friend()))
			},
		},
	}
}

// propagation is what one kind of change took in a world, in seconds from the
// moment before the call to the API server.
type propagation struct {
	Routes   int     `json:"routes"`
	Change   string  `json:"change"`
	Called   summary `json:"called"`   // until the API server had answered
	Enforced summary `json:"enforced"` // until the first request was judged by it
	Told     summary `json:"told"`     // until the object's status said so
}

// sample is one change.
type sample struct{ called, enforced, told time.Duration }

// propagate measures count changes of each kind on routes of the world.
func (w *world) propagate(ctx context.Context, all, count int, only string) ([]propagation, error) {
	var out []propagation
	kinds := changes()
	taken := make([][]sample, len(kinds))
	for n := range count {
		// The same route twice, so that a policy is as before afterwards.
		r := route(rand.IntN(all/2) * 2)
		if n%2 == 1 {
			r = route(rand.IntN(all))
		}
		for i, c := range kinds {
			if only != "" && c.name != only {
				continue
			}
			at := r
			if c.own && !at.own() {
				at--
			}
			rounds := 1
			if c.name == "SecurityPolicy edited" {
				rounds = 2
			}
			for round := range rounds {
				s, err := w.once(ctx, c, at, round)
				if err != nil {
					return nil, fmt.Errorf("%s, change %d of route %s: %w", c.name, n, at.name(), err)
				}
				taken[i] = append(taken[i], s)
			}
		}
	}
	for i, c := range kinds {
		p := propagation{Routes: all, Change: c.name}
		var called, enforced, told []time.Duration
		for _, s := range taken[i] {
			called, enforced = append(called, s.called), append(enforced, s.enforced)
			if c.kind.Resource != "" {
				told = append(told, s.told)
			}
		}
		p.Called, p.Enforced, p.Told = summarize(called), summarize(enforced), summarize(told)
		if len(taken[i]) > 0 {
			out = append(out, p)
		}
	}
	return out, nil
}

// once makes one change and waits until it is enforced and told.
func (w *world) once(ctx context.Context, c change, r route, n int) (sample, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	token, err := w.signer.token(r.friend())
	if err != nil {
		return sample{}, err
	}
	var seen watch.Interface
	if c.kind.Resource != "" {
		seen, err = w.objects.Resource(c.kind).Namespace(r.space()).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + r.name()})
		if err != nil {
			return sample{}, fmt.Errorf("watch: %w", err)
		}
		defer seen.Stop()
	}
	// Changes come at any moment of Bulwark's own rhythm.
	pause(ctx, 50*time.Millisecond+rand.N(100*time.Millisecond))
	cl := newCaller(w.address)
	defer cl.close()
	if _, err := cl.get(ctx, r.host(), path(w.version[r]), token); err != nil {
		return sample{}, err // and the connection is there
	}
	begin := time.Now()
	generation, at, shows, err := c.act(ctx, w, r, n)
	if err != nil {
		return sample{}, err
	}
	s := sample{called: time.Since(begin)}
	told := make(chan error, 1)
	if seen != nil {
		go func() {
			err := waitTold(ctx, seen, generation)
			s.told = time.Since(begin)
			told <- err
		}()
	} else {
		told <- nil
	}
	s.enforced, err = pollFor(ctx, cl, r, at, token, shows, begin)
	if err != nil {
		cancel(err)
	}
	return s, errors.Join(err, <-told)
}

// pollFor asks until the status is as given, then a few times more: once
// enforced, a change stays so.
func pollFor(ctx context.Context, c *caller, r route, at, token string, shows int, begin time.Time) (time.Duration, error) {
	var took time.Duration
	err := until(ctx, pollEvery, func() (bool, error) {
		got, err := c.get(ctx, r.host(), at, token)
		if err != nil {
			return false, err
		}
		took = time.Since(begin)
		return got.status == shows, nil
	})
	for range 5 {
		if err != nil {
			return took, err
		}
		var got answer
		got, err = c.get(ctx, r.host(), at, token)
		if err == nil && got.status != shows {
			err = fmt.Errorf("the answer went back to %d", got.status)
		}
	}
	return took, err
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// waitTold waits until the status of the object speaks of a generation.
func waitTold(ctx context.Context, seen watch.Interface, generation int64) error {
	for {
		select {
		case <-ctx.Done():
			return nil // the other side has failed, or is being stopped
		case e, ok := <-seen.ResultChan():
			if !ok {
				return errors.New("the watch ended before a status came")
			}
			o, isObject := e.Object.(*unstructured.Unstructured)
			if isObject && o.GetGeneration() >= generation && observed(o, generation) {
				return nil
			}
		}
	}
}

// observed reports whether every condition of an object is of a generation.
func observed(o *unstructured.Unstructured, generation int64) bool {
	status, _, _ := unstructured.NestedMap(o.Object, "status")
	count := 0
	for _, field := range []string{"parents", "ancestors"} {
		entries, _, _ := unstructured.NestedSlice(status, field)
		for _, e := range entries {
			m, _ := e.(object)
			conditions, _, _ := unstructured.NestedSlice(m, "conditions")
			for _, c := range conditions {
				cm, _ := c.(object)
				seen, _, _ := unstructured.NestedInt64(cm, "observedGeneration")
				if seen < generation {
					return false
				}
				count++
			}
		}
	}
	return count > 0
}
