package compile

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
)

// match is a match of the table with its place in Gateway API's precedence.
type match struct {
	ir.Match
	// kind is the rank of the path's kind, length what counts within it. For
	// GRPCRoutes kind is always 0: the service's length decides, then the
	// method's.
	kind, length, length2 int
}

// entry is a match at its place: which route it came from, by which of the
// route's hostnames, and which rule of the table it leads to.
type entry struct {
	*match
	route       *route
	host        string
	rule, place int // in the route, and in the rule
	to          int // index in place.now
}

// before orders the entries of one host: the more specific hostname of the
// route, the more specific match, the older route, the name, the place.
func before(a, b *entry) int {
	// One by one, for most are told apart by the first: there may be thousands.
	if a.host != b.host {
		if c := moreSpecific(a.host, b.host); c != 0 {
			return c
		}
	}
	if a.match != b.match {
		if c := a.before(b.match); c != 0 {
			return c
		}
	}
	if a.route != b.route {
		return cmp.Or(
			older(a.route.created(), b.route.created(), a.route.key, b.route.key),
			cmp.Compare(a.route.kind, b.route.kind),
		)
	}
	return cmp.Or(cmp.Compare(a.rule, b.rule), cmp.Compare(a.place, b.place))
}

// before orders matches by how specific they are.
func (m *match) before(o *match) int {
	switch {
	case m.kind != o.kind:
		return cmp.Compare(m.kind, o.kind)
	case m.length != o.length:
		return cmp.Compare(o.length, m.length)
	case m.length2 != o.length2:
		return cmp.Compare(o.length2, m.length2)
	case (m.Method == "") != (o.Method == ""):
		return -cmp.Compare(min(len(m.Method), 1), min(len(o.Method), 1))
	case len(m.Headers) != len(o.Headers):
		return cmp.Compare(len(o.Headers), len(m.Headers))
	}
	return cmp.Compare(len(o.Query), len(m.Query))
}

// httpMatch reads one match of an HTTPRoute. The error says what is not
// supported or does not parse; the match then holds what can be told of its
// path alone, so that the refusing route still has its place.
func httpMatch(spec *gwv1.HTTPRouteMatch) (*match, error) {
	m := &match{}
	if err := m.path(spec.Path); err != nil {
		return likely(spec.Path), err
	}
	broad := *m
	if spec.Method != nil {
		m.Method = string(*spec.Method)
		if !message.ValidToken(m.Method) || m.Method == http.MethodConnect {
			return &broad, fmt.Errorf("method %q is not supported", m.Method)
		}
	}
	for _, h := range spec.Headers {
		if err := m.header(string(h.Name), h.Value, or(h.Type, string(gwv1.HeaderMatchExact))); err != nil {
			return &broad, err
		}
	}
	for _, q := range spec.QueryParams {
		v, err := valueMatch(string(q.Name), q.Value, or(q.Type, string(gwv1.QueryParamMatchExact)))
		if err != nil {
			return &broad, fmt.Errorf("query parameter %q: %w", q.Name, err)
		}
		m.Query = appendNew(m.Query, v)
	}
	return m, nil
}

func (m *match) path(spec *gwv1.HTTPPathMatch) error {
	kind, path := gwv1.PathMatchPathPrefix, "/"
	if spec != nil && spec.Type != nil {
		kind = *spec.Type
	}
	if spec != nil && spec.Value != nil {
		path = *spec.Value
	}
	switch kind {
	case gwv1.PathMatchExact, gwv1.PathMatchPathPrefix:
		p, _, err := message.NormalizePath(path)
		if err != nil {
			return err
		}
		m.PathKind, m.Path, m.kind = ir.PathExact, p, 0
		if kind == gwv1.PathMatchPathPrefix {
			m.PathKind, m.kind = ir.PathPrefix, 2
			if p != "/" {
				m.Path = strings.TrimSuffix(p, "/")
			}
		}
	case gwv1.PathMatchRegularExpression:
		if err := pattern(path); err != nil {
			return fmt.Errorf("path: %w", err)
		}
		m.PathKind, m.Path, m.kind = ir.PathRegex, path, 1
	default:
		return fmt.Errorf("path type %q is not supported", kind)
	}
	m.length = len(m.Path)
	return nil
}

// likely gives a match in place of one whose path cannot be read: a pattern for
// all that begins like it, so that what was meant for it is refused rather than
// served by a neighbour. There is none for a path that no request can have, since
// the gateway refuses such requests itself.
func likely(spec *gwv1.HTTPPathMatch) *match {
	if spec == nil || spec.Value == nil {
		return nil
	}
	path := *spec.Value
	if spec.Type == nil || *spec.Type == gwv1.PathMatchExact || *spec.Type == gwv1.PathMatchPathPrefix {
		if strings.HasPrefix(path, "/") {
			return nil
		}
		path = "/" + path
	}
	m := &match{Match: ir.Match{PathKind: ir.PathRegex, Path: ".*"}, kind: 1, length: len(path)}
	literal := path
	if i := strings.IndexAny(path, "\\.+*?()|[]{}^$%"); i >= 0 {
		literal = path[:i]
		if strings.ContainsAny(path[i:i+1], "*?{") && literal != "" {
			literal = literal[:len(literal)-1] // it may be absent
		}
	}
	if strings.HasPrefix(literal, "/") && !strings.Contains(path, "|") {
		m.Path = regexp.QuoteMeta(literal) + ".*"
	}
	return m
}

// inOrder makes the matches of GRPCRoutes keep their order, in which the length
// of the service's name comes first: the table's kinds of paths have an order of
// their own, exact before regular expression before prefix. Where that would
// turn two around, the one becomes a regular expression too.
func inOrder(entries []*entry) {
	if len(entries) == 0 || entries[0].route.kind != kindGRPCRoute {
		return
	}
	first, last := len(entries), -1
	for i, e := range entries {
		if e.PathKind == ir.PathRegex {
			first, last = min(first, i), i
		}
	}
	for i, e := range entries {
		if exact := e.PathKind == ir.PathExact; !exact && (e.PathKind != ir.PathPrefix || i > last) || exact && i < first {
			continue
		}
		m := *e.match
		path := regexp.QuoteMeta(m.Path)
		switch {
		case m.PathKind == ir.PathPrefix && m.Path == "/":
			path = ".*"
		case m.PathKind == ir.PathPrefix:
			path += "(?:/.*)?"
		}
		m.PathKind, m.Path = ir.PathRegex, path
		e.match = &m
	}
}

// grpcMatch reads one match of a GRPCRoute: gRPC calls are POST requests to
// "/service/method".
func grpcMatch(spec *gwv1.GRPCRouteMatch) (*match, error) {
	m := &match{Match: ir.Match{PathKind: ir.PathPrefix, Path: "/", Method: "POST"}}
	for _, h := range spec.Headers {
		if err := m.header(string(h.Name), h.Value, or(h.Type, string(gwv1.GRPCHeaderMatchExact))); err != nil {
			return nil, err
		}
	}
	if spec.Method == nil {
		return m, nil
	}
	service, method := or(spec.Method.Service, ""), or(spec.Method.Method, "")
	if service == "" && method == "" {
		return nil, errors.New("method: service or method must be set")
	}
	m.length, m.length2 = len(service), len(method)
	switch t := or(spec.Method.Type, string(gwv1.GRPCMethodMatchExact)); t {
	case string(gwv1.GRPCMethodMatchExact):
		if err := m.grpcExact(service, method); err != nil {
			return nil, err
		}
		return m, nil
	case string(gwv1.GRPCMethodMatchRegularExpression):
		const anyName = "[^/]+"
		for _, p := range []string{service, method} {
			if err := pattern(p); err != nil {
				return nil, fmt.Errorf("method: %w", err)
			}
		}
		m.PathKind = ir.PathRegex
		m.Path = "/(?:" + cmp.Or(service, anyName) + ")/(?:" + cmp.Or(method, anyName) + ")"
		return m, nil
	default:
		return nil, fmt.Errorf("method type %q is not supported", t)
	}
}

func (m *match) grpcExact(service, method string) error {
	if strings.Contains(service, "/") || strings.Contains(method, "/") {
		return errors.New("method: a name must not contain \"/\"")
	}
	path := "/" + service
	switch {
	case service == "":
		m.PathKind, m.Path = ir.PathRegex, "/[^/]+/"+regexp.QuoteMeta(method)
		return nil
	case method == "":
		m.PathKind = ir.PathPrefix
	default:
		m.PathKind, path = ir.PathExact, path+"/"+method
	}
	p, odd, err := message.NormalizePath(path)
	if err != nil {
		return fmt.Errorf("method: %w", err)
	}
	if odd != 0 || p != path {
		return fmt.Errorf("method: %q is no name of a service and method", path)
	}
	m.Path = path
	return nil
}

func (m *match) header(name, value, kind string) error {
	lower := strings.ToLower(name)
	if !message.ValidName(lower) {
		return fmt.Errorf("header %q: not a header name", name)
	}
	v, err := valueMatch(lower, value, kind)
	if err != nil {
		return fmt.Errorf("header %q: %w", name, err)
	}
	m.Headers = appendNew(m.Headers, v)
	return nil
}

func valueMatch(name, value, kind string) (ir.ValueMatch, error) {
	if name == "" {
		return ir.ValueMatch{}, errors.New("the name is empty")
	}
	v := ir.ValueMatch{Name: name, Value: value}
	switch kind {
	case string(gwv1.HeaderMatchExact):
		return v, nil
	case string(gwv1.HeaderMatchRegularExpression):
		v.Regex = true
		return v, pattern(value)
	}
	return v, fmt.Errorf("match type %q is not supported", kind)
}

// appendNew adds v unless its name is there: of several the first counts.
func appendNew(list []ir.ValueMatch, v ir.ValueMatch) []ir.ValueMatch {
	for _, old := range list {
		if old.Name == v.Name {
			return list
		}
	}
	return append(list, v)
}

// maxPattern bounds regular expressions, in bytes: they stand in objects that
// others than the gateway's owner may write.
const maxPattern = 4096

// pattern checks an RE2 pattern.
func pattern(s string) error {
	if len(s) > maxPattern {
		return fmt.Errorf("a pattern of more than %d bytes", maxPattern)
	}
	// By itself: "a)|(b" is one only inside the group that keeps a pattern whole.
	if _, err := regexp.Compile(s); err != nil {
		return fmt.Errorf("pattern: %w", err)
	}
	return nil
}
