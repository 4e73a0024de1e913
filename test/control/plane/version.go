package plane

import "k8s.io/component-base/version"

// Version gives the version of Kubernetes that this program is built from, as
// the build script stamped it.
func Version() string { return version.Get().GitVersion }
