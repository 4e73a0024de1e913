package filters

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
)

// errAmbiguousQuery says that a query to be edited has a ";" in it: some
// backends split parameters there, so one could hide from the edit.
var errAmbiguousQuery = errors.New("the query holds a bare semicolon, which backends read in different ways")

// queryEdit sets and removes parameters. What it does not touch stays byte for
// byte and in order.
type queryEdit struct {
	set    []edit
	remove []string
}

// newQueryEdit gives nil where nothing is asked for.
func newQueryEdit(set []ir.NameValue, remove []string) (*queryEdit, error) {
	if len(set)+len(remove) == 0 {
		return nil, nil
	}
	q := &queryEdit{remove: remove}
	for _, nv := range set {
		e, err := newEdit(nv.Name, nv)
		if err != nil {
			return nil, err
		}
		if !validParameter(e.value) {
			return nil, fmt.Errorf("%q: the value holds a control character", nv.Name)
		}
		q.set = append(q.set, e)
	}
	named := make(map[string]bool)
	for _, name := range slices.Concat(q.names(), remove) {
		if name == "" || !validParameter(name) {
			return nil, fmt.Errorf("%q is no parameter name", name)
		}
		if named[name] {
			return nil, fmt.Errorf("%q is named twice", name)
		}
		named[name] = true
	}
	return q, nil
}

func (q *queryEdit) names() []string {
	var out []string
	for i := range q.set {
		out = append(out, q.set[i].name)
	}
	return out
}

// validParameter keeps out what no backend should meet even encoded.
func validParameter(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// of gives the edited query of a request.
func (q *queryEdit) of(ctx context.Context, x *Exchange) (string, error) {
	if q == nil {
		return x.Req.Query, nil
	}
	if strings.Contains(x.Req.Query, ";") {
		return "", errAmbiguousQuery
	}
	made, err := values(ctx, x, q.set, validParameter)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	first := true
	put := func(pair string) {
		if !first {
			out.WriteByte('&')
		}
		first = false
		out.WriteString(pair)
	}
	done := make([]bool, len(q.set))
	if x.Req.Query != "" {
		for pair := range strings.SplitSeq(x.Req.Query, "&") {
			raw, _, _ := strings.Cut(pair, "=")
			name, err := url.QueryUnescape(raw)
			if err != nil {
				return "", errAmbiguousQuery
			}
			i := slices.IndexFunc(q.set, func(e edit) bool { return e.name == name })
			switch {
			case i >= 0:
				if !done[i] {
					put(escape(name) + "=" + escape(q.set[i].from(made, i)))
				}
				done[i] = true
			case !slices.Contains(q.remove, name):
				put(pair)
			}
		}
	}
	for i := range q.set {
		if !done[i] {
			put(escape(q.set[i].name) + "=" + escape(q.set[i].from(made, i)))
		}
	}
	query := out.String()
	if err := message.ValidQuery(query); err != nil {
		return "", fmt.Errorf("the query made is refused: %w", err)
	}
	return query, nil
}

// escape writes s so that every backend reads it back: a blank as %20, since
// "+" is one only in forms.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
