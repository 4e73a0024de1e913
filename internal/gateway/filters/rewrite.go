package filters

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
)

// rewrite changes the host and path that the backend sees.
type rewrite struct {
	rule string
	host string
	path *newPath // nil to keep
}

func newRewrite(r *ir.Rule, _ Deps) (step, error) {
	if r.Rewrite == nil {
		return nil, nil
	}
	w := &rewrite{rule: r.ID + " rewrite"}
	var err error
	if w.host, err = bareHost(r.Rewrite.Hostname); err != nil {
		return nil, err
	}
	if w.path, err = makeNewPath(r.Rewrite.Path, r); err != nil {
		return nil, err
	}
	if w.host == "" && w.path == nil {
		return nil, errors.New("neither a hostname nor a path to rewrite")
	}
	return w, nil
}

func (w *rewrite) request(_ context.Context, x *Exchange) bulwark.Decision {
	if w.path != nil {
		path, odd, err := w.path.of(x)
		if err != nil {
			return bulwark.Refuse(http.StatusInternalServerError, bulwark.CodeInternal, w.rule, err.Error())
		}
		x.Req.Path, x.Req.Oddities = path, odd
	}
	if w.host != "" {
		x.Req.Host, x.Req.Port = w.host, ""
	}
	return bulwark.Allow("")
}

// bareHost gives the normalised form of a hostname without a port; "" stays.
func bareHost(hostname string) (string, error) {
	if hostname == "" {
		return "", nil
	}
	host, port, ok := message.SplitHost(hostname)
	if !ok || port != "" {
		return "", fmt.Errorf("%q is no hostname", hostname)
	}
	return host, nil
}

// newPath is a path modifier made ready.
type newPath struct {
	full string
	odd  message.Oddity // of full
	// prefix replaces what the match had; without a slash at its end. Used
	// where full is "".
	prefix  string
	allowed message.Oddity
}

func makeNewPath(p *ir.PathRewrite, r *ir.Rule) (*newPath, error) {
	if p == nil {
		return nil, nil
	}
	allowed, err := allowedOddities(r)
	if err != nil {
		return nil, err
	}
	n := &newPath{allowed: allowed}
	text := p.Full
	if p.Prefix != nil {
		text = *p.Prefix
	}
	// Gateway API writes the empty prefix, and the empty path, for the root.
	path, odd, err := message.NormalizePath("/" + strings.TrimPrefix(text, "/"))
	if err != nil {
		return nil, fmt.Errorf("replacement: %w", err)
	}
	if odd&^allowed != 0 {
		return nil, errors.New("replacement: the path holds what backends read in different ways and the rule does not allow")
	}
	if p.Prefix != nil {
		n.prefix = strings.TrimSuffix(path, "/")
	} else {
		n.full, n.odd = path, odd
	}
	return n, nil
}

// of gives the new path of a request. The error is the operator's.
func (n *newPath) of(x *Exchange) (string, message.Oddity, error) {
	if n.full != "" {
		return n.full, n.odd, nil
	}
	if x.Match == nil || x.Match.PathKind != ir.PathPrefix {
		return "", 0, errors.New("a prefix is to be replaced, but the match had none")
	}
	path, ok := replacePrefix(x.Req.Path, x.Match.Path, n.prefix)
	if !ok {
		return "", 0, errors.New("a prefix is to be replaced, but the path no longer begins with it")
	}
	path, odd, err := message.NormalizePath(path)
	if err != nil {
		return "", 0, fmt.Errorf("the path made is refused: %w", err)
	}
	if odd&^n.allowed != 0 {
		return "", 0, errors.New("the path made holds what backends read in different ways and the rule does not allow")
	}
	return path, odd, nil
}

// replacePrefix replaces a prefix of whole segments by another that does not
// end in "/", as the table of Gateway API's ReplacePrefixMatch has it.
func replacePrefix(path, prefix, by string) (string, bool) {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(prefix, "/"))
	if !ok || rest != "" && rest[0] != '/' {
		return "", false
	}
	if by == "" && rest == "" {
		return "/", true
	}
	return by + rest, true
}
