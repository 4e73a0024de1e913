package proxy

import (
	"reflect"
	"slices"
	"testing"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

// changed gives copies of v, a struct, each with another field set to something.
func changed[T any](t *testing.T, v T) map[string]T {
	t.Helper()
	out := map[string]T{}
	for i := range reflect.TypeFor[T]().NumField() {
		c := v
		f := reflect.ValueOf(&c).Elem().Field(i)
		set(t, f)
		out[reflect.TypeFor[T]().Field(i).Name] = c
	}
	return out
}

func set(t *testing.T, f reflect.Value) {
	t.Helper()
	switch f.Kind() { //nolint:exhaustive // the kinds that ir has
	case reflect.String:
		f.SetString("x")
	case reflect.Bool:
		f.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		f.SetInt(7)
	case reflect.Uint16:
		f.SetUint(7)
	case reflect.Pointer:
		f.Set(reflect.New(f.Type().Elem()))
	case reflect.Slice:
		f.Set(reflect.MakeSlice(f.Type(), 1, 1))
	case reflect.Map:
		f.Set(reflect.ValueOf(map[string]string{"x": "y"}))
	case reflect.Struct:
		set(t, f.Field(0))
	default:
		t.Fatalf("a field of kind %v", f.Kind())
	}
}

// Whatever is added to ir must be compared, or be named here as something that
// the parts kept do not depend on.
func TestEveryFieldIsCompared(t *testing.T) {
	// Read at each request, or only asked whether it is there.
	free := []string{"ID", "Refuse", "RequestTimeout", "BackendTimeout", "Retry"}
	ran := 0
	for name, c := range changed(t, ir.Rule{}) {
		ran++
		if got, want := sameRule(&ir.Rule{}, &c), slices.Contains(free, name); got != want {
			t.Errorf("Rule.%s: the same is %v, want %v", name, got, want)
		}
	}
	for name, c := range changed(t, ir.RouteRef{}) {
		ran++
		if sameRule(&ir.Rule{}, &ir.Rule{Route: c}) {
			t.Errorf("RouteRef.%s is not compared", name)
		}
	}
	for name, c := range changed(t, ir.BackendRef{}) {
		ran++
		read := slices.Contains([]string{"Backend", "Weight", "Refuse"}, name)
		if got := sameRule(&ir.Rule{Backends: []ir.BackendRef{{}}}, &ir.Rule{Backends: []ir.BackendRef{c}}); got != read {
			t.Errorf("BackendRef.%s: the same is %v, want %v", name, got, read)
		}
	}
	for name, c := range changed(t, ir.Match{}) {
		ran++
		if got, want := sameMatches([]ir.Match{{}}, []ir.Match{c}), name == "Rule"; got != want {
			t.Errorf("Match.%s: the same is %v, want %v", name, got, want)
		}
	}
	for name, c := range changed(t, ir.ListenerTLS{}) {
		ran++
		if sameTLS(&ir.ListenerTLS{}, &c) {
			t.Errorf("ListenerTLS.%s is not compared", name)
		}
	}
	if ran < 40 {
		t.Errorf("only %d fields were tried", ran)
	}
}
