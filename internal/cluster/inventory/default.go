package inventory

import (
	"encoding/base64"
	"math"
	"strings"
)

// Default applies to content what an API server of the version in go.mod fills in
// for its kind, in place, so that an object from a file is judged as the one that
// it will become. Applied twice it changes nothing. Kinds that are not built in
// are left as they are but for pod templates in them, which become pods.
//
// What depends on the cluster is left out: addresses, ports and names that are
// handed out, what admission plugins and LimitRanges add. As in the API, requests
// follow limits in a Pod only, not in a template.
func Default(content map[string]any) {
	apiVersion, name := text(content, "apiVersion"), text(content, "kind")
	group, _, ok := strings.Cut(apiVersion, "/")
	if !ok {
		group = ""
	}
	if f := defaults[kind{group, name}]; f != nil {
		f(content)
	}
	for _, t := range PodTemplates(content) {
		defaultPodSpec(t.Spec)
	}
}

var defaults = map[kind]func(content map[string]any){ //nolint:gochecknoglobals // a constant table
	{"", "Pod"}:                   func(c map[string]any) { defaultPod(object(c, "spec")) },
	{"", "ReplicationController"}: defaultReplicationController,
	{"", "Service"}:               func(c map[string]any) { defaultService(object(c, "spec")) },
	{"", "Secret"}:                defaultSecret,
	{"", "Namespace"}:             defaultNamespace,
	{"", "PersistentVolume"}:      func(c map[string]any) { defaultVolume(object(c, "spec")) },
	{"", "PersistentVolumeClaim"}: func(c map[string]any) { defaultClaim(object(c, "spec")) },
	{"", "Endpoints"}:             defaultEndpoints,
	{"", "LimitRange"}:            defaultLimitRange,

	{"apps", "Deployment"}:       func(c map[string]any) { defaultDeployment(object(c, "spec")) },
	{"apps", "ReplicaSet"}:       func(c map[string]any) { fillNil(object(c, "spec"), "replicas", int64(1)) },
	{"apps", "StatefulSet"}:      func(c map[string]any) { defaultStatefulSet(object(c, "spec")) },
	{"apps", "DaemonSet"}:        func(c map[string]any) { defaultDaemonSet(object(c, "spec")) },
	{"extensions", "Deployment"}: func(c map[string]any) { defaultDeployment(object(c, "spec")) },
	{"extensions", "ReplicaSet"}: func(c map[string]any) { fillNil(object(c, "spec"), "replicas", int64(1)) },
	{"extensions", "DaemonSet"}:  func(c map[string]any) { defaultDaemonSet(object(c, "spec")) },
	{"batch", "Job"}:             defaultJob,
	{"batch", "CronJob"}:         func(c map[string]any) { defaultCronJob(object(c, "spec")) },
	{"autoscaling", autoscaler}:  defaultAutoscaler,
	{"discovery.k8s.io", "EndpointSlice"}: func(c map[string]any) {
		each(c, "ports", func(p map[string]any) { fillNil(p, "name", ""); fillNil(p, "protocol", "TCP") })
	},

	{rbacGroup, "RoleBinding"}:        defaultBinding,
	{rbacGroup, "ClusterRoleBinding"}: defaultBinding,

	{"networking.k8s.io", "NetworkPolicy"}: func(c map[string]any) { defaultNetworkPolicy(object(c, "spec")) },
	{"networking.k8s.io", "IngressClass"}: func(c map[string]any) {
		fillNil(object(object(c, "spec"), "parameters"), "scope", "Cluster")
	},
	{"storage.k8s.io", "StorageClass"}: func(c map[string]any) {
		fillNil(c, "reclaimPolicy", "Delete")
		fillNil(c, "volumeBindingMode", "Immediate")
	},
	{"storage.k8s.io", "CSIDriver"}: func(c map[string]any) { defaultCSIDriver(object(c, "spec")) },
	{"scheduling.k8s.io", "PriorityClass"}: func(c map[string]any) {
		fillNil(c, "preemptionPolicy", "PreemptLowerPriority")
	},

	{admissionGroup, "ValidatingWebhookConfiguration"}: func(c map[string]any) {
		each(c, "webhooks", func(w map[string]any) { defaultWebhook(w, text(c, "apiVersion")) })
	},
	{admissionGroup, "MutatingWebhookConfiguration"}: func(c map[string]any) {
		each(c, "webhooks", func(w map[string]any) {
			defaultWebhook(w, text(c, "apiVersion"))
			fillNil(w, "reinvocationPolicy", "Never")
		})
	},
	{admissionGroup, "ValidatingAdmissionPolicy"}:        defaultAdmissionPolicy,
	{admissionGroup, "MutatingAdmissionPolicy"}:          defaultAdmissionPolicy,
	{admissionGroup, "ValidatingAdmissionPolicyBinding"}: defaultAdmissionBinding,
	{admissionGroup, "MutatingAdmissionPolicyBinding"}:   defaultAdmissionBinding,
}

const (
	rbacGroup      = "rbac.authorization.k8s.io"
	admissionGroup = "admissionregistration.k8s.io"
	autoscaler     = "HorizontalPodAutoscaler"
)

func defaultService(spec map[string]any) {
	if spec == nil {
		return
	}
	fill(spec, "sessionAffinity", "None")
	switch spec["sessionAffinity"] {
	case "None":
		delete(spec, "sessionAffinityConfig")
	case "ClientIP":
		if object(object(spec, "sessionAffinityConfig"), "clientIP")["timeoutSeconds"] == nil {
			spec["sessionAffinityConfig"] = map[string]any{"clientIP": map[string]any{"timeoutSeconds": int64(10800)}}
		}
	}
	fill(spec, "type", "ClusterIP")
	each(spec, "ports", func(p map[string]any) {
		fill(p, "protocol", "TCP")
		if port, ok := p["port"]; ok && zero(p["targetPort"]) {
			p["targetPort"] = port
		}
	})
	external, _ := spec["externalIPs"].([]any)
	switch spec["type"] {
	case "LoadBalancer":
		fillNil(spec, "allocateLoadBalancerNodePorts", true)
		fill(spec, "externalTrafficPolicy", "Cluster")
	case "NodePort":
		fill(spec, "externalTrafficPolicy", "Cluster")
	case "ClusterIP":
		if len(external) > 0 {
			fill(spec, "externalTrafficPolicy", "Cluster")
		}
	default:
		return
	}
	fillNil(spec, "internalTrafficPolicy", "Cluster")
}

// defaultSecret also moves stringData, which is only for writing, to data.
func defaultSecret(c map[string]any) {
	fill(c, "type", "Opaque")
	plain, ok := c["stringData"].(map[string]any)
	if !ok {
		return
	}
	data := need(c, "data")
	if data == nil {
		return
	}
	for key, v := range plain {
		v, ok := v.(string)
		if !ok {
			return // not what the API takes; it stays as it is
		}
		data[key] = base64.StdEncoding.EncodeToString([]byte(v))
	}
	delete(c, "stringData")
}

func defaultNamespace(c map[string]any) {
	meta := object(c, "metadata")
	if name := text(meta, "name"); name != "" {
		if labels := need(meta, "labels"); labels != nil {
			labels["kubernetes.io/metadata.name"] = name
		}
	}
}

func defaultEndpoints(c map[string]any) {
	each(c, "subsets", func(s map[string]any) {
		each(s, "ports", func(p map[string]any) { fill(p, "protocol", "TCP") })
	})
}

func defaultLimitRange(c map[string]any) {
	each(object(c, "spec"), "limits", func(l map[string]any) {
		if l["type"] != "Container" {
			return
		}
		limit, request := need(l, "default"), need(l, "defaultRequest")
		defer dropEmpty(l, "default", "defaultRequest")
		for _, step := range []struct{ from, to map[string]any }{{object(l, "max"), limit}, {limit, request}, {object(l, "min"), request}} {
			for key, v := range step.from {
				fillNil(step.to, key, v)
			}
		}
	})
}

func defaultBinding(c map[string]any) {
	if ref := object(c, "roleRef"); ref != nil {
		fill(ref, "apiGroup", rbacGroup)
	}
	each(c, "subjects", func(s map[string]any) {
		if s["kind"] == "User" || s["kind"] == "Group" {
			fill(s, "apiGroup", rbacGroup)
		}
	})
}

func defaultNetworkPolicy(spec map[string]any) {
	if spec == nil {
		return
	}
	if types, isList := spec["policyTypes"].([]any); spec["policyTypes"] == nil || isList && len(types) == 0 {
		types = []any{"Ingress"}
		if egress, _ := spec["egress"].([]any); len(egress) > 0 {
			types = append(types, "Egress")
		}
		spec["policyTypes"] = types
	}
	for _, direction := range []string{"ingress", "egress"} {
		each(spec, direction, func(rule map[string]any) {
			each(rule, "ports", func(p map[string]any) { fillNil(p, "protocol", "TCP") })
		})
	}
}

func defaultCSIDriver(spec map[string]any) {
	fillNil(spec, "attachRequired", true)
	fillNil(spec, "podInfoOnMount", false)
	fillNil(spec, "storageCapacity", false)
	fillNil(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType")
	fillNil(spec, "requiresRepublish", false)
	fillNil(spec, "seLinuxMount", false)
	if modes, _ := spec["volumeLifecycleModes"].([]any); spec != nil && len(modes) == 0 {
		spec["volumeLifecycleModes"] = []any{"Persistent"}
	}
}

func defaultWebhook(w map[string]any, apiVersion string) {
	policy, match, timeout := "Fail", "Equivalent", int64(10)
	if strings.HasSuffix(apiVersion, "/v1beta1") {
		policy, match, timeout = "Ignore", "Exact", 30
		fillNil(w, "sideEffects", "Unknown")
	}
	fillNil(w, "failurePolicy", policy)
	fillNil(w, "matchPolicy", match)
	fillNil(w, "timeoutSeconds", timeout)
	fillNil(w, "namespaceSelector", map[string]any{})
	fillNil(w, "objectSelector", map[string]any{})
	fillNil(object(object(w, "clientConfig"), "service"), "port", int64(443))
	each(w, "rules", func(r map[string]any) { fillNil(r, "scope", "*") })
}

func defaultAdmissionPolicy(c map[string]any) {
	spec := object(c, "spec")
	fillNil(spec, "failurePolicy", "Fail")
	defaultMatchResources(object(spec, "matchConstraints"))
}

func defaultAdmissionBinding(c map[string]any) {
	defaultMatchResources(object(object(c, "spec"), "matchResources"))
}

func defaultMatchResources(m map[string]any) {
	fillNil(m, "matchPolicy", "Equivalent")
	fillNil(m, "namespaceSelector", map[string]any{})
	fillNil(m, "objectSelector", map[string]any{})
	for _, key := range []string{"resourceRules", "excludeResourceRules"} {
		each(m, key, func(r map[string]any) { fillNil(r, "scope", "*") })
	}
}

// defaultAutoscaler fills what version 2 fills; version 1 has another form.
func defaultAutoscaler(c map[string]any) {
	spec := object(c, "spec")
	fillNil(spec, "minReplicas", int64(1))
	if text(c, "apiVersion") == "autoscaling/v1" {
		fillNil(spec, "targetCPUUtilizationPercentage", int64(80))
		return
	}
	if metrics, _ := spec["metrics"].([]any); spec != nil && len(metrics) == 0 {
		spec["metrics"] = []any{map[string]any{"type": "Resource", "resource": map[string]any{
			"name": "cpu", "target": map[string]any{"type": "Utilization", "averageUtilization": int64(80)},
		}}}
	}
	behavior := object(spec, "behavior")
	if behavior == nil {
		return
	}
	percent := func() any { return map[string]any{"type": "Percent", "value": int64(100), "periodSeconds": int64(15)} }
	pods := map[string]any{"type": "Pods", "value": int64(4), "periodSeconds": int64(15)}
	up, down := need(behavior, "scaleUp"), need(behavior, "scaleDown")
	fillNil(up, "stabilizationWindowSeconds", int64(0))
	fillNil(up, "policies", []any{pods, percent()})
	fillNil(down, "policies", []any{percent()})
	fillNil(up, "selectPolicy", "Max")
	fillNil(down, "selectPolicy", "Max")
}

func defaultJob(c map[string]any) {
	spec := object(c, "spec")
	if spec == nil {
		return
	}
	if spec["parallelism"] == nil {
		fillNil(spec, "completions", int64(1))
	}
	fillNil(spec, "parallelism", int64(1))
	retries := int64(6)
	if spec["backoffLimitPerIndex"] != nil {
		retries = math.MaxInt32
	}
	fillNil(spec, "backoffLimit", retries)
	fillNil(spec, "completionMode", "NonIndexed")
	fillNil(spec, "suspend", false)
	fillNil(spec, "manualSelector", false)
	replace := "TerminatingOrFailed"
	if spec["podFailurePolicy"] != nil {
		replace = "Failed"
	}
	fillNil(spec, "podReplacementPolicy", replace)
	each(object(spec, "podFailurePolicy"), "rules", func(r map[string]any) {
		each(r, "onPodConditions", func(p map[string]any) { fill(p, "status", "True") })
	})
	labelsFromTemplate(c, spec)
}
