// Package cluster reads Gateway API objects, SecurityPolicies and the core
// objects that they name into one immutable Snapshot. It reads as an API server
// would: defaults applied, structure and relations between fields checked, only
// stricter, because a file has no server that answers back. Every mistake is
// reported with file, line and field, and one mistake rejects the whole load:
// nothing is half-applied.
package cluster

import "bulwark.dev/bulwark/internal/cluster/nodes"

//go:generate go run ./schemagen zz_generated.schema.json

// Limits on what is read, so that a wrong path or a hostile file cannot exhaust
// memory.
const (
	// MaxFile is the size of one file, in bytes.
	MaxFile = 16 << 20
	// MaxTotal is the size of all files of a load, in bytes.
	MaxTotal = 256 << 20
	// MaxFiles is the number of files of a load.
	MaxFiles = 50000
	// maxProblems is how many problems of one document, and of one load, are
	// collected; the rest is noise by then.
	maxProblems = 500
	// maxAliased is how many nodes of one document may be reached through YAML
	// aliases. It stops "billion laughs", where a few lines stand for millions.
	maxAliased = 20000
	// maxDepth is how deep values nest.
	maxDepth = nodes.MaxDepth
)
