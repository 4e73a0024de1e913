package authz

import "testing"

// FuzzExpression compiles and evaluates anything: no panic, no true beside an
// error, and the same answer twice from one view.
func FuzzExpression(f *testing.F) {
	for _, s := range []string{
		`"reader" in identity.roles && request.method == "GET"`, `request.query["a"] == "1"`, `now.getHours("Europe/Berlin") < 6`,
		`request.headers.exists(h, h.matches("^x-"))`, `inCIDR(request.sourceIP, "10.0.0.0/8")`, `identity.claims.nested.ok == true`,
		`[1,2,3].all(i, i / request.size > 0)`, `string(identity.claims) == ""`, `has(request.headers.accept) ? true : false`,
		`request == request`, `request.query == request.headers`, `type(identity) == type(route)`, `{"a": identity.roles}["a"].size() == 2`,
		`timestamp("2026-01-01T00:00:00Z") + duration("1h") < now`, `dyn(request).method == "GET"`, `dyn(request.headers)[1] == "a"`,
	} {
		f.Add(s)
	}
	c := compiler(f)
	f.Fuzz(func(t *testing.T, source string) {
		b, err := c.Bool(source)
		if err != nil {
			return
		}
		v := view()
		ok, err := b.Eval(v)
		if ok && err != nil {
			t.Fatalf("true beside %v", err)
		}
		again, errAgain := b.Eval(v)
		if ok != again || (err == nil) != (errAgain == nil) {
			t.Fatalf("first %v, %v; then %v, %v", ok, err, again, errAgain)
		}
		if _, err := b.Eval(&View{}); err != nil && err.Error() == "" {
			t.Fatal("an error without text")
		}
	})
}
