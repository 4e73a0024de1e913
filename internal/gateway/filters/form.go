package filters

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
)

// form judges what a request looks like before anything reads it. Every rule
// has one.
type form struct {
	rule    string
	maxBody int64
	allowed message.Oddity
	methods []string // nil for any
	list    string   // methods for Allow
}

// maxMethods bounds the list of methods, which is searched from end to end.
const maxMethods = 32

func newForm(r *ir.Rule, _ Deps) (step, error) {
	f := &form{rule: "default request", maxBody: ir.DefaultMaxBody}
	if r.Form == nil {
		return f, nil
	}
	f.rule, f.maxBody = r.Form.Rule+" request", r.Form.MaxBodyBytes
	if f.maxBody < 0 {
		return nil, fmt.Errorf("%s: the body limit is %d, must not be negative", f.rule, f.maxBody)
	}
	var err error
	if f.allowed, err = allowedOddities(r); err != nil {
		return nil, fmt.Errorf("%s: %w", f.rule, err)
	}
	if len(r.Form.Methods) > maxMethods {
		return nil, fmt.Errorf("%s: %d methods, at most %d", f.rule, len(r.Form.Methods), maxMethods)
	}
	for _, m := range r.Form.Methods {
		if !message.ValidToken(m) {
			return nil, fmt.Errorf("%s: %q is no method", f.rule, m)
		}
		if neverServed(m) {
			return nil, fmt.Errorf("%s: method %s is never served", f.rule, m)
		}
	}
	f.methods, f.list = r.Form.Methods, strings.Join(r.Form.Methods, ", ")
	return f, nil
}

// allowedOddities is what a rule lets stand in paths. Filters that make paths
// hold theirs to it, too.
func allowedOddities(r *ir.Rule) (message.Oddity, error) {
	if r.Form == nil {
		return 0, nil
	}
	var allowed message.Oddity
	for _, s := range r.Form.AllowEncoded {
		o := message.OddityOf(s)
		if o == 0 {
			return 0, fmt.Errorf("allowEncoded: %q is none of those that can be allowed", s)
		}
		allowed |= o
	}
	return allowed, nil
}

// neverServed names the methods that turn a gateway into something else: a
// tunnel, or a mirror that shows a script the credentials it may not see.
func neverServed(method string) bool {
	return method == http.MethodConnect || method == http.MethodTrace
}

func (f *form) request(_ context.Context, x *Exchange) bulwark.Decision {
	x.MaxBody = f.maxBody
	switch {
	case neverServed(x.Req.Method):
		return bulwark.Refuse(http.StatusNotImplemented, bulwark.CodeNotImplemented, f.rule, "the method is never served")
	case len(f.methods) > 0 && !slices.Contains(f.methods, x.Req.Method):
		x.ResponseHeader.Set("allow", f.list)
		return bulwark.Refuse(http.StatusMethodNotAllowed, bulwark.CodeMethodNotAllowed, f.rule, "the method is not among those allowed")
	case x.Req.Oddities&^f.allowed != 0:
		return bulwark.Refuse(http.StatusBadRequest, bulwark.CodeBadRequest, f.rule, "the path holds what backends read in different ways and the rule does not allow")
	case x.Req.ContentLength > f.maxBody:
		return bulwark.Refuse(http.StatusRequestEntityTooLarge, bulwark.CodeTooLarge, f.rule, "the body is announced as larger than the limit")
	}
	return bulwark.Allow(f.rule)
}
