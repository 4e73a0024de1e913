package compile

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

// served gives the rule that the data plane picks: an exact path, else the first
// pattern, else the longest prefix, each in the table's order.
func served(matches []ir.Match, method, path string) int {
	fits := func(m *ir.Match) bool { return m.Method == "" || m.Method == method }
	for i := range matches {
		if m := &matches[i]; m.PathKind == ir.PathExact && m.Path == path && fits(m) {
			return m.Rule
		}
	}
	for i := range matches {
		if m := &matches[i]; m.PathKind == ir.PathRegex && fits(m) && regexp.MustCompile("^(?:"+m.Path+")$").MatchString(path) {
			return m.Rule
		}
	}
	best := -1
	for i := range matches {
		m := &matches[i]
		if m.PathKind == ir.PathPrefix && fits(m) && under(path, m.Path) && (best < 0 || len(m.Path) > len(matches[best].Path)) {
			best = i
		}
	}
	if best < 0 {
		return -1
	}
	return matches[best].Rule
}

// meant gives the rule that Gateway API wants: of all entries that fit, the first
// in the one order of precedence.
func meant(entries []*entry, method, path string) int {
	for _, e := range entries {
		if e.Method != "" && e.Method != method {
			continue
		}
		fits := false
		switch e.PathKind {
		case ir.PathExact:
			fits = e.Path == path
		case ir.PathPrefix:
			fits = under(path, e.Path)
		case ir.PathRegex:
			fits = regexp.MustCompile("^(?:" + e.Path + ")$").MatchString(path)
		}
		if fits {
			return e.to
		}
	}
	return -1
}

// TestPrecedenceHolds compares the data plane's order of look-ups with the one
// order of Gateway API, for random routes whose hostnames the listener narrows
// and for random GRPCRoutes.
func TestPrecedenceHolds(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 5))
	pick := func(list ...string) string { return list[rnd.IntN(len(list))] }
	paths := []string{"/", "/a", "/a/b", "/a/b/c", "/ab", "/c", "/a.b/get", "/a.b.c/get", "/a.b/put", "/x/get", "/a.b"}
	compared, unsure := 0, 0
	for round := range 3000 {
		kind := pick(kindHTTPRoute, kindGRPCRoute)
		var entries []*entry
		for i := range 2 + rnd.IntN(5) {
			r := &route{kind: kind, key: key{"ns", fmt.Sprint("r", i)}, meta: &metav1.ObjectMeta{
				CreationTimestamp: metav1.NewTime(time.Unix(int64(rnd.IntN(3)), 0)),
			}}
			host := pick("", "*.example", "*.a.example", "x.a.example")
			var m *match
			var err error
			if kind == kindHTTPRoute {
				spec := gwv1.HTTPRouteMatch{Path: &gwv1.HTTPPathMatch{}}
				typ := gwv1.PathMatchType(pick("Exact", "PathPrefix", "PathPrefix", "RegularExpression"))
				value := pick("/", "/a", "/a/b", "/a/", "/c")
				if typ == gwv1.PathMatchRegularExpression {
					value = pick("/a.*", "/.*", "/a/(b|c)")
				}
				spec.Path.Type, spec.Path.Value = &typ, &value
				if rnd.IntN(6) == 0 {
					method := gwv1.HTTPMethodPost
					spec.Method = &method
				}
				m, err = httpMatch(&spec)
			} else {
				typ := gwv1.GRPCMethodMatchType(pick("Exact", "Exact", "RegularExpression"))
				service, method := pick("", "a.b", "a.b.c", "x"), pick("", "get", "put")
				if typ == gwv1.GRPCMethodMatchRegularExpression {
					service = pick("", "a.*", "a[.]b")
				}
				spec := gwv1.GRPCRouteMatch{}
				if service+method != "" {
					spec.Method = &gwv1.GRPCMethodMatch{Type: &typ, Service: &service, Method: &method}
				}
				m, err = grpcMatch(&spec)
			}
			if err != nil {
				t.Fatal(err)
			}
			entries = append(entries, &entry{match: m, route: r, host: host, to: i})
		}
		slices.SortFunc(entries, before)
		want := slices.Clone(entries)
		kept, sure := byTier(slices.Clone(entries))
		for i, e := range kept {
			c := *e
			kept[i] = &c
		}
		inOrder(kept)
		var matches []ir.Match
		for _, e := range kept {
			m := e.Match
			m.Rule = e.to
			matches = append(matches, m)
		}
		for _, path := range paths {
			for _, method := range []string{"GET", "POST"} {
				if kind == kindGRPCRoute && (method != "POST" || strings.Count(path, "/") != 2) {
					continue
				}
				w, g := meant(want, method, path), served(matches, method, path)
				if !sure {
					unsure++
					continue
				}
				compared++
				if w != g {
					t.Fatalf("round %d: %s %s goes to %d, not %d\n%s", round, method, path, g, w, describe(want))
				}
			}
		}
	}
	t.Logf("%d compared, %d not promised", compared, unsure)
	if compared < 20000 {
		t.Errorf("%d compared: too few to prove anything", compared)
	}
}

// under reports whether a path is the prefix or below it, by whole segments.
func under(path, prefix string) bool {
	prefix = strings.TrimSuffix(prefix, "/")
	return strings.HasPrefix(path, prefix) && (len(path) == len(prefix) || path[len(prefix)] == '/')
}

func describe(entries []*entry) string {
	var b strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&b, "%d: %q %s %s %s\n", e.to, e.host, e.PathKind, e.Method, e.Path)
	}
	return b.String()
}
