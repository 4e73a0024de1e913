package proxy

import (
	"bulwark.dev/bulwark/internal/gateway/filters"
	"bulwark.dev/bulwark/internal/gateway/ir"
)

// Checker says what a Server would refuse of a table, for who is not one
// itself. What did not change since the table before is not built again. It is
// not safe for use by several goroutines at once.
type Checker struct {
	cfg     Config
	metrics *metrics
	last    *table
}

// NewChecker makes a Checker whose steps need what deps holds, though none of
// them ever runs.
func NewChecker(deps filters.Deps) *Checker {
	return &Checker{cfg: Config{Filters: deps}, metrics: newMetrics(), last: &table{ir: &ir.Table{}}}
}

// Check gives the rules of t that do not build, as Apply would.
func (c *Checker) Check(t *ir.Table) []Problem {
	next := &table{ir: t, rules: make([]rule, len(t.Rules))}
	problems := next.addRules(c.last, nil, &c.cfg, c.metrics)
	c.metrics.retain(next)
	c.last = next
	return problems
}
