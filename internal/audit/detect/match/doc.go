// Package match finds out which rules an event meets: it compiles expressions of Sigma
// into programs over the fields of an event, of which each is worked out once, and knows
// by the kind, resource, verb and subresource of an event which rules need no look.
package match
