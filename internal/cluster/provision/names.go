package provision

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"regexp"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// maxLabel is the length of a DNS label and of a label's value.
const maxLabel = 63

// hash is short, and different for different texts for all practical purposes.
func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:4])
}

// serviceName names a Gateway's Service, for one address that it asks for or,
// with the zero address, for those that it gets. Gateways may have names that
// are too long for a Service, hold dots or begin with a digit; they are changed
// and told apart by a hash.
func serviceName(gateway string, address netip.Addr) string {
	suffix := "-bulwark"
	if address.IsValid() {
		suffix += "-" + hash(address.String())
	}
	if regexp.MustCompile(`^[a-z][-a-z0-9]*$`).MatchString(gateway) && len(gateway)+len(suffix) <= maxLabel {
		return gateway + suffix
	}
	clean := strings.ReplaceAll(gateway, ".", "-")
	if clean == "" || clean[0] < 'a' {
		clean = "gw-" + clean
	}
	suffix = "-" + hash(gateway) + suffix
	return strings.TrimRight(clean[:min(len(clean), maxLabel-len(suffix))], "-") + suffix
}

// labelValue makes a Gateway's name fit into a label, as GEP-1762 asks for.
func labelValue(gateway string) string {
	if len(gateway) <= maxLabel {
		return gateway
	}
	return strings.TrimRight(gateway[:maxLabel-9], "-.") + "-" + hash(gateway)
}

// ownerOf makes the reference to a Gateway. It does not block the Gateway's
// deletion, which would take one more permission.
func ownerOf(gw *gwv1.Gateway) metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion: gwv1.GroupVersion.String(), Kind: "Gateway", Name: gw.Name, UID: gw.UID,
		Controller: new(true),
	}
}

// owned reports whether an object is ours, made for this very Gateway.
func (c *Config) owned(o metav1.Object, label string, gw *gwv1.Gateway) bool {
	ref, ok := c.gatewayOf(o, label)
	return ok && ref.Name == gw.Name && ref.UID == gw.UID && gw.UID != ""
}

// gatewayOf gives the Gateway that an object of ours was made for.
func (c *Config) gatewayOf(o metav1.Object, label string) (metav1.OwnerReference, bool) {
	if labels := o.GetLabels(); labels[label] != ManagedBy || labels[labelInstallation] != c.Namespace {
		return metav1.OwnerReference{}, false
	}
	for _, r := range o.GetOwnerReferences() {
		group, _, _ := strings.Cut(r.APIVersion, "/")
		if r.Kind == "Gateway" && group == gwv1.GroupName {
			return r, true
		}
	}
	return metav1.OwnerReference{}, false
}

// slot is one Service of a Gateway.
type slot struct {
	service string
	// address is the one asked for, invalid if any will do.
	address netip.Addr
}

// slots gives the Services of a Gateway: one for each address that it asks for,
// or one. Addresses that are not IP addresses get none.
func slots(gw *gwv1.Gateway) []slot {
	if len(gw.Spec.Addresses) == 0 {
		return []slot{{service: serviceName(gw.Name, netip.Addr{})}}
	}
	var out []slot
	seen := map[netip.Addr]bool{}
	for _, a := range gw.Spec.Addresses {
		if a.Type != nil && *a.Type != gwv1.IPAddressType {
			continue
		}
		ip, err := netip.ParseAddr(a.Value)
		if a.Value != "" && (err != nil || ip.Zone() != "") || seen[ip.Unmap()] {
			continue
		}
		ip = ip.Unmap()
		seen[ip] = true
		out = append(out, slot{serviceName(gw.Name, ip), ip})
	}
	return out
}
