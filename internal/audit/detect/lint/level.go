package lint

import (
	"slices"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/detect/match"
	"bulwark.dev/bulwark/internal/audit/detect/sigma"
)

// Levels are the audit levels that a rule may need, from the least to the most; ranks
// are indexes of it.
func Levels() []string { return []string{"Metadata", "Request", "RequestResponse"} }

// Needs is the rank of the least level at which a condition can be met by events of some
// kinds. Where one way to meet it needs less than another, the lesser counts.
func Needs(kinds []audit.Kind, condition *sigma.Expr) int {
	terms, _ := termsOf(condition)
	return levelOf(kinds, condition, terms)
}

// Fields lists the fields that a condition looks at.
func Fields(condition *sigma.Expr) []string {
	var out []string
	for _, it := range itemsOf(condition) {
		out = append(out, fieldsOf(it)...)
	}
	return out
}

// Rank is the rank of the level at which all of some fields are seen.
func Rank(names []string) int {
	rank := 0
	for _, name := range names {
		if f, err := match.ParseField(name); err == nil {
			rank = max(rank, fieldLevel(f))
		}
	}
	return rank
}

// fieldsOf are the field of an item and those that it refers to.
func fieldsOf(it *sigma.Item) []string {
	var out []string
	if it.Field != "" {
		out = append(out, it.Field)
	}
	for _, v := range it.Values {
		for _, t := range v.Tests {
			if t.Kind == sigma.KindFieldRef {
				out = append(out, t.Ref)
			}
		}
	}
	return out
}

// fieldLevel is the rank of the level that a field needs.
func fieldLevel(f match.Field) int {
	switch {
	case f.Response:
		return 2
	case f.Body:
		return 1
	}
	return 0
}

func itemLevel(it *sigma.Item) int {
	rank := 0
	for _, name := range fieldsOf(it) {
		if f, err := match.ParseField(name); err == nil {
			rank = max(rank, fieldLevel(f))
		}
	}
	return rank
}

func bodyFields(e *sigma.Expr) []string {
	var out []string
	for _, it := range itemsOf(e) {
		for _, name := range fieldsOf(it) {
			if f, err := match.ParseField(name); err == nil && f.Body && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

// allLevel is the rank of the level at which every field of an expression is seen.
func allLevel(e *sigma.Expr) int {
	rank := 0
	for _, it := range itemsOf(e) {
		rank = max(rank, itemLevel(it))
	}
	return rank
}

// excludes reports whether a literal only takes events away: where its field is not
// seen, the rule fires too often, but it fires.
func (l literal) excludes() bool {
	return l.not && !slices.ContainsFunc(l.item.Values, func(v sigma.Value) bool {
		return slices.ContainsFunc(v.Tests, func(t sigma.Test) bool { return t.Kind == sigma.KindNull || t.Kind == sigma.KindExists && !t.Bool })
	})
}

// levelOf is the least level of those ways to meet a rule that are possible. What
// is excluded does not count.
func levelOf(kinds []audit.Kind, condition *sigma.Expr, terms []term) int {
	best := -1
	for _, alive := range []bool{true, false} {
		for _, t := range terms {
			if alive && t.impossible(kinds) != nil {
				continue
			}
			rank := 0
			for _, lit := range t {
				if !lit.excludes() {
					rank = max(rank, itemLevel(lit.item))
				}
			}
			if best < 0 || rank < best {
				best = rank
			}
		}
		if best >= 0 {
			break
		}
	}
	if best < 0 { // too many ways to list
		best = allLevel(condition)
	}
	return max(best, 0)
}
