// Package ingest takes events in: it puts into one form what API servers send and what
// EKS, AKS, GKE and Bulwark's own parts write. Package webhook brings them from API
// servers and logfile from files and standard input; redact takes secrets out; a Sink,
// the log, keeps them.
//
// All that it reads may be hostile. It bounds what it reads, and what it cannot
// understand becomes an event of its own that says so.
package ingest
