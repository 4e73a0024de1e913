package content

import (
	"errors"

	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"
)

// work is what a function does with its arguments.
type work struct {
	per     int  // so many bytes of its texts cost as much as a turn
	deep    int  // how deep it walks its lists
	letters bool // it makes a list of a text
}

// works are the functions whose cost grows with their arguments.
var works = map[string]work{ //nolint:gochecknoglobals // constant
	"matches": {per: bytesFound}, "find": {per: bytesFound}, "findAll": {per: bytesFound, letters: true},
	"split": {per: bytesCopied, letters: true}, "charAt": {per: bytesCopied, letters: true},
	"replace": {per: bytesCopied, letters: true}, "join": {per: bytesCopied, deep: 1},
	"lowerAscii": {per: bytesCopied}, "upperAscii": {per: bytesCopied}, "trim": {per: bytesCopied}, "substring": {per: bytesCopied},
	"contains": {per: bytesRead}, "indexOf": {per: bytesRead, deep: 1}, "lastIndexOf": {per: bytesRead, deep: 1},
	operators.Equals: {per: bytesRead}, operators.NotEquals: {per: bytesRead}, operators.Add: {per: bytesRead},
	operators.In: {per: bytesRead, deep: 1}, operators.OldIn: {per: bytesRead, deep: 1},
	"sum": {deep: 1}, "min": {deep: 1}, "max": {deep: 1}, "isSorted": {deep: 1}, "reverse": {deep: 1}, "slice": {deep: 1}, "sort": {deep: 1},
	"@sortByAssociatedKeys": {deep: 1}, "distinct": {deep: 2}, "flatten": {deep: 2},
	"sets.contains": {deep: 2}, "sets.equivalent": {deep: 2}, "sets.intersects": {deep: 2},
}

// itself is the name by which a guarded call asks for its evaluation.
const itself = "#evaluation"

// guard wraps the calls of such functions, so that what they are about to do is taken
// off what is left.
func guard(i interpreter.Interpretable) (interpreter.Interpretable, error) {
	call, ok := i.(interpreter.InterpretableCall)
	if !ok {
		return i, nil
	}
	if w, ok := works[call.Function()]; ok {
		return &guarded{i, call.Args(), w}, nil
	}
	return i, nil
}

// guarded is no InterpretableCall, so that nothing puts something else in its place.
type guarded struct {
	interpreter.Interpretable
	args []interpreter.Interpretable
	work work
}

var errTooLarge = errors.New(tooLarge)

// Eval runs the call if there is enough left for it.
func (g *guarded) Eval(vars interpreter.Activation) ref.Val {
	named, _ := vars.ResolveName(itself)
	e, ok := named.(*evaluation)
	if !ok {
		return types.WrapErr(errTooLarge)
	}
	cost := 1
	for _, a := range g.args {
		cost = min(cost*size(a.Eval(vars), g.work), mostTurns+1)
	}
	if !e.spend(cost) {
		return types.WrapErr(errTooLarge)
	}
	return g.Interpretable.Eval(vars)
}

// size gives what one argument multiplies the cost by.
func size(v ref.Val, w work) int {
	switch v := v.(type) {
	case types.String:
		if w.per > 0 {
			return 1 + len(v)/w.per
		}
	case traits.Lister:
		n, _ := v.Size().(types.Int)
		total := int(n)
		switch {
		case w.deep == 2:
			total = min(total, mostTurns)
			total *= total
		case w.per == bytesCopied: // the texts in it are put together
			for i := range n {
				if text, ok := v.Get(i).(types.String); ok {
					total += len(text) / w.per
				}
			}
		}
		return 1 + min(total, mostTurns+1)
	}
	return 1
}
