// Package live keeps a Snapshot of a cluster current by watching its API server.
// What was read stays in force while the server cannot be reached. What may not
// be read is named as unreadable, so that whoever depends on it can refuse.
package live
