// Package shop is the example that "make up" guards: a small shop API, the
// Gateway API and SecurityPolicy files that protect it, and, in idp, a local
// identity provider. The API is an ordinary net/http program that knows nothing
// of the gateway: it trusts the X-User field, as backends behind a gateway do,
// and must therefore never be reachable but through one.
package shop

import "embed"

// Files holds the example's manifests, as "bulwark up -f examples/shop" reads
// them from the folder.
//
//go:embed *.yaml
var Files embed.FS
