package compile

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// matchesHost is the definition that covers and intersect must agree with.
func matchesHost(pattern, host string) bool {
	if suffix, ok := strings.CutPrefix(pattern, "*"); ok {
		return strings.HasSuffix(host, suffix) && len(host) > len(suffix)
	}
	return pattern == "" || pattern == host
}

func drawPattern(t *rapid.T, name string) string {
	labels := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "ab"}), 0, 3).Draw(t, name)
	p := strings.Join(labels, ".")
	if p != "" && rapid.Bool().Draw(t, name+" wild") {
		p = "*." + p
	}
	return p
}

// hosts are all names of up to four of the labels that patterns are made of,
// and one more.
var hosts = func() []string {
	out := []string{}
	last := []string{""}
	for range 4 {
		var next []string
		for _, h := range last {
			for _, l := range []string{"a", "b", "ab", "x"} {
				next = append(next, strings.TrimSuffix(l+"."+h, "."))
			}
		}
		out = append(out, next...)
		last = next
	}
	return out
}()

func TestIntersectIsThatOfTheHosts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawPattern(t, "a"), drawPattern(t, "b")
		p, ok := intersect(a, b)
		for _, h := range hosts {
			both := matchesHost(a, h) && matchesHost(b, h)
			if got := ok && matchesHost(p, h); got != both {
				t.Fatalf("intersect(%q, %q) = %q, %v: host %s is in both: %v", a, b, p, ok, h, both)
			}
		}
		all := !slices.ContainsFunc(hosts, func(h string) bool { return matchesHost(b, h) && !matchesHost(a, h) })
		if covers(a, b) && !all {
			t.Fatalf("covers(%q, %q), but a host of the second is not one of the first", a, b)
		}
	})
}

func TestHostSetOverlaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newHostSet()
		want := false
		p := drawPattern(t, "p")
		for range rapid.IntRange(0, 4).Draw(t, "n") {
			q := drawPattern(t, "q")
			s.add(q)
			_, ok := intersect(p, q)
			want = want || ok
		}
		if got := s.overlaps(p); got != want {
			t.Fatalf("overlaps(%q) = %v in %+v", p, got, s)
		}
	})
}

func TestHostname(t *testing.T) {
	for in, want := range map[string]string{
		"Shop.Example": "shop.example", "*.Shop.example": "*.shop.example", "a": "a", "xn--bcher-kva.example": "xn--bcher-kva.example",
		"": "", "*": "", "*.": "", "a.*.b": "", "*a.b": "", "a..b": "", ".a": "", "a.": "", "a:80": "", "10.0.0.1": "", "::1": "", "[::1]": "",
		"a/b": "", "a b": "", "a\n": "", "-a.b": "", "a_b": "", "büch.example": "", strings.Repeat("a.", 127) + "a": "",
	} {
		got, err := hostname(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("hostname(%q) = %q, %v", in, got, err)
		}
	}
	if _, err := preciseHostname("*.a.b"); err == nil {
		t.Error("a wildcard is no precise hostname")
	}
}
