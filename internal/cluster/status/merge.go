package status

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/api/v1alpha1"
)

// merger makes the status of one object. What others wrote stays, in its place
// and order; what is ours is replaced, added or removed.
type merger struct {
	now        metav1.Time
	controller gwv1.GatewayController
	features   []gwv1.FeatureName
	namespace  string // of the object
	generation int64  // of the object that was judged
	// crowded says that entries of other controllers leave no room for ours.
	crowded bool
}

// foreign reports whether a type of condition is another's to keep. Types
// without a domain are Gateway API's own, which its controller, and nobody
// else, sets.
func foreign(typ string) bool {
	domain, _, qualified := strings.Cut(typ, "/")
	return qualified && domain != gwv1.GroupName && domain != v1alpha1.GroupVersion.Group
}

// conditions merges the conditions of an object, or of a part of one.
func (m *merger) conditions(have, want []metav1.Condition) []metav1.Condition {
	out := make([]metav1.Condition, 0, len(want))
	used := make([]bool, len(want))
	for _, h := range have {
		i := slices.IndexFunc(want, func(c metav1.Condition) bool { return c.Type == h.Type })
		switch {
		case i >= 0 && !used[i]:
			used[i] = true
			out = append(out, m.condition(&h, want[i]))
		case i < 0 && foreign(h.Type):
			out = append(out, h)
		}
	}
	for i, c := range want {
		if !used[i] && !slices.ContainsFunc(out, func(o metav1.Condition) bool { return o.Type == c.Type }) {
			out = append(out, m.condition(nil, c))
		}
	}
	for i := len(out) - 1; i >= 0 && len(out) > maxConditions; i-- {
		if foreign(out[i].Type) {
			out = slices.Delete(out, i, i+1)
		}
	}
	return out
}

// condition completes one condition. The time of transition is that of the
// status, not of the reason or the text.
func (m *merger) condition(have *metav1.Condition, want metav1.Condition) metav1.Condition {
	want.ObservedGeneration = m.generation
	want.LastTransitionTime = m.now
	if have != nil && have.Status == want.Status && !have.LastTransitionTime.IsZero() {
		want.LastTransitionTime = have.LastTransitionTime
	}
	want.Message = limited(want.Message)
	return want
}

// limited cuts a message to what the API takes.
func limited(s string) string {
	if len(s) <= maxMessage {
		return s
	}
	s = s[:maxMessage]
	for !utf8.ValidString(s) && len(s) > maxMessage-utf8.UTFMax {
		s = s[:len(s)-1]
	}
	return s
}

// newer reports whether one of the conditions was written for a later
// generation than the one that was judged: then nothing may be said yet.
func (m *merger) newer(conditions []metav1.Condition) bool {
	return slices.ContainsFunc(conditions, func(c metav1.Condition) bool {
		return !foreign(c.Type) && c.ObservedGeneration > m.generation
	})
}

func mergeClass(m *merger, have *gwv1.GatewayClassStatus, want *Target) *gwv1.GatewayClassStatus {
	if want == nil || m.newer(have.Conditions) {
		return have
	}
	out := &gwv1.GatewayClassStatus{Conditions: m.conditions(have.Conditions, want.Conditions)}
	for _, f := range m.features {
		out.SupportedFeatures = append(out.SupportedFeatures, gwv1.SupportedFeature{Name: f})
	}
	return out
}

func mergeGateway(m *merger, have *gwv1.GatewayStatus, want *Target) *gwv1.GatewayStatus {
	if want == nil || want.Gateway == nil || m.newer(have.Conditions) {
		return have
	}
	out := want.Gateway.DeepCopy()
	out.Conditions = m.conditions(have.Conditions, want.Gateway.Conditions)
	for i := range out.Addresses {
		if out.Addresses[i].Type == nil {
			out.Addresses[i].Type = new(gwv1.IPAddressType)
		}
	}
	for i := range out.Listeners {
		l := &out.Listeners[i]
		var old []metav1.Condition
		if j := slices.IndexFunc(have.Listeners, func(h gwv1.ListenerStatus) bool { return h.Name == l.Name }); j >= 0 {
			old = have.Listeners[j].Conditions
		}
		l.Conditions = m.conditions(old, l.Conditions)
		l.SupportedKinds = defaultGroups(l.SupportedKinds)
	}
	return out
}

func mergeListenerSet(m *merger, have *gwv1.ListenerSetStatus, want *Target) *gwv1.ListenerSetStatus {
	if want == nil || want.ListenerSet == nil || m.newer(have.Conditions) {
		return have
	}
	out := want.ListenerSet.DeepCopy()
	out.Conditions = m.conditions(have.Conditions, want.ListenerSet.Conditions)
	for i := range out.Listeners {
		l := &out.Listeners[i]
		var old []metav1.Condition
		if j := slices.IndexFunc(have.Listeners, func(h gwv1.ListenerEntryStatus) bool { return h.Name == l.Name }); j >= 0 {
			old = have.Listeners[j].Conditions
		}
		l.Conditions = m.conditions(old, l.Conditions)
		l.SupportedKinds = defaultGroups(l.SupportedKinds)
	}
	return out
}

// defaultGroups fills in what the API server would, so that what it stores is
// what was meant. An empty list stays one: the field may not be null.
func defaultGroups(kinds []gwv1.RouteGroupKind) []gwv1.RouteGroupKind {
	out := make([]gwv1.RouteGroupKind, 0, len(kinds))
	for _, k := range kinds {
		if k.Group == nil {
			k.Group = new(gwv1.Group(gwv1.GroupName))
		}
		out = append(out, k)
	}
	return out
}

// defaultRef fills in what the API server would.
func defaultRef(r gwv1.ParentReference) gwv1.ParentReference {
	if r.Group == nil {
		r.Group = new(gwv1.Group(gwv1.GroupName))
	}
	if r.Kind == nil {
		r.Kind = new(gwv1.Kind("Gateway"))
	}
	return r
}

// place is a reference as a value that can be compared.
type place struct {
	group, kind, namespace, name, section string
	port                                  int32
}

func (m *merger) place(r gwv1.ParentReference) place {
	r = defaultRef(r)
	p := place{string(*r.Group), string(*r.Kind), m.namespace, string(r.Name), "", 0}
	if r.Namespace != nil {
		p.namespace = string(*r.Namespace)
	}
	if r.SectionName != nil {
		p.section = string(*r.SectionName)
	}
	if r.Port != nil {
		p.port = *r.Port
	}
	return p
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.namespace, q.namespace), cmp.Compare(p.name, q.name), cmp.Compare(p.kind, q.kind),
		cmp.Compare(p.group, q.group), cmp.Compare(p.section, q.section), cmp.Compare(p.port, q.port))
}

// entry is one parent of a route or one ancestor of a policy.
type entry struct {
	ref        gwv1.ParentReference
	controller gwv1.GatewayController
	conditions []metav1.Condition
}

// entries merges the entries of an object. Those of other controllers stay
// where they are, and so do ours that are still wanted; of ours no more than
// fit into limit are kept, those that say that something is wrong before all
// others.
func (m *merger) entries(have, want []entry, limit int) (out []entry, cut int) {
	others := 0
	for _, h := range have {
		if h.controller != m.controller {
			others++
		} else if m.newer(h.conditions) {
			return have, 0
		}
	}
	want = m.unique(want)
	if room := max(0, limit-others); len(want) > room {
		cut = len(want) - room
		m.crowded = room == 0
		slices.SortStableFunc(want, func(a, b entry) int { return cmp.Compare(rank(a), rank(b)) })
		want = want[:room]
		slices.SortFunc(want, func(a, b entry) int { return m.place(a.ref).compare(m.place(b.ref)) })
	}
	used := make([]bool, len(want))
	for _, h := range have {
		if h.controller != m.controller {
			out = append(out, h)
			continue
		}
		i := slices.IndexFunc(want, func(w entry) bool { return m.place(w.ref) == m.place(h.ref) })
		if i >= 0 && !used[i] {
			used[i] = true
			out = append(out, entry{want[i].ref, m.controller, m.conditions(h.conditions, want[i].conditions)})
		}
	}
	for i, w := range want {
		if !used[i] {
			out = append(out, entry{w.ref, m.controller, m.conditions(nil, w.conditions)})
		}
	}
	return out, cut
}

// unique gives the entries sorted and each once, with their references
// completed.
func (m *merger) unique(want []entry) []entry {
	want = slices.Clone(want)
	for i := range want {
		want[i].ref = defaultRef(want[i].ref)
	}
	slices.SortStableFunc(want, func(a, b entry) int { return m.place(a.ref).compare(m.place(b.ref)) })
	return slices.CompactFunc(want, func(a, b entry) bool { return m.place(a.ref) == m.place(b.ref) })
}

// rank puts entries that somebody must read before the others.
func rank(e entry) int {
	if slices.ContainsFunc(e.conditions, bad) {
		return 0
	}
	return 1
}

// bad reports whether a condition says that something is not as asked for.
func bad(c metav1.Condition) bool {
	switch c.Type {
	case string(gwv1.ListenerConditionConflicted), string(gwv1.RouteConditionPartiallyInvalid),
		string(gwv1.ListenerConditionOverlappingTLSConfig):
		return c.Status == metav1.ConditionTrue
	case string(gwv1.GatewayConditionInsecureFrontendValidationMode):
		return false
	}
	return c.Status == metav1.ConditionFalse
}
