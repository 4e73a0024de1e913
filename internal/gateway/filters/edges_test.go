package filters

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
)

// TestRangesEqualPrefixes compares the compiled form with the prefixes one by
// one, at their edges above all.
func TestRangesEqualPrefixes(t *testing.T) {
	address := func(t *rapid.T, name string) netip.Addr {
		// Few distinct bytes, so that addresses meet prefixes.
		b := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 127, 128, 255}), 4, 4).Draw(t, name)
		if rapid.Bool().Draw(t, name+" is IPv6") {
			var a [16]byte
			a[0], a[1] = 0x20, 0x01
			copy(a[2:], b)
			copy(a[12:], b)
			return netip.AddrFrom16(a)
		}
		return netip.AddrFrom4([4]byte(b))
	}
	rapid.Check(t, func(t *rapid.T) {
		var prefixes []netip.Prefix
		for range rapid.IntRange(0, 40).Draw(t, "prefixes") {
			a := address(t, "prefix")
			prefixes = append(prefixes, netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "bits")))
		}
		r, err := newRanges(prefixes)
		if err != nil {
			t.Fatal(err)
		}
		try := []netip.Addr{address(t, "source")}
		for _, p := range prefixes {
			first, last := p.Masked().Addr(), lastOf(p.Masked())
			try = append(try, first, first.Prev(), last, last.Next())
		}
		for _, a := range try {
			if !a.IsValid() {
				continue
			}
			want := slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
			if got := r.has(a); got != want {
				t.Fatalf("%v in %v: %v, want %v", a, prefixes, got, want)
			}
		}
	})
}

// FuzzOrigin holds the origin matcher against net/url: whatever is allowed must
// be what a browser would call that host.
func FuzzOrigin(f *testing.F) {
	c := &cors{}
	for _, o := range []string{"https://www.foo.com", "https://*.bar.com", "http://*:8080"} {
		p, err := parseOriginPattern(o)
		if err != nil {
			f.Fatal(err)
		}
		c.origins = append(c.origins, p)
	}
	for _, s := range []string{
		"https://www.foo.com", "https://a.bar.com", "https://a.bar.com:443", "https://evil.com\\.bar.com", "null", "", "://",
		"https://evil.com?.bar.com", "https://evil.com@a.bar.com", "https://a.bar.com:8443", "http://[::1]:8080", "https://%62.bar.com",
		"https://a.bar.com\x00", "HTTPS://A.BAR.COM", "https://a.bar.com.", "https://a.bar.com.:443", "https://..bar.com", "file://a.bar.com",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, origin string) {
		if !c.allows(origin) {
			return
		}
		u, err := url.Parse(origin)
		if err != nil || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
			t.Fatalf("%q was allowed and is no origin: %v", origin, err)
		}
		host := strings.ToLower(u.Hostname())
		switch {
		case u.Scheme == "https" && (u.Port() == "" || u.Port() == "443"):
			if host != "www.foo.com" && !strings.HasSuffix(host, ".bar.com") {
				t.Fatalf("%q was allowed, its host is %q", origin, host)
			}
		case u.Scheme == "http" && u.Port() == "8080":
		default:
			t.Fatalf("%q was allowed", origin)
		}
	})
}

// FuzzQueryEdit holds the editor against net/url: what was removed is gone under
// every spelling, what was set is there once, and the rest is as it was.
func FuzzQueryEdit(f *testing.F) {
	q, err := newQueryEdit([]ir.NameValue{{Name: "tenant", Value: "a b&c"}}, []string{"admin"})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{
		"", "a=1&b=2", "admin=1", "%61dmin=1&a", "&&", "tenant=x&tenant=y", "a;admin=1", "admin", "=admin", "a=%26admin=1",
		"%ad", "admin%00=1", "+admin=1", "tenant", "a=1&tenant&b=2",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		if message.ValidQuery(query) != nil {
			return
		}
		x := &Exchange{Req: &message.Request{Query: query, HasQuery: true}}
		got, err := q.of(t.Context(), x)
		if err != nil {
			if !strings.Contains(query, ";") {
				t.Fatalf("%q: %v", query, err)
			}
			return
		}
		before, err := url.ParseQuery(query)
		if err != nil {
			t.Fatalf("%q passed and net/url refuses it: %v", query, err)
		}
		after, err := url.ParseQuery(got)
		if err != nil {
			t.Fatalf("%q became %q, which net/url refuses: %v", query, got, err)
		}
		if after.Has("admin") || !slices.Equal(after["tenant"], []string{"a b&c"}) {
			t.Fatalf("%q became %q", query, got)
		}
		delete(before, "admin")
		before.Set("tenant", "a b&c")
		if before.Encode() != after.Encode() {
			t.Fatalf("%q became %q: the rest changed", query, got)
		}
	})
}

// FuzzReplacePrefix makes sure that a rewritten path is one that a request
// could have had.
func FuzzReplacePrefix(f *testing.F) {
	f.Add("/foo/bar", "/foo", "/xyz")
	f.Add("/foo", "/foo/", "")
	f.Add("/foo/%2e", "/foo", "/")
	f.Add("/a%25", "/", "/41")
	f.Fuzz(func(t *testing.T, path, prefix, by string) {
		path, _, err := message.NormalizePath(path)
		if err != nil {
			return
		}
		prefix, _, err = message.NormalizePath(prefix)
		if err != nil {
			return
		}
		n, err := makeNewPath(&ir.PathRewrite{Prefix: &by}, &ir.Rule{})
		if err != nil {
			return
		}
		x := &Exchange{Req: &message.Request{Path: path}, Match: &ir.Match{PathKind: ir.PathPrefix, Path: prefix}}
		got, odd, err := n.of(x)
		if err != nil {
			return
		}
		again, odd2, err := message.NormalizePath(got)
		if err != nil || again != got || odd2 != odd || odd != 0 {
			t.Fatalf("%q with %q for %q became %q, oddities %b, again %q: %v", path, by, prefix, got, odd, again, err)
		}
	})
}

// TestEditsRefuseEveryGatewayField tries the fields that only the gateway sets,
// in any case, at every place where a rule can edit.
func TestEditsRefuseEveryGatewayField(t *testing.T) {
	for _, name := range []string{
		"Host", "CONTENT-LENGTH", "transfer-encoding", "Connection", "keep-alive", "Proxy-Connection", "TE", "Trailer",
		"Upgrade", "Expect", "http2-settings", "Proxy-Authorization", ":path", ":authority", "", "x y", "x:y", "x\r\ny", "ü",
	} {
		nv := []ir.NameValue{{Name: name, Value: "1"}}
		for at, r := range map[string]ir.Rule{
			"set":           {RequestHeaders: &ir.HeaderEdit{Set: nv}},
			"add":           {RequestHeaders: &ir.HeaderEdit{Add: nv}},
			"remove":        {RequestHeaders: &ir.HeaderEdit{Remove: []string{name}}},
			"response":      {ResponseEdit: &ir.HeaderEdit{Set: nv}},
			"backend":       {Backends: []ir.BackendRef{{RequestHeaders: &ir.HeaderEdit{Add: nv}}}},
			"backend resp.": {Backends: []ir.BackendRef{{ResponseEdit: &ir.HeaderEdit{Remove: []string{name}}}}},
		} {
			if _, err := newHeaders(&r, Deps{}); err == nil {
				t.Errorf("%s of %q was accepted", at, name)
			}
		}
		for at, tr := range map[string]ir.Transform{
			"set":             {SetHeaders: nv},
			"remove":          {RemoveHeaders: []string{name}},
			"response set":    {ResponseSet: nv},
			"response remove": {ResponseRemove: []string{name}},
		} {
			if _, err := newTransform(&ir.Rule{Transform: &tr}, Deps{}); err == nil {
				t.Errorf("transform %s of %q was accepted", at, name)
			}
		}
	}
}

// TestBrokenExpressionsCannotBeServed puts what does not compile, or gives the
// wrong type, wherever a rule has an expression.
func TestBrokenExpressionsCannotBeServed(t *testing.T) {
	d := depsNow(t)
	limit := ir.RateLimit{Rule: "r", Count: 1, Period: 1, Burst: 1}
	for _, source := range []string{"identity.name(", "nobody.name", "1 + 1", "request.headers", `"a" +`, " "} {
		nv := []ir.NameValue{{Name: "x-a", Expression: source}}
		when, key := limit, limit
		when.When, key.Key = source, source
		for at, c := range map[string]struct {
			mk   func(*ir.Rule, Deps) (step, error)
			rule ir.Rule
		}{
			"rate limit's condition": {newRateLimits, ir.Rule{RateLimits: []ir.RateLimit{when}}},
			"rate limit's key":       {newRateLimits, ir.Rule{RateLimits: []ir.RateLimit{key}}},
			"concurrency's key":      {newConcurrency, ir.Rule{Concurrency: &ir.Concurrency{Max: 1, Key: source}}},
			"header":                 {newTransform, ir.Rule{Transform: &ir.Transform{SetHeaders: nv}}},
			"response header":        {newTransform, ir.Rule{Transform: &ir.Transform{ResponseSet: nv}}},
			"parameter":              {newTransform, ir.Rule{Transform: &ir.Transform{SetQuery: nv}}},
		} {
			if s, err := c.mk(&c.rule, d); err == nil {
				t.Errorf("%s %q was accepted: %v", at, source, s)
			}
		}
	}
}

// TestExpressionCannotInject gives values that would end a field, or a
// parameter, if they were believed.
func TestExpressionCannotInject(t *testing.T) {
	for _, value := range []string{"a\r\nx-admin: 1", "a\nb", "a\x00", " a", "a\t", "\x7f"} {
		for at, tr := range map[string]ir.Transform{
			"header":    {SetHeaders: []ir.NameValue{{Name: "x-a", Expression: "identity.name"}}},
			"parameter": {SetQuery: []ir.NameValue{{Name: "a", Expression: "identity.name"}}},
		} {
			s := mustMake(t, newTransform, &ir.Rule{Transform: &tr}, Deps{})
			x := exchange(value, epoch)
			d := s.request(t.Context(), x)
			switch {
			case d.Allowed && at == "header":
				t.Errorf("%q became header %q", value, x.Req.Header.Get("x-a"))
			case d.Allowed && message.ValidQuery(x.Req.Query) != nil:
				t.Errorf("%q became query %q", value, x.Req.Query)
			case !d.Allowed && (x.Req.Query != "" || len(x.Req.Header) > 0):
				t.Errorf("%q was refused and written all the same", value)
			}
			resp := &message.Response{Status: 200}
			rs := mustMake(t, newTransform, &ir.Rule{Transform: &ir.Transform{ResponseSet: []ir.NameValue{{Name: "x-a", Expression: "identity.name"}}}}, Deps{})
			if r, ok := rs.(responseStep); !ok || r.response(x, resp) == nil {
				t.Errorf("%q went into a response", value)
			}
		}
	}
}
