package inventory

import "maps"

func defaultDeployment(spec map[string]any) {
	if spec == nil {
		return
	}
	fillNil(spec, "replicas", int64(1))
	fillNil(spec, "revisionHistoryLimit", int64(10))
	fillNil(spec, "progressDeadlineSeconds", int64(600))
	strategy := need(spec, "strategy")
	fill(strategy, "type", "RollingUpdate")
	if strategy["type"] == "RollingUpdate" {
		rolling := need(strategy, "rollingUpdate")
		fillNil(rolling, "maxUnavailable", "25%")
		fillNil(rolling, "maxSurge", "25%")
	}
}

func defaultDaemonSet(spec map[string]any) {
	if spec == nil {
		return
	}
	fillNil(spec, "revisionHistoryLimit", int64(10))
	strategy := need(spec, "updateStrategy")
	fill(strategy, "type", "RollingUpdate")
	if strategy["type"] == "RollingUpdate" {
		rolling := need(strategy, "rollingUpdate")
		fillNil(rolling, "maxUnavailable", int64(1))
		fillNil(rolling, "maxSurge", int64(0))
	}
}

func defaultStatefulSet(spec map[string]any) {
	if spec == nil {
		return
	}
	fill(spec, "podManagementPolicy", "OrderedReady")
	fillNil(spec, "replicas", int64(1))
	fillNil(spec, "revisionHistoryLimit", int64(10))
	strategy := need(spec, "updateStrategy")
	if zero(strategy["type"]) {
		fill(strategy, "type", "RollingUpdate")
		need(strategy, "rollingUpdate")
	}
	if strategy["type"] == "RollingUpdate" {
		fillNil(object(strategy, "rollingUpdate"), "partition", int64(0))
	}
	keep := need(spec, "persistentVolumeClaimRetentionPolicy")
	fill(keep, "whenDeleted", "Retain")
	fill(keep, "whenScaled", "Retain")
	each(spec, "volumeClaimTemplates", func(claim map[string]any) { defaultClaim(object(claim, "spec")) })
}

func defaultReplicationController(c map[string]any) {
	spec := object(c, "spec")
	fillNil(spec, "replicas", int64(1))
	labels := object(object(object(spec, "template"), "metadata"), "labels")
	if labels == nil {
		return
	}
	if selector, ok := spec["selector"].(map[string]any); spec["selector"] == nil || ok && len(selector) == 0 {
		spec["selector"] = maps.Clone(labels)
	}
	labelsFromTemplate(c, spec)
}

// labelsFromTemplate gives an object without labels those of its pods, which the
// oldest workload kinds do.
func labelsFromTemplate(c, spec map[string]any) {
	labels := object(object(object(spec, "template"), "metadata"), "labels")
	meta := object(c, "metadata")
	if labels == nil || meta == nil {
		return
	}
	if own, ok := meta["labels"].(map[string]any); meta["labels"] == nil || ok && len(own) == 0 {
		meta["labels"] = maps.Clone(labels)
	}
}

func defaultCronJob(spec map[string]any) {
	fill(spec, "concurrencyPolicy", "Allow")
	fillNil(spec, "suspend", false)
	fillNil(spec, "successfulJobsHistoryLimit", int64(3))
	fillNil(spec, "failedJobsHistoryLimit", int64(1))
}

func defaultClaim(spec map[string]any) {
	fillNil(spec, "volumeMode", "Filesystem")
}

// defaultVolume is for a PersistentVolume.
func defaultVolume(spec map[string]any) {
	fill(spec, "persistentVolumeReclaimPolicy", "Retain")
	fillNil(spec, "volumeMode", "Filesystem")
	defaultVolumeSource(spec)
}
