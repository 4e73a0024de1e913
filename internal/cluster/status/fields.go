package status

import (
	"cmp"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

func mergeRoute(m *merger, have *gwv1.RouteStatus, want *Target) *gwv1.RouteStatus {
	var old, asked []entry
	for _, p := range have.Parents {
		old = append(old, entry{p.ParentRef, p.ControllerName, p.Conditions})
	}
	if want != nil {
		for _, p := range want.Parents {
			asked = append(asked, entry{p.ParentRef, m.controller, p.Conditions})
		}
	}
	merged, cut := m.entries(old, asked, maxParents)
	m.tell(merged, cut, maxParents, "parents")
	out := &gwv1.RouteStatus{Parents: make([]gwv1.RouteParentStatus, 0, len(merged))}
	for _, e := range merged {
		out.Parents = append(out.Parents, gwv1.RouteParentStatus{ParentRef: e.ref, ControllerName: e.controller, Conditions: e.conditions})
	}
	return out
}

// order puts ours that somebody must read before all others.
func (m *merger) order(e entry) int {
	if e.controller != m.controller {
		return 1
	}
	return rank(e)
}

func mergePolicy(m *merger, have *gwv1.PolicyStatus, want *Target) *gwv1.PolicyStatus {
	var old, asked []entry
	for _, a := range have.Ancestors {
		old = append(old, entry{a.AncestorRef, a.ControllerName, a.Conditions})
	}
	if want != nil {
		for _, a := range want.Ancestors {
			asked = append(asked, entry{a.AncestorRef, m.controller, a.Conditions})
		}
	}
	merged, cut := m.entries(old, asked, maxAncestors)
	// A table of kubectl shows the first only: it must not hide that another is
	// refused.
	slices.SortStableFunc(merged, func(a, b entry) int { return cmp.Compare(m.order(a), m.order(b)) })
	m.tell(merged, cut, maxAncestors, "ancestors")
	out := &gwv1.PolicyStatus{Ancestors: make([]gwv1.PolicyAncestorStatus, 0, len(merged))}
	for _, e := range merged {
		out.Ancestors = append(out.Ancestors, gwv1.PolicyAncestorStatus{AncestorRef: e.ref, ControllerName: e.controller, Conditions: e.conditions})
	}
	return out
}

// tell says in the first condition of each entry of ours how many entries did
// not fit.
func (m *merger) tell(entries []entry, cut, limit int, field string) {
	if cut == 0 {
		return
	}
	for i := range entries {
		if c := entries[i].conditions; entries[i].controller == m.controller && len(c) > 0 {
			c[0].Message = limited(fmt.Sprintf("%s (%d more %s are not listed: the field holds %d)", c[0].Message, cut, field, limit))
		}
	}
}

// The fields of a status are written with [] in place of null: of a merge patch
// null removes a field, and some are required.

func classFields(s *gwv1.GatewayClassStatus) map[string]any {
	return map[string]any{"conditions": list(s.Conditions), "supportedFeatures": list(s.SupportedFeatures)}
}

func gatewayFields(s *gwv1.GatewayStatus) map[string]any {
	return map[string]any{
		"addresses": list(s.Addresses), "conditions": list(s.Conditions), "listeners": list(s.Listeners),
		"attachedListenerSets": s.AttachedListenerSets,
	}
}

func listenerSetFields(s *gwv1.ListenerSetStatus) map[string]any {
	return map[string]any{"conditions": list(s.Conditions), "listeners": list(s.Listeners)}
}

func routeFields(s *gwv1.RouteStatus) map[string]any {
	return map[string]any{"parents": list(s.Parents)}
}

func policyFields(s *gwv1.PolicyStatus) map[string]any {
	return map[string]any{"ancestors": list(s.Ancestors)}
}

func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

// note is a condition of ours and the part of the object that it is about.
type note struct {
	part      string // "" for the whole object
	condition metav1.Condition
}

func notes(part string, conditions []metav1.Condition) []note {
	var out []note
	for _, c := range conditions {
		if !foreign(c.Type) {
			out = append(out, note{part, c})
		}
	}
	return out
}

func classNotes(_ *merger, s *gwv1.GatewayClassStatus) []note { return notes("", s.Conditions) }

func gatewayNotes(_ *merger, s *gwv1.GatewayStatus) []note {
	out := notes("", s.Conditions)
	for _, l := range s.Listeners {
		out = append(out, notes("listener "+string(l.Name), l.Conditions)...)
	}
	return out
}

func listenerSetNotes(_ *merger, s *gwv1.ListenerSetStatus) []note {
	out := notes("", s.Conditions)
	for _, l := range s.Listeners {
		out = append(out, notes("listener "+string(l.Name), l.Conditions)...)
	}
	return out
}

func routeNotes(m *merger, s *gwv1.RouteStatus) []note {
	var out []note
	for _, p := range s.Parents {
		if p.ControllerName == m.controller {
			out = append(out, notes("parent "+m.place(p.ParentRef).String(), p.Conditions)...)
		}
	}
	return out
}

func policyNotes(m *merger, s *gwv1.PolicyStatus) []note {
	var out []note
	for _, a := range s.Ancestors {
		if a.ControllerName == m.controller {
			out = append(out, notes("for "+m.place(a.AncestorRef).String(), a.Conditions)...)
		}
	}
	return out
}

// String names a reference for people.
func (p place) String() string {
	s := p.kind + " " + p.namespace + "/" + p.name
	if p.section != "" {
		s += ":" + p.section
	}
	if p.port != 0 {
		s += fmt.Sprintf(":%d", p.port)
	}
	return s
}
