// Package lint looks at detection rules without events: it says of a rule why it, or a
// part of it, can never fire, and which audit level its fields need.
package lint
