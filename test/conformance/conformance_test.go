// Package conformance runs the official Gateway API conformance suite, as it
// is, against the Bulwark that runs in the cluster of KUBECONFIG. The script
// run beside this file brings cluster and Bulwark up and starts the test there.
package conformance

import (
	"testing"

	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/gateway-api/conformance"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/gateway-api/pkg/features"
)

// claimed are the features that Bulwark serves: all of them but those of the
// profiles that it does not claim (TCPRoute, UDPRoute and service mesh).
func claimed() []features.FeatureName {
	names := features.SetsToNamesSet(features.AllFeatures).Difference(features.SetsToNamesSet(
		features.TCPRouteExtendedFeatures, features.UDPRouteFeatures, features.MeshCoreFeatures, features.MeshExtendedFeatures))
	return sets.List(names)
}

func TestConformance(t *testing.T) {
	opts := conformance.DefaultOptions(t)
	opts.ConformanceProfiles = []suite.ConformanceProfileName{
		suite.GatewayHTTPConformanceProfileName, suite.GatewayGRPCConformanceProfileName, suite.GatewayTLSConformanceProfileName,
	}
	opts.SupportedFeatures = claimed()
	conformance.RunConformanceWithOptions(t, opts)
}
