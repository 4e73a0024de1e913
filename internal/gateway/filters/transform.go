package filters

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
)

// transform is the edits of a SecurityPolicy. All values are made from the
// request as it came before any of them is written.
type transform struct {
	rule           string
	set            []edit
	remove         []string
	query          *queryEdit
	pattern        *regexp.Regexp // nil to keep the path
	replace        string
	allowed        message.Oddity
	responseSet    []edit
	responseRemove []string
}

var _ responseStep = (*transform)(nil)

// maxPath bounds a path that a pattern makes: replacements can multiply.
const maxPath = 8 << 10

// edit sets one field or parameter to a literal, or to what an expression
// gives.
type edit struct {
	name, value string
	program     stringProgram // nil for the literal
}

func newTransform(r *ir.Rule, _ Deps) (step, error) {
	c := r.Transform
	if c == nil {
		return nil, nil
	}
	if c.PathPattern == "" && len(c.SetHeaders)+len(c.RemoveHeaders)+len(c.SetQuery)+len(c.RemoveQuery)+len(c.ResponseSet)+len(c.ResponseRemove) == 0 {
		return nil, fmt.Errorf("%s transform: nothing is asked for", c.Rule)
	}
	t := &transform{rule: c.Rule + " transform", replace: c.PathReplace}
	var err error
	if t.set, err = headerEdits(c.SetHeaders); err != nil {
		return nil, fmt.Errorf("%s: set: %w", t.rule, err)
	}
	if t.remove, err = editableNames(c.RemoveHeaders); err != nil {
		return nil, fmt.Errorf("%s: remove: %w", t.rule, err)
	}
	if t.responseSet, err = headerEdits(c.ResponseSet); err != nil {
		return nil, fmt.Errorf("%s: response set: %w", t.rule, err)
	}
	if t.responseRemove, err = editableNames(c.ResponseRemove); err != nil {
		return nil, fmt.Errorf("%s: response remove: %w", t.rule, err)
	}
	if t.query, err = newQueryEdit(c.SetQuery, c.RemoveQuery); err != nil {
		return nil, fmt.Errorf("%s: query: %w", t.rule, err)
	}
	if c.PathPattern == "" {
		if c.PathReplace != "" {
			return nil, fmt.Errorf("%s: path: a replacement without a pattern", t.rule)
		}
		return t, nil
	}
	if t.pattern, err = regexp.Compile(c.PathPattern); err != nil {
		return nil, fmt.Errorf("%s: path: %w", t.rule, err)
	}
	if t.allowed, err = allowedOddities(r); err != nil {
		return nil, fmt.Errorf("%s: path: %w", t.rule, err)
	}
	return t, nil
}

func headerEdits(from []ir.NameValue) ([]edit, error) {
	var out []edit
	for _, nv := range from {
		name, err := editableName(nv.Name)
		if err != nil {
			return nil, err
		}
		e, err := newEdit(name, nv)
		if err != nil {
			return nil, err
		}
		if !message.ValidValue(e.value) {
			return nil, fmt.Errorf("header %q: the value is not one of a header (RFC 9110 5.5)", nv.Name)
		}
		out = append(out, e)
	}
	return out, nil
}

func newEdit(name string, nv ir.NameValue) (edit, error) {
	e := edit{name: name, value: nv.Value}
	if nv.Expression == "" {
		return e, nil
	}
	if nv.Value != "" {
		return edit{}, fmt.Errorf("%q has both a value and an expression", nv.Name)
	}
	var err error
	if e.program, err = compileString(nv.Expression); err != nil {
		return edit{}, fmt.Errorf("%q: %w", nv.Name, err)
	}
	return e, nil
}

func editableNames(names []string) ([]string, error) {
	var out []string
	for _, n := range names {
		lower, err := editableName(n)
		if err != nil {
			return nil, err
		}
		out = append(out, lower)
	}
	return out, nil
}

func (t *transform) request(ctx context.Context, x *Exchange) bulwark.Decision {
	headers, err := values(ctx, x, t.set, message.ValidValue)
	if err != nil {
		return t.refuse(http.StatusForbidden, bulwark.CodeForbidden, err)
	}
	path, odd := x.Req.Path, x.Req.Oddities
	if t.pattern != nil {
		if path, odd, err = t.newPath(x.Req); err != nil {
			return t.refuse(http.StatusBadRequest, bulwark.CodeBadRequest, err)
		}
	}
	query, err := t.query.of(ctx, x)
	switch {
	case errors.Is(err, errAmbiguousQuery):
		return t.refuse(http.StatusBadRequest, bulwark.CodeBadRequest, err)
	case err != nil:
		return t.refuse(http.StatusForbidden, bulwark.CodeForbidden, err)
	}
	x.Req.Path, x.Req.Oddities = path, odd
	if t.query != nil {
		x.Req.Query, x.Req.HasQuery = query, query != "" || x.Req.HasQuery && x.Req.Query == ""
	}
	for _, name := range t.remove {
		x.Req.Header.Del(name)
	}
	for i := range t.set {
		x.Req.Header.Set(t.set[i].name, t.set[i].from(headers, i))
	}
	return bulwark.Allow("")
}

func (t *transform) refuse(status int, code bulwark.Code, err error) bulwark.Decision {
	return bulwark.Refuse(status, code, t.rule, err.Error())
}

func (t *transform) newPath(req *message.Request) (string, message.Oddity, error) {
	if !t.pattern.MatchString(req.Path) {
		return req.Path, req.Oddities, nil
	}
	path := t.pattern.ReplaceAllString(req.Path, t.replace)
	if len(path) > maxPath {
		return "", 0, errors.New("the path made is too long")
	}
	path, odd, err := message.NormalizePath(path)
	if err != nil {
		return "", 0, fmt.Errorf("the path made is refused: %w", err)
	}
	if odd&^t.allowed != 0 {
		return "", 0, errors.New("the path made holds what backends read in different ways and the rule does not allow")
	}
	return path, odd, nil
}

func (t *transform) response(x *Exchange, resp *message.Response) error {
	headers, err := values(context.Background(), x, t.responseSet, message.ValidValue)
	if err != nil {
		return fmt.Errorf("%s: response: %w", t.rule, err)
	}
	for _, name := range t.responseRemove {
		resp.Header.Del(name)
	}
	for i := range t.responseSet {
		resp.Header.Set(t.responseSet[i].name, t.responseSet[i].from(headers, i))
	}
	return nil
}

// values evaluates the expressions among edits and judges what they give. It
// gives nil where all are literals.
func values(ctx context.Context, x *Exchange, edits []edit, valid func(string) bool) ([]string, error) {
	var out []string
	for i := range edits {
		if edits[i].program == nil {
			continue
		}
		v, err := edits[i].program.eval(ctx, x)
		if err != nil {
			return nil, fmt.Errorf("the value of %q cannot be told: %w", edits[i].name, err)
		}
		if !valid(v) {
			return nil, fmt.Errorf("the value of %q may not stand there", edits[i].name)
		}
		if out == nil {
			out = make([]string, len(edits))
		}
		out[i] = v
	}
	return out, nil
}

// from is the value of the i-th edit.
func (e *edit) from(values []string, i int) string {
	if e.program == nil {
		return e.value
	}
	return values[i]
}
