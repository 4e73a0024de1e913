package proxy

import (
	"cmp"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
)

// matcher finds the rule of a request on one hostname: an exact path by one
// look-up, a prefix by one look-up per segment. The order that compile put the
// matches in decides between several that hold.
type matcher struct {
	exact  map[string][]candidate
	prefix map[string][]candidate
	regex  []candidate
	// longest is the longest prefix, in bytes; longer paths are cut before the
	// walk over their segments.
	longest int
}

type candidate struct {
	*ir.Match
	path    *regexp.Regexp
	headers []valueMatcher
	query   []valueMatcher
}

type valueMatcher struct {
	ir.ValueMatch
	re *regexp.Regexp
}

func newMatcher(matches []ir.Match) (*matcher, error) {
	m := &matcher{exact: map[string][]candidate{}, prefix: map[string][]candidate{}}
	for i := range matches {
		c := candidate{Match: &matches[i]}
		var err error
		if c.headers, err = valueMatchers(c.Headers); err != nil {
			return nil, err
		}
		if c.query, err = valueMatchers(c.Query); err != nil {
			return nil, err
		}
		switch c.PathKind {
		case ir.PathExact:
			m.exact[c.Path] = append(m.exact[c.Path], c)
		case ir.PathPrefix:
			key := strings.TrimSuffix(c.Path, "/")
			m.prefix[key] = append(m.prefix[key], c)
			m.longest = max(m.longest, len(key))
		case ir.PathRegex:
			if c.path, err = wholeRegexp(c.Path); err != nil {
				return nil, err
			}
			m.regex = append(m.regex, c)
		default:
			return nil, fmt.Errorf("path match of unknown kind %q", c.PathKind)
		}
	}
	return m, nil
}

// wholeRegexp compiles a pattern that must match the whole text.
func wholeRegexp(pattern string) (*regexp.Regexp, error) {
	re, err := regexp.Compile(`^(?:` + pattern + `)$`)
	if err != nil {
		return nil, fmt.Errorf("compile pattern: %w", err)
	}
	return re, nil
}

func valueMatchers(in []ir.ValueMatch) ([]valueMatcher, error) {
	out := make([]valueMatcher, 0, len(in))
	for _, v := range in {
		m := valueMatcher{ValueMatch: v}
		if v.Regex {
			re, err := wholeRegexp(v.Value)
			if err != nil {
				return nil, err
			}
			m.re = re
		}
		out = append(out, m)
	}
	return out, nil
}

// find gives the match of a request, or nil.
func (m *matcher) find(r *message.Request) *ir.Match {
	if c := first(m.exact[r.Path], r); c != nil {
		return c
	}
	for i := range m.regex {
		if m.regex[i].path.MatchString(r.Path) && m.regex[i].holds(r) {
			return m.regex[i].Match
		}
	}
	path := strings.TrimSuffix(r.Path, "/")
	for {
		if len(path) <= m.longest {
			if c := first(m.prefix[path], r); c != nil {
				return c
			}
		}
		cut := strings.LastIndexByte(path, '/')
		if cut < 0 {
			return nil
		}
		path = path[:cut]
	}
}

func first(cs []candidate, r *message.Request) *ir.Match {
	for i := range cs {
		if cs[i].holds(r) {
			return cs[i].Match
		}
	}
	return nil
}

// holds judges everything but the path.
func (c *candidate) holds(r *message.Request) bool {
	if c.Method != "" && c.Method != r.Method {
		return false
	}
	for i := range c.headers {
		v, ok := headerValue(r, c.headers[i].Name)
		if !ok || !c.headers[i].matches(v) {
			return false
		}
	}
	if len(c.query) == 0 {
		return true
	}
	for i := range c.query {
		v, ok := queryValue(r.Query, c.query[i].Name)
		if !ok || !c.query[i].matches(v) {
			return false
		}
	}
	return true
}

func headerValue(r *message.Request, name string) (string, bool) {
	if name == "host" {
		return r.Authority(), true
	}
	return r.Header.Joined(name)
}

// queryValue gives the first value of a parameter.
func queryValue(query, name string) (string, bool) {
	for pair := range strings.SplitSeq(query, "&") {
		k, v, _ := strings.Cut(pair, "=")
		if k, err := url.QueryUnescape(k); err != nil || k != name {
			continue
		}
		v, err := url.QueryUnescape(v)
		return v, err == nil
	}
	return "", false
}

func (v *valueMatcher) matches(s string) bool {
	if v.re != nil {
		return v.re.MatchString(s)
	}
	return v.Value == s
}

// hostSet finds the entry of a hostname: the exact one, else the longest
// wildcard, else the one for any.
type hostSet[T any] struct {
	exact map[string]T
	wild  []wildHost[T] // longest suffix first
	any   T
	has   bool
}

type wildHost[T any] struct {
	suffix string // ".example.com"
	value  T
}

func (s *hostSet[T]) add(pattern string, v T) {
	switch {
	case pattern == "":
		if !s.has {
			s.any, s.has = v, true
		}
	case strings.HasPrefix(pattern, "*."):
		if slices.ContainsFunc(s.wild, func(w wildHost[T]) bool { return w.suffix == pattern[1:] }) {
			return
		}
		s.wild = append(s.wild, wildHost[T]{pattern[1:], v})
		slices.SortStableFunc(s.wild, func(a, b wildHost[T]) int { return cmp.Compare(len(b.suffix), len(a.suffix)) })
	default:
		if s.exact == nil {
			s.exact = map[string]T{}
		}
		if _, ok := s.exact[pattern]; !ok {
			s.exact[pattern] = v
		}
	}
}

// each calls f with the entries that fit a hostname, most specific first, until
// f is satisfied.
func (s *hostSet[T]) each(host string, f func(T) bool) {
	if v, ok := s.exact[host]; ok && f(v) {
		return
	}
	for _, w := range s.wild {
		if len(host) > len(w.suffix) && strings.HasSuffix(host, w.suffix) && f(w.value) {
			return
		}
	}
	if s.has {
		f(s.any)
	}
}

// find gives the most specific entry.
func (s *hostSet[T]) find(host string) (v T, ok bool) {
	s.each(host, func(t T) bool {
		v, ok = t, true
		return true
	})
	return v, ok
}
