package fetch

import (
	"encoding/json"
	"slices"
	"strings"

	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// provider is somebody who runs control planes for others.
type provider struct {
	name string
	// version is a part of the server's version that only they set.
	version string
	// label is the beginning of a label that all their nodes have.
	label string
	// group is an API group that only they serve.
	group string
}

func providers() []provider {
	return []provider{
		{name: "eks", version: "-eks-", label: "eks.amazonaws.com/"},
		{name: "gke", version: "-gke.", label: "cloud.google.com/gke-"},
		{name: "aks", label: "kubernetes.azure.com/"},
		{name: "openshift", label: "node.openshift.io/", group: "config.openshift.io"},
		{name: "oke", label: "oke.oraclecloud.com/"},
		{name: "doks", label: "doks.digitalocean.com/"},
		{name: "iks", version: "+IKS", label: "ibm-cloud.kubernetes.io/"},
	}
}

// managed names who runs the control plane, or "". It excuses controls on the
// control plane, so one node that labels itself must not be enough: all must.
func managed(version string, kinds []resource, objects []*inventory.Object) string {
	var nodes []*inventory.Object
	for _, o := range objects {
		if o.Kind == "Node" && o.Group() == "" {
			nodes = append(nodes, o)
		}
	}
	for _, p := range providers() {
		if p.version != "" && strings.Contains(version, p.version) {
			return p.name
		}
		if p.group != "" && slices.ContainsFunc(kinds, func(k resource) bool { return k.group == p.group }) {
			return p.name
		}
		if len(nodes) > 0 && !slices.ContainsFunc(nodes, func(n *inventory.Object) bool { return !ofProvider(n, p) || controlPlane(n) }) {
			return p.name
		}
	}
	return ""
}

func ofProvider(node *inventory.Object, p provider) bool {
	for label := range node.Labels {
		if strings.HasPrefix(label, p.label) {
			return true
		}
	}
	return false
}

// controlPlane reports whether the control plane runs on a node that is seen.
func controlPlane(node *inventory.Object) bool {
	_, ok := node.Labels["node-role.kubernetes.io/control-plane"]
	return ok
}

// ready reports whether a node says that its kubelet is there.
func ready(node *inventory.Object) bool {
	var n struct {
		Status struct {
			Conditions []struct {
				Type   string `json:"type"`
				Status string `json:"status"`
			} `json:"conditions"`
		} `json:"status"`
	}
	if json.Unmarshal(node.Raw(), &n) != nil {
		return false
	}
	for _, c := range n.Status.Conditions {
		if c.Type == "Ready" {
			return c.Status == "True"
		}
	}
	return false
}
