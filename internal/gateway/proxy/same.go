package proxy

import (
	"reflect"
	"slices"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

// sameRule reports whether the steps made from a serve b: whether they ask for
// the same. Which backends there are, and the timeouts of asking them, is read
// from the rule at each request and does not count; the edits that come with a
// backend do, for Build has judged them.
//
// Compilers keep the parts of rules that did not change, so that most are the
// same by address and the walk over thousands of rules costs little. What is
// not is compared in full. Secrets never compare equal: a rule that holds one
// in a new place is made anew.
func sameRule(a, b *ir.Rule) bool {
	return a.Unprotected == b.Unprotected && sameSlice(a.Policy, b.Policy) && sameRoute(&a.Route, &b.Route) &&
		samePart(a.Authentication, b.Authentication) && samePart(a.Authorization, b.Authorization) &&
		samePart(a.Network, b.Network) && samePart(a.Form, b.Form) && samePart(a.CORS, b.CORS) && samePart(a.LockOut, b.LockOut) &&
		sameSlice(a.RateLimits, b.RateLimits) && samePart(a.Concurrency, b.Concurrency) && samePart(a.Transform, b.Transform) &&
		samePart(a.Redirect, b.Redirect) && samePart(a.Rewrite, b.Rewrite) &&
		samePart(a.RequestHeaders, b.RequestHeaders) && samePart(a.ResponseEdit, b.ResponseEdit) && len(a.Mirrors) == len(b.Mirrors) && sameEdits(a.Backends, b.Backends)
}

func samePart[T any](a, b *T) bool { return a == b || a != nil && b != nil && reflect.DeepEqual(a, b) }

func sameSlice[T any](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || reflect.DeepEqual(a, b))
}

func sameRoute(a, b *ir.RouteRef) bool {
	return a.Kind == b.Kind && a.Namespace == b.Namespace && a.Name == b.Name && a.RuleName == b.RuleName &&
		(len(a.Labels) == 0 && len(b.Labels) == 0 || reflect.DeepEqual(a.Labels, b.Labels))
}

func sameEdits(a, b []ir.BackendRef) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !samePart(a[i].RequestHeaders, b[i].RequestHeaders) || !samePart(a[i].ResponseEdit, b[i].ResponseEdit) {
			return false
		}
	}
	return true
}

// sameMatches reports whether a and b match the same requests, whatever rules
// they lead to.
func sameMatches(a, b []ir.Match) bool {
	if len(a) != len(b) {
		return false
	}
	if len(a) == 0 || &a[0] == &b[0] {
		return true
	}
	for i := range a {
		x, y := &a[i], &b[i]
		if x.PathKind != y.PathKind || x.Path != y.Path || x.Method != y.Method || !slices.Equal(x.Headers, y.Headers) || !slices.Equal(x.Query, y.Query) {
			return false
		}
	}
	return true
}
