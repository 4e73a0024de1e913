// Package chart renders Bulwark's Helm chart by Helm's own library, and proves
// what the rendered objects promise. It is a module of its own: Helm needs more
// than all of Bulwark.
package chart
