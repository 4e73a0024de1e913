// Package ops is what every role of the program needs to be operated: logs,
// events on disk, metrics, health and traces. It knows the shared words only.
package ops
