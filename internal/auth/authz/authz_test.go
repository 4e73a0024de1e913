package authz

import (
	"iter"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the machine may have no time zones

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark"
)

type fields [][2]string

func (f fields) Joined(name string) (string, bool) {
	var all []string
	for _, p := range f {
		if p[0] == name {
			all = append(all, p[1])
		}
	}
	return strings.Join(all, ", "), len(all) > 0
}

func (f fields) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, p := range f {
			if !yield(p[0], p[1]) {
				return
			}
		}
	}
}

func compiler(tb testing.TB) *Compiler {
	tb.Helper()
	c, err := NewCompiler()
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func view() *View {
	return &View{
		Method: "GET", Scheme: "https", Host: "shop.example", Path: "/orders/7",
		RawQuery: "a=1&b=two+words&dup=1&dup=2&e=%C3%A9",
		Headers:  &fields{{"accept", "text/html"}, {"x-tag", "one"}, {"x-tag", "two"}},
		Source:   netip.MustParseAddr("::ffff:10.1.2.3"), Size: 42,
		Identity: &bulwark.Identity{
			Name: "ann", Method: "jwt", Issuer: "https://idp", Groups: []string{"staff"}, Roles: []string{"reader", "writer"},
			Claims:    map[string]any{"tenant": "t1", "level": int64(3), "nested": map[string]any{"ok": true}, "list": []any{"x"}},
			Assurance: "aal2",
		},
		Route: Route{Name: "orders", Namespace: "shop", Labels: map[string]string{"tier": "gold"}},
		Now:   time.Date(2026, 7, 1, 22, 30, 15, 0, time.UTC),
	}
}

func TestBool(t *testing.T) {
	c := compiler(t)
	const fails = "fails"
	tests := []struct{ when, want string }{
		{`true`, "true"},
		{`false`, "false"},
		{`"reader" in identity.roles && request.method == "GET"`, "true"},
		{`request.method in ["GET","HEAD"] && "reader" in identity.roles`, "true"},
		{`"admin" in identity.roles`, "false"},
		{`identity.roles == ["reader", "writer"]`, "true"},
		{`identity.roles.exists(r, r.startsWith("wri"))`, "true"},
		{`identity.roles.filter(r, r == "reader").size() == 1`, "true"},
		{`identity.roles[0] == "reader" && size(identity.roles) == 2`, "true"},
		{`identity.roles[7] == "reader"`, fails},
		{`identity.claims.tenant == "t1"`, "true"},
		{`identity.claims["level"] >= 3`, "true"},
		{`identity.claims.level > 2.5`, "true"},
		{`identity.claims.nested.ok == true`, "true"},
		{`"x" in identity.claims.list`, "true"},
		{`identity.claims.missing == "x"`, fails},
		{`has(identity.claims.missing)`, "false"},
		{`identity.claims.tenant == 1`, "false"},
		{`identity.claims.tenant > 1`, fails},
		{`identity.method == "jwt" && identity.issuer == "https://idp" && identity.assurance == "aal2" && "staff" in identity.groups`, "true"},
		{`request.scheme == "https" && request.host == "shop.example" && request.size < 100`, "true"},
		{`request.path.startsWith("/orders/") && request.path.matches("^/orders/[0-9]+$")`, "true"},
		{`request.query["a"] == "1" && request.query.b == "two words" && request.query.e == "é"`, "true"},
		{`request.query.dup == "1"`, fails},
		{`"dup" in request.query`, fails},
		{`has(request.query.zzz)`, "false"},
		{`request.query.all(k, request.query[k] != "x")`, fails},
		{`request.query.zzz == "1"`, fails},
		{`request.headers["accept"] == "text/html"`, "true"},
		{`request.headers["x-tag"] == "one, two"`, "true"},
		{`request.headers["cookie"] == ""`, fails},
		{`"cookie" in request.headers`, "false"},
		{`request.headers.exists(h, h == "x-tag") && size(request.headers) == 2`, "true"},
		{`request.headers == {"accept": "text/html", "x-tag": "one, two"}`, "true"},
		{`request.sourceIP == "10.1.2.3"`, "true"},
		{`inCIDR(request.sourceIP, "10.0.0.0/8")`, "true"},
		{`inCIDR(request.sourceIP, "192.168.0.0/16")`, "false"},
		{`inCIDR(request.path, "10.0.0.0/8")`, fails},
		{`route.name == "orders" && route.namespace == "shop" && route.labels["tier"] == "gold"`, "true"},
		{`now.getHours() == 22`, "true"},
		{`now.getHours("Europe/Berlin") == 0 && now.getDate("Europe/Berlin") == 2 && now.getDayOfWeek("Europe/Berlin") == 4`, "true"},
		{`now.getHours("+02:00") == 0 && now.getHours("-01:30") == 21`, "true"},
		{`now.getFullYear("UTC") == 2026 && now.getMonth("UTC") == 6 && now.getMinutes("UTC") == 30 && now.getSeconds("UTC") == 15`, "true"},
		{`now.getDayOfMonth("UTC") == 0 && now.getDayOfYear("UTC") == 181 && now.getMilliseconds("UTC") == 0`, "true"},
		{`now < timestamp("2027-01-01T00:00:00Z")`, "true"},
		{`request.path.lowerAscii().indexOf("orders") == 1 && "a,b".split(",")[1] == "b"`, "true"},
		// A failing part refuses unless the other part alone decides.
		{`identity.claims.missing == "x" && true`, fails},
		{`1/(request.size - 42) == 1`, fails},
	}
	ran := map[string]int{}
	for _, tt := range tests {
		t.Run(tt.when, func(t *testing.T) {
			b, err := c.Bool(tt.when)
			if err != nil {
				t.Fatal(err)
			}
			got := "true"
			if ok, err := b.Eval(view()); err != nil {
				got = fails
				if ok {
					t.Error("true with an error")
				}
			} else if !ok {
				got = "false"
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			ran[got]++
		})
	}
	if ran["true"] < 25 || ran["false"] < 5 || ran[fails] < 10 {
		t.Errorf("ran %v", ran)
	}
}

func TestRefusedExpressions(t *testing.T) {
	c := compiler(t)
	tests := []struct{ when, want string }{
		{``, "Syntax error"},
		{`request.metod == "GET"`, "undefined field 'metod'"},
		{`identity.role == "x"`, "undefined field 'role'"},
		{`route.labelz["a"] == "b"`, "undefined field"},
		{`req.method == "GET"`, "undeclared reference"},
		{`request.method`, "expected bool"},
		{`identity.claims.admin`, "expected bool"},
		{`request.size + "x" == "y"`, "no matching overload"},
		{`request.headers["X-Tag"] == "one"`, "lower-case names"},
		{`"Cookie" in request.headers`, "lower-case names"},
		{`inCIDR(request.sourceIP, "10.0.0.0")`, "inCIDR"},
		{`inCIDR(request.sourceIP, "10.1.0.0/8")`, "bits behind the mask"},
		{`request.path.matches(request.query["re"])`, "must be a literal"},
		{`request.path.matches("(")`, "error parsing regexp"},
		{`now.getHours("Mars/Olympus") == 1`, "time zone"},
		{`now.getHours(request.query["tz"]) == 1`, "must be a literal"},
		{`now.getHours("Local") == 1`, "time zone"},
		{`request.path.replace("a", "b") == "c"`, "not available"},
		{`["a"].join("x") == "c"`, "not available"},
		{`[1, 2].map(x, x * 2) == [2, 4]`, "undeclared reference"},
		{`bulwark.Identity{name: "root"}.name == "root"`, "cannot be made"},
		{strings.Repeat("(", 500) + "true" + strings.Repeat(")", 500), "recursion"},
		{`"` + strings.Repeat("x", MaxSource) + `" == "x"`, "the limit is 4096"},
	}
	for _, tt := range tests {
		t.Run(tt.when[:min(len(tt.when), 40)], func(t *testing.T) {
			_, err := c.Bool(tt.when)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestCostLimit(t *testing.T) {
	c := compiler(t)
	b, err := c.Bool(`identity.groups.all(a, identity.groups.all(b, identity.groups.all(c, a + b + c != "x")))`)
	if err != nil {
		t.Fatal(err)
	}
	v := view()
	if ok, err := b.Eval(v); !ok || err != nil {
		t.Errorf("small: got %v, %v", ok, err)
	}
	v.Identity = &bulwark.Identity{Groups: strings.Split(strings.Repeat("g,", 500), ",")}
	ok, err := b.Eval(v)
	if ok || err == nil || !strings.Contains(err.Error(), "cost limit") {
		t.Errorf("large: got %v, %v, want the cost limit", ok, err)
	}
	// The limit holds beside a time zone that was loaded ahead.
	b, err = c.Bool(`now.getHours("Europe/Berlin") == 0 && identity.groups.all(a, identity.groups.all(b, identity.groups.all(c, a + b + c != "x")))`)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := b.Eval(v); ok || err == nil || !strings.Contains(err.Error(), "cost limit") {
		t.Errorf("large with zone: got %v, %v, want the cost limit", ok, err)
	}
	if ok, err := b.Eval(view()); !ok || err != nil {
		t.Errorf("small with zone: got %v, %v", ok, err)
	}
}

func TestQueryReadTwoWaysIsAnError(t *testing.T) {
	c := compiler(t)
	b, err := c.Bool(`request.query["admin"] == "1"`)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{"admin=1;x=2", "admin=1&x=%zz", "%zz&admin=1", "admin=1&admin=1", "admin=1&%61dmin=2"} {
		v := view()
		v.RawQuery = q
		if ok, err := b.Eval(v); ok || err == nil {
			t.Errorf("%q: got %v, %v, want an error", q, ok, err)
		}
	}
}

func TestText(t *testing.T) {
	c := compiler(t)
	for source, want := range map[string]string{
		`identity.name`:                              "ann",
		`request.sourceIP`:                           "10.1.2.3",
		`route.namespace`:                            "shop",
		`"all"`:                                      "all",
		`identity.name + "/" + request.method`:       "ann/GET",
		`string(identity.claims.level)`:              "3",
		`request.headers["x-tag"]`:                   "one, two",
		`"reader" in identity.roles ? "r" : "other"`: "r",
	} {
		p, err := c.Text(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if got, err := p.Eval(view()); got != want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", source, got, err, want)
		}
	}
	for _, source := range []string{`request.size`, `identity.roles`, `identity.claims.tenant`} {
		if _, err := c.Text(source); err == nil {
			t.Errorf("%s: compiled", source)
		}
	}
	nobody := view()
	nobody.Identity = nil
	for source, v := range map[string]*View{
		`string(identity.claims.missing)`: view(),
		`identity.name`:                   nobody,
		`identity.name + ""`:              nobody,
	} {
		p, err := c.Text(source)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.Eval(v); got != "" || err == nil {
			t.Errorf("%s: got %q, %v, want an error", source, got, err)
		}
	}
}

func TestZeroValuesRefuse(t *testing.T) {
	if ok, err := new(Bool).Eval(view()); ok || err == nil {
		t.Errorf("zero Bool: %v, %v", ok, err)
	}
	if s, err := new(Text).Eval(view()); s != "" || err == nil {
		t.Errorf("zero Text: %q, %v", s, err)
	}
	if d := new(Rules).Decide(view()); d.Allowed {
		t.Errorf("zero Rules: %+v", d)
	}
	// An empty view knows nobody and nothing.
	c := compiler(t)
	for _, when := range []string{
		`"reader" in identity.roles`, `!("admin" in identity.roles)`, `identity.name == ""`, `identity.claims.admin == true`,
		`request.headers["x"] == ""`, `request.query["x"] == ""`, `route.name != ""`, `inCIDR(request.sourceIP, "0.0.0.0/0")`,
	} {
		b, err := c.Bool(when)
		if err != nil {
			t.Fatal(err)
		}
		if ok, _ := b.Eval(&View{}); ok {
			t.Errorf("%s holds for nobody", when)
		}
	}
}

func TestReset(t *testing.T) {
	c := compiler(t)
	b, err := c.Bool(`request.query["a"] == "1" && "reader" in identity.roles`)
	if err != nil {
		t.Fatal(err)
	}
	v := view()
	if ok, err := b.Eval(v); !ok || err != nil {
		t.Fatal(ok, err)
	}
	v.Reset()
	v.RawQuery, v.Identity = "a=2", &bulwark.Identity{Roles: []string{"reader"}}
	if ok, err := b.Eval(v); ok || err != nil {
		t.Errorf("after Reset: %v, %v", ok, err)
	}
}

func TestRules(t *testing.T) {
	c := compiler(t)
	rs, err := NewRules(c, "P", []Rule{
		{Name: "no-delete", Allow: false, When: `request.method == "DELETE"`},
		{Name: "tenant", Allow: false, When: `request.path == "/x" && identity.claims.missing == "1"`},
		{Name: "readers", Allow: true, When: `"reader" in identity.roles`},
	})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		edit func(*View)
		want bulwark.Decision
	}{
		{func(*View) {}, bulwark.Allow("P rule readers")},
		{func(v *View) { v.Method = "DELETE" }, bulwark.Refuse(http.StatusForbidden, bulwark.CodeForbidden, "P rule no-delete", "the rule refuses")},
		{func(v *View) { v.Identity.Roles = nil }, bulwark.Refuse(http.StatusForbidden, bulwark.CodeForbidden, "P", "no rule matched")},
		{func(v *View) { v.Path = "/x" }, bulwark.Refuse(http.StatusForbidden, bulwark.CodeForbidden, "P rule tenant", "")},
	}
	for _, tt := range tests {
		v := view()
		tt.edit(v)
		got := rs.Decide(v)
		if strings.HasPrefix(got.Reason, "the rule cannot be evaluated: ") {
			got.Reason = ""
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
	for _, bad := range [][]Rule{
		{{Name: "", Allow: true, When: "true"}},
		{{Name: "a", When: "true"}, {Name: "a", When: "true"}},
		{{Name: "a", When: "tru"}},
	} {
		if _, err := NewRules(c, "P", bad); err == nil {
			t.Errorf("%+v: no error", bad)
		}
	}
}

func BenchmarkRule(b *testing.B) {
	c := compiler(b)
	for _, when := range []string{
		`"reader" in identity.roles && request.method == "GET"`,
		`request.method in ["GET","HEAD"] && "reader" in identity.roles`,
		`now.getHours("Europe/Berlin") in [8,9,10,11,12,13,14,15,16,17]`,
		`request.headers["accept"] == "text/html" && identity.claims.tenant == "t1"`,
		`true`,
	} {
		b.Run(when, func(b *testing.B) {
			p, err := c.Bool(when)
			if err != nil {
				b.Fatal(err)
			}
			v := view()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Eval(v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
