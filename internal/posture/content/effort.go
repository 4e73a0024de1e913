package content

import (
	"fmt"

	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
)

// effort bounds what the expressions of a control can cost on an object, so that only
// where that could be much it is counted what they do: a made-up object must not hold
// up a scan. The bound comes from the object and the control alone, not from what was
// judged before, so a verdict does not depend on the order of things.
type effort struct {
	// lists is how deep macros walk lists within the walks of others, inner how deep
	// functions do.
	lists, inner int
	// letters: lists are made of texts, so that a text counts as a list.
	letters bool
	// patterns: regular expressions are looked for. copies: texts are put together.
	patterns, copies bool
	// quantities are computed with, see inventory.Endless.
	quantities bool
}

// mostTurns is how much a control may do on one object, in turns of a macro: a second
// or two.
const mostTurns = 2 << 20

// mostRange is how long a list of numbers may be that a control makes.
const mostRange = 10_000

// What a turn costs grows with the texts that it looks at: so many bytes cost as much
// as a turn. A text that is copied takes memory too.
const (
	bytesRead   = 1024
	bytesCopied = 64
	bytesFound  = 8 // by a regular expression
)

// add takes in an expression that is run for each of the elements of lists, which are
// nested so deep.
func (f *effort) add(e ast.Expr, nested int) { f.lists = max(f.lists, nested+f.walks(e)) }

// high reports whether the control can cost more on an object than it may.
func (f *effort) high(p *prepared) bool {
	size := p.longest
	if f.letters {
		size = max(size, p.text)
	}
	turns := 1 + p.text/bytesRead
	switch {
	case f.patterns:
		turns = 1 + p.text/bytesFound
	case f.copies:
		turns = 1 + p.text/bytesCopied
	}
	return times(times(turns, p.places, 1), size, f.lists+f.inner) > mostTurns
}

// times multiplies n by by, often, and stops above mostTurns.
func times(n, by, often int) int {
	for range often {
		if n > mostTurns || max(by, 1) > mostTurns {
			return mostTurns + 1
		}
		n *= max(by, 1)
	}
	return n
}

// walks gives how deep an expression walks lists within the walks of others.
func (f *effort) walks(e ast.Expr) int {
	switch e.Kind() { //nolint:exhaustive // the others hold nothing
	case ast.CallKind:
		c := e.AsCall()
		f.call(c)
		deepest := f.all(c.Args()...)
		if c.IsMemberFunction() {
			deepest = max(deepest, f.walks(c.Target()))
		}
		return deepest
	case ast.ComprehensionKind:
		c := e.AsComprehension()
		inner := f.all(c.AccuInit(), c.LoopCondition(), c.LoopStep(), c.Result())
		if of := c.IterRange(); of.Kind() != ast.ListKind || of.AsList().Size() > 0 { // else it is what optMap becomes
			inner++
		}
		return max(inner, f.walks(c.IterRange()))
	case ast.ListKind:
		return f.all(e.AsList().Elements()...)
	case ast.MapKind:
		deepest := 0
		for _, entry := range e.AsMap().Entries() {
			deepest = max(deepest, f.all(entry.AsMapEntry().Key(), entry.AsMapEntry().Value()))
		}
		return deepest
	case ast.SelectKind:
		return f.walks(e.AsSelect().Operand())
	default:
		return 0
	}
}

func (f *effort) all(inner ...ast.Expr) int {
	deepest := 0
	for _, e := range inner {
		deepest = max(deepest, f.walks(e))
	}
	return deepest
}

// call takes in what a function does itself.
func (f *effort) call(c ast.CallExpr) {
	switch name := c.FunctionName(); name {
	case "quantity", "isQuantity":
		f.quantities = true
	case operators.In, operators.OldIn:
		if c.Args()[1].Kind() != ast.ListKind { // of a list that is written here nothing grows
			f.inner = max(f.inner, 1)
		}
	default:
		w := works[name]
		f.inner = max(f.inner, w.deep)
		f.letters = f.letters || w.letters
		f.patterns = f.patterns || w.per == bytesFound
		f.copies = f.copies || w.per == bytesCopied
	}
}

// ranged refuses lists of numbers that could be of any length.
func ranged(c ast.CallExpr) error {
	if c.FunctionName() != "lists.range" || len(c.Args()) != 1 {
		return nil
	}
	if n := c.Args()[0]; n.Kind() == ast.LiteralKind {
		if n, ok := n.AsLiteral().(types.Int); ok && n <= mostRange {
			return nil
		}
	}
	return fmt.Errorf("lists.range takes a number that is written here, up to %d", mostRange)
}
