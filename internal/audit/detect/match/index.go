package match

import (
	"slices"
	"strings"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/detect/sigma"
)

// Index finds the rules that an event may meet by what it surely must have: its kind,
// resource, verb and subresource.
type Index struct {
	resources, verbs, subs words
	// byResource has the rules for each number of a resource; 0 is any other one.
	byResource [][]int
	guards     []guard
}

// Rule is what an Index knows of a rule.
type Rule struct {
	Kinds     []audit.Kind
	Condition *sigma.Expr // nil of one that looks at no events itself
}

// guard is what a rule asks of an event before it is evaluated. A set bit allows.
type guard struct {
	kinds       uint16
	verbs, subs uint64
	received    bool // it looks at stage RequestReceived too
}

// words numbers the texts that rules name, from 1; 0 is every other text.
type words map[string]int

func (w words) add(text string) int {
	n, ok := w[text]
	if !ok {
		n = len(w) + 1
		w[text] = n
	}
	return n
}

func (w words) find(text string) int {
	if n, ok := w[text]; ok {
		return n
	}
	if lower := strings.ToLower(text); lower != text {
		return w[lower]
	}
	return 0
}

// maxBit is the last number that a guard has a bit for.
const maxBit = 63

func kindBit(k audit.Kind) uint16 {
	return 1 << (slices.Index([]audit.Kind{audit.KindAPI, audit.KindGateway, audit.KindAccess, audit.KindAlert, audit.KindAction, audit.KindSystem}, k) + 1)
}

// NewIndex indexes the conditions of rules that have one; nil for those that do not.
func NewIndex(rules []Rule) *Index {
	x := &Index{resources: words{}, verbs: words{}, subs: words{}, guards: make([]guard, len(rules))}
	needs := make([]map[string]bool, len(rules))
	for i, r := range rules {
		if r.Condition == nil {
			continue
		}
		g := &x.guards[i]
		for _, k := range r.Kinds {
			g.kinds |= kindBit(k)
		}
		g.verbs = x.verbs.bits(r.Condition, "verb")
		g.subs = x.subs.bits(r.Condition, "objectRef.subresource")
		g.received = mentions(r.Condition, "stage")
		if texts, ok := Allowed(r.Condition, "objectRef.resource"); ok {
			needs[i] = texts
			for _, t := range sortedKeys(texts) {
				x.resources.add(t)
			}
		}
	}
	x.byResource = make([][]int, len(x.resources)+1)
	for i, r := range rules {
		if r.Condition == nil {
			continue
		}
		for text, n := range x.resources {
			if needs[i] == nil || needs[i][text] {
				x.byResource[n] = append(x.byResource[n], i)
			}
		}
		if needs[i] == nil {
			x.byResource[0] = append(x.byResource[0], i)
		}
	}
	return x
}

// bits gives the set of numbers that a field may have.
func (w words) bits(e *sigma.Expr, field string) uint64 {
	texts, ok := Allowed(e, field)
	if !ok {
		return ^uint64(0)
	}
	var out uint64
	for _, t := range sortedKeys(texts) {
		n := w.add(t)
		if n > maxBit {
			return ^uint64(0)
		}
		out |= 1 << n
	}
	return out
}

func bit(n int) uint64 {
	if n > maxBit {
		n = 0 // only rules that allow every text allow this one
	}
	return 1 << n
}

// mentions reports whether an expression looks at a field.
func mentions(e *sigma.Expr, field string) bool {
	if e.Op == sigma.OpItem {
		return e.Item.Field == field
	}
	return slices.ContainsFunc(e.Args, func(a *sigma.Expr) bool { return mentions(a, field) })
}

// Each calls fn with the rules that the event may meet, in their order.
func (x *Index) Each(e *audit.Event, fn func(rule int)) {
	kind, received := kindBit(e.Kind), e.Stage == "RequestReceived"
	verb, sub := bit(x.verbs.find(e.Verb)), bit(x.subs.find(e.Object.Subresource))
	for _, n := range x.byResource[x.resources.find(e.Object.Resource)] {
		g := &x.guards[n]
		if g.kinds&kind != 0 && g.verbs&verb != 0 && g.subs&sub != 0 && (!received || g.received) {
			fn(n)
		}
	}
}
