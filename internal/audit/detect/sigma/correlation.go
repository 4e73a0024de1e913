package sigma

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	yaml "go.yaml.in/yaml/v3"
)

// CorrelationType is what a correlation counts. The zero type is not valid.
type CorrelationType string

// The types.
const (
	EventCount      CorrelationType = "event_count"
	ValueCount      CorrelationType = "value_count"
	Temporal        CorrelationType = "temporal"
	TemporalOrdered CorrelationType = "temporal_ordered"
)

// Correlation joins events that other rules found.
type Correlation struct {
	Type CorrelationType
	// Rules are the names or ids of the rules that it joins.
	Rules    []string
	GroupBy  []string
	Timespan time.Duration
	// Bounds must all hold for the count. A temporal correlation without any asks for
	// all of Rules.
	Bounds []Bound
	// Fields are what a ValueCount counts the values of.
	Fields []string
	// Condition, of a Temporal, says in place of Bounds which of Rules must have been
	// met; it has no OpNot.
	Condition *Expr
	// Aliases give, for a name in GroupBy and a rule, the field that it stands for.
	Aliases map[string]map[string]string
	// Generate says that Rules alert by themselves too.
	Generate bool
	// Line is where the correlation begins.
	Line int
}

// Bound is one criterion of a count.
type Bound struct {
	Op    Relation
	Value int64
}

const (
	maxRules    = 100
	maxTimespan = 31 * 24 * time.Hour
	maxCount    = 100_000
)

func (r *reader) correlation(n *yaml.Node) *Correlation {
	if n.Kind != yaml.MappingNode {
		r.fail(n, "correlation: expected a mapping with type, rules, group-by and timespan")
		return nil
	}
	out := &Correlation{Line: n.Line}
	var condition *yaml.Node
	each(n, func(k, v *yaml.Node) {
		switch k.Value {
		case "type":
			out.Type = r.correlationType(v)
		case "rules":
			out.Rules = r.texts(v, "correlation.rules")
		case "group-by":
			out.GroupBy = r.texts(v, "correlation.group-by")
		case "timespan", "timeframe":
			span, err := ParseTimespan(v.Value)
			if err != nil {
				r.fail(v, "correlation.timespan: %w", err)
			}
			out.Timespan = span
		case "condition":
			condition = v
		case "aliases":
			out.Aliases = r.aliases(v)
		case "generate":
			out.Generate = r.bool(v, "correlation.generate")
		default:
			r.fail(k, "correlation: %q is unknown; there are type, rules, group-by, timespan, condition, aliases and generate", k.Value)
		}
	})
	for _, m := range []struct {
		name    string
		missing bool
	}{{"type", out.Type == "" && get(n, "type") == nil}, {"rules", len(out.Rules) == 0}, {"timespan", get(n, "timespan") == nil && get(n, "timeframe") == nil}} {
		if m.missing {
			r.fail(n, "correlation.%s: it is missing", m.name)
		}
	}
	if len(out.Rules) > maxRules {
		r.fail(n, "correlation.rules: %d rules; at most %d are read", len(out.Rules), maxRules)
	}
	for i, name := range out.Rules {
		if slices.Contains(out.Rules[:i], name) {
			r.fail(n, "correlation.rules: %q stands there twice", name)
		}
	}
	if condition != nil {
		r.bounds(condition, out)
	}
	r.whole(n, out)
	for alias, of := range out.Aliases {
		for rule := range of {
			if !slices.Contains(out.Rules, rule) {
				r.fail(n, "correlation.aliases: %s: %q is none of the rules", alias, rule)
			}
		}
	}
	return out
}

// whole checks what each type must have.
func (r *reader) whole(n *yaml.Node, c *Correlation) {
	switch c.Type {
	case EventCount, ValueCount:
		if len(c.Bounds) == 0 && len(r.errs) == 0 {
			r.fail(n, "correlation.condition: %s needs a count, such as gte: 10", c.Type)
		}
		if c.Type == ValueCount && len(c.Fields) == 0 && len(r.errs) == 0 {
			r.fail(n, "correlation.condition: value_count needs field, whose values it counts")
		}
	case Temporal, TemporalOrdered:
		if c.Type == TemporalOrdered && c.Condition != nil && !namesAll(c.Condition, c.Rules) {
			r.fail(n, "correlation.condition: the rules of temporal_ordered must all be met, in their order; another condition is not read")
		}
		if c.Type == TemporalOrdered && len(c.Bounds) > 0 {
			r.fail(n, "correlation.condition: temporal_ordered asks for all its rules in their order; a count is not read")
		}
	}
}

func (r *reader) correlationType(n *yaml.Node) CorrelationType {
	switch t := CorrelationType(r.text(n, "correlation.type")); t {
	case EventCount, ValueCount, Temporal, TemporalOrdered:
		return t
	case "value_sum", "value_avg", "value_min", "value_max", "value_median", "value_percentile":
		r.fail(n, "correlation.type: %s is not supported: Bulwark counts events and values (event_count, value_count, temporal, temporal_ordered)", t)
	default:
		r.fail(n, "correlation.type %q: expected event_count, value_count, temporal or temporal_ordered", t)
	}
	return ""
}

// bounds reads the condition of a correlation.
func (r *reader) bounds(n *yaml.Node, out *Correlation) {
	if n.Kind == yaml.ScalarNode && !isNull(n) {
		if out.Type == EventCount || out.Type == ValueCount {
			r.fail(n, "correlation.condition: %s needs a count, such as gte: 10", out.Type)
			return
		}
		e, err := ParseCondition(n.Value, out.Rules)
		if err != nil {
			r.fail(n, "correlation.condition: %w", err)
			return
		}
		if hasNot(e) {
			r.fail(n, "correlation.condition: not is not supported: what did not happen is known only when the window is over")
		}
		out.Condition = e
		return
	}
	if n.Kind != yaml.MappingNode {
		r.fail(n, "correlation.condition: expected a mapping such as gte: 10")
		return
	}
	each(n, func(k, v *yaml.Node) {
		switch op := Relation(k.Value); op {
		case Less, LessOrEqual, Greater, GreaterOrEqual, Equal, NotEqual:
			var count int64
			if v.Kind != yaml.ScalarNode || v.ShortTag() != "!!int" || v.Decode(&count) != nil || count < 0 || count > maxCount {
				r.fail(v, "correlation.condition.%s: expected a whole number from 0 to %d", op, maxCount)
				return
			}
			out.Bounds = append(out.Bounds, Bound{Op: op, Value: count})
		default:
			if k.Value == "field" {
				out.Fields = r.texts(v, "correlation.condition.field")
				return
			}
			r.fail(k, "correlation.condition: %q is unknown; there are gt, gte, lt, lte, eq, neq and field", k.Value)
		}
	})
}

func hasNot(e *Expr) bool {
	return e.Op == OpNot || slices.ContainsFunc(e.Args, hasNot)
}

// namesAll reports whether e is an And of every one of the names and nothing else.
func namesAll(e *Expr, names []string) bool {
	seen := map[string]bool{}
	var walk func(e *Expr) bool
	walk = func(e *Expr) bool {
		if e.Op == OpSearch {
			seen[e.Name] = true
			return true
		}
		return e.Op == OpAnd && !slices.ContainsFunc(e.Args, func(a *Expr) bool { return !walk(a) })
	}
	return walk(e) && len(seen) == len(names)
}

func (r *reader) aliases(n *yaml.Node) map[string]map[string]string {
	out := map[string]map[string]string{}
	if n.Kind != yaml.MappingNode {
		r.fail(n, "correlation.aliases: expected a mapping of aliases")
		return out
	}
	each(n, func(alias, of *yaml.Node) {
		if of.Kind != yaml.MappingNode {
			r.fail(of, "correlation.aliases.%s: expected a mapping of rules to fields", alias.Value)
			return
		}
		out[alias.Value] = map[string]string{}
		each(of, func(rule, field *yaml.Node) {
			out[alias.Value][rule.Value] = r.text(field, "correlation.aliases."+alias.Value)
		})
	})
	return out
}

// ParseTimespan reads a number and one of s, m, h and d.
func ParseTimespan(text string) (time.Duration, error) {
	wrong := fmt.Errorf("%q: expected a number and s, m, h or d, such as 90m", text)
	if len(text) < 2 {
		return 0, wrong
	}
	unit, ok := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}[text[len(text)-1]]
	n, err := strconv.ParseInt(text[:len(text)-1], 10, 64)
	if !ok || err != nil || n < 1 || strings.HasPrefix(text, "+") {
		return 0, wrong
	}
	if n > math.MaxInt64/int64(unit) || time.Duration(n)*unit > maxTimespan {
		return 0, fmt.Errorf("%q: at most %s are remembered", text, maxTimespan)
	}
	return time.Duration(n) * unit, nil
}
