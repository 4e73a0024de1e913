package chart

import (
	"encoding/json"
	"strings"
)

// wide are the kinds of Kubernetes itself that have no namespace.
var wide = map[string]bool{ //nolint:gochecknoglobals // a table
	"APIService": true, "CSIDriver": true, "CSINode": true, "CertificateSigningRequest": true, "ClusterRole": true,
	"ClusterRoleBinding": true, "ComponentStatus": true, "CustomResourceDefinition": true, "DeviceClass": true,
	"FlowSchema": true, "IPAddress": true, "IngressClass": true, "MutatingAdmissionPolicy": true,
	"MutatingAdmissionPolicyBinding": true, "MutatingWebhookConfiguration": true, "Namespace": true, "Node": true,
	"PersistentVolume": true, "PriorityClass": true, "PriorityLevelConfiguration": true, "ResourceSlice": true,
	"RuntimeClass": true, "SelfSubjectAccessReview": true, "ServiceCIDR": true, "StorageClass": true,
	"StorageVersionMigration": true, "SubjectAccessReview": true, "TokenReview": true, "ValidatingAdmissionPolicy": true,
	"ValidatingAdmissionPolicyBinding": true, "ValidatingWebhookConfiguration": true, "VolumeAttachment": true,
	"VolumeAttributesClass": true, "VolumeSnapshotClass": true,
}

// namespaced reports whether objects of a kind live in namespaces. Of kinds that
// are not Kubernetes' own nothing says so, but those that do not are mostly named
// for it.
func namespaced(kind string) bool {
	return !wide[kind] && !strings.HasPrefix(kind, "Cluster") && !strings.HasSuffix(kind, "Class")
}

// into puts an object that names no namespace into the release's, as an
// installation does. Text that is not understood is given back as it is.
func into(raw []byte, namespace string) []byte {
	var object, metadata map[string]json.RawMessage
	if json.Unmarshal(raw, &object) != nil || json.Unmarshal(object["metadata"], &metadata) != nil || metadata == nil {
		return raw
	}
	name, err := json.Marshal(namespace)
	if err != nil {
		return raw
	}
	metadata["namespace"] = name
	if object["metadata"], err = json.Marshal(metadata); err != nil {
		return raw
	}
	out, err := json.Marshal(object)
	if err != nil {
		return raw
	}
	return out
}
