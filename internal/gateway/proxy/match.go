package proxy

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
)

// matcher finds the rule of a request on one hostname: an exact path by one
// look-up, a prefix by one look-up per segment. The order that compile put the
// matches in decides between several that hold.
type matcher struct {
	matches []ir.Match
	*patterns
}

// patterns are matches made ready. They know a match by its place, so that
// matches that differ in nothing but their rules share them.
type patterns struct {
	exact  map[string][]candidate
	prefix map[string][]candidate
	regex  []candidate
	// longest is the longest prefix, in bytes; longer paths are cut before the
	// walk over their segments.
	longest int
}

type candidate struct {
	at      int // index of the match
	method  string
	path    *regexp.Regexp
	headers []valueMatcher
	query   []valueMatcher
}

type valueMatcher struct {
	ir.ValueMatch
	re *regexp.Regexp
}

// with gives a matcher of matches that shares the patterns of m, or nil where
// they do not fit.
func (m *matcher) with(matches []ir.Match) *matcher {
	switch {
	case m == nil || !sameMatches(m.matches, matches):
		return nil
	case len(matches) > 0 && &matches[0] == &m.matches[0]:
		return m
	}
	return &matcher{matches: matches, patterns: m.patterns}
}

func newMatcher(matches []ir.Match) (*matcher, error) {
	m := &patterns{exact: map[string][]candidate{}, prefix: map[string][]candidate{}}
	for i := range matches {
		match := &matches[i]
		c := candidate{at: i, method: match.Method}
		var err error
		if c.headers, err = valueMatchers(match.Headers); err != nil {
			return nil, err
		}
		if c.query, err = valueMatchers(match.Query); err != nil {
			return nil, err
		}
		switch match.PathKind {
		case ir.PathExact:
			m.exact[match.Path] = append(m.exact[match.Path], c)
		case ir.PathPrefix:
			key := strings.TrimSuffix(match.Path, "/")
			m.prefix[key] = append(m.prefix[key], c)
			m.longest = max(m.longest, len(key))
		case ir.PathRegex:
			if c.path, err = wholeRegexp(match.Path); err != nil {
				return nil, err
			}
			m.regex = append(m.regex, c)
		default:
			return nil, fmt.Errorf("path match of unknown kind %q", match.PathKind)
		}
	}
	return &matcher{matches: matches, patterns: m}, nil
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
	if i := first(m.exact[r.Path], r); i >= 0 {
		return &m.matches[i]
	}
	for i := range m.regex {
		if m.regex[i].path.MatchString(r.Path) && m.regex[i].holds(r) {
			return &m.matches[m.regex[i].at]
		}
	}
	path := strings.TrimSuffix(r.Path, "/")
	for {
		if len(path) <= m.longest {
			if i := first(m.prefix[path], r); i >= 0 {
				return &m.matches[i]
			}
		}
		cut := strings.LastIndexByte(path, '/')
		if cut < 0 {
			return nil
		}
		path = path[:cut]
	}
}

// first gives the place of the first match that holds, or -1.
func first(cs []candidate, r *message.Request) int {
	for i := range cs {
		if cs[i].holds(r) {
			return cs[i].at
		}
	}
	return -1
}

// holds judges everything but the path.
func (c *candidate) holds(r *message.Request) bool {
	if c.method != "" && c.method != r.Method {
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
	wild  map[string]T // by suffix: ".example.com"
	any   T
	has   bool
}

// expect makes room for n entries.
func (s *hostSet[T]) expect(n int) {
	if n > 8 {
		s.exact = make(map[string]T, n)
	}
}

// add puts v in the place of pattern, unless that is taken.
func (s *hostSet[T]) add(pattern string, v T) {
	if _, taken := s.at(pattern); taken {
		return
	}
	switch {
	case pattern == "":
		s.any, s.has = v, true
	case strings.HasPrefix(pattern, "*."):
		if s.wild == nil {
			s.wild = map[string]T{}
		}
		s.wild[pattern[1:]] = v
	default:
		if s.exact == nil {
			s.exact = map[string]T{}
		}
		s.exact[pattern] = v
	}
}

// at gives what stands in the place of pattern.
func (s *hostSet[T]) at(pattern string) (v T, ok bool) {
	switch {
	case pattern == "":
		return s.any, s.has
	case strings.HasPrefix(pattern, "*."):
		v, ok = s.wild[pattern[1:]]
		return v, ok
	}
	v, ok = s.exact[pattern]
	return v, ok
}

// each calls f with the entries that fit a hostname, most specific first, until
// f is satisfied.
func (s *hostSet[T]) each(host string, f func(T) bool) {
	if v, ok := s.exact[host]; ok && f(v) {
		return
	}
	if len(s.wild) > 0 {
		for at := strings.IndexByte(host, '.'); at >= 0; {
			if v, ok := s.wild[host[at:]]; ok && at > 0 && f(v) {
				return
			}
			next := strings.IndexByte(host[at+1:], '.')
			if next < 0 {
				break
			}
			at += 1 + next
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
