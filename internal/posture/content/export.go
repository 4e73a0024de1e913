package content

import (
	"maps"
	"slices"
)

// Repeated gives the flags whose values add up when they are given again, see
// variables.args, for whoever writes controls in another form.
func Repeated() []string { return slices.Clone(repeated) }

// Params gives the values that parameters have now: the defaults, or what With
// has set.
func (c *Control) Params() map[string]any { return maps.Clone(c.params) }
