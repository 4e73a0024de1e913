package kubelet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"

	"bulwark.dev/bulwark/test/control/mirror"
)

// errAbsent is the cause when a Secret or ConfigMap does not exist.
var errAbsent = errors.New("does not exist")

// objects watches the single Secrets and ConfigMaps that pods use, each once:
// a node may not list them all.
type objects struct {
	client  kubernetes.Interface
	changed func()

	mu   sync.Mutex
	open map[objectKey]*watched
}

type objectKey struct {
	kind            kind
	namespace, name string
}

type kind string

const (
	secretKind    kind = "Secret"
	configMapKind kind = "ConfigMap"
)

type watched struct {
	users  int
	synced func() bool
	data   func() (map[string][]byte, bool)
	stop   func()
}

func newObjects(client kubernetes.Interface, changed func()) *objects {
	return &objects{client: client, changed: changed, open: map[objectKey]*watched{}}
}

// use begins a watch for one more user, who calls release once. It outlives ctx:
// other users may come.
func (o *objects) use(ctx context.Context, k objectKey) {
	o.mu.Lock()
	defer o.mu.Unlock()
	w := o.open[k]
	if w == nil {
		w = o.watch(context.WithoutCancel(ctx), k)
		o.open[k] = w
	}
	w.users++
}

func (o *objects) release(k objectKey) {
	o.mu.Lock()
	w := o.open[k]
	if w == nil {
		o.mu.Unlock()
		return
	}
	w.users--
	last := w.users == 0
	if last {
		delete(o.open, k)
	}
	o.mu.Unlock()
	if last {
		w.stop()
	}
}

// stop ends what users left open.
func (o *objects) stop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for k, w := range o.open {
		w.stop()
		delete(o.open, k)
	}
}

// data gives the content of an object in use, waiting for its first sight.
func (o *objects) data(ctx context.Context, k objectKey) (map[string][]byte, error) {
	for {
		o.mu.Lock()
		w := o.open[k]
		o.mu.Unlock()
		switch {
		case w == nil:
			return nil, fmt.Errorf("%s %s/%s is not watched", k.kind, k.namespace, k.name)
		case w.synced():
			if data, ok := w.data(); ok {
				return data, nil
			}
			return nil, fmt.Errorf("%s %s/%s: %w", k.kind, k.namespace, k.name, errAbsent)
		case ctx.Err() != nil:
			return nil, fmt.Errorf("%s %s/%s: %w", k.kind, k.namespace, k.name, ctx.Err())
		}
		pause(ctx, 5*time.Millisecond)
	}
}

func (o *objects) watch(ctx context.Context, k objectKey) *watched {
	only := fields.OneTermEqualSelector("metadata.name", k.name).String()
	if k.kind == secretKind {
		c := o.client.CoreV1().Secrets(k.namespace)
		m := mirror.Start[*corev1.Secret](ctx, mirror.Source[*corev1.SecretList]{Client: o.client, List: c.List, Watch: c.Watch, Fields: only}, o.changed)
		return &watched{synced: m.Synced, stop: m.Stop, data: func() (map[string][]byte, bool) {
			s, ok := m.Get(k.namespace, k.name)
			if !ok {
				return nil, false
			}
			return s.Data, true
		}}
	}
	c := o.client.CoreV1().ConfigMaps(k.namespace)
	m := mirror.Start[*corev1.ConfigMap](ctx, mirror.Source[*corev1.ConfigMapList]{Client: o.client, List: c.List, Watch: c.Watch, Fields: only}, o.changed)
	return &watched{synced: m.Synced, stop: m.Stop, data: func() (map[string][]byte, bool) {
		cm, ok := m.Get(k.namespace, k.name)
		if !ok {
			return nil, false
		}
		data := map[string][]byte{}
		for name, text := range cm.Data {
			data[name] = []byte(text)
		}
		maps.Copy(data, cm.BinaryData)
		return data, true
	}}
}
