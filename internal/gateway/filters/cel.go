package filters

import (
	"context"
	"iter"
	"sync"

	"bulwark.dev/bulwark/internal/auth/authz"
	"bulwark.dev/bulwark/internal/gateway/message"
)

// The parts of expr.go that are answered by authz.
type (
	boolProgram interface {
		eval(ctx context.Context, x *Exchange) (bool, error)
	}
	stringProgram interface {
		eval(ctx context.Context, x *Exchange) (string, error)
	}
)

// compiler makes every expression's program. It is made with the first one and
// keeps nothing but a memo: which expression was compiled before says nothing
// about the next.
var compiler = sync.OnceValues(authz.NewCompiler)

// views are the forms in which expressions see exchanges.
var views = sync.Pool{New: func() any { return new(authz.View) }}

// withView lends f the view of an exchange.
func withView[T any](x *Exchange, f func(*authz.View) (T, error)) (T, error) {
	v, ok := views.Get().(*authz.View)
	if !ok {
		v = new(authz.View)
	}
	defer func() {
		v.Reset()
		views.Put(v)
	}()
	r := x.Req
	v.Method, v.Scheme, v.Host, v.Path, v.RawQuery = r.Method, r.Scheme, r.Host, r.Path, r.Query
	v.Headers, v.Size = (*headerFields)(&r.Header), r.ContentLength
	v.Source, v.Identity, v.Now = x.Source, x.Identity, x.Now.UTC()
	if x.Rule != nil {
		v.Route = authz.Route{Name: x.Rule.Route.Name, Namespace: x.Rule.Route.Namespace, Labels: x.Rule.Route.Labels}
	}
	return f(v)
}

// headerFields shows a message's header to authz.
type headerFields message.Header

// Joined gives all values of a field.
func (h *headerFields) Joined(name string) (string, bool) { return message.Header(*h).Joined(name) }

// All gives every field.
func (h *headerFields) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, f := range *h {
			if !yield(f.Name, f.Value) {
				return
			}
		}
	}
}

type celBool struct{ program *authz.Bool }

func (c celBool) eval(_ context.Context, x *Exchange) (bool, error) {
	return withView(x, c.program.Eval)
}

type celString struct{ program *authz.Text }

func (c celString) eval(_ context.Context, x *Exchange) (string, error) {
	return withView(x, c.program.Eval)
}

func compileBool(source string) (boolProgram, error) {
	c, err := compiler()
	if err != nil {
		return nil, err
	}
	p, err := c.Bool(source)
	if err != nil {
		return nil, err
	}
	return celBool{p}, nil
}

func compileString(source string) (stringProgram, error) {
	c, err := compiler()
	if err != nil {
		return nil, err
	}
	p, err := c.Text(source)
	if err != nil {
		return nil, err
	}
	return celString{p}, nil
}
