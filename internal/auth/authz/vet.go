package authz

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	celast "github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/interpreter"
)

// vet finds what type checking cannot: expressions that would always fail, never
// hold, or let a caller make them expensive.
func vet(a *celast.AST) error {
	var errs []error
	celast.PostOrderVisit(a.Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		switch e.Kind() {
		case celast.StructKind:
			errs = append(errs, fmt.Errorf("%s cannot be made in an expression", e.AsStruct().TypeName()))
		case celast.CallKind:
			if err := vetCall(e.AsCall()); err != nil {
				errs = append(errs, err)
			}
		case celast.UnspecifiedExprKind, celast.ComprehensionKind, celast.IdentKind, celast.ListKind,
			celast.LiteralKind, celast.MapKind, celast.SelectKind:
		}
	}))
	if len(errs) == 0 {
		return nil
	}
	return oneLine(errs)
}

func vetCall(c celast.CallExpr) error {
	args := c.Args()
	name := c.FunctionName()
	switch name {
	case "replace", "join":
		// The result can be far longer than what goes in.
		return fmt.Errorf("the function %s is not available", name)
	case "_[_]":
		if s, ok := literal(args[1]); ok && isHeaders(args[0]) && s != strings.ToLower(s) {
			return fmt.Errorf("request.headers has lower-case names: %q is never there", s)
		}
	case "@in":
		if s, ok := literal(args[0]); ok && isHeaders(args[1]) && s != strings.ToLower(s) {
			return fmt.Errorf("request.headers has lower-case names: %q is never there", s)
		}
	case "inCIDR":
		s, ok := literal(args[1])
		if !ok {
			return nil
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return fmt.Errorf("inCIDR: %w", err)
		}
		if p != p.Masked() {
			return fmt.Errorf("inCIDR: %q has bits behind the mask, did you mean %q?", s, p.Masked().String())
		}
	case "matches":
		// The pattern is the last argument of both forms.
		if _, ok := literal(args[len(args)-1]); !ok {
			return errors.New("matches: the pattern must be a literal")
		}
	}
	if calendar(name) != nil && len(args) == 1 && c.IsMemberFunction() {
		s, ok := literal(args[0])
		if !ok {
			return fmt.Errorf("%s: the time zone must be a literal", name)
		}
		if _, err := zone(s); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func literal(e celast.Expr) (string, bool) {
	if e.Kind() != celast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().(types.String)
	return string(s), ok
}

func isHeaders(e celast.Expr) bool {
	if e.Kind() != celast.SelectKind {
		return false
	}
	sel := e.AsSelect()
	return sel.FieldName() == "headers" && sel.Operand().Kind() == celast.IdentKind && sel.Operand().AsIdent() == "request"
}

// zone finds a time zone by its IANA name or as "+02:00".
func zone(name string) (*time.Location, error) {
	if at, err := time.Parse("-07:00", name); err == nil {
		return at.Location(), nil
	}
	if name == "" || name == "Local" {
		return nil, errors.New("a time zone is required: an IANA name or an offset like +02:00")
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("time zone: %w", err)
	}
	return loc, nil
}

// calendar gives the meaning of a timestamp's function, nil for other names.
func calendar(function string) func(time.Time) int {
	switch function {
	case "getFullYear":
		return time.Time.Year
	case "getMonth":
		return func(t time.Time) int { return int(t.Month()) - 1 }
	case "getDayOfYear":
		return func(t time.Time) int { return t.YearDay() - 1 }
	case "getDayOfMonth":
		return func(t time.Time) int { return t.Day() - 1 }
	case "getDate":
		return time.Time.Day
	case "getDayOfWeek":
		return func(t time.Time) int { return int(t.Weekday()) }
	case "getHours":
		return time.Time.Hour
	case "getMinutes":
		return time.Time.Minute
	case "getSeconds":
		return time.Time.Second
	case "getMilliseconds":
		return func(t time.Time) int { return t.Nanosecond() / int(time.Millisecond) }
	}
	return nil
}

// zones replaces a timestamp's functions with a literal time zone: CEL loads the
// zone from disk at each evaluation, here it is loaded once.
func zones(i interpreter.Interpretable) (interpreter.Interpretable, error) {
	call, ok := i.(interpreter.InterpretableCall)
	if !ok {
		return i, nil
	}
	args, read := call.Args(), calendar(call.Function())
	if read == nil || len(args) != 2 {
		return i, nil
	}
	tz, ok := args[1].(interpreter.InterpretableConst)
	if !ok {
		return i, nil
	}
	name, ok := tz.Value().(types.String)
	if !ok {
		return i, nil
	}
	loc, err := zone(string(name))
	if err != nil {
		return nil, err
	}
	return &zoned{InterpretableCall: call, at: args[0], read: read, loc: loc}, nil
}

type zoned struct {
	interpreter.InterpretableCall
	at   interpreter.Interpretable
	read func(time.Time) int
	loc  *time.Location
}

// Eval reads the timestamp in its zone.
func (z *zoned) Eval(a interpreter.Activation) ref.Val {
	v := z.at.Eval(a)
	t, ok := v.(types.Timestamp)
	if !ok {
		return types.MaybeNoSuchOverloadErr(v)
	}
	return types.Int(z.read(t.In(z.loc)))
}
