// What Bulwark costs on a cluster with thousands of routes: its own module, so
// that the API server's client never becomes a dependency of the other tests.
module bulwark.dev/bulwark/test/scale

go 1.26.0

require (
	k8s.io/api v0.36.3
	k8s.io/apimachinery v0.36.3
	k8s.io/client-go v0.36.3
)
