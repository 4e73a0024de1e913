package compile

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Line is one row of the report as a table.
type Line struct {
	Object    string `json:"object"` // "Kind namespace/name"
	Section   string `json:"section,omitempty"`
	Condition string `json:"condition,omitempty"` // empty for a warning
	Status    string `json:"status,omitempty"`
	Reason    string `json:"reason,omitempty"`
	Message   string `json:"message,omitempty"`
	// Bad says that something is not served as asked for.
	Bad bool `json:"bad,omitempty"`
}

// Lines gives the report row by row, always in the same order.
func (r *Report) Lines() []Line {
	var out []Line
	r.conditions(func(of subject, c *metav1.Condition) bool {
		out = append(out, of.line(c))
		return true
	}, func(l *Line, refused *RuleStatus) bool {
		if refused != nil {
			l = refused.line()
		}
		out = append(out, *l)
		return true
	})
	for _, w := range r.Warnings {
		out = append(out, Line{Object: "Warning", Message: w})
	}
	return out
}

// Bad gives the lines of Lines that are bad, and makes no others.
func (r *Report) Bad() []Line {
	var out []Line
	r.conditions(func(of subject, c *metav1.Condition) bool {
		if isBad(c) {
			out = append(out, of.line(c))
		}
		return true
	}, func(l *Line, refused *RuleStatus) bool {
		if refused != nil {
			l = refused.line()
		}
		if l.Bad {
			out = append(out, *l)
		}
		return true
	})
	return out
}

// OK reports whether everything is served as asked for. Warnings do not count.
// It allocates nothing.
func (r *Report) OK() bool {
	ok := true
	r.conditions(func(_ subject, c *metav1.Condition) bool {
		ok = !isBad(c)
		return ok
	}, func(l *Line, refused *RuleStatus) bool {
		ok = refused == nil && !l.Bad
		return ok
	})
	return ok
}

// subject is what conditions are about: a name that is not made yet.
type subject struct {
	kind, namespace, name string
	listener              gwv1.SectionName
	what                  string // what the object is to ref
	ref                   *gwv1.ParentReference
}

func (s subject) line(c *metav1.Condition) Line {
	object, section := s.kind+" "+s.name, ""
	if s.kind != "GatewayClass" {
		object = s.kind + " " + s.namespace + "/" + s.name
	}
	switch {
	case s.ref != nil:
		section = s.what + " " + refString(*s.ref, s.namespace)
	case s.what != "":
		section = s.what + " " + string(s.listener)
	}
	return Line{object, section, c.Type, string(c.Status), c.Reason, c.Message, isBad(c)}
}

// line gives the line of a rule that is refused.
func (s *RuleStatus) line() *Line {
	return &Line{"Rule " + s.ID, "", "Refused", "True", fmt.Sprint(s.Status), s.Refused, true}
}

// conditions gives one condition after the other, and in their place what is a
// line already or a rule that is refused, until either of the two wants no more.
func (r *Report) conditions(visit func(subject, *metav1.Condition) bool, line func(*Line, *RuleStatus) bool) {
	var s subject
	all := func(list []metav1.Condition) bool {
		for i := range list {
			if !visit(s, &list[i]) {
				return false
			}
		}
		return true
	}
	for i := range r.Classes {
		s = subject{kind: "GatewayClass", name: r.Classes[i].Name}
		if !all(r.Classes[i].Conditions) {
			return
		}
	}
	for i := range r.Gateways {
		o := &r.Gateways[i]
		s = subject{kind: kindGateway, namespace: o.Namespace, name: o.Name}
		if !all(o.Status.Conditions) {
			return
		}
		for j := range o.Status.Listeners {
			s.what, s.listener = "listener", o.Status.Listeners[j].Name
			if !all(o.Status.Listeners[j].Conditions) {
				return
			}
		}
	}
	for i := range r.ListenerSets {
		o := &r.ListenerSets[i]
		s = subject{kind: kindListenerSet, namespace: o.Namespace, name: o.Name}
		if !all(o.Status.Conditions) {
			return
		}
		for j := range o.Status.Listeners {
			s.what, s.listener = "listener", o.Status.Listeners[j].Name
			if !all(o.Status.Listeners[j].Conditions) {
				return
			}
		}
	}
	for i := range r.Routes {
		o := &r.Routes[i]
		s = subject{kind: o.Kind, namespace: o.Namespace, name: o.Name, what: "parent"}
		for j := range o.Parents {
			if s.ref = &o.Parents[j].ParentRef; !all(o.Parents[j].Conditions) {
				return
			}
		}
	}
	for i := range r.Dangling {
		if !line(&r.Dangling[i], nil) {
			return
		}
	}
	for i := range r.Policies {
		o := &r.Policies[i]
		s = subject{kind: o.Kind, namespace: o.Namespace, name: o.Name, what: "for"}
		for j := range o.Ancestors {
			if s.ref = &o.Ancestors[j].AncestorRef; !all(o.Ancestors[j].Conditions) {
				return
			}
		}
	}
	for i := range r.Rules {
		if o := &r.Rules[i]; o.Refused != "" && !line(nil, o) {
			return
		}
	}
}
