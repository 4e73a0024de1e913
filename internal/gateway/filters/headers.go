package filters

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
)

// headers are the header modifiers of a route rule. Either may be nil.
type headers struct{ req, resp *ir.HeaderEdit }

var _ responseStep = (*headers)(nil)

func newHeaders(r *ir.Rule, _ Deps) (step, error) {
	// The proxy applies the edits of a backend reference once it is picked;
	// whether they can be applied is judged here, before any request.
	for i := range r.Backends {
		b := &r.Backends[i]
		if err := errors.Join(checkEdit(b.RequestHeaders), checkEdit(b.ResponseEdit)); err != nil {
			return nil, fmt.Errorf("backend reference %d: %w", i, err)
		}
	}
	if err := checkEdit(r.RequestHeaders); err != nil {
		return nil, fmt.Errorf("request header modifier: %w", err)
	}
	if err := checkEdit(r.ResponseEdit); err != nil {
		return nil, fmt.Errorf("response header modifier: %w", err)
	}
	if r.RequestHeaders == nil && r.ResponseEdit == nil {
		return nil, nil
	}
	return &headers{lowerEdit(r.RequestHeaders), lowerEdit(r.ResponseEdit)}, nil
}

func (h *headers) request(_ context.Context, x *Exchange) bulwark.Decision {
	ApplyHeaderEdit(&x.Req.Header, h.req)
	return bulwark.Allow("")
}

func (h *headers) response(_ *Exchange, resp *message.Response) error {
	ApplyHeaderEdit(&resp.Header, h.resp)
	return nil
}

// ApplyHeaderEdit sets, adds and removes, in this order. A nil edit does
// nothing. Build refuses rules whose edits, those of backend references
// included, name a field that must not be edited or hold an invalid value, so
// the edits of a rule with a chain may be applied without a further look.
func ApplyHeaderEdit(h *message.Header, e *ir.HeaderEdit) {
	if e == nil {
		return
	}
	for i := range e.Set {
		h.Set(strings.ToLower(e.Set[i].Name), e.Set[i].Value)
	}
	for i := range e.Add {
		h.Add(strings.ToLower(e.Add[i].Name), e.Add[i].Value)
	}
	for _, name := range e.Remove {
		h.Del(strings.ToLower(name))
	}
}

// checkEdit says what in an edit cannot be applied.
func checkEdit(e *ir.HeaderEdit) error {
	if e == nil {
		return nil
	}
	for _, nv := range slices.Concat(e.Set, e.Add) {
		if _, err := editableName(nv.Name); err != nil {
			return err
		}
		if nv.Expression != "" {
			return fmt.Errorf("header %q: an expression cannot stand here", nv.Name)
		}
		if !message.ValidValue(nv.Value) {
			return fmt.Errorf("header %q: the value is not one of a header (RFC 9110 5.5)", nv.Name)
		}
	}
	for _, name := range e.Remove {
		if _, err := editableName(name); err != nil {
			return err
		}
	}
	return nil
}

// lowerEdit is e with its names as Header has them.
func lowerEdit(e *ir.HeaderEdit) *ir.HeaderEdit {
	if e == nil {
		return nil
	}
	lower := func(in []ir.NameValue) []ir.NameValue {
		out := slices.Clone(in)
		for i := range out {
			out[i].Name = strings.ToLower(out[i].Name)
		}
		return out
	}
	out := &ir.HeaderEdit{Set: lower(e.Set), Add: lower(e.Add), Remove: slices.Clone(e.Remove)}
	for i := range out.Remove {
		out.Remove[i] = strings.ToLower(out.Remove[i])
	}
	return out
}

// editableName gives the lower-case form of a field name that rules may edit.
// The gateway alone decides where a message goes and where it ends: neither
// routing, framing nor hop-by-hop fields (RFC 9110 7.6.1) can be edited.
func editableName(name string) (string, error) {
	lower := strings.ToLower(name)
	if !message.ValidName(lower) {
		return "", fmt.Errorf("%q is no header name", name)
	}
	switch lower {
	case "host", "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection",
		"te", "trailer", "upgrade", "expect", "http2-settings", "proxy-authenticate", "proxy-authorization",
		"proxy-authentication-info":
		return "", fmt.Errorf("header %q belongs to the gateway and cannot be edited", name)
	}
	return lower, nil
}
