package vap

import (
	"encoding/json"
	"strings"

	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// Resource gives the name of a kind's resource, as in addresses and rules. For a
// custom kind it is a guess by the rules of English.
func Resource(kind string) string {
	s := strings.ToLower(kind)
	vowel := len(s) > 1 && strings.ContainsRune("aeiou", rune(s[len(s)-2]))
	switch {
	case s == "endpoints":
		return s
	case strings.HasSuffix(s, "y") && !vowel:
		return s[:len(s)-1] + "ies"
	case strings.HasSuffix(s, "s"), strings.HasSuffix(s, "x"), strings.HasSuffix(s, "ch"), strings.HasSuffix(s, "sh"):
		return s + "es"
	}
	return s + "s"
}

// Unserved says why no admission policy ever sees objects of a kind, or "".
func Unserved(group, kind string) string {
	switch group {
	case "kubelet.config.k8s.io", "kubeproxy.config.k8s.io", "kubescheduler.config.k8s.io", "kubeadm.k8s.io",
		"audit.k8s.io", "apiserver.config.k8s.io", "apiserver.k8s.io", "client.authentication.k8s.io":
		return kind + " is a file of a component, which no API server stores"
	case "admissionregistration.k8s.io":
		if strings.Contains(kind, "AdmissionPolicy") {
			return kind + " is exempt from admission policies, so that a wrong one can be taken away"
		}
	case "authentication.k8s.io", "authorization.k8s.io":
		return kind + " is exempt from admission policies"
	}
	if kind == "Config" && (group == "" || group == "config.k8s.io") {
		return "Config is a file of kubectl, which no API server stores"
	}
	return ""
}

// Builtin reports whether a group is the API server's own.
func Builtin(group string) bool {
	switch group {
	case "", "apps", "batch", "policy", "autoscaling", "extensions",
		"admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io", "authentication.k8s.io",
		"authorization.k8s.io", "certificates.k8s.io", "coordination.k8s.io", "discovery.k8s.io", "events.k8s.io",
		"flowcontrol.apiserver.k8s.io", "internal.apiserver.k8s.io", "networking.k8s.io", "node.k8s.io",
		"rbac.authorization.k8s.io", "resource.k8s.io", "scheduling.k8s.io", "storage.k8s.io", "storagemigration.k8s.io":
		return true
	}
	return false
}

// wide are the built-in kinds that live in no namespace.
var wide = map[string]bool{ //nolint:gochecknoglobals // a table
	"APIService": true, "CSIDriver": true, "CSINode": true, "CertificateSigningRequest": true, "ClusterRole": true,
	"ClusterRoleBinding": true, "ClusterTrustBundle": true, "ComponentStatus": true, "CustomResourceDefinition": true,
	"DeviceClass": true, "DeviceTaintRule": true, "FlowSchema": true, "IPAddress": true, "IngressClass": true,
	"MutatingAdmissionPolicy": true, "MutatingAdmissionPolicyBinding": true, "MutatingWebhookConfiguration": true,
	"Namespace": true, "Node": true, "PersistentVolume": true, "PriorityClass": true, "PriorityLevelConfiguration": true,
	"ResourceSlice": true, "RuntimeClass": true, "ServiceCIDR": true, "StorageClass": true, "StorageVersion": true,
	"StorageVersionMigration": true, "ValidatingAdmissionPolicy": true, "ValidatingAdmissionPolicyBinding": true,
	"ValidatingWebhookConfiguration": true, "VolumeAttachment": true, "VolumeAttributesClass": true,
}

// defined is what a CustomResourceDefinition says of a kind.
type defined struct {
	plural     string
	namespaced bool
}

// kinds knows what kinds are called and where they live, of custom ones by the
// definitions in a snapshot.
type kinds struct {
	snap *inventory.Snapshot
	crds map[[2]string]defined // by group and kind; nil until it is asked for
}

func (k *kinds) defined(group, kind string) (defined, bool) {
	if k.crds == nil {
		k.crds = map[[2]string]defined{}
		for _, o := range k.snap.Kind("apiextensions.k8s.io", "CustomResourceDefinition") {
			var crd struct {
				Spec struct {
					Group, Scope string
					Names        struct{ Kind, Plural string }
				}
			}
			if json.Unmarshal(o.Raw(), &crd) == nil && crd.Spec.Names.Plural != "" {
				k.crds[[2]string{crd.Spec.Group, crd.Spec.Names.Kind}] = defined{crd.Spec.Names.Plural, crd.Spec.Scope == "Namespaced"}
			}
		}
	}
	d, ok := k.crds[[2]string{group, kind}]
	return d, ok
}

// resource gives the name of a kind's resource, and whether that is certain.
func (k *kinds) resource(group, kind string) (name string, sure bool) {
	if Builtin(group) {
		return Resource(kind), true
	}
	if d, ok := k.defined(group, kind); ok {
		return d.plural, true
	}
	return Resource(kind), false
}

// may reports whether a name could be that of a kind's resource in spite of the
// rules: it begins as the kind does and is about as long ("analyses", "podchaos").
func may(resource, kind string) bool {
	const ending = 3
	s := strings.ToLower(kind)
	return strings.HasPrefix(resource, s[:max(1, len(s)-ending)]) && len(resource) <= len(s)+ending
}

// namespaced reports whether objects of a kind live in namespaces, and whether that
// is known.
func (k *kinds) namespaced(group, kind string) (yes, known bool) {
	if Builtin(group) {
		return !wide[kind], true
	}
	if d, ok := k.defined(group, kind); ok {
		return d.namespaced, true
	}
	for _, o := range k.snap.Kind(group, kind) {
		if o.Namespace != "" {
			return true, true
		}
		if k.snap.Facts.Live {
			return false, true
		}
	}
	return false, false
}
