// Package inventory holds one immutable view of everything in a cluster, or in
// the files that describe one: any kind of object, with API defaults applied and
// with where each field stands. Posture, RBAC, network and attack paths read it.
// It is lenient where package cluster is strict: what cannot be read becomes a
// Problem or an Unreadable, and the rest is still judged.
//
// Readers, each in a package below: manifest (YAML and JSON files), chart (Helm),
// overlay (Kustomize), fetch (an API server) and saved (a file that an earlier
// scan wrote).
package inventory
