package compile

import (
	"strings"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

// byTier drops the entries of one hostname that can never be reached, because a
// route whose own hostname is more specific takes their requests first. The
// table's kinds of paths have an order of their own and would let them win: two
// routes get one hostname when the listener narrows both. It reports whether all
// that is left keeps that order; entries must be sorted.
func byTier(entries []*entry) (kept []*entry, sure bool) {
	last := len(entries) - 1
	if last < 1 || moreSpecific(entries[0].host, entries[last].host) == 0 {
		return entries, true
	}
	above, tier := newCovered(), newCovered()
	sure = true
	for i, e := range entries {
		if i > 0 && moreSpecific(entries[i-1].host, e.host) != 0 {
			above.join(tier)
			tier = newCovered()
		}
		if above.hides(e) {
			continue
		}
		sure = sure && !above.mayWin(e)
		tier.add(e)
		kept = append(kept, e)
	}
	return kept, sure
}

// covered is what the entries of some tiers take whatever else a request has.
type covered struct {
	exact, prefix map[string]bool
	// prefixes, patterns and conditions say that there are entries of such
	// kinds, whose requests cannot be told beforehand.
	prefixes, patterns, conditions bool
}

func newCovered() *covered { return &covered{exact: map[string]bool{}, prefix: map[string]bool{}} }

func (c *covered) add(e *entry) {
	// All calls of GRPCRoutes have the one method.
	if e.Method != "" && e.route.kind != kindGRPCRoute || len(e.Headers)+len(e.Query) > 0 {
		c.conditions = true
		return
	}
	switch e.PathKind {
	case ir.PathExact:
		c.exact[e.Path] = true
	case ir.PathPrefix:
		c.prefixes = true
		c.prefix[strings.TrimSuffix(e.Path, "/")] = true
	case ir.PathRegex:
		c.patterns = true
	}
}

func (c *covered) join(o *covered) {
	for p := range o.exact {
		c.exact[p] = true
	}
	for p := range o.prefix {
		c.prefix[p] = true
	}
	c.prefixes, c.patterns, c.conditions = c.prefixes || o.prefixes, c.patterns || o.patterns, c.conditions || o.conditions
}

// hides reports whether all requests of an entry are taken.
func (c *covered) hides(e *entry) bool {
	if c.prefix[""] {
		return true
	}
	switch e.PathKind {
	case ir.PathRegex:
		return false
	case ir.PathExact:
		if c.exact[e.Path] {
			return true
		}
	case ir.PathPrefix:
	}
	for path := strings.TrimSuffix(e.Path, "/"); path != ""; path = path[:strings.LastIndexByte(path, '/')] {
		if c.prefix[path] {
			return true
		}
	}
	return false
}

// mayWin reports whether the table could prefer an entry to one of a tier above:
// it asks for exact paths first, then for patterns, then for prefixes.
func (c *covered) mayWin(e *entry) bool {
	return c.conditions || c.patterns && e.PathKind == ir.PathExact || c.prefixes && e.PathKind == ir.PathRegex
}
