package app

import (
	"slices"
	"strings"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/features"

	"bulwark.dev/bulwark/internal/cluster/status"
	"bulwark.dev/bulwark/internal/gateway/compile"
)

// targets says of every object that the report judged what its status is to be.
func targets(r *compile.Report) []status.Target {
	out := make([]status.Target, 0, len(r.Classes)+len(r.Gateways)+len(r.ListenerSets)+len(r.Routes)+len(r.Policies))
	for _, c := range r.Classes {
		out = append(out, status.Target{Kind: "GatewayClass", Name: c.Name, Conditions: c.Conditions})
	}
	for i := range r.Gateways {
		g := &r.Gateways[i]
		out = append(out, status.Target{Kind: "Gateway", Namespace: g.Namespace, Name: g.Name, Gateway: &g.Status})
	}
	for i := range r.ListenerSets {
		l := &r.ListenerSets[i]
		out = append(out, status.Target{Kind: "ListenerSet", Namespace: l.Namespace, Name: l.Name, ListenerSet: &l.Status})
	}
	for _, o := range r.Routes {
		out = append(out, status.Target{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name, Parents: o.Parents})
	}
	for _, p := range r.Policies {
		out = append(out, status.Target{Kind: p.Kind, Namespace: p.Namespace, Name: p.Name, Ancestors: p.Ancestors})
	}
	return out
}

// supported lists the features of Gateway API that a GatewayClass of ours
// claims: all but those of routes for TCP and UDP and of service mesh. The
// conformance suite (test/conformance) tests exactly these.
func supported() []gwv1.FeatureName {
	names := features.SetsToNamesSet(features.AllFeatures).Difference(features.SetsToNamesSet(
		features.TCPRouteExtendedFeatures, features.UDPRouteFeatures, features.MeshCoreFeatures, features.MeshExtendedFeatures))
	out := make([]gwv1.FeatureName, 0, len(names))
	for n := range names {
		out = append(out, gwv1.FeatureName(n))
	}
	slices.SortFunc(out, func(a, b gwv1.FeatureName) int { return strings.Compare(string(a), string(b)) })
	return out
}
