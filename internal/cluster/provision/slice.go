package provision

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/internal/cluster"
)

// sliceSize is how many endpoints an EndpointSlice of ours holds, as many as
// one of Kubernetes' own.
const sliceSize = 100

// pods are the endpoints of the data plane by family, sorted by address. A
// family without any ready pod is there, empty.
type pods map[discoveryv1.AddressType][]discoveryv1.Endpoint

// podsOf reads the data plane's own EndpointSlices. There are none at all only
// if they could not be read or the Service is missing: Kubernetes keeps an empty
// one for a Service without pods.
func podsOf(snap *cluster.Snapshot, cfg Config) pods {
	out := pods{}
	for _, s := range snap.EndpointSlices {
		if s.Namespace != cfg.Namespace || s.Labels[discoveryv1.LabelServiceName] != cfg.DataPlaneService ||
			s.AddressType != discoveryv1.AddressTypeIPv4 && s.AddressType != discoveryv1.AddressTypeIPv6 {
			continue
		}
		list := out[s.AddressType]
		if list == nil {
			list = []discoveryv1.Endpoint{}
		}
		for _, e := range s.Endpoints {
			if len(e.Addresses) > 0 {
				list = append(list, discoveryv1.Endpoint{
					Addresses: e.Addresses[:1], Conditions: e.Conditions,
					NodeName: e.NodeName, Zone: e.Zone, TargetRef: e.TargetRef,
				})
			}
		}
		out[s.AddressType] = list
	}
	for family, list := range out {
		// While pods move between slices, one may be in two: the ready one counts.
		slices.SortStableFunc(list, func(a, b discoveryv1.Endpoint) int {
			return cmp.Or(cmp.Compare(a.Addresses[0], b.Addresses[0]), cmp.Compare(unready(a), unready(b)))
		})
		out[family] = slices.CompactFunc(list, func(a, b discoveryv1.Endpoint) bool { return a.Addresses[0] == b.Addresses[0] })
	}
	return out
}

func unready(e discoveryv1.Endpoint) int {
	if e.Conditions.Ready == nil || *e.Conditions.Ready {
		return 0
	}
	return 1
}

// newSlices makes the EndpointSlices of a Service.
func newSlices(cfg Config, gw *gwv1.Gateway, s slot, targets map[int32]uint16, from pods) []*discoveryv1.EndpointSlice {
	labels, annotations := metadata(gw, map[string]string{
		discoveryv1.LabelManagedBy: ManagedBy, discoveryv1.LabelServiceName: s.service,
		labelInstallation: cfg.Namespace, gwv1.GatewayNameLabelKey: labelValue(gw.Name),
	})
	var ports []discoveryv1.EndpointPort
	for _, port := range slices.Sorted(maps.Keys(targets)) {
		ports = append(ports, discoveryv1.EndpointPort{
			Name: new(servicePort(port)), Protocol: new(corev1.ProtocolTCP), Port: new(int32(targets[port])),
		})
	}
	var out []*discoveryv1.EndpointSlice
	for _, family := range slices.Sorted(maps.Keys(from)) {
		chunks := slices.Collect(slices.Chunk(from[family], sliceSize))
		if len(chunks) == 0 {
			chunks = [][]discoveryv1.Endpoint{{}}
		}
		for i, chunk := range chunks {
			name := s.service + "-" + strings.ToLower(string(family))
			if i > 0 {
				name += fmt.Sprintf("-%d", i)
			}
			out = append(out, &discoveryv1.EndpointSlice{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: gw.Namespace, Name: name, Labels: labels, Annotations: annotations,
					OwnerReferences: []metav1.OwnerReference{ownerOf(gw)},
				},
				AddressType: family, Endpoints: chunk, Ports: ports,
			})
		}
	}
	return out
}

// slicePatch gives what must change in an EndpointSlice of ours, nil if nothing.
func slicePatch(have, want *discoveryv1.EndpointSlice) object {
	fields := object{}
	if !equality.Semantic.DeepEqual(have.Endpoints, want.Endpoints) {
		fields["endpoints"] = want.Endpoints
	}
	if !equality.Semantic.DeepEqual(have.Ports, want.Ports) {
		fields["ports"] = want.Ports
	}
	return patchOf(have, metadataPatch(have, want.Labels, want.Annotations), fields)
}

// portsInUse reads from our EndpointSlices which target port each Gateway is
// reached on just now.
func portsInUse(cfg Config, snap *cluster.Snapshot, gateways map[key]*gwv1.Gateway) map[owner]uint16 {
	out := map[owner]uint16{}
	for _, s := range snap.EndpointSlices {
		ref, ok := cfg.gatewayOf(s, discoveryv1.LabelManagedBy)
		gw := gateways[key{s.Namespace, ref.Name}]
		if !ok || gw == nil || gw.UID != ref.UID {
			continue
		}
		for _, p := range s.Ports {
			var port int32
			if p.Name == nil || p.Port == nil || *p.Port < MinPort || *p.Port > MaxPort {
				continue
			}
			if n, err := fmt.Sscanf(*p.Name, "port-%d", &port); err == nil && n == 1 && servicePort(port) == *p.Name {
				out[owner{gw.Namespace, gw.Name, port}] = uint16(*p.Port)
			}
		}
	}
	return out
}
