// Package ingest takes events in: from an API server's webhook, from log files and
// standard input, and from what EKS, AKS, GKE and Bulwark's own parts write. It puts
// them into one form, takes secrets out, and hands them to the log.
//
// All that it reads may be hostile. It bounds what it reads, and what it cannot
// understand becomes an event of its own that says so.
package ingest
