// Package archtest holds the rules of the house as tests: which room may import
// which, and what every package, file and document must have. It has no code of
// its own that anyone could import.
package archtest
