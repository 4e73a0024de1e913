package filters

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
)

// cors is the cross-origin policy of a rule (Fetch standard, "CORS protocol").
// It answers preflights itself, before authentication: they carry no
// credentials by design. A preflight of an origin that is not allowed is
// refused with 403 and reaches nobody.
type cors struct {
	rule        string
	any         bool
	origins     []originPattern
	credentials bool

	methods, headers, expose string // as sent; "" for none
	anyMethod, anyHeader     bool
	maxAge                   string
}

var _ responseStep = (*cors)(nil)

const (
	// defaultMaxAge is Gateway API's.
	defaultMaxAge = 5 * time.Second
	// varyOrigin keeps caches from giving one origin's answer to another.
	varyOrigin    = "origin"
	varyPreflight = "origin, access-control-request-method, access-control-request-headers"
)

func newCORS(r *ir.Rule, _ Deps) (step, error) {
	if r.CORS == nil {
		return nil, nil
	}
	c := &cors{rule: r.CORS.Rule + " cors", credentials: r.CORS.AllowCredentials}
	for _, o := range r.CORS.AllowOrigins {
		if o == "*" {
			c.any = true
			continue
		}
		p, err := parseOriginPattern(o)
		if err != nil {
			return nil, fmt.Errorf("%s: allowOrigins: %w", c.rule, err)
		}
		c.origins = append(c.origins, p)
	}
	var err error
	if c.methods, c.anyMethod, err = tokenList(r.CORS.AllowMethods); err != nil {
		return nil, fmt.Errorf("%s: allowMethods: %w", c.rule, err)
	}
	if c.headers, c.anyHeader, err = tokenList(r.CORS.AllowHeaders); err != nil {
		return nil, fmt.Errorf("%s: allowHeaders: %w", c.rule, err)
	}
	var anyExposed bool
	if c.expose, anyExposed, err = tokenList(r.CORS.ExposeHeaders); err != nil {
		return nil, fmt.Errorf("%s: exposeHeaders: %w", c.rule, err)
	}
	if anyExposed && !c.credentials { // with credentials, "*" names a header of that name
		c.expose = "*"
	}
	switch age := r.CORS.MaxAge; {
	case age < 0:
		return nil, fmt.Errorf("%s: maxAge is %v, must not be negative", c.rule, age)
	case age == 0:
		c.maxAge = strconv.FormatInt(int64(defaultMaxAge/time.Second), 10)
	default:
		c.maxAge = strconv.FormatInt(int64(age/time.Second), 10)
	}
	return c, nil
}

// tokenList joins method or header names for a response field; "*" is told
// apart.
func tokenList(names []string) (joined string, wild bool, err error) {
	var out []string
	for _, n := range names {
		switch {
		case n == "*":
			wild = true
		case !message.ValidToken(n):
			return "", false, fmt.Errorf("%q is no token", n)
		default:
			out = append(out, n)
		}
	}
	return strings.Join(out, ", "), wild, nil
}

func (c *cors) request(_ context.Context, x *Exchange) bulwark.Decision {
	origin, n := x.Req.Header.Lookup("origin")
	if n > 1 {
		return bulwark.Refuse(http.StatusBadRequest, bulwark.CodeBadRequest, c.rule, "more than one Origin")
	}
	preflight := n == 1 && x.Req.Method == http.MethodOptions && x.Req.Header.Has("access-control-request-method")
	switch {
	case preflight:
		x.ResponseHeader.Set("vary", varyPreflight)
	case !c.any || c.credentials: // else the answer is the same for any origin
		x.ResponseHeader.Set("vary", varyOrigin)
	}
	if n == 0 || !c.allows(origin) {
		if preflight {
			return bulwark.Refuse(http.StatusForbidden, bulwark.CodeForbidden, c.rule, "a preflight of an origin that is not allowed")
		}
		return bulwark.Allow("")
	}
	if c.any && !c.credentials {
		origin = "*" // with credentials it would be refused: Gateway API wants the origin then
	}
	x.ResponseHeader.Set("access-control-allow-origin", origin)
	if c.credentials {
		x.ResponseHeader.Set("access-control-allow-credentials", "true")
	}
	if c.expose != "" {
		x.ResponseHeader.Set("access-control-expose-headers", c.expose)
	}
	if preflight {
		return c.preflight(x)
	}
	return bulwark.Allow("")
}

func (c *cors) preflight(x *Exchange) bulwark.Decision {
	method, n := x.Req.Header.Lookup("access-control-request-method")
	if n > 1 || !message.ValidToken(method) {
		return bulwark.Refuse(http.StatusBadRequest, bulwark.CodeBadRequest, c.rule, "Access-Control-Request-Method is no method")
	}
	wanted, _ := x.Req.Header.Joined("access-control-request-headers")
	if wanted != "" {
		for name := range strings.SplitSeq(wanted, ",") {
			if !message.ValidToken(strings.Trim(name, " \t")) {
				return bulwark.Refuse(http.StatusBadRequest, bulwark.CodeBadRequest, c.rule, "Access-Control-Request-Headers is no list of header names")
			}
		}
	}
	// What any may do is told by naming what was asked for: browsers take "*"
	// for a plain name where credentials are sent.
	methods, names := c.methods, c.headers
	if c.anyMethod {
		methods = method
	}
	if c.anyHeader {
		names = wanted
	}
	x.Reply = &Reply{Status: http.StatusNoContent}
	if methods != "" {
		x.Reply.Header.Add("access-control-allow-methods", methods)
	}
	if names != "" {
		x.Reply.Header.Add("access-control-allow-headers", names)
	}
	x.Reply.Header.Add("access-control-max-age", c.maxAge)
	x.Decided = c.rule
	return bulwark.Allow(c.rule)
}

// response removes what the backend says about origins: the gateway's policy is
// the only one.
func (c *cors) response(x *Exchange, resp *message.Response) error {
	resp.Header = slices.DeleteFunc(resp.Header, func(f message.Field) bool {
		return strings.HasPrefix(f.Name, "access-control-")
	})
	// The backend's Vary joins ours, whichever way the two headers are merged.
	if vary, ok := resp.Header.Joined("vary"); ok && x.ResponseHeader.Has("vary") {
		x.ResponseHeader.Set("vary", x.ResponseHeader.Get("vary")+", "+vary)
		resp.Header.Del("vary")
	}
	return nil
}

// allows tells an allowed origin. Where credentials are, "null" is none even for
// "*": any page can be it by way of a sandboxed frame, unseen.
func (c *cors) allows(origin string) bool {
	if c.any && !c.credentials {
		return true
	}
	scheme, host, port, err := splitOrigin(origin)
	if err != nil {
		return false
	}
	if c.any {
		return true
	}
	for i := range c.origins {
		if c.origins[i].matches(scheme, host, port) {
			return true
		}
	}
	return false
}

// originPattern is one allowed origin. suffix is ".example.com" for
// "*.example.com", which any number of labels may precede but not none.
type originPattern struct {
	scheme, host, port string
	suffix             string
	anyHost            bool
}

func parseOriginPattern(s string) (originPattern, error) {
	scheme, rest, ok := strings.Cut(strings.ToLower(s), "://")
	if !ok {
		return originPattern{}, fmt.Errorf("%q is no origin: write scheme://host or scheme://host:port", s)
	}
	var p originPattern
	switch {
	case rest == "*" || strings.HasPrefix(rest, "*:"):
		p.anyHost, rest = true, "x"+rest[1:]
	case strings.HasPrefix(rest, "*."):
		p.suffix, rest = "x", rest[2:]
	}
	var err error
	if p.scheme, p.host, p.port, err = splitOrigin(scheme + "://" + rest); err != nil {
		return originPattern{}, fmt.Errorf("%q: %w", s, err)
	}
	if p.suffix != "" {
		p.suffix = "." + p.host
	}
	return p, nil
}

func (p *originPattern) matches(scheme, host, port string) bool {
	if scheme != p.scheme || port != p.port {
		return false
	}
	switch {
	case p.anyHost:
		return true
	case p.suffix != "":
		return len(host) > len(p.suffix) && strings.HasSuffix(host, p.suffix) && host[0] != '['
	}
	return host == p.host
}

// splitOrigin takes a serialised origin apart. "null" is none: sandboxed and
// local pages share it. The port is always given.
func splitOrigin(origin string) (scheme, host, port string, err error) {
	scheme, rest, ok := strings.Cut(origin, "://")
	if !ok {
		return "", "", "", errors.New("no scheme")
	}
	switch {
	case strings.EqualFold(scheme, "https"):
		scheme, port = "https", "443"
	case strings.EqualFold(scheme, "http"):
		scheme, port = "http", "80"
	default:
		return "", "", "", errors.New("the scheme is neither http nor https")
	}
	host, given, ok := message.SplitHost(rest)
	// To a browser a name with a dot at its end is another host.
	if !ok || strings.HasSuffix(rest, ".") || strings.Contains(rest, ".:") {
		return "", "", "", errors.New("the host or port is not valid")
	}
	if given != "" {
		port = given
	}
	return scheme, host, port, nil
}
