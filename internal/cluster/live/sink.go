package live

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/client-go/tools/cache"

	"bulwark.dev/bulwark/internal/cluster"
)

// sink is where the reflector puts what it gets.
type sink struct{ *source }

var _ cache.ReflectorStore = sink{}

// Add is for cache.ReflectorStore, like the others.
func (k sink) Add(obj any) error { return k.Update(obj) }

// Update enters a new or changed object.
func (k sink) Update(obj any) error {
	o, err := objectOf(obj)
	if err != nil {
		return err
	}
	k.event()
	k.keep(context.Background(), k.store.Put(o))
	k.changed()
	return nil
}

// Delete takes an object out.
func (k sink) Delete(obj any) error {
	o, err := objectOf(obj)
	if err != nil {
		return err
	}
	k.event()
	k.keep(context.Background(), k.store.Remove(k.kind.Name, o.GetNamespace(), o.GetName()))
	k.changed()
	return nil
}

// Replace takes the whole content.
func (k sink) Replace(items []any, _ string) error {
	objects := make([]cluster.Object, 0, len(items))
	for _, i := range items {
		o, err := objectOf(i)
		if err != nil {
			return err
		}
		objects = append(objects, o)
	}
	k.mu.Lock()
	k.listed = true
	now := k.state == readable
	if !now {
		k.pending = objects
	}
	k.mu.Unlock()
	if now {
		k.keep(context.Background(), k.store.Replace(k.kind.Name, objects))
		k.changed()
	}
	k.good()
	return nil
}

// Resync has nothing to do: nothing is done twice.
func (k sink) Resync() error { return nil }

func (k sink) event() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lastEvent = k.now()
}

// objectOf makes what a reflector hands over an object of a Snapshot.
func objectOf(v any) (cluster.Object, error) {
	if d, ok := v.(cache.DeletedFinalStateUnknown); ok {
		v = d.Obj
	}
	switch o := v.(type) {
	case *wire:
		if o.Object == nil {
			return nil, errors.New("the server sent an object without content")
		}
		return o.Object, nil
	case cluster.Object:
		// The client cleared the type of what it decoded.
		cluster.Admit(o)
		return o, nil
	}
	return nil, fmt.Errorf("the server sent a %T", v)
}
