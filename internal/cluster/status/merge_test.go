package status

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

var (
	then = metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	now  = metav1.NewTime(time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC))
)

func testMerger() *merger {
	return &merger{now: now, controller: ours, namespace: "shop", generation: 7}
}

// cond is a condition as it is stored.
func cond(typ, status string, generation int64, at metav1.Time) metav1.Condition {
	return metav1.Condition{Type: typ, Status: metav1.ConditionStatus(status), Reason: "R", ObservedGeneration: generation, LastTransitionTime: at}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	zero := metav1.Time{}
	tests := map[string]struct{ have, want, out []metav1.Condition }{
		"the time stays while the status does": {
			[]metav1.Condition{cond("Accepted", "True", 6, then)},
			[]metav1.Condition{cond("Accepted", "True", 0, zero)},
			[]metav1.Condition{cond("Accepted", "True", 7, then)},
		},
		"a new status has a new time": {
			[]metav1.Condition{cond("Accepted", "Unknown", 0, then)},
			[]metav1.Condition{cond("Accepted", "True", 0, zero)},
			[]metav1.Condition{cond("Accepted", "True", 7, now)},
		},
		"ours that is no longer said goes, another's stays in its place": {
			[]metav1.Condition{cond("Ready", "True", 6, then), cond("example.com/Scanned", "True", 3, then), cond("Accepted", "True", 6, then)},
			[]metav1.Condition{cond("Programmed", "True", 0, zero), cond("Accepted", "True", 0, zero)},
			[]metav1.Condition{cond("example.com/Scanned", "True", 3, then), cond("Accepted", "True", 7, then), cond("Programmed", "True", 7, now)},
		},
		"our own qualified types are ours": {
			[]metav1.Condition{cond("bulwark.dev/X", "True", 6, then), cond("gateway.networking.k8s.io/Y", "True", 6, then)},
			nil,
			[]metav1.Condition{},
		},
		"a type that is there twice is told once": {
			[]metav1.Condition{cond("Accepted", "True", 6, then), cond("Accepted", "False", 6, then)},
			[]metav1.Condition{cond("Accepted", "True", 0, zero), cond("Accepted", "False", 0, zero)},
			[]metav1.Condition{cond("Accepted", "True", 7, then)},
		},
		"of too many, others' go": {
			[]metav1.Condition{
				cond("a.example/A", "True", 1, then), cond("b.example/B", "True", 1, then), cond("c.example/C", "True", 1, then),
				cond("d.example/D", "True", 1, then), cond("e.example/E", "True", 1, then), cond("f.example/F", "True", 1, then), cond("g.example/G", "True", 1, then),
			},
			[]metav1.Condition{cond("Accepted", "True", 0, zero), cond("Programmed", "True", 0, zero)},
			[]metav1.Condition{
				cond("a.example/A", "True", 1, then), cond("b.example/B", "True", 1, then), cond("c.example/C", "True", 1, then),
				cond("d.example/D", "True", 1, then), cond("e.example/E", "True", 1, then), cond("f.example/F", "True", 1, then),
				cond("Accepted", "True", 7, now), cond("Programmed", "True", 7, now),
			},
		},
	}
	for name, tt := range tests {
		if diff := cmp.Diff(tt.out, testMerger().conditions(tt.have, tt.want)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	long := testMerger().condition(nil, metav1.Condition{Message: strings.Repeat("é", maxMessage)})
	if n := len(long.Message); n > maxMessage || strings.TrimRight(long.Message, "é") != "" {
		t.Errorf("a long message is cut to %d bytes, ending %q", n, long.Message[n-3:])
	}
}

func TestRouteParents(t *testing.T) {
	t.Parallel()
	theirs := gwv1.RouteParentStatus{
		ParentRef: gwv1.ParentReference{Name: "edge"}, ControllerName: "example.com/other",
		Conditions: []metav1.Condition{cond("Accepted", "False", 99, then)},
	}
	old := func(gateway string) gwv1.RouteParentStatus {
		p := parent(gateway, cond("Accepted", "True", 6, then), cond("PartiallyInvalid", "True", 6, then))
		p.ParentRef = defaultRef(p.ParentRef)
		return p
	}
	stored := func(gateway string, at metav1.Time) gwv1.RouteParentStatus {
		p := parent(gateway, cond("Accepted", "True", 7, at))
		p.ParentRef = defaultRef(p.ParentRef)
		return p
	}
	wanted := func(gateway string) gwv1.RouteParentStatus {
		return parent(gateway, cond("Accepted", "True", 0, metav1.Time{}))
	}
	elsewhere := wanted("a")
	elsewhere.ParentRef.Namespace = new(gwv1.Namespace("shop"))
	tests := map[string]struct{ have, want, out []gwv1.RouteParentStatus }{
		"others stay, ours are replaced, added and removed": {
			[]gwv1.RouteParentStatus{old("gone"), theirs, old("b")},
			[]gwv1.RouteParentStatus{wanted("a"), wanted("b")},
			[]gwv1.RouteParentStatus{theirs, stored("b", then), stored("a", now)},
		},
		"nothing wanted": {
			[]gwv1.RouteParentStatus{old("gone"), theirs},
			nil,
			[]gwv1.RouteParentStatus{theirs},
		},
		"an own namespace that is spelt out is the same place": {
			[]gwv1.RouteParentStatus{old("a")},
			[]gwv1.RouteParentStatus{elsewhere},
			[]gwv1.RouteParentStatus{func() gwv1.RouteParentStatus {
				p := stored("a", then)
				p.ParentRef.Namespace = new(gwv1.Namespace("shop"))
				return p
			}()},
		},
		"what is newer than the judgement stays": {
			[]gwv1.RouteParentStatus{parent("a", cond("Accepted", "True", 8, then))},
			[]gwv1.RouteParentStatus{wanted("b")},
			[]gwv1.RouteParentStatus{parent("a", cond("Accepted", "True", 8, then))},
		},
		"twice is once": {
			[]gwv1.RouteParentStatus{old("a"), old("a")},
			[]gwv1.RouteParentStatus{wanted("a"), wanted("a")},
			[]gwv1.RouteParentStatus{stored("a", then)},
		},
	}
	for name, tt := range tests {
		got := mergeRoute(testMerger(), &gwv1.RouteStatus{Parents: tt.have}, &Target{Parents: tt.want})
		if diff := cmp.Diff(tt.out, got.Parents); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if got := mergeRoute(testMerger(), &gwv1.RouteStatus{Parents: []gwv1.RouteParentStatus{old("a"), theirs}}, nil); len(got.Parents) != 1 {
		t.Errorf("a route of no Gateway of ours keeps our entries: %v", got.Parents)
	}
}

func TestAncestorsAreCut(t *testing.T) {
	t.Parallel()
	var have, want []gwv1.PolicyAncestorStatus
	for i, name := range names("other", 3) {
		a := ancestor(name, cond("Accepted", "True", int64(i), then))
		a.ControllerName = "example.com/other"
		have = append(have, a)
	}
	for i, name := range names("gw", 20) {
		c := yes("in force")
		if i == 18 || i == 19 {
			c = no("broken")
		}
		want = append(want, ancestor(name, c))
	}
	m := testMerger()
	got := mergePolicy(m, &gwv1.PolicyStatus{Ancestors: have}, &Target{Ancestors: want})
	var list []string
	for _, a := range got.Ancestors {
		list = append(list, string(a.AncestorRef.Name))
		if text := a.Conditions[0].Message; a.ControllerName == ours && !strings.HasSuffix(text, "(7 more ancestors are not listed: the field holds 16)") {
			t.Errorf("%s does not say what is missing: %q", a.AncestorRef.Name, text)
		}
	}
	// The two that are broken must be among those told, before all others.
	if diff := cmp.Diff(slices.Concat([]string{"gw-018", "gw-019"}, names("other", 3), names("gw", 11)), list); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if m.crowded {
		t.Error("crowded, though some found room")
	}
	// What was written is what is wanted the next time, too.
	if again := mergePolicy(testMerger(), got, &Target{Ancestors: want}); !cmp.Equal(got, again) {
		t.Errorf("not stable (-first +second):\n%s", cmp.Diff(got, again))
	}
	for i := range 13 {
		a := ancestor(names("more", 13)[i])
		a.ControllerName = "example.com/other"
		have = append(have, a)
	}
	m = testMerger()
	if got := mergePolicy(m, &gwv1.PolicyStatus{Ancestors: have}, &Target{Ancestors: want}); !cmp.Equal(got.Ancestors, have) || !m.crowded {
		t.Error("a list that others fill was changed, or not said to be full")
	}
}

func TestGatewayListeners(t *testing.T) {
	t.Parallel()
	have := &gwv1.GatewayStatus{
		Addresses:  []gwv1.GatewayStatusAddress{{Type: new(gwv1.IPAddressType), Value: "10.0.0.1"}},
		Conditions: []metav1.Condition{cond("Accepted", "True", 6, then)},
		Listeners: []gwv1.ListenerStatus{
			{Name: "http", Conditions: []metav1.Condition{cond("Programmed", "True", 6, then)}},
			{Name: "gone", Conditions: []metav1.Condition{cond("Programmed", "True", 6, then)}},
		},
	}
	want := &Target{Gateway: &gwv1.GatewayStatus{
		Addresses:  []gwv1.GatewayStatusAddress{{Value: "10.0.0.2"}},
		Conditions: []metav1.Condition{cond("Accepted", "True", 0, metav1.Time{})},
		Listeners: []gwv1.ListenerStatus{{
			Name: "http", AttachedRoutes: 2, SupportedKinds: []gwv1.RouteGroupKind{{Kind: "HTTPRoute"}},
			Conditions: []metav1.Condition{cond("Programmed", "True", 0, metav1.Time{})},
		}},
		AttachedListenerSets: new(int32(1)),
	}}
	got := mergeGateway(testMerger(), have, want)
	expected := &gwv1.GatewayStatus{
		Addresses:  []gwv1.GatewayStatusAddress{{Type: new(gwv1.IPAddressType), Value: "10.0.0.2"}},
		Conditions: []metav1.Condition{cond("Accepted", "True", 7, then)},
		Listeners: []gwv1.ListenerStatus{{
			Name: "http", AttachedRoutes: 2, SupportedKinds: []gwv1.RouteGroupKind{{Group: new(gwv1.Group(gwv1.GroupName)), Kind: "HTTPRoute"}},
			Conditions: []metav1.Condition{cond("Programmed", "True", 7, then)},
		}},
		AttachedListenerSets: new(int32(1)),
	}
	if diff := cmp.Diff(expected, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if want.Gateway.Addresses[0].Type != nil || want.Gateway.Listeners[0].SupportedKinds[0].Group != nil {
		t.Error("the target was changed")
	}
}

// What was as wanted is not compared again, but only while nothing changed.
func TestEvennessHolds(t *testing.T) {
	t.Parallel()
	object, other := &gwv1.Gateway{}, &gwv1.Gateway{}
	parents := []gwv1.RouteParentStatus{{ControllerName: ours}}
	want := Target{Kind: "HTTPRoute", Namespace: "a", Name: "b", Parents: parents}
	first := want
	e := evenness{object, &first}
	edited := map[string]func(*Target){
		"generation": func(w *Target) { w.Generation++ },
		"conditions": func(w *Target) { w.Conditions = []metav1.Condition{{}} },
		"gateway":    func(w *Target) { w.Gateway = &gwv1.GatewayStatus{} },
		"set":        func(w *Target) { w.ListenerSet = &gwv1.ListenerSetStatus{} },
		"parents": func(w *Target) {
			w.Parents = slices.Clone(parents)
			w.Parents[0].ParentRef.Port = new(gwv1.PortNumber(80))
		},
		"no parents": func(w *Target) { w.Parents = nil },
		"ancestors":  func(w *Target) { w.Ancestors = []gwv1.PolicyAncestorStatus{{}} },
	}
	if !e.holds(object, &want) {
		t.Error("does not hold for what it was made of")
	}
	again := want
	if again.Parents = slices.Clone(parents); !e.holds(object, &again) {
		t.Error("does not hold for the same wish, made anew")
	}
	if e.holds(other, &want) || e.holds(object, nil) {
		t.Error("holds for another object, or for none")
	}
	for name, edit := range edited {
		w := want
		if edit(&w); e.holds(object, &w) {
			t.Errorf("holds although %s changed", name)
		}
	}
	// A field that Target gains must be compared too.
	if n := reflect.TypeFor[Target]().NumField(); n != 9 {
		t.Errorf("Target has %d fields; see evenness.holds", n)
	}
}
