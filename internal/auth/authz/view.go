// Package authz decides what an identity may do: CEL expressions over the
// request, the identity, the route and the time, compiled once and evaluated
// without decoding anything twice. An expression that cannot be evaluated
// refuses.
package authz

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"time"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/interpreter"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/auth/query"
)

// Fields are the header fields of a request, by lower-case name.
type Fields interface {
	// Joined gives all values of a field joined with ", ", and whether there was
	// one.
	Joined(name string) (string, bool)
	// All gives every field in order; a name may come more than once.
	All() iter.Seq2[string, string]
}

// Route is what expressions see of the route that a request matched.
type Route struct {
	Name, Namespace string
	Labels          map[string]string
}

// View is everything that an expression can see: "request", "identity", "route"
// and "now". Fill the exported fields and evaluate any number of programs with
// it; what they compute on the way is kept. A View is used by one goroutine at a
// time; Reset makes it ready for the next request.
type View struct {
	Method, Scheme, Host, Path string
	// RawQuery is judged when an expression reads "request.query": a query that
	// can be read in more than one way, or a parameter that occurs more than
	// once, is an error there.
	RawQuery string
	Headers  Fields
	Source   netip.Addr
	// Size is the length of the request's body in bytes, -1 where only its end
	// tells.
	Size int64
	// Identity may be nil: an expression that reads it is then an error.
	Identity *bulwark.Identity
	Route    Route
	Now      time.Time

	request, identity, route object
	headers                  headerMap
	query                    queryMap
	groups, roles            stringList
}

// Reset forgets the request.
func (v *View) Reset() {
	pairs := v.query.pairs[:0]
	clear(v.query.pairs)
	*v = View{}
	v.query.pairs = pairs
}

var _ interpreter.Activation = (*View)(nil)

// ResolveName gives the variables of expressions.
func (v *View) ResolveName(name string) (any, bool) {
	switch name {
	case "request":
		v.request.bind(requestType, v)
		return &v.request, true
	case "identity":
		if v.Identity == nil {
			return types.WrapErr(errNobody), true
		}
		v.identity.bind(identityType, v)
		return &v.identity, true
	case "route":
		v.route.bind(routeType, v)
		return &v.route, true
	case "now":
		return types.Timestamp{Time: v.Now}, true
	}
	return nil, false
}

// Parent is nil: a View is a whole activation.
func (v *View) Parent() interpreter.Activation { return nil }

// queryMap is "request.query", parsed when it is first read.
type queryMap struct {
	lazyMap
	parsed bool
	err    error
	pairs  []queryPair
}

type queryPair struct {
	name, value string
	repeated    bool
}

var errRepeated = errors.New("the query parameter occurs more than once")

func (q *queryMap) parse() error {
	if q.parsed {
		return q.err
	}
	q.parsed = true
	q.err = query.Each(q.view.RawQuery, func(name, value string) {
		for i := range q.pairs {
			if q.pairs[i].name == name {
				q.pairs[i].repeated = true
				return
			}
		}
		q.pairs = append(q.pairs, queryPair{name: name, value: value})
	})
	return q.err
}

// Find gives one parameter.
func (q *queryMap) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(key), false
	}
	if err := q.parse(); err != nil {
		return types.WrapErr(err), false
	}
	for i := range q.pairs {
		p := &q.pairs[i]
		switch {
		case p.name != string(name):
		case p.repeated:
			return types.WrapErr(fmt.Errorf("%w: %q", errRepeated, p.name)), false
		default:
			return types.String(p.value), true
		}
	}
	return nil, false
}

func (q *queryMap) whole() (map[string]string, error) {
	if err := q.parse(); err != nil {
		return nil, err
	}
	m := make(map[string]string, len(q.pairs))
	for _, p := range q.pairs {
		if p.repeated {
			return nil, fmt.Errorf("%w: %q", errRepeated, p.name)
		}
		m[p.name] = p.value
	}
	return m, nil
}

// headerMap is "request.headers".
type headerMap struct{ lazyMap }

// Find gives one field.
func (h *headerMap) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(key), false
	}
	if h.view.Headers == nil {
		return nil, false
	}
	v, has := h.view.Headers.Joined(string(name))
	if !has {
		return nil, false
	}
	return types.String(v), true
}

func (h *headerMap) whole() (map[string]string, error) {
	m := make(map[string]string)
	if h.view.Headers == nil {
		return m, nil
	}
	for name, value := range h.view.Headers.All() {
		if old, has := m[name]; has {
			value = old + ", " + value
		}
		m[name] = value
	}
	return m, nil
}
