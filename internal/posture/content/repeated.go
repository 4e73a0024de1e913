package content

import "slices"

// Repeated gives the flags whose values add up when they are given again, see
// variables.args, for whoever writes controls in another form.
func Repeated() []string { return slices.Clone(repeated) }
