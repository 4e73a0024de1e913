package app

import (
	"log/slog"

	"bulwark.dev/bulwark/internal/cluster"
	"bulwark.dev/bulwark/internal/gateway/compile"
)

// input hands the objects of a snapshot to compile. Neither room knows the
// other.
func input(s *cluster.Snapshot) compile.Input {
	return compile.Input{
		GatewayClasses: s.GatewayClasses, Gateways: s.Gateways, HTTPRoutes: s.HTTPRoutes, GRPCRoutes: s.GRPCRoutes,
		ReferenceGrants: s.ReferenceGrants, BackendTLSPolicies: s.BackendTLSPolicies, SecurityPolicies: s.SecurityPolicies,
		Services: s.Services, EndpointSlices: s.EndpointSlices, Secrets: s.Secrets, ConfigMaps: s.ConfigMaps, Namespaces: s.Namespaces,
		TLSRoutes: s.TLSRoutes, ListenerSets: s.ListenerSets, Unreadable: unreadable(s.Unreadable),
	}
}

// quietLog is for work whose outcome is printed in another way.
func quietLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

func unreadable(in []cluster.Unreadable) []compile.Unreadable {
	out := make([]compile.Unreadable, 0, len(in))
	for _, u := range in {
		out = append(out, compile.Unreadable{Kind: u.Kind, Reason: u.Reason})
	}
	return out
}
