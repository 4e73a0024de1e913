// Package mirror keeps local copies of API objects for the parts of a node:
// they are brought up to date by watches that come back within a second of the
// API server, where a shared informer may wait for 30.
package mirror

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// Objects is a local copy of every object of one kind that a watch shows.
type Objects[T runtime.Object] struct {
	store   cache.Store
	changed func()
	synced  atomic.Bool
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// Source lists and watches one kind: a typed client's methods.
type Source[L runtime.Object] struct {
	List  func(context.Context, metav1.ListOptions) (L, error)
	Watch func(context.Context, metav1.ListOptions) (watch.Interface, error)
	// Client is what the methods belong to: a fake one cannot stream lists.
	Client any
	// Fields narrows both, in the API's field selector syntax; empty takes all.
	Fields string
}

// Start copies the objects of s until ctx ends or Stop; changed is called after
// every change, one call at a time and without the object: look at All again.
func Start[T, L runtime.Object](ctx context.Context, s Source[L], changed func()) *Objects[T] {
	ctx, cancel := context.WithCancel(ctx)
	o := &Objects[T]{store: cache.NewStore(cache.MetaNamespaceKeyFunc), changed: changed, stop: cancel}
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, lo metav1.ListOptions) (runtime.Object, error) {
			lo.FieldSelector = s.Fields
			return s.List(ctx, lo)
		},
		WatchFuncWithContext: func(ctx context.Context, lo metav1.ListOptions) (watch.Interface, error) {
			lo.FieldSelector = s.Fields
			return s.Watch(ctx, lo)
		},
	}
	var zero T
	r := cache.NewReflectorWithOptions(cache.ToListWatcherWithWatchListSemantics(lw, s.Client), zero, (*filler[T])(o), cache.ReflectorOptions{
		Name:            fmt.Sprintf("%T", zero),
		TypeDescription: fmt.Sprintf("%T", zero),
		Backoff:         &wait.Backoff{Duration: 50 * time.Millisecond, Factor: 2, Cap: time.Second, Steps: math.MaxInt32, Jitter: 0.2},
	})
	o.done.Go(func() { r.RunWithContext(ctx) })
	return o
}

// Synced tells whether the first list has arrived.
func (o *Objects[T]) Synced() bool { return o.synced.Load() }

// All gives the objects as they are now. They are shared: do not change them.
func (o *Objects[T]) All() []T {
	list := o.store.List()
	out := make([]T, 0, len(list))
	for _, x := range list {
		if t, ok := x.(T); ok {
			out = append(out, t)
		}
	}
	return out
}

// Get gives the object of that name, and whether there is one. namespace is
// empty for kinds without.
func (o *Objects[T]) Get(namespace, name string) (T, bool) {
	key := name
	if namespace != "" {
		key = namespace + "/" + name
	}
	x, ok, err := o.store.GetByKey(key)
	t, is := x.(T)
	return t, ok && is && err == nil
}

// Stop ends the watch and waits for it.
func (o *Objects[T]) Stop() {
	o.stop()
	o.done.Wait()
}

// filler is what the reflector writes to.
type filler[T runtime.Object] Objects[T]

// Add implements cache.ReflectorStore.
func (f *filler[T]) Add(x any) error { return f.after(f.store.Add(x)) }

// Update implements cache.ReflectorStore.
func (f *filler[T]) Update(x any) error { return f.after(f.store.Update(x)) }

// Delete implements cache.ReflectorStore.
func (f *filler[T]) Delete(x any) error { return f.after(f.store.Delete(x)) }

// Replace implements cache.ReflectorStore.
func (f *filler[T]) Replace(list []any, version string) error {
	err := f.store.Replace(list, version)
	f.synced.Store(true)
	return f.after(err)
}

// Resync implements cache.ReflectorStore; there is no queue to fill again.
func (f *filler[T]) Resync() error { return nil }

func (f *filler[T]) after(err error) error {
	if err == nil && f.changed != nil {
		f.changed()
	}
	return err
}
