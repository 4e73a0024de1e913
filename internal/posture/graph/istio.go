package graph

import (
	"cmp"
	"slices"
	"strings"

	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// meshPlace is where policies of the mesh are in force: the pods of one selector, in
// a namespace or, with "", everywhere.
type meshPlace struct{ namespace, pods string }

// meshLock is what the AuthorizationPolicies of one place say together.
type meshLock struct {
	pods selector
	// refuses: who has no proof is refused, whatever else is allowed.
	refuses bool
	// allows: some policy allows callers with a proof; opens: some allows others.
	allows, opens bool
}

func (l *meshLock) add(o *meshLock) {
	l.refuses, l.allows, l.opens = l.refuses || o.refuses, l.allows || o.allows, l.opens || o.opens
}

// proves reports whether all callers need a proof. What one policy allows comes in,
// so one that is open opens all.
func (l *meshLock) proves() bool { return l.refuses || l.allows && !l.opens }

func (l *locks) readMesh(ix *Index, o *inventory.Object, spec map[string]any) {
	says := meshSays(spec)
	if at(spec, "targetRefs") != nil || at(spec, "targetRef") != nil {
		for _, t := range targets(ix, o, spec) {
			if l.targets[t] == nil {
				l.targets[t] = &meshLock{}
			}
			l.targets[t].add(&says)
		}
		return
	}
	if m := labels(spec, "selector", "matchLabels"); len(m) > 0 {
		says.pods = equal(m)
	}
	place := meshPlace{space(o), says.pods.id()}
	if place.namespace == "istio-system" && says.pods.everything() {
		place.namespace = ""
	}
	if l.mesh[place] == nil {
		l.mesh[place] = &meshLock{pods: says.pods}
	}
	l.mesh[place].add(&says)
}

// guard finds the targets, and the Services all of whose pods, ask for credentials
// through the mesh.
func (l *locks) guard(ix *Index) {
	for t, says := range l.targets {
		if says.proves() {
			l.put(t, accessProven)
		}
	}
	if len(l.mesh) == 0 {
		return
	}
	held := map[*workload]meshLock{}
	for place, says := range l.mesh {
		for name, crowd := range ix.workloads().spaces {
			if place.namespace == "" || place.namespace == name {
				for _, w := range crowd.find(&says.pods) {
					all := held[w]
					all.add(says)
					held[w] = all
				}
			}
		}
	}
	l.guarded = map[**workload]bool{}
	for _, s := range ix.services().all {
		if _, known := l.guarded[s.list()]; !known && s.list() != nil {
			l.guarded[s.list()] = !slices.ContainsFunc(s.pods, func(w *workload) bool { all := held[w]; return !all.proves() })
		}
	}
}

// meshSays reads an AuthorizationPolicy. Only one that asks for a proof of every
// request counts; a RequestAuthentication alone does not: it checks the tokens that
// there are.
func meshSays(spec map[string]any) meshLock {
	rules := list(spec, "rules")
	switch cmp.Or(text(spec, "action"), "ALLOW") {
	case "CUSTOM":
		return meshLock{refuses: slices.ContainsFunc(rules, func(r any) bool { return len(list(r, "from")) == 0 && sweeping(r) })}
	case "DENY":
		return meshLock{refuses: slices.ContainsFunc(rules, func(r any) bool {
			from := list(r, "from")
			return sweeping(r) && (slices.ContainsFunc(from, strangers) || len(from) == 0) // without from it refuses everybody
		})}
	case "ALLOW":
		// No rule lets nobody in.
		open := slices.ContainsFunc(rules, func(r any) bool { return !asksProof(r) })
		return meshLock{allows: !open, opens: open}
	}
	return meshLock{}
}

// strangers reports whether a source is everybody without a token and nothing less.
func strangers(from any) bool {
	source := fields(from, "source")
	return len(source) == 1 && len(texts(source, "notRequestPrincipals")) > 0
}

// asksProof reports whether a rule that allows is only for callers with a token.
func asksProof(rule any) bool {
	from := list(rule, "from")
	token := func(f any) bool { return len(texts(f, "source", "requestPrincipals")) > 0 }
	if len(from) > 0 && !slices.ContainsFunc(from, func(f any) bool { return !token(f) }) {
		return true
	}
	return slices.ContainsFunc(list(rule, "when"), func(when any) bool {
		return strings.HasPrefix(text(when, "key"), "request.auth.") && len(texts(when, "values")) > 0
	})
}

// sweeping reports whether a rule is about every request, but for some paths that it
// names in full, as a health check's.
func sweeping(rule any) bool {
	if len(list(rule, "when")) > 0 {
		return false
	}
	to := list(rule, "to")
	return len(to) == 0 || slices.ContainsFunc(to, func(t any) bool {
		for field, v := range fields(t, "operation") {
			some := texts(map[string]any{"": v}, "")
			switch field {
			case "paths":
				if !slices.Contains(some, "*") && !slices.Contains(some, "/*") {
					return false
				}
			case "notPaths":
				if slices.ContainsFunc(some, func(p string) bool { return strings.Contains(p, "*") || p == "/" }) {
					return false
				}
			default:
				return false
			}
		}
		return true
	})
}
