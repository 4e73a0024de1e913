package graph

import (
	"slices"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
)

var _ = add(Check{
	Meta: control.Meta{
		ID: "pod-disruption-budget-missing", Title: "No PodDisruptionBudget keeps a replicated workload up", Severity: bulwark.SeverityLow, Category: "resources",
		Why:         "Draining nodes, by an upgrade or by somebody who may evict pods, can take all replicas at once.",
		Remediation: "Add a PodDisruptionBudget with minAvailable or maxUnavailable that selects the pods.",
		References:  []string{"https://kubernetes.io/docs/tasks/run-application/configure-pdb/"},
	},
	Reads: []Kind{{"policy", "PodDisruptionBudget"}}, Pods: true, Absence: true, Local: true,
	Judge: func(ix *Index, emit emitter) {
		kept, known := map[*workload]bool{}, map[string]bool{}
		for _, o := range ix.Kind("policy", "PodDisruptionBudget") {
			s := budget(ix.content(o))
			id := space(o) + " " + s.id()
			if known[id] {
				continue
			}
			known[id] = true
			for _, w := range ix.workloads().spaces[space(o)].find(&s) {
				kept[w] = true
			}
		}
		for _, w := range ix.workloads().all {
			switch {
			case w.replicas < 2:
			case kept[w]:
				emit(w.obj, pass())
			default:
				emit(w.obj, fail("spec.replicas", itoa(int(w.replicas))+" replicas and no PodDisruptionBudget "+ix.here()+" selects them"))
			}
		}
	},
})

// budget reads the selector of a PodDisruptionBudget: an empty one selects all
// pods, a missing one none.
func budget(content map[string]any) selector {
	return parseSelector(at(content, "spec", "selector"), nil)
}

var _ = add(Check{
	Meta: control.Meta{
		ID: "pod-disruption-budget-selects-nothing", Title: "A PodDisruptionBudget selects no pod", Severity: bulwark.SeverityLow, Category: "resources",
		Why:         "Somebody believes that a workload is kept up by it.",
		Remediation: "Compare the selector with the labels of the pods that it is meant for, or delete it.",
		References:  []string{"https://kubernetes.io/docs/tasks/run-application/configure-pdb/"},
	},
	Reads: []Kind{{"policy", "PodDisruptionBudget"}}, Pods: true, Absence: true, Local: true,
	Judge: func(ix *Index, emit emitter) {
		for _, o := range ix.Kind("policy", "PodDisruptionBudget") {
			s := budget(ix.content(o))
			if ix.workloads().spaces[space(o)].picks(&s) {
				emit(o, pass())
				continue
			}
			emit(o, fail("spec.selector", "no pod of namespace "+space(o)+" "+ix.here()+" has the labels "+s.String()))
		}
	},
})

var _ = add(Check{
	Meta: control.Meta{
		ID: "autoscaler-target-missing", Title: "A HorizontalPodAutoscaler scales something that does not exist", Severity: bulwark.SeverityLow, Category: "resources",
		Why:         "Under load, by many users or by an attacker, nothing scales.",
		Remediation: "Name the workload that was meant in scaleTargetRef, or delete the autoscaler.",
		References:  []string{"https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/"},
	},
	Reads: []Kind{{"autoscaling", "HorizontalPodAutoscaler"}}, Pods: true, Any: true, Absence: true, Local: true,
	Judge: func(ix *Index, emit emitter) {
		for _, o := range ix.Kind("autoscaling", "HorizontalPodAutoscaler") {
			ref := fields(ix.content(o), "spec", "scaleTargetRef")
			version, kind, name := text(ref, "apiVersion"), text(ref, "kind"), text(ref, "name")
			group := bulwark.ObjectRef{APIVersion: version}.Group()
			if ix.find(group, kind, space(o), name) != nil {
				emit(o, pass())
				continue
			}
			if why := ix.Unread(group, kind, space(o)); why != "" {
				emit(o, unknown(kind+" objects could not all be read: "+why))
				continue
			}
			r := fail("spec.scaleTargetRef", kind+" "+space(o)+"/"+name+" is not "+ix.here())
			r.Severity = ix.missing(bulwark.SeverityLow)
			emit(o, r)
		}
	},
})

var _ = add(Check{
	Meta: control.Meta{
		ID: "namespace-without-quota", Title: "No ResourceQuota limits a namespace", Severity: bulwark.SeverityLow, Category: "namespaces",
		Why:         "Whoever may create pods there, or break one that does, can take all memory and processors of the cluster.",
		Remediation: "Add a ResourceQuota for pods, requests and limits of cpu and memory.",
		References:  []string{"https://kubernetes.io/docs/concepts/policy/resource-quotas/"},
	},
	Reads: []Kind{{"", "ResourceQuota"}, {"", "Namespace"}}, Pods: true, Absence: true, Local: true,
	Judge: perNamespace(func(ix *Index, name string, _ *inventory.Object) control.Result {
		for _, o := range ix.in("", "ResourceQuota", name) {
			for key := range fields(ix.content(o), "spec", "hard") {
				if rations(key) {
					return pass()
				}
			}
		}
		return fail("", "namespace "+name+" has workloads and no ResourceQuota "+ix.here()+" that limits its pods, processors or memory")
	}),
})

// rations reports whether a key of a quota limits what pods can take. How many
// ConfigMaps or Services there may be does not.
func rations(key string) bool {
	return slices.Contains([]string{"pods", "count/pods", "cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"}, key)
}

var _ = add(Check{
	Meta: control.Meta{
		ID: "namespace-without-limit-range", Title: "No LimitRange sets limits in a namespace for containers without", Severity: bulwark.SeverityLow, Category: "namespaces",
		Why:         "A container without limits can starve all others on its node.",
		Remediation: "Add a LimitRange of type Container with default and defaultRequest for cpu and memory.",
		References:  []string{"https://kubernetes.io/docs/concepts/policy/limit-range/"},
	},
	Reads: []Kind{{"", "LimitRange"}, {"", "Namespace"}}, Pods: true, Absence: true, Local: true,
	Judge: perNamespace(func(ix *Index, name string, _ *inventory.Object) control.Result {
		for _, o := range ix.in("", "LimitRange", name) {
			if slices.ContainsFunc(list(ix.content(o), "spec", "limits"), bounds) {
				return pass()
			}
		}
		var without []*workload
		for _, w := range ix.workloads().spaces[name].pods {
			if slices.ContainsFunc(w.containers, func(c container) bool { return !c.limits }) {
				without = append(without, w)
			}
		}
		if len(without) == 0 {
			return skip("all its containers say what they need")
		}
		return fail("", "namespace "+name+": "+count(len(without), "workload")+" with containers without resources, and no LimitRange "+ix.here()+" that limits them", podRefs(without)...)
	}),
})

// bounds reports whether an item of a LimitRange gives containers a limit, or
// refuses pods without one.
func bounds(item any) bool {
	switch text(item, "type") {
	case "Container":
		return len(fields(item, "default"))+len(fields(item, "max")) > 0
	case "Pod":
		return len(fields(item, "max")) > 0
	}
	return false
}
