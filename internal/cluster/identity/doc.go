// Package identity is who may speak on the relay from controller to data
// planes. The controller keeps a certificate authority of its own in a Secret,
// so that nothing else needs to be installed, issues its serving certificate in
// memory, and keeps the Secret with the certificate that data planes mount. The
// certificates of an operator can be used instead.
//
// Data planes are told apart from everything else by a URI in their
// certificate: no other certificate of the same authority, that of the
// controller included, opens the relay.
package identity

import "time"

// What certificates are for, as URI subject alternative names.
const (
	GatewayURI    = "urn:bulwark:relay:gateway"
	ControllerURI = "urn:bulwark:relay:controller"
)

// The Secrets in Bulwark's own namespace.
const (
	CASecret     = "bulwark-relay-ca"     //nolint:gosec // G101: a name
	ClientSecret = "bulwark-relay-client" //nolint:gosec // G101: a name
)

// The keys of Secrets and the names of files.
const (
	keyCert   = "tls.crt"
	keyKey    = "tls.key"
	keyBundle = "ca.crt"
	// The authority that will issue next.
	keyNextCert = "next.crt"
	keyNextKey  = "next.key"
)

// roleLabel marks what this package made. Without it a Secret is an operator's
// and is not changed.
const roleLabel = "bulwark.dev/relay"

const (
	// caLife is a year. Rotation needs nobody, so a long life would only be good
	// for whoever steals the key; a short one must outlast the longest time that
	// a controller is down, since it is the controller that rotates: at two
	// thirds there are four months left.
	caLife = 365 * 24 * time.Hour
	// leafLife lets controllers be down for ten days before data planes must
	// wait for one of them to renew.
	leafLife = 30 * 24 * time.Hour
	// skew is how far the clocks of two nodes may be apart.
	skew = 10 * time.Minute
	// overlap is how long a new authority is trusted before it issues. A kubelet
	// takes a minute or two to show a changed Secret to a pod.
	overlap = 24 * time.Hour
	// every is how often the Secrets are looked at.
	every = time.Minute
)
