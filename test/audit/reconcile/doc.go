// Package reconcile tests, with a real API server behind a real gateway, that what goes
// around, is forged or is held back is told of.
package reconcile
