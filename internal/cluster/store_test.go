package cluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// route makes a route as a server gives it.
func route(namespace, name, version string) *gwv1.HTTPRoute {
	r := &gwv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: name, ResourceVersion: version, Generation: 1, UID: types.UID("uid-" + name),
	}}
	Admit(r)
	return r
}

// filled gives a store in which every kind was read, and holds nothing but
// objects.
func filled(t *testing.T, objects ...Object) *Store {
	t.Helper()
	s := NewStore()
	byKind := map[string][]Object{}
	for _, o := range objects {
		Admit(o)
		byKind[kindOf(o).name] = append(byKind[kindOf(o).name], o)
	}
	for _, k := range Kinds() {
		must(t, s.Replace(k.Name, byKind[k.Name]))
	}
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestStoreSharesWhatDidNotChange(t *testing.T) {
	a, b := route("shop", "a", "1"), route("shop", "b", "1")
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "a", ResourceVersion: "1"}}
	s := filled(t, a, b, svc)
	first := s.Snapshot()
	if first != s.Snapshot() {
		t.Error("nothing changed, but there is another Snapshot")
	}
	// The same state again, as after a relist.
	must(t, s.Put(route("shop", "a", "1")))
	must(t, s.Replace("HTTPRoute", []Object{route("shop", "b", "1"), route("shop", "a", "1")}))
	if first != s.Snapshot() {
		t.Error("a relist without a change gives another Snapshot")
	}
	c := route("shop", "aa", "2")
	must(t, s.Put(c))
	second := s.Snapshot()
	if diff := cmp.Diff([]string{"a", "aa", "b"}, names(second.HTTPRoutes)); diff != "" {
		t.Error(diff)
	}
	if second.HTTPRoutes[0] != a || second.HTTPRoutes[1] != c || second.HTTPRoutes[2] != b {
		t.Error("objects that did not change are other pointers")
	}
	if &second.Services[0] != &first.Services[0] {
		t.Error("the list of a kind that did not change was made anew")
	}
	if len(first.HTTPRoutes) != 2 || first.HTTPRoutes[1] != b {
		t.Error("a change went into an old Snapshot")
	}
	must(t, s.Remove("HTTPRoute", "shop", "a"))
	must(t, s.Remove("HTTPRoute", "shop", "nobody"))
	if diff := cmp.Diff([]string{"aa", "b"}, names(s.Snapshot().HTTPRoutes)); diff != "" {
		t.Error(diff)
	}
	if n := s.Len("HTTPRoute"); n != 2 {
		t.Errorf("%d routes are held, want 2", n)
	}
}

func names[T Object](list []T) []string {
	var out []string
	for _, o := range list {
		out = append(out, o.GetName())
	}
	return out
}

// TestDigest proves what changes the digest and what does not.
func TestDigest(t *testing.T) {
	gateway := func() *gwv1.Gateway {
		return &gwv1.Gateway{ObjectMeta: metav1.ObjectMeta{Name: "g", Namespace: "n", UID: "1", Generation: 1, ResourceVersion: "1"}}
	}
	service := func() *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "n", ResourceVersion: "1"}}
	}
	digest := func(objects ...Object) string { return Assemble(objects, nil).Digest() }
	base := digest(gateway(), service())
	if digest(service(), gateway()) != base {
		t.Error("the order of objects counts")
	}
	tests := []struct {
		name   string
		edit   func(*gwv1.Gateway, *corev1.Service)
		counts bool
	}{
		{"status", func(g *gwv1.Gateway, _ *corev1.Service) { g.Status.Conditions = []metav1.Condition{{Type: "Accepted"}} }, false},
		{"resource version", func(g *gwv1.Gateway, _ *corev1.Service) { g.ResourceVersion = "2" }, false},
		{"managed fields", func(g *gwv1.Gateway, _ *corev1.Service) {
			g.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
		}, false},
		{"finalizers", func(g *gwv1.Gateway, _ *corev1.Service) { g.Finalizers = []string{"a.example/b"} }, false},
		{"last applied", func(g *gwv1.Gateway, _ *corev1.Service) {
			g.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: "{}"}
		}, false},
		{"conditions of a Service", func(_ *gwv1.Gateway, s *corev1.Service) { s.Status.Conditions = []metav1.Condition{{Type: "a"}} }, false},
		{"spec", func(g *gwv1.Gateway, _ *corev1.Service) { g.Spec.GatewayClassName = "bulwark" }, true},
		{"generation", func(g *gwv1.Gateway, _ *corev1.Service) { g.Generation = 2 }, true},
		{"uid", func(g *gwv1.Gateway, _ *corev1.Service) { g.UID = "2" }, true},
		{"label", func(g *gwv1.Gateway, _ *corev1.Service) { g.Labels = map[string]string{"a": "b"} }, true},
		{"annotation", func(g *gwv1.Gateway, _ *corev1.Service) { g.Annotations = map[string]string{"a": "b"} }, true},
		{"deletion", func(g *gwv1.Gateway, _ *corev1.Service) { g.DeletionTimestamp = new(metav1.Time) }, true},
		{"name", func(g *gwv1.Gateway, _ *corev1.Service) { g.Name = "h" }, true},
		{"load balancer", func(_ *gwv1.Gateway, s *corev1.Service) {
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "10.0.0.1"}}
		}, true},
	}
	for _, tt := range tests {
		g, s := gateway(), service()
		tt.edit(g, s)
		if got := digest(g, s) != base; got != tt.counts {
			t.Errorf("%s: digest changed: %v, want %v", tt.name, got, tt.counts)
		}
	}
	if digest(gateway()) == base || digest() == digest(gateway()) {
		t.Error("a missing object does not change the digest")
	}
	if Assemble([]Object{gateway(), service()}, []Unreadable{{"Secret", "no permission"}}).Digest() == base {
		t.Error("an unreadable kind does not change the digest")
	}
}

// TestStoreUnreadable: what may not be read is dropped and named, and nothing
// but a full Replace brings it back.
func TestStoreUnreadable(t *testing.T) {
	s := NewStore()
	if n := len(s.Snapshot().Unreadable); n != len(Kinds()) {
		t.Errorf("of a new store %d kinds are unreadable, want all", n)
	}
	s = filled(t, route("shop", "a", "1"))
	before := s.Snapshot().Digest()
	must(t, s.SetUnreadable("HTTPRoute", "no permission"))
	snap := s.Snapshot()
	if diff := cmp.Diff([]Unreadable{{"HTTPRoute", "no permission"}}, snap.Unreadable); diff != "" {
		t.Error(diff)
	}
	if len(snap.HTTPRoutes) > 0 || snap.Len() > 0 || s.Len("HTTPRoute") > 0 {
		t.Error("objects of an unreadable kind are still there")
	}
	must(t, s.Put(route("shop", "b", "1")))
	if snap := s.Snapshot(); len(snap.Unreadable) != 1 || len(snap.HTTPRoutes) > 0 {
		t.Error("one object made its kind readable")
	}
	must(t, s.SetAbsent("HTTPRoute", "no CRD"))
	if snap := s.Snapshot(); len(snap.Unreadable) > 0 || len(snap.Absent) != 1 || len(snap.HTTPRoutes) > 0 {
		t.Errorf("absent: unreadable %v, absent %v", snap.Unreadable, snap.Absent)
	}
	must(t, s.Replace("HTTPRoute", []Object{route("shop", "a", "1")}))
	if after := s.Snapshot(); after.Digest() != before || len(after.Unreadable)+len(after.Absent) > 0 {
		t.Error("Replace does not bring back what was")
	}
	for _, err := range []error{
		s.SetUnreadable("HTTPRoute", ""), s.SetUnreadable("Pod", "no"), s.Put(&corev1.Pod{}),
		s.Replace("HTTPRoute", []Object{&corev1.Service{}}), s.Remove("Pod", "", ""), s.Replace("Pod", nil),
	} {
		if err == nil {
			t.Error("the store took what it cannot hold")
		}
	}
}

// TestStoreUndecoded: without one object the others of its kind may mean
// something else, so the kind is unreadable for as long as the object is there.
func TestStoreUndecoded(t *testing.T) {
	s := filled(t, route("shop", "a", "1"))
	broken := func(name string) *Undecoded {
		return &Undecoded{PartialObjectMetadata: metav1.PartialObjectMetadata{
			TypeMeta:   metav1.TypeMeta{Kind: "HTTPRoute"},
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		}, Err: errors.New("bad " + name)}
	}
	for _, n := range []string{"b", "c", "d", "e", "a"} {
		must(t, s.Put(broken(n)))
	}
	snap := s.Snapshot()
	if diff := cmp.Diff([]Unreadable{{"HTTPRoute", "bad a; bad b; bad c; and 2 more"}}, snap.Unreadable); diff != "" {
		t.Error(diff)
	}
	if len(snap.HTTPRoutes) > 0 {
		t.Error("the sound routes are given without the broken ones")
	}
	must(t, s.Put(route("shop", "a", "2")))
	for _, n := range []string{"b", "c", "d"} {
		must(t, s.Remove("HTTPRoute", "shop", n))
	}
	if snap := s.Snapshot(); len(snap.Unreadable) != 1 || len(snap.HTTPRoutes) > 0 {
		t.Error("one broken route is left, but the kind is given out")
	}
	must(t, s.Put(route("shop", "e", "2")))
	if snap := s.Snapshot(); len(snap.Unreadable) > 0 || len(snap.HTTPRoutes) != 2 {
		t.Errorf("all are sound again: %v, %v", snap.Unreadable, names(snap.HTTPRoutes))
	}
}

// TestStoreModel makes random changes and compares with Snapshots made from
// nothing.
func TestStoreModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	s := filled(t)
	model := map[string]*gwv1.HTTPRoute{}
	for step := range 3000 {
		n := fmt.Sprintf("r%02d", rng.IntN(40))
		switch op := rng.IntN(20); {
		case op < 10:
			model[n] = route("shop", n, fmt.Sprint(step))
			model[n].Generation = int64(step)
			must(t, s.Put(model[n]))
		case op < 18:
			delete(model, n)
			must(t, s.Remove("HTTPRoute", "shop", n))
		case op < 19:
			model = map[string]*gwv1.HTTPRoute{n: route("shop", n, fmt.Sprint(step))}
			must(t, s.Replace("HTTPRoute", []Object{model[n]}))
		default:
			model = map[string]*gwv1.HTTPRoute{}
			must(t, s.SetUnreadable("HTTPRoute", "no"))
			must(t, s.Replace("HTTPRoute", nil))
		}
		if rng.IntN(4) > 0 {
			continue
		}
		var all []Object
		for _, r := range model {
			all = append(all, r)
		}
		got, want := s.Snapshot(), Assemble(all, nil)
		if got.Digest() != want.Digest() || got.Len() != want.Len() || !slices.Equal(got.HTTPRoutes, want.HTTPRoutes) {
			t.Fatalf("step %d: %v, want %v", step, names(got.HTTPRoutes), names(want.HTTPRoutes))
		}
	}
}

// TestStoreConcurrent is for the race detector.
func TestStoreConcurrent(t *testing.T) {
	s := filled(t)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 200 {
				if err := s.Put(route(fmt.Sprint("ns", w), fmt.Sprint("r", i%10), fmt.Sprint(i))); err != nil {
					t.Error(err)
				}
				for range s.Snapshot().All() {
				}
			}
		})
	}
	wg.Wait()
	if n := s.Snapshot().Len(); n != 40 {
		t.Errorf("%d objects, want 40", n)
	}
}

// TestKinds: every list of a Snapshot belongs to one kind, and the digest knows
// what counts of it.
func TestKinds(t *testing.T) {
	objects := map[string]Object{}
	for _, k := range kinds() {
		obj, err := k.unmarshal([]byte(`{"metadata":{"name":"a"},"status":{}}`))
		must(t, err)
		k.admit(obj)
		objects[k.name] = obj
		if all, ok := content(obj).(Object); ok && all == obj {
			t.Errorf("the digest takes all of a %s", k.name)
		}
		if kindOf(obj) != k || obj.GetObjectKind().GroupVersionKind() != k.gvk() {
			t.Errorf("%s is not known by its type", k.name)
		}
	}
	snap := Assemble(slices.Collect(func(yield func(Object) bool) {
		for _, o := range objects {
			if !yield(o) {
				return
			}
		}
	}), nil)
	if snap.Len() != len(objects) {
		t.Errorf("%d objects in the lists, want %d", snap.Len(), len(objects))
	}
	for o := range snap.All() {
		if objects[kindOf(o).name] != o {
			t.Errorf("%s is in another list", kindOf(o).name)
		}
	}
	for range snap.All() {
		break
	}
}
