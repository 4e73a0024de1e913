package authz

import (
	"errors"
	"fmt"

	"github.com/google/cel-go/cel"
	celast "github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/interpreter"
)

// planner plans expressions over one table of functions. cel.Env.Program fills
// a table for each program and keeps it, 18 kB that thousands of policies each
// pay for, although a plan has its functions by then.
type planner struct{ interpreter interpreter.Interpreter }

func newPlanner(env *cel.Env) (*planner, error) {
	table := interpreter.NewDispatcher()
	for _, f := range env.Functions() {
		overloads, err := f.Bindings()
		if err == nil {
			err = table.Add(overloads...)
		}
		if err != nil {
			return nil, fmt.Errorf("functions of expressions: %w", err)
		}
	}
	provider, adapter := env.CELTypeProvider(), env.CELTypeAdapter()
	attributes := interpreter.NewAttributeFactory(env.Container, adapter, provider)
	return &planner{interpreter.NewInterpreter(table, env.Container, provider, adapter, attributes)}, nil
}

// plan gives the same steps as cel.Env.Program with cel.OptOptimize.
func (p *planner) plan(checked *celast.AST) (evaluator, error) {
	steps, err := p.interpreter.NewInterpretable(checked, interpreter.CustomDecorator(zones),
		interpreter.Optimize(), interpreter.CompileRegexConstants(interpreter.MatchesRegexOptimization))
	if err != nil {
		return nil, err
	}
	return planned{steps}, nil
}

// evaluator is a planned expression.
type evaluator interface {
	eval(v *View) (ref.Val, error)
}

// planned is a plan that needs no counting.
type planned struct{ steps interpreter.Interpretable }

func (p planned) eval(v *View) (out ref.Val, err error) {
	// A fault of a function must refuse this request and not end the process.
	defer func() {
		if fault := recover(); fault != nil {
			out, err = nil, fmt.Errorf("internal error: %v", fault)
		}
	}()
	out = p.steps.Eval(v)
	if e, ok := out.(*types.Err); ok {
		return nil, e
	}
	if out == nil {
		return nil, errors.New("internal error: no value")
	}
	return out, nil
}

// counted is a plan whose evaluation ends at a cost.
type counted struct{ program cel.Program }

func (c counted) eval(v *View) (ref.Val, error) {
	out, _, err := c.program.Eval(v)
	return out, err
}
