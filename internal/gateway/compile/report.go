package compile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Report says of every object what became of it, as the conditions that go into
// its status, without transition times: whoever writes the status knows them.
// It is plain data, not safe for changes by several goroutines. Reports of one
// Compiler share what is equal in them: only Refuse may change one.
type Report struct {
	Classes  []ClassStatus
	Gateways []GatewayStatus
	Routes   []RouteStatus
	// Dangling are the parents of routes that do not exist. They have no status:
	// it would be their Gateway's controller that writes it.
	Dangling []Line
	// Policies are the BackendTLSPolicies and SecurityPolicies.
	Policies []PolicyStatus
	// Rules are those of the table, in its order.
	Rules []RuleStatus
	// Warnings are what is served, but hardly as meant.
	Warnings []string
	// ListenerSets of our Gateways.
	ListenerSets []ListenerSetStatus
	// Uses are the objects that the outcome depends on by name, found or not:
	// Secrets, ConfigMaps and Services. Nothing else of these kinds needs to
	// reach a data plane.
	Uses []Use
	// Ports are, for each Gateway of ours that is served, the ports of its valid
	// listeners (those of ListenerSets included), sorted.
	Ports []GatewayPorts

	own bool // Rules and Policies are shared with no other report
}

// ListenerSetStatus is the status of a ListenerSet and its listeners.
type ListenerSetStatus struct {
	Namespace, Name string
	Status          gwv1.ListenerSetStatus
}

// Use names an object that a compilation looked up.
type Use struct{ Kind, Namespace, Name string }

// GatewayPorts is what a Gateway must be reachable on.
type GatewayPorts struct {
	Namespace, Name string
	Ports           []int32
}

// ClassStatus is the conditions of a GatewayClass.
type ClassStatus struct {
	Name       string
	Conditions []metav1.Condition
}

// GatewayStatus is the status of a Gateway and its listeners.
type GatewayStatus struct {
	Namespace, Name string
	Status          gwv1.GatewayStatus
}

// RouteStatus is the status of a route for each of its parents that are ours.
type RouteStatus struct {
	Kind, Namespace, Name string
	Parents               []gwv1.RouteParentStatus
}

// PolicyStatus is the status of a policy for each Gateway that it reaches, or
// for its target where it reaches none.
type PolicyStatus struct {
	Kind, Namespace, Name string
	Ancestors             []gwv1.PolicyAncestorStatus
}

// RuleStatus says which policies made a rule, and why it refuses if it does.
type RuleStatus struct {
	ID       string
	Policies []string // "SecurityPolicy namespace/name"
	Status   int      // of the refusal, else 0
	Refused  string
}

// String gives the report as an aligned table for people: "ok" for what is
// served as asked for, and else only what is not. Lines has everything.
func (r *Report) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	row := func(l Line, what string) {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", l.Object, cmp.Or(l.Section, "-"), what, cmp.Or(l.Reason, "-"), l.Message)
	}
	lines := r.Lines()
	for i := 0; i < len(lines); {
		n := 1
		for i+n < len(lines) && lines[i+n].Object == lines[i].Object && lines[i+n].Section == lines[i].Section {
			n++
		}
		good := true
		for _, l := range lines[i : i+n] {
			switch {
			case l.Condition == "":
				good = false
				row(l, "-")
			case l.Bad:
				good = false
				row(l, l.Condition+"="+l.Status)
			}
		}
		if good {
			row(Line{Object: lines[i].Object, Section: lines[i].Section}, "ok")
		}
		i += n
	}
	_ = w.Flush() // a strings.Builder does not fail
	var out strings.Builder
	for line := range strings.Lines(b.String()) {
		out.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return out.String()
}

// Refuse records that a rule of the table cannot be served after all, because
// a part of it did not build (a CEL expression, say): the policies that the
// reason names, or else all policies of the rule, turn to Accepted=False.
// An unknown ruleID changes nothing.
func (r *Report) Refuse(ruleID, reason string) {
	i := slices.IndexFunc(r.Rules, func(s RuleStatus) bool { return s.ID == ruleID })
	if i < 0 {
		return
	}
	if !r.own {
		r.Rules, r.Policies, r.own = slices.Clone(r.Rules), slices.Clone(r.Policies), true
	}
	rule := &r.Rules[i]
	if rule.Refused == "" {
		rule.Refused, rule.Status = reason, statusBroken
	}
	blamed := r.blame(ruleID, reason)
	for j := range r.Policies {
		p := &r.Policies[j]
		if !slices.Contains(blamed, p.Kind+" "+p.Namespace+"/"+p.Name) {
			continue
		}
		p.Ancestors = slices.Clone(p.Ancestors)
		for k := range p.Ancestors {
			a := &p.Ancestors[k]
			a.Conditions = slices.Clone(a.Conditions)
			for n := range a.Conditions {
				c := &a.Conditions[n]
				c.Status, c.Reason, c.Message = metav1.ConditionFalse, string(gwv1.PolicyReasonInvalid), reason
			}
		}
	}
}

// blame gives the policies of a rule that a reason names, or else all of them.
func (r *Report) blame(ruleID, reason string) []string {
	i := slices.IndexFunc(r.Rules, func(s RuleStatus) bool { return s.ID == ruleID })
	if i < 0 {
		return nil
	}
	var named []string
	for _, p := range r.Rules[i].Policies {
		if names(reason, p) {
			named = append(named, p)
		}
	}
	if len(named) == 0 {
		return r.Rules[i].Policies
	}
	return named
}

// share gives a report that Refuse may change.
func (r *Report) share() *Report {
	out := *r
	out.own = false
	return &out
}

// names reports whether text names the policy, and not one whose name only
// begins alike.
func names(text, policy string) bool {
	for {
		i := strings.Index(text, policy)
		if i < 0 {
			return false
		}
		text = text[i+len(policy):]
		if text == "" || !isNameByte(text[0]) || text[0] == '.' && (len(text) == 1 || !isNameByte(text[1])) {
			return true
		}
	}
}

func isNameByte(c byte) bool {
	return c == '-' || c == '.' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
}

func (r *Report) warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

// maxAncestors is how many a policy's status may hold.
const maxAncestors = 16

// capped sorts a policy's ancestors, those where something is wrong first, then
// by name, and keeps as many as the status may hold. A table of kubectl shows
// the first only: it must not hide that another is refused.
func (p *PolicyStatus) capped() {
	good := func(a gwv1.PolicyAncestorStatus) int {
		if slices.ContainsFunc(a.Conditions, bad) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(p.Ancestors, func(a, b gwv1.PolicyAncestorStatus) int {
		return cmp.Or(cmp.Compare(good(a), good(b)), cmp.Compare(refString(a.AncestorRef, p.Namespace), refString(b.AncestorRef, p.Namespace)))
	})
	more := len(p.Ancestors) - maxAncestors
	if more <= 0 {
		return
	}
	p.Ancestors = slices.Clip(p.Ancestors[:maxAncestors])
	note := fmt.Sprintf("%d more Gateways or targets are not listed: a status holds %d", more, maxAncestors)
	for i := range p.Ancestors {
		c := &p.Ancestors[i].Conditions[0]
		if c.Message != "" {
			c.Message += "; "
		}
		c.Message += note
	}
}

// finish puts the report into its one order.
func (r *Report) finish() {
	slices.Sort(r.Warnings)
	r.Warnings = slices.Compact(r.Warnings)
}

// bad reports whether a condition says that something is not as asked for.
func bad(c metav1.Condition) bool { return isBad(&c) }

func isBad(c *metav1.Condition) bool {
	switch c.Type {
	case string(gwv1.ListenerConditionConflicted), string(gwv1.RouteConditionPartiallyInvalid):
		return c.Status == metav1.ConditionTrue
	case string(gwv1.GatewayConditionInsecureFrontendValidationMode), string(gwv1.ListenerConditionOverlappingTLSConfig):
		return false
	}
	return c.Status != metav1.ConditionTrue
}

// refString names a reference for people: "Kind namespace/name[:section]", the
// Kind left out for Gateways.
func refString(ref gwv1.ParentReference, namespace string) string {
	s := or(ref.Namespace, namespace) + "/" + string(ref.Name)
	if kind := or(ref.Kind, kindGateway); kind != kindGateway {
		s = kind + " " + s
	}
	if ref.SectionName != nil {
		s += ":" + string(*ref.SectionName)
	}
	if ref.Port != nil {
		s += fmt.Sprintf(":%d", *ref.Port)
	}
	return s
}

// condition makes one condition.
func condition[T, R ~string](typ T, ok bool, reason R, generation int64, message string) metav1.Condition {
	status := metav1.ConditionFalse
	if ok {
		status = metav1.ConditionTrue
	}
	return metav1.Condition{
		Type: string(typ), Status: status, Reason: string(reason),
		ObservedGeneration: generation, Message: message,
	}
}
