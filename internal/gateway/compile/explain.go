package compile

import (
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/api/v1alpha1"
	"bulwark.dev/bulwark/internal/gateway/ir"
)

// Explanation says what protects a route and which policy each part came from.
type Explanation struct {
	// Route is "Kind namespace/name".
	Route string
	// Rules are those of the table; a rule comes more than once where listeners
	// make a difference.
	Rules []RuleExplanation
}

// RuleExplanation is what protects one rule.
type RuleExplanation struct {
	ID        string
	Listeners []string // "namespace/gateway/listener"
	// Refused is why the rule answers nothing but errors, else nil.
	Refused *ir.Refusal
	// Unprotected says that no policy covers the rule and it is served anyway.
	Unprotected bool
	Fields      []FieldExplanation
}

// FieldExplanation is one top-level field of SecurityPolicy.
type FieldExplanation struct {
	Field string
	// Value is YAML with defaults, secrets left out.
	Value string
	// From is "SecurityPolicy namespace/name (level)".
	From string
	// Broken says why the field cannot be served, else "".
	Broken string
	// Overrides are the wider policies whose field of this name does not count.
	Overrides []string
}

// Explain says what protects a route, named "Kind/namespace/name",
// "namespace/name" or "name". An error says that there is no such route, or more
// than one, and which there are.
func Explain(in Input, opt Options, name string) (*Explanation, error) {
	c := newCompiler(in, opt, nil)
	c.explain = true
	c.compile()
	var known, named []string
	var found []*route
	for _, r := range c.routes {
		full := r.kind + "/" + r.key.String()
		known = append(known, full)
		if strings.EqualFold(name, full) || name == r.key.String() || name == r.name {
			found, named = append(found, r), append(named, full)
		}
	}
	switch {
	case len(found) == 0 && len(known) == 0:
		return nil, fmt.Errorf("no route %q: there are no routes", name)
	case len(found) == 0:
		return nil, fmt.Errorf("no route %q; the routes are %s", name, strings.Join(known, ", "))
	case len(found) > 1:
		return nil, fmt.Errorf("%q may be any of %s: name one", name, strings.Join(named, ", "))
	}
	out := &Explanation{Route: found[0].String()}
	for _, e := range c.explained {
		if e.route == found[0] {
			out.Rules = append(out.Rules, c.explainRule(&e))
		}
	}
	return out, nil
}

func (c *compiler) explainRule(e *explainedRule) RuleExplanation {
	out := RuleExplanation{
		ID: e.id, Listeners: e.on, Refused: e.refused,
		Unprotected: e.refused == nil && len(e.merged.policies()) == 0,
	}
	for f := range fields {
		from := e.merged.from[f]
		if from == nil {
			continue
		}
		x := FieldExplanation{Field: fields[f].name, Broken: from.broken[f], Value: show(from, f)}
		for level := levelCount - 1; level >= 0; level-- {
			p := e.merged.levels[level]
			if p == nil || !p.set[f] {
				continue
			}
			name := p.String() + " (" + e.level(level) + ")"
			if x.From == "" {
				x.From = name
			} else {
				x.Overrides = append(x.Overrides, name)
			}
		}
		out.Fields = append(out.Fields, x)
	}
	return out
}

// level names what a policy of that level is attached to.
func (e *explainedRule) level(level int) string {
	switch level {
	case levelGateway:
		return "Gateway"
	case levelSet:
		return "ListenerSet"
	case levelListener:
		return "listener"
	case levelRoute:
		return "route"
	}
	return "rule " + e.route.rules[e.rule].name
}

// show gives a field's value as YAML. Literal values that look like credentials
// are left out, and inline key sets, which are long.
func show(p *policy, f int) string {
	spec := p.obj.Spec.DeepCopy()
	if a := spec.Authentication; a != nil {
		for i := range a.AnyOf {
			if j := a.AnyOf[i].JWT; j != nil && j.JWKS.Inline != "" {
				j.JWKS.Inline = "(a key set)"
			}
		}
	}
	if t := spec.Transform; t != nil {
		if t.Request != nil {
			redact(t.Request.SetHeaders)
			redact(t.Request.SetQuery)
		}
		if t.Response != nil {
			redact(t.Response.SetHeaders)
		}
	}
	v, _ := fields[f].get(spec)
	b, err := yaml.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSuffix(string(b), "\n")
}

// redact hides the literal values whose name says that they are secret.
func redact(list []v1alpha1.NameValue) {
	words := []string{"auth", "cookie", "key", "pass", "secret", "token", "credential", "session"}
	for i := range list {
		name := strings.ToLower(list[i].Name)
		if list[i].Value != nil && slices.ContainsFunc(words, func(w string) bool { return strings.Contains(name, w) }) {
			hidden := bulwark.Redacted
			list[i].Value = &hidden
		}
	}
}

// String gives the explanation as text for a terminal.
func (e *Explanation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", e.Route)
	if len(e.Rules) == 0 {
		b.WriteString("  is not served: it is attached to no listener\n")
	}
	for _, r := range e.Rules {
		fmt.Fprintf(&b, "\n%s  on %s\n", r.ID, strings.Join(r.Listeners, ", "))
		switch {
		case r.Refused != nil:
			fmt.Fprintf(&b, "  REFUSES every request with %d: %s\n", r.Refused.Status, r.Refused.Reason)
		case r.Unprotected:
			b.WriteString("  UNPROTECTED: no SecurityPolicy covers it\n")
		}
		for _, f := range r.Fields {
			fmt.Fprintf(&b, "  %s  from %s\n", f.Field, f.From)
			for _, o := range f.Overrides {
				fmt.Fprintf(&b, "    overrides %s\n", o)
			}
			if f.Broken != "" {
				fmt.Fprintf(&b, "    BROKEN: %s\n", f.Broken)
			}
			for line := range strings.SplitSeq(f.Value, "\n") {
				fmt.Fprintf(&b, "    | %s\n", line)
			}
		}
	}
	return b.String()
}
