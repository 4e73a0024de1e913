package provision

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/internal/cluster"
	"bulwark.dev/bulwark/internal/cluster/status/apitest"
)

// bench is a Provisioner with an API server of its own.
type bench struct {
	t      *testing.T
	server *apitest.Server
	log    *strings.Builder
	now    time.Time
	p      *Provisioner
	r      *rounds
	pods   []*discoveryv1.EndpointSlice
}

func newBench(t *testing.T, edit func(*Config)) *bench {
	t.Helper()
	b := &bench{t: t, server: apitest.New(t), log: &strings.Builder{}, now: noon}
	cfg := testConfig
	cfg.REST, cfg.Log, cfg.Now = b.server.REST(), slog.New(slog.NewTextHandler(b.log, nil)), func() time.Time { return b.now }
	if edit != nil {
		edit(&cfg)
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.p, b.r = p, newRounds(p)
	b.pods = []*discoveryv1.EndpointSlice{podSlice("10.244.0.2", "10.244.0.1")}
	return b
}

// podSlice is an EndpointSlice of the data plane's own Service.
func podSlice(addresses ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "bulwark", Name: "bulwark-gateway-x", Labels: map[string]string{discoveryv1.LabelServiceName: "bulwark-gateway"}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for _, a := range addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{a},
			Conditions: discoveryv1.EndpointConditions{Ready: new(true), Serving: new(true), Terminating: new(false)},
			NodeName:   new("node-1"), TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "bulwark", Name: "gateway-" + a},
		})
	}
	return s
}

// snapshot reads all that the server has.
func (b *bench) snapshot() *cluster.Snapshot {
	b.t.Helper()
	snap := &cluster.Snapshot{EndpointSlices: b.pods}
	for _, path := range b.server.Paths("/") {
		switch {
		case strings.Contains(path, "/services/"):
			snap.Services = append(snap.Services, read[corev1.Service](b, path))
		case strings.Contains(path, "/endpointslices/"):
			snap.EndpointSlices = append(snap.EndpointSlices, read[discoveryv1.EndpointSlice](b, path))
		case strings.Contains(path, "/configmaps/"):
			snap.ConfigMaps = append(snap.ConfigMaps, read[corev1.ConfigMap](b, path))
		}
	}
	return snap
}

func read[T any](b *bench, path string) *T {
	b.t.Helper()
	var o T
	if !b.server.Get(b.t, path, &o) {
		b.t.Fatalf("no %s; there are %v", path, b.server.Paths("/"))
	}
	return &o
}

// round runs one round, as Run would after an Update.
func (b *bench) round(snap *cluster.Snapshot, want ...Want) time.Duration {
	b.t.Helper()
	b.p.Update(snap, want)
	return b.r.run(b.t.Context(), b.p.current())
}

// settle runs rounds until nothing is written.
func (b *bench) settle(want ...Want) {
	b.t.Helper()
	for range 5 {
		b.server.Requests()
		b.round(b.snapshot(), want...)
		if len(b.server.Requests()) == 0 {
			return
		}
	}
	b.t.Fatalf("still writes: %s", b.log)
}

const (
	servicePath = "/api/v1/namespaces/shop/services/edge-bulwark"
	slicePath   = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/edge-bulwark-ipv4"
	portsPath   = "/api/v1/namespaces/bulwark/configmaps/bulwark-ports"
)

func TestGatewayIsPlaced(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	gw := gateway("edge")
	gw.Spec.Infrastructure = &gwv1.GatewayInfrastructure{
		Labels:      map[gwv1.LabelKey]gwv1.LabelValue{"team": "shop", labelManagedBy: "me", gwv1.GatewayNameLabelKey: "other"},
		Annotations: map[gwv1.AnnotationKey]gwv1.AnnotationValue{"lb.example/size": "large", keysAnnotation: "label:x"},
	}
	want := Want{Gateway: gw, Ports: []int32{443, 80}}
	empty := b.snapshot()
	b.round(empty, want)
	if n := len(b.server.Requests()); n != 3 {
		t.Fatalf("%d requests, want ConfigMap, Service and EndpointSlice: %s", n, b.log)
	}
	b.round(empty, want) // the watch is late
	b.round(b.snapshot(), want)
	if r := b.server.Requests(); len(r) != 0 {
		t.Fatalf("wrote again: %v", r)
	}

	svc := read[corev1.Service](b, servicePath)
	targets := Place(b.snapshot(), b.p.cfg, gw).Ports
	if len(targets) != 2 || targets[80] == targets[443] {
		t.Fatalf("target ports %v", targets)
	}
	wantMeta := metav1.ObjectMeta{
		Namespace: "shop", Name: "edge-bulwark", UID: svc.UID, ResourceVersion: svc.ResourceVersion,
		Labels: map[string]string{
			"team": "shop", labelManagedBy: ManagedBy, labelInstallation: "bulwark", "gateway.networking.k8s.io/gateway-name": "edge",
		},
		Annotations:     map[string]string{"lb.example/size": "large", keysAnnotation: "annotation:lb.example/size,label:team"},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "gateway.networking.k8s.io/v1", Kind: "Gateway", Name: "edge", UID: "uid-gateway", Controller: new(true)}},
	}
	if diff := cmp.Diff(wantMeta, svc.ObjectMeta); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer || svc.Spec.Selector != nil || len(svc.Spec.Ports) != 2 ||
		svc.Spec.Ports[0].Port != 80 || svc.Spec.Ports[0].TargetPort.IntVal != int32(targets[80]) {
		t.Errorf("spec %+v", svc.Spec)
	}
	slice := read[discoveryv1.EndpointSlice](b, slicePath)
	wantSlice := podSlice("10.244.0.1", "10.244.0.2").Endpoints
	if diff := cmp.Diff(wantSlice, slice.Endpoints); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
	if l := slice.Labels; l[discoveryv1.LabelServiceName] != "edge-bulwark" || l[discoveryv1.LabelManagedBy] != ManagedBy || slice.AddressType != discoveryv1.AddressTypeIPv4 {
		t.Errorf("labels %v, type %s", l, slice.AddressType)
	}
	for i, p := range slice.Ports {
		if *p.Name != svc.Spec.Ports[i].Name || *p.Port != svc.Spec.Ports[i].TargetPort.IntVal {
			t.Errorf("port %d of slice and Service differ", i)
		}
	}
}

func TestChangesArePutThrough(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	gw := gateway("edge")
	gw.Spec.Infrastructure = &gwv1.GatewayInfrastructure{Labels: map[gwv1.LabelKey]gwv1.LabelValue{"team": "shop", "stage": "test"}}
	b.settle(Want{gw, []int32{80}})
	before := Place(b.snapshot(), b.p.cfg, gw).Ports[80]

	// What a user may set stays; what is ours comes back.
	svc := read[corev1.Service](b, servicePath)
	svc.Labels["mine"], svc.Labels["team"] = "kept", "edited"
	svc.Annotations["lb.example/id"] = "kept"
	svc.Spec.Selector = map[string]string{"app": "evil"}
	svc.Spec.Ports[0].TargetPort.IntVal, svc.Spec.Ports[0].NodePort = 31234, 30080
	svc.Spec.Type, svc.Spec.LoadBalancerSourceRanges = corev1.ServiceTypeNodePort, []string{"10.0.0.0/8"}
	b.server.Put(t, servicePath, svc)
	slice := read[discoveryv1.EndpointSlice](b, slicePath)
	slice.Endpoints[0].Addresses[0] = "10.244.9.9"
	slice.Ports[0].Port = new(int32(31234))
	b.server.Put(t, slicePath, slice)

	gw = gw.DeepCopy()
	delete(gw.Spec.Infrastructure.Labels, "stage")
	b.pods = []*discoveryv1.EndpointSlice{podSlice("10.244.0.3", "10.244.0.1")}
	b.pods[0].Endpoints[0].Conditions.Ready = new(false)
	b.settle(Want{gw, []int32{80, 8080}})

	svc = read[corev1.Service](b, servicePath)
	if _, there := svc.Labels["stage"]; there || svc.Labels["team"] != "shop" || svc.Labels["mine"] != "kept" || svc.Annotations["lb.example/id"] != "kept" {
		t.Errorf("labels %v, annotations %v", svc.Labels, svc.Annotations)
	}
	if p := svc.Spec.Ports; svc.Spec.Selector != nil || svc.Spec.Type != corev1.ServiceTypeLoadBalancer || len(p) != 2 ||
		p[0].TargetPort.IntVal != int32(before) || p[0].NodePort != 30080 || len(svc.Spec.LoadBalancerSourceRanges) != 1 {
		t.Errorf("spec %+v", svc.Spec)
	}
	slice = read[discoveryv1.EndpointSlice](b, slicePath)
	if e := slice.Endpoints; len(e) != 2 || e[0].Addresses[0] != "10.244.0.1" || *e[1].Conditions.Ready || *slice.Ports[0].Port != int32(before) {
		t.Errorf("slice %+v", slice)
	}

	// A Gateway whose listeners are all invalid just now keeps its place.
	b.settle(Want{gw, nil})
	if got := Place(b.snapshot(), b.p.cfg, gw).Ports; got[80] != before || len(got) != 2 {
		t.Errorf("ports %v, had %d", got, before)
	}
	// One that is gone loses it, and its ports are held.
	b.settle()
	if left := b.server.Paths("/"); len(left) != 1 || left[0] != portsPath {
		t.Errorf("left: %v", left)
	}
	for _, v := range read[corev1.ConfigMap](b, portsPath).Data {
		if !strings.HasSuffix(v, " freed=2026-11-21T12:00:00Z") {
			t.Errorf("holding %q", v)
		}
	}
}

func TestLateSnapshotsCauseNoWrites(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	gw := gateway("edge")
	b.settle(Want{gw, []int32{80}})
	old := b.snapshot()
	want := Want{gw, []int32{80, 443}}
	b.round(old, want) // patches all three
	if r := b.server.Requests(); len(r) != 3 {
		t.Fatalf("requests %v", r)
	}
	b.round(old, want)
	// In this one, only the Service's change has arrived.
	late := *old
	late.Services = b.snapshot().Services
	b.round(&late, want)
	b.round(b.snapshot(), want)
	b.round(b.snapshot()) // deletes both
	if r := b.server.Requests(); len(r) != 3 || r[1].Method != http.MethodDelete || r[2].Method != http.MethodDelete {
		t.Fatalf("requests %v", r)
	}
	late = *old
	late.ConfigMaps = b.snapshot().ConfigMaps
	b.round(&late)
	if r := b.server.Requests(); len(r) != 0 {
		t.Errorf("wrote again: %v", r)
	}
}

func TestOthersObjectsAreLeftAlone(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	gw := gateway("edge")
	users := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "edge-bulwark"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "users"}},
	}
	b.server.Put(t, servicePath, users)
	gone := gateway("gone")
	otherInstallation := b.p.cfg
	otherInstallation.Namespace = "bulwark-too"
	b.server.Put(t, "/api/v1/namespaces/shop/services/gone-bulwark", service(otherInstallation, gone, slots(gone)[0]))
	unowned := service(b.p.cfg, gone, slots(gone)[0])
	unowned.Name, unowned.OwnerReferences = "unowned", nil
	b.server.Put(t, "/api/v1/namespaces/shop/services/unowned", unowned)
	before := b.snapshot()
	if wait := b.round(b.snapshot(), Want{gw, []int32{80}}); wait == 0 {
		t.Error("a Gateway without its Service is not looked after again")
	}
	if diff := cmp.Diff(before.Services, b.snapshot().Services); diff != "" {
		t.Errorf("Services were changed (-before +after):\n%s", diff)
	}
	if !strings.Contains(b.log.String(), "Service shop/edge-bulwark") {
		t.Errorf("not told: %s", b.log)
	}
	told := b.log.Len()
	b.round(b.snapshot(), Want{gw, []int32{80}})
	if b.log.Len() != told {
		t.Error("told twice")
	}
	if p := Place(b.snapshot(), b.p.cfg, gw); !strings.Contains(p.Pending, "was not made for this Gateway") {
		t.Errorf("pending %q", p.Pending)
	}
}

func TestStaticAddresses(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	gw := gateway("edge")
	b.settle(Want{gw, []int32{80}})
	gw = gateway("edge", "10.0.0.1", "2001:db8::1")
	b.settle(Want{gw, []int32{80}})
	list := b.snapshot().Services
	if len(list) != 2 {
		t.Fatalf("%d Services", len(list))
	}
	got := map[string]corev1.IPFamily{}
	for _, s := range list {
		got[s.Spec.LoadBalancerIP] = s.Spec.IPFamilies[0]
	}
	if diff := cmp.Diff(map[string]corev1.IPFamily{"10.0.0.1": "IPv4", "2001:db8::1": "IPv6"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := len(b.server.Paths("/apis/discovery.k8s.io/")); n != 2 {
		t.Errorf("%d EndpointSlices", n)
	}
}

func TestEndpointsAreKeptWhenTheDataPlaneIsNotKnown(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	gw := gateway("edge")
	b.settle(Want{gw, []int32{80}})
	b.pods = nil
	b.round(b.snapshot(), Want{gw, []int32{80}})
	if e := read[discoveryv1.EndpointSlice](b, slicePath).Endpoints; len(e) != 2 {
		t.Errorf("endpoints %v", e)
	}
	if !strings.Contains(b.log.String(), "no EndpointSlice of the data plane") {
		t.Errorf("not told: %s", b.log)
	}
	b.pods = []*discoveryv1.EndpointSlice{podSlice()} // known to have no pods
	b.settle(Want{gw, []int32{80}})
	if e := read[discoveryv1.EndpointSlice](b, slicePath).Endpoints; len(e) != 0 {
		t.Errorf("endpoints %v", e)
	}
}

func TestTwoLeadersDoNotShareAPort(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	other := newRounds(b.p)
	stale := b.snapshot()
	gateways := []Want{{gateway("a"), []int32{80}}, {gateway("b"), []int32{80}}}
	b.round(stale, gateways[0])
	b.p.Update(stale, gateways[1:])
	if wait := other.run(t.Context(), b.p.current()); wait == 0 {
		t.Error("lost a race and does not look again")
	}
	if n := len(b.snapshot().Services); n != 1 {
		t.Errorf("%d Services, though the ports of one were not written down", n)
	}
	// Both write over a ConfigMap that the other changed meanwhile.
	stale = b.snapshot()
	b.round(stale, Want{gateway("c"), []int32{80}}, gateways[0])
	b.p.Update(stale, append(gateways, Want{gateway("d"), []int32{80}}))
	other.run(t.Context(), b.p.current())
	if data := read[corev1.ConfigMap](b, portsPath).Data; len(data) != 2 {
		t.Errorf("ports %v", data)
	}
	conflicts := 0
	for _, r := range b.server.Requests() {
		if r.Code == http.StatusConflict {
			conflicts++
		}
	}
	if conflicts != 2 {
		t.Errorf("%d conflicts, want 2", conflicts)
	}
}

func TestDamagedConfigMapStopsAllocationOnly(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	gw := gateway("edge")
	b.settle(Want{gw, []int32{80}})
	cm := read[corev1.ConfigMap](b, portsPath)
	cm.Data["oops"] = "x"
	b.server.Put(t, portsPath, cm)
	b.pods = []*discoveryv1.EndpointSlice{podSlice("10.244.0.9")}
	b.round(b.snapshot(), Want{gw, []int32{80, 443}}, Want{gateway("new"), []int32{80}})
	if diff := cmp.Diff(cm.Data, read[corev1.ConfigMap](b, portsPath).Data); diff != "" {
		t.Errorf("the ConfigMap was changed (-before +after):\n%s", diff)
	}
	slice := read[discoveryv1.EndpointSlice](b, slicePath)
	if len(slice.Ports) != 1 || slice.Endpoints[0].Addresses[0] != "10.244.0.9" {
		t.Errorf("a Gateway with a port is not looked after: %+v", slice)
	}
	if n := len(b.snapshot().Services); n != 1 {
		t.Errorf("%d Services", n)
	}
	if !strings.Contains(b.log.String(), "is damaged") {
		t.Errorf("not told: %s", b.log)
	}
}

func TestRefusalsAndOutages(t *testing.T) {
	t.Parallel()
	for _, code := range []int{http.StatusForbidden, http.StatusInternalServerError, http.StatusUnprocessableEntity} {
		b := newBench(t, nil)
		var mu sync.Mutex
		failing := true
		b.server.Intercept = func(r *http.Request) int {
			mu.Lock()
			defer mu.Unlock()
			if failing && strings.Contains(r.URL.Path, "/services") {
				return code
			}
			return 0
		}
		gw := gateway("edge")
		last := time.Duration(0)
		for range 3 {
			wait := b.round(b.snapshot(), Want{gw, []int32{80}})
			if wait < minRetry || wait > maxRetry || wait < last {
				t.Errorf("%d: waits %v after %v", code, wait, last)
			}
			last = wait
		}
		if n := strings.Count(b.log.String(), "level=ERROR"); n != 1 {
			t.Errorf("%d: told %d times:\n%s", code, n, b.log)
		}
		if code == http.StatusForbidden && !strings.Contains(b.log.String(), "no permission to write services") {
			t.Errorf("missing permission not named: %s", b.log)
		}
		mu.Lock()
		failing = false
		mu.Unlock()
		b.settle(Want{gw, []int32{80}})
		if len(b.snapshot().Services) != 1 {
			t.Errorf("%d: no Service in the end", code)
		}
	}
}

func TestDeletedByUserComesBack(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	gw := gateway("edge")
	b.settle(Want{gw, []int32{80}})
	port := Place(b.snapshot(), b.p.cfg, gw).Ports[80]
	b.server.Remove(servicePath)
	b.server.Remove(portsPath)
	b.settle(Want{gw, []int32{80}})
	if got := Place(b.snapshot(), b.p.cfg, gw).Ports[80]; got != port || read[corev1.Service](b, servicePath).Spec.Ports[0].TargetPort.IntVal != int32(port) {
		t.Errorf("port %d, was %d", got, port)
	}
	// One that was made and deleted before any Snapshot showed it.
	none := &cluster.Snapshot{EndpointSlices: b.pods, ConfigMaps: b.snapshot().ConfigMaps}
	b.server.Remove(servicePath)
	b.server.Remove(slicePath)
	b.round(none, Want{gw, []int32{80}})
	b.server.Remove(servicePath)
	if wait := b.round(none, Want{gw, []int32{80}}); wait != patience {
		t.Errorf("looks again in %v, want %v", wait, patience)
	}
	b.now = b.now.Add(patience)
	b.round(none, Want{gw, []int32{80}})
	read[corev1.Service](b, servicePath)
}

func TestRun(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() {
		if err := b.p.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	empty := b.snapshot()
	for i := range 20 { // the newest wins, and none blocks
		b.p.Update(empty, []Want{{gateway("edge"), []int32{int32(8000 + i)}}})
	}
	for len(b.server.Paths("/api/v1/namespaces/shop/services/")) == 0 || read[corev1.Service](b, servicePath).Spec.Ports[0].Port != 8019 {
		b.p.Update(b.snapshot(), []Want{{gateway("edge"), []int32{8019}}})
		time.Sleep(5 * time.Millisecond)
	}
	if err := b.p.Run(ctx); err == nil {
		t.Error("runs twice")
	}
	cancel()
	run.Wait()
	registry := prometheus.NewRegistry()
	registry.MustRegister(b.p)
	if families, err := registry.Gather(); err != nil || len(families) != 3 {
		t.Errorf("metrics %v, %v", families, err)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	good := newBench(t, nil).p.cfg
	for name, edit := range map[string]func(*Config){
		"no REST": func(c *Config) { c.REST = nil }, "no log": func(c *Config) { c.Log = nil }, "no clock": func(c *Config) { c.Now = nil },
		"no namespace": func(c *Config) { c.Namespace = "" }, "no data plane": func(c *Config) { c.DataPlaneService = "" },
		"external name": func(c *Config) { c.ServiceType = corev1.ServiceTypeExternalName }, "no type": func(c *Config) { c.ServiceType = "Magic" },
	} {
		c := good
		edit(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
