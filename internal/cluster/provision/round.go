package provision

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// rounds carries what one leadership remembers from round to round. Only the
// goroutine of Run touches it, but for the parts under mu.
type rounds struct {
	p        *Provisioner
	failures int               // rounds with failures in a row
	told     map[string]string // the last trouble of each object that was logged

	mu       sync.Mutex
	services *seen[*corev1.Service]
	slices   *seen[*discoveryv1.EndpointSlice]
	ports    *seen[*corev1.ConfigMap]
}

func newRounds(p *Provisioner) *rounds {
	return &rounds{
		p: p, told: map[string]string{}, services: newSeen[*corev1.Service](),
		slices: newSeen[*discoveryv1.EndpointSlice](), ports: newSeen[*corev1.ConfigMap](),
	}
}

// run brings the cluster up to date with one Update. It returns how long to
// wait before looking again, or 0.
func (r *rounds) run(ctx context.Context, in *wanted) time.Duration {
	now := r.p.cfg.Now()
	r.services.show(in.snap.Services, now)
	r.slices.show(in.snap.EndpointSlices, now)
	r.ports.show(in.snap.ConfigMaps, now)

	gateways := map[key]*gwv1.Gateway{}
	for _, w := range in.want {
		gateways[keyOf(w.Gateway)] = w.Gateway
	}
	table, troubles := r.allocate(ctx, in, gateways, now)
	if table != nil {
		troubles = append(troubles, r.place(ctx, in, table)...)
		troubles = append(troubles, r.sweep(ctx, in, gateways)...)
	}
	r.tell(ctx, troubles)
	failing := map[string]bool{}
	for _, t := range troubles {
		failing[t.object] = true
	}
	r.p.meters.pending.Set(float64(len(failing)))
	switch {
	case ctx.Err() != nil:
		return 0
	case len(troubles) > 0:
		r.failures++
		return min(minRetry<<min(r.failures-1, 10), maxRetry)
	}
	r.failures = 0
	if r.services.unseen() || r.slices.unseen() || r.ports.unseen() {
		return patience
	}
	return 0
}

// trouble is an object that could not be written.
type trouble struct {
	object string
	// quiet troubles are part of life: another write came first.
	quiet bool
	err   error
}

// tell logs troubles that are new.
func (r *rounds) tell(ctx context.Context, troubles []trouble) {
	told := map[string]string{}
	for _, t := range troubles {
		if ctx.Err() != nil {
			return
		}
		told[t.object] = t.err.Error()
		if !t.quiet && r.told[t.object] != told[t.object] {
			r.p.cfg.Log.LogAttrs(ctx, slog.LevelError, "a Gateway's place cannot be kept", slog.String("object", t.object), slog.Any("error", t.err))
		}
	}
	r.told = told
}

// allocate gives every port of every Gateway its target port, and writes that
// down. It gives nil where nothing may be placed, because what is written down
// is not known.
func (r *rounds) allocate(ctx context.Context, in *wanted, gateways map[key]*gwv1.Gateway, now time.Time) (*portTable, []trouble) {
	at := key{r.p.cfg.Namespace, PortsName}
	name := "ConfigMap " + at.namespace + "/" + at.name
	cm, there := r.ports.get(at)
	table := readPorts(cm)
	if table.damage != "" {
		return table, []trouble{{object: name, err: fmt.Errorf("no port is given out or taken back: %s", table.damage)}}
	}
	d := demand{keep: map[owner]bool{}, inUse: portsInUse(r.p.cfg, in.snap, gateways)}
	for _, w := range in.want {
		for _, port := range w.Ports {
			d.want = append(d.want, owner{w.Gateway.Namespace, w.Gateway.Name, port})
		}
		if len(w.Ports) == 0 {
			d.keep[owner{w.Gateway.Namespace, w.Gateway.Name, 0}] = true
		}
	}
	changes, full := table.changes(d, now)
	var troubles []trouble
	if full != nil {
		troubles = append(troubles, trouble{object: name, err: full})
	}
	if len(changes) > 0 {
		if t := r.writePorts(ctx, cm, there, changes, now); t != nil {
			t.object = name
			return nil, append(troubles, *t)
		}
	}
	used := 0
	for _, h := range table.holdings {
		if h.freed.IsZero() {
			used++
		}
	}
	r.p.meters.ports.WithLabelValues("used").Set(float64(used))
	r.p.meters.ports.WithLabelValues("held").Set(float64(len(table.holdings) - used))
	return table, troubles
}

// writePorts writes changes of the ConfigMap, or makes it.
func (r *rounds) writePorts(ctx context.Context, cm *corev1.ConfigMap, there bool, changes map[string]*string, now time.Time) *trouble {
	api := r.p.client.CoreV1().ConfigMaps(r.p.cfg.Namespace)
	if there {
		patch := patchOf(cm, object{}, object{"data": changes})
		return send(ctx, r, "configmaps", r.ports, cm.ResourceVersion, now, func() (*corev1.ConfigMap, error) {
			raw, err := json.Marshal(patch)
			if err != nil {
				return nil, err
			}
			return api.Patch(ctx, cm.Name, types.MergePatchType, raw, patchOptions())
		})
	}
	data := map[string]string{}
	for k, v := range changes {
		if v != nil {
			data[k] = *v
		}
	}
	return send(ctx, r, "configmaps", r.ports, "", now, func() (*corev1.ConfigMap, error) {
		return api.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: r.p.cfg.Namespace, Name: PortsName,
				Labels: map[string]string{labelManagedBy: ManagedBy},
			},
			Data: data,
		}, createOptions())
	})
}

// place writes the Services and EndpointSlices of all Gateways.
func (r *rounds) place(ctx context.Context, in *wanted, table *portTable) []trouble {
	from := podsOf(in.snap, r.p.cfg)
	var mu sync.Mutex
	var troubles []trouble
	var wg sync.WaitGroup
	queue := make(chan Want)
	for range min(parallel, len(in.want)) {
		wg.Go(func() {
			for w := range queue {
				if found := r.placeOne(ctx, w, table, from); len(found) > 0 {
					mu.Lock()
					troubles = append(troubles, found...)
					mu.Unlock()
				}
			}
		})
	}
	for _, w := range in.want {
		if ctx.Err() != nil {
			break
		}
		queue <- w
	}
	close(queue)
	wg.Wait()
	if len(from) == 0 && len(in.want) > 0 {
		troubles = append(troubles, trouble{
			object: "Service " + r.p.cfg.Namespace + "/" + r.p.cfg.DataPlaneService,
			err:    fmt.Errorf("no EndpointSlice of the data plane's Service %s/%s is known: endpoints of Gateways stay as they are", r.p.cfg.Namespace, r.p.cfg.DataPlaneService),
		})
	}
	return troubles
}

// placeOne writes what belongs to one Gateway.
func (r *rounds) placeOne(ctx context.Context, w Want, table *portTable, from pods) []trouble {
	targets := map[int32]uint16{}
	for port, target := range table.of(w.Gateway.Namespace, w.Gateway.Name) {
		if slices.Contains(w.Ports, port) {
			targets[port] = target
		}
	}
	if len(targets) == 0 || w.Gateway.DeletionTimestamp != nil {
		return nil
	}
	var troubles []trouble
	for _, s := range slots(w.Gateway) {
		if s.address.IsValid() && r.p.cfg.ServiceType != corev1.ServiceTypeLoadBalancer {
			continue
		}
		svc := newService(r.p.cfg, w.Gateway, s, targets)
		t := r.putService(ctx, w.Gateway, svc)
		if t != nil {
			t.object = "Service " + svc.Namespace + "/" + svc.Name
			troubles = append(troubles, *t)
			continue
		}
		for _, slice := range newSlices(r.p.cfg, w.Gateway, s, targets, from) {
			if t := r.putSlice(ctx, w.Gateway, slice); t != nil {
				t.object = "EndpointSlice " + slice.Namespace + "/" + slice.Name
				troubles = append(troubles, *t)
			}
		}
	}
	return troubles
}

func (r *rounds) putService(ctx context.Context, gw *gwv1.Gateway, want *corev1.Service) *trouble {
	api := r.p.client.CoreV1().Services(want.Namespace)
	return put(ctx, r, "services", r.services, labelManagedBy, gw, want,
		func(have *corev1.Service) object { return servicePatch(have, want) },
		func() (*corev1.Service, error) { return api.Create(ctx, want, createOptions()) },
		func(raw []byte) (*corev1.Service, error) {
			return api.Patch(ctx, want.Name, types.MergePatchType, raw, patchOptions())
		})
}

func (r *rounds) putSlice(ctx context.Context, gw *gwv1.Gateway, want *discoveryv1.EndpointSlice) *trouble {
	api := r.p.client.DiscoveryV1().EndpointSlices(want.Namespace)
	return put(ctx, r, "endpointslices", r.slices, discoveryv1.LabelManagedBy, gw, want,
		func(have *discoveryv1.EndpointSlice) object { return slicePatch(have, want) },
		func() (*discoveryv1.EndpointSlice, error) { return api.Create(ctx, want, createOptions()) },
		func(raw []byte) (*discoveryv1.EndpointSlice, error) {
			return api.Patch(ctx, want.Name, types.MergePatchType, raw, patchOptions())
		})
}

// sweep deletes what belongs to Gateways that are gone or not ours any more,
// and what a Gateway no longer has: an address that it does not ask for now.
func (r *rounds) sweep(ctx context.Context, in *wanted, gateways map[key]*gwv1.Gateway) []trouble {
	needed := map[key]bool{} // Services
	idle := map[key]bool{}   // Gateways that keep what they have
	families := podsOf(in.snap, r.p.cfg)
	slicesNeeded := map[key]bool{}
	for _, w := range in.want {
		if len(w.Ports) == 0 {
			idle[keyOf(w.Gateway)] = true
		}
		for _, s := range slots(w.Gateway) {
			needed[key{w.Gateway.Namespace, s.service}] = true
			for _, slice := range newSlices(r.p.cfg, w.Gateway, s, nil, families) {
				slicesNeeded[keyOf(slice)] = true
			}
		}
	}
	var troubles []trouble
	for _, k := range sortedKeys(r.services.snapshot) {
		svc, there := r.services.get(k)
		if !there || svc.DeletionTimestamp != nil {
			continue
		}
		ref, ours := r.p.cfg.gatewayOf(svc, labelManagedBy)
		gw := gateways[key{k.namespace, ref.Name}]
		if !ours || gw != nil && (gw.UID != ref.UID || idle[keyOf(gw)] || needed[k]) {
			continue
		}
		err := r.p.client.CoreV1().Services(k.namespace).Delete(ctx, k.name, exactly(svc))
		troubles = append(troubles, removed(r, "services", r.services, svc, err)...)
	}
	for _, k := range sortedKeys(r.slices.snapshot) {
		slice, there := r.slices.get(k)
		if !there || slice.DeletionTimestamp != nil {
			continue
		}
		ref, ours := r.p.cfg.gatewayOf(slice, discoveryv1.LabelManagedBy)
		gw := gateways[key{k.namespace, ref.Name}]
		of := key{k.namespace, slice.Labels[discoveryv1.LabelServiceName]}
		if !ours || gw != nil && (gw.UID != ref.UID || idle[keyOf(gw)] || slicesNeeded[k] || needed[of] && len(families) == 0) {
			continue
		}
		err := r.p.client.DiscoveryV1().EndpointSlices(k.namespace).Delete(ctx, k.name, exactly(slice))
		troubles = append(troubles, removed(r, "endpointslices", r.slices, slice, err)...)
	}
	return troubles
}

func sortedKeys[T any](m map[key]T) []key {
	return slices.SortedFunc(maps.Keys(m), func(a, b key) int { return owner{a.namespace, a.name, 0}.compare(owner{b.namespace, b.name, 0}) })
}
