package filters

import (
	"context"
	"fmt"
)

// whenExpr is a condition; nil holds always. An error is no answer: the caller
// refuses.
type whenExpr struct{ program boolProgram }

func newWhenExpr(source string) (*whenExpr, error) {
	if source == "" {
		return nil, nil
	}
	p, err := compileBool(source)
	if err != nil {
		return nil, fmt.Errorf("compile condition: %w", err)
	}
	return &whenExpr{p}, nil
}

func (e *whenExpr) of(ctx context.Context, x *Exchange) (bool, error) {
	if e == nil {
		return true, nil
	}
	return e.program.eval(ctx, x)
}

// keyExpr gives the key that a request is counted under; nil gives "" for all.
type keyExpr struct{ program stringProgram }

func newKeyExpr(source string) (*keyExpr, error) {
	if source == "" {
		return nil, nil
	}
	p, err := compileString(source)
	if err != nil {
		return nil, fmt.Errorf("compile key: %w", err)
	}
	return &keyExpr{p}, nil
}

func (e *keyExpr) of(ctx context.Context, x *Exchange) (string, error) {
	if e == nil {
		return "", nil
	}
	return e.program.eval(ctx, x)
}
