package control

import (
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
)

// Field gives the operand and the name, if a CEL expression selects one field: a.b,
// has(a.b), a.?b, a["b"] or a[?"b"].
func Field(e ast.Expr) (of ast.Expr, name string, ok bool) {
	switch e.Kind() { //nolint:exhaustive // the others select nothing
	case ast.SelectKind:
		return e.AsSelect().Operand(), e.AsSelect().FieldName(), true
	case ast.CallKind:
		c := e.AsCall()
		if fn := c.FunctionName(); fn != operators.OptSelect && fn != operators.Index && fn != operators.OptIndex || len(c.Args()) != 2 {
			return nil, "", false
		}
		if c.Args()[1].Kind() != ast.LiteralKind {
			return nil, "", false
		}
		text, ok := c.Args()[1].AsLiteral().(types.String)
		return c.Args()[0], string(text), ok
	default:
		return nil, "", false
	}
}
