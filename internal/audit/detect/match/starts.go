package match

import (
	"regexp"
	"regexp/syntax"
	"strings"
)

// start is how a text begins, or all of it.
type start struct {
	text  string
	whole bool
}

func (s start) met(text string) bool {
	return strings.HasPrefix(text, s.text) && (!s.whole || len(text) == len(s.text))
}

// mostStarts is up to how many beginnings are faster than an expression.
const mostStarts = 16

// literalStarts gives the beginnings that an expression such as ^(system:|eks:|admin$)
// names, if it says nothing else; or nil. Rules leave components of a cluster out this
// way, most of them for each event.
func literalStarts(re *regexp.Regexp) []start {
	tree, err := syntax.Parse(re.String(), syntax.Perl)
	if err != nil || tree.Op != syntax.OpConcat || tree.Sub[0].Op != syntax.OpBeginText {
		return nil
	}
	return sequence(tree.Sub[1:])
}

// starts gives the beginnings that a tree names; nil if there may be others.
func starts(tree *syntax.Regexp) []start {
	switch tree.Op { //nolint:exhaustive // all others say more than that
	case syntax.OpLiteral:
		if tree.Flags&syntax.FoldCase == 0 {
			return []start{{text: string(tree.Rune)}}
		}
	case syntax.OpEmptyMatch:
		return []start{{}}
	case syntax.OpEndText:
		return []start{{whole: true}}
	case syntax.OpCapture, syntax.OpConcat:
		return sequence(tree.Sub)
	case syntax.OpAlternate:
		var out []start
		for _, sub := range tree.Sub {
			some := starts(sub)
			if out = append(out, some...); some == nil || len(out) > mostStarts {
				return nil
			}
		}
		return out
	}
	return nil
}

// sequence gives the beginnings that trees name one after the other.
func sequence(trees []*syntax.Regexp) []start {
	out := []start{{}}
	for _, tree := range trees {
		next := starts(tree)
		var longer []start
		for _, a := range out {
			for _, b := range next {
				if !a.whole || b.text == "" { // nothing comes after the end
					longer = append(longer, start{a.text + b.text, a.whole || b.whole})
				}
			}
		}
		if out = longer; len(out) == 0 || len(out) > mostStarts {
			return nil
		}
	}
	return out
}
