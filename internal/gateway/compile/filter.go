package compile

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/api/v1alpha1"
	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
)

// filters puts the rule's filters into its table form. A filter that is not
// known or not supported makes the rule refuse: it is never passed over.
func (r *route) filters(u *rule, filters []gwv1.HTTPRouteFilter) {
	if len(filters) == 0 {
		return
	}
	seen := map[gwv1.HTTPRouteFilterType]bool{}
	for i := range filters {
		f := &filters[i]
		if seen[f.Type] && f.Type != gwv1.HTTPRouteFilterRequestMirror {
			u.refuse(gwv1.RouteReasonIncompatibleFilters, "filter %s comes twice", f.Type)
		}
		seen[f.Type] = true
		if err := r.filter(u, f); err != nil {
			u.refuse(gwv1.RouteReasonUnsupportedValue, "filter %s: %s", f.Type, err)
		}
	}
	if u.base.Redirect == nil {
		return
	}
	if u.base.Rewrite != nil {
		u.refuse(gwv1.RouteReasonIncompatibleFilters, "filters RequestRedirect and URLRewrite exclude each other")
	}
	if len(u.httpRefs) > 0 {
		u.refuse(gwv1.RouteReasonIncompatibleFilters, "filter RequestRedirect answers itself: backendRefs must be empty")
	}
}

func (r *route) filter(u *rule, f *gwv1.HTTPRouteFilter) (err error) {
	switch f.Type {
	case gwv1.HTTPRouteFilterRequestHeaderModifier:
		u.base.RequestHeaders, err = headerEdit(f.RequestHeaderModifier)
	case gwv1.HTTPRouteFilterResponseHeaderModifier:
		u.base.ResponseEdit, err = headerEdit(f.ResponseHeaderModifier)
	case gwv1.HTTPRouteFilterRequestRedirect:
		u.base.Redirect, err = redirect(f.RequestRedirect, u.matches)
	case gwv1.HTTPRouteFilterURLRewrite:
		u.base.Rewrite, err = rewrite(f.URLRewrite, u.matches)
	case gwv1.HTTPRouteFilterCORS:
		u.base.CORS, err = r.cors(f.CORS)
	case gwv1.HTTPRouteFilterRequestMirror:
		err = u.mirror(f.RequestMirror)
	case gwv1.HTTPRouteFilterExtensionRef, gwv1.HTTPRouteFilterExternalAuth:
		err = errNotSupported
	default:
		err = errNotSupported
	}
	return err
}

type filterError string

// Error gives the reason.
func (e filterError) Error() string { return string(e) }

const (
	errNotSupported filterError = "not supported"
	errEmptyFilter  filterError = "the filter's field of the same name is missing"
)

// framing are the fields that belong to a connection or delimit messages: a
// filter that could write them could smuggle requests.
var framing = []string{
	"connection", "content-length", "expect", "host", "http2-settings", "keep-alive", "proxy-authenticate",
	"proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
}

// headerEdit checks and lower-cases a header filter. One action per name.
func headerEdit(f *gwv1.HTTPHeaderFilter) (*ir.HeaderEdit, error) {
	if f == nil {
		return nil, errEmptyFilter
	}
	action := map[string]string{}
	check := func(name, what string) (string, error) {
		name = strings.ToLower(name)
		if !message.ValidName(name) {
			return "", fmt.Errorf("%s: %q is no header name", what, name)
		}
		if slices.Contains(framing, name) {
			return "", fmt.Errorf("%s: header %s belongs to the gateway", what, name)
		}
		if other, ok := action[name]; ok && other != what {
			return "", fmt.Errorf("header %s is in %s and in %s", name, other, what)
		}
		return name, nil
	}
	list := func(in []gwv1.HTTPHeader, what string) ([]ir.NameValue, error) {
		var out []ir.NameValue
		for _, h := range in {
			name, err := check(string(h.Name), what)
			if err != nil {
				return nil, err
			}
			if !message.ValidValue(h.Value) {
				return nil, fmt.Errorf("%s: header %s has a value that no header can have", what, name)
			}
			if _, again := action[name]; again {
				continue // of one name the first counts
			}
			action[name] = what
			out = append(out, ir.NameValue{Name: name, Value: h.Value})
		}
		return out, nil
	}
	e := &ir.HeaderEdit{}
	var err error
	if e.Set, err = list(f.Set, "set"); err != nil {
		return nil, err
	}
	if e.Add, err = list(f.Add, "add"); err != nil {
		return nil, err
	}
	for _, n := range f.Remove {
		name, err := check(n, "remove")
		if err != nil {
			return nil, err
		}
		action[name] = "remove"
		e.Remove = append(e.Remove, name)
	}
	return e, nil
}

// wellKnown are the ports that Location leaves out.
var wellKnown = map[string]int32{"http": 80, "https": 443}

func redirect(f *gwv1.HTTPRequestRedirectFilter, matches []*match) (*ir.Redirect, error) {
	if f == nil {
		return nil, errEmptyFilter
	}
	out := &ir.Redirect{Scheme: or(f.Scheme, ""), Status: 302}
	if out.Scheme != "" && wellKnown[out.Scheme] == 0 {
		return nil, fmt.Errorf("scheme %q is not supported", out.Scheme)
	}
	if f.StatusCode != nil {
		out.Status = *f.StatusCode
	}
	if !slices.Contains([]int{301, 302, 303, 307, 308}, out.Status) {
		return nil, fmt.Errorf("statusCode %d is not supported", out.Status)
	}
	var err error
	if out.Hostname, err = optionalHostname(f.Hostname); err != nil {
		return nil, err
	}
	if f.Port != nil {
		if *f.Port < 1 || *f.Port > 65535 {
			return nil, fmt.Errorf("%d is no port", *f.Port)
		}
		out.Port = uint16(*f.Port)
	}
	// Without scheme it depends on the listener, which only a request knows.
	out.DropPort = out.Scheme != "" && (out.Port == 0 || int32(out.Port) == wellKnown[out.Scheme])
	out.Path, err = pathRewrite(f.Path, matches)
	return out, err
}

func rewrite(f *gwv1.HTTPURLRewriteFilter, matches []*match) (*ir.Rewrite, error) {
	if f == nil {
		return nil, errEmptyFilter
	}
	host, err := optionalHostname(f.Hostname)
	if err != nil {
		return nil, err
	}
	path, err := pathRewrite(f.Path, matches)
	if err != nil {
		return nil, err
	}
	if host == "" && path == nil {
		return nil, errors.New("it names neither hostname nor path")
	}
	return &ir.Rewrite{Hostname: host, Path: path}, nil
}

func optionalHostname(h *gwv1.PreciseHostname) (string, error) {
	if h == nil || *h == "" {
		return "", nil
	}
	return preciseHostname(string(*h))
}

func pathRewrite(f *gwv1.HTTPPathModifier, matches []*match) (*ir.PathRewrite, error) {
	if f == nil {
		return nil, nil //nolint:nilnil // no modifier is no rewrite
	}
	switch f.Type {
	case gwv1.FullPathHTTPPathModifier:
		if f.ReplaceFullPath == nil {
			return nil, errors.New("path: replaceFullPath is missing")
		}
		full, _, err := message.NormalizePath(cmp.Or(*f.ReplaceFullPath, "/"))
		if err != nil {
			return nil, fmt.Errorf("path: replaceFullPath: %w", err)
		}
		return &ir.PathRewrite{Full: full}, nil
	case gwv1.PrefixMatchHTTPPathModifier:
		if f.ReplacePrefixMatch == nil {
			return nil, errors.New("path: replacePrefixMatch is missing")
		}
		for _, m := range matches {
			if m.PathKind != ir.PathPrefix {
				return nil, errors.New("path: replacePrefixMatch needs matches of type PathPrefix")
			}
		}
		prefix := *f.ReplacePrefixMatch
		if prefix != "" {
			p, _, err := message.NormalizePath("/" + strings.TrimPrefix(prefix, "/"))
			if err != nil {
				return nil, fmt.Errorf("path: replacePrefixMatch: %w", err)
			}
			prefix = p
		}
		return &ir.PathRewrite{Prefix: &prefix}, nil
	}
	return nil, fmt.Errorf("path: type %q is not supported", f.Type)
}

// origins are the forms that a CORS filter may list.
var origins = regexp.MustCompile(`^(\*|https?://(\*|(\*\.)?[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)*)(:[0-9]{1,5})?)$`)

// anyOrigin reports whether a list takes every site.
func anyOrigin(list []string) bool {
	return slices.ContainsFunc(list, func(o string) bool {
		_, host, _ := strings.Cut(o, "://")
		return o == "*" || host == "*" || strings.HasPrefix(host, "*:")
	})
}

func (r *route) cors(f *gwv1.HTTPCORSFilter) (*ir.CORS, error) {
	if f == nil {
		return nil, errEmptyFilter
	}
	out := &ir.CORS{Rule: r.String(), MaxAge: cmp.Or(time.Duration(f.MaxAge)*time.Second, v1alpha1.DefaultCORSMaxAge)}
	if out.MaxAge < 0 {
		return nil, errors.New("maxAge is negative")
	}
	for _, o := range f.AllowOrigins {
		if !origins.MatchString(string(o)) {
			return nil, fmt.Errorf("allowOrigins: %q is no origin", o)
		}
		out.AllowOrigins = append(out.AllowOrigins, string(o))
	}
	for _, m := range f.AllowMethods {
		if !message.ValidToken(string(m)) {
			return nil, fmt.Errorf("allowMethods: %q is no method", m)
		}
		out.AllowMethods = append(out.AllowMethods, string(m))
	}
	var err error
	if out.AllowHeaders, err = headerNames(f.AllowHeaders); err != nil {
		return nil, fmt.Errorf("allowHeaders: %w", err)
	}
	if out.ExposeHeaders, err = headerNames(f.ExposeHeaders); err != nil {
		return nil, fmt.Errorf("exposeHeaders: %w", err)
	}
	out.AllowCredentials = f.AllowCredentials != nil && *f.AllowCredentials
	if out.AllowCredentials && anyOrigin(out.AllowOrigins) {
		// Gateway API has the origin echoed then, so it is served; a
		// SecurityPolicy that asks for the same is refused.
		r.warnings = append(r.warnings, r.String()+": CORS with allowCredentials and an origin of any host lets every site act for its visitors")
	}
	return out, nil
}

func headerNames[T ~string](in []T) ([]string, error) {
	var out []string
	for _, n := range in {
		if !message.ValidToken(string(n)) {
			return nil, fmt.Errorf("%q is no header name", n)
		}
		out = append(out, string(n))
	}
	return out, nil
}

// mirrorRef is a mirror before its backend has its place in the table.
type mirrorRef struct {
	ref                    gwv1.BackendObjectReference
	to                     *service // once it is resolved
	numerator, denominator int32
}

// mirror adds a mirror.
func (u *rule) mirror(f *gwv1.HTTPRequestMirrorFilter) error {
	if f == nil {
		return errEmptyFilter
	}
	m := mirrorRef{ref: f.BackendRef, numerator: 100, denominator: 100}
	switch {
	case f.Percent != nil && f.Fraction != nil:
		return errors.New("percent and fraction exclude each other")
	case f.Percent != nil:
		m.numerator = *f.Percent
	case f.Fraction != nil:
		m.numerator = f.Fraction.Numerator
		if f.Fraction.Denominator != nil {
			m.denominator = *f.Fraction.Denominator
		}
	}
	if m.denominator < 1 || m.numerator < 0 || m.numerator > m.denominator {
		return fmt.Errorf("%d of %d requests cannot be mirrored", m.numerator, m.denominator)
	}
	u.asked = append(u.asked, m)
	return nil
}

// resolveMirrors finds the mirrors' backends. A mirror without is dropped, as
// Gateway API demands: it decides nothing.
func (c *compiler) resolveMirrors(r *route, u *rule) {
	for _, m := range u.asked {
		svc, p := c.service(r, m.ref)
		if p.any() {
			r.unresolve(p)
			continue
		}
		if m.numerator > 0 {
			m.to = svc
			u.mirrors = append(u.mirrors, m)
		}
	}
}
