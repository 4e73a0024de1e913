package graph

import (
	"cmp"
	"slices"
	"strings"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
)

const volumeDocs = "https://kubernetes.io/docs/concepts/storage/persistent-volumes/"

var _ = add(Check{
	Meta: control.Meta{
		ID: "volume-claim-missing", Title: "A workload mounts a PersistentVolumeClaim that does not exist", Severity: bulwark.SeverityLow, Category: "storage",
		Why:         "Its pods do not start, and whoever may create a claim of that name decides which data they see.",
		Remediation: "Create the PersistentVolumeClaim, or name the one that was meant.",
		References:  []string{volumeDocs},
	},
	Reads: []Kind{{"", "PersistentVolumeClaim"}}, Pods: true, Absence: true, Local: true,
	Judge: func(ix *Index, emit emitter) {
		for _, w := range ix.workloads().all {
			asked, bad := false, false
			for _, v := range w.volumes {
				if v.claim == "" {
					continue
				}
				asked = true
				if ix.find("", "PersistentVolumeClaim", w.namespace, v.claim) != nil {
					continue
				}
				bad = true
				r := fail(v.path+".persistentVolumeClaim.claimName", "PersistentVolumeClaim "+w.namespace+"/"+v.claim+" is not "+ix.here())
				r.Key, r.Severity = "volume "+v.name, ix.missing(bulwark.SeverityLow)
				emit(w.obj, r)
			}
			if asked && !bad {
				emit(w.obj, pass())
			}
		}
	},
})

var _ = add(Check{
	Meta: control.Meta{
		ID: "volume-claim-unbound", Title: "A PersistentVolumeClaim has no volume", Severity: bulwark.SeverityLow, Category: "storage",
		Why:         "A claim that waits takes the first volume that fits, also one with somebody else's data on it or one that somebody made for it.",
		Remediation: "Make its StorageClass work, bind it with volumeName, or delete the claim.",
		References:  []string{volumeDocs},
	},
	Reads: []Kind{{"", "PersistentVolumeClaim"}, {"", "PersistentVolume"}, {"storage.k8s.io", "StorageClass"}}, Pods: true, Absence: true, Local: true,
	Judge: func(ix *Index, emit emitter) {
		waits := map[string]bool{}
		for _, o := range ix.Kind("storage.k8s.io", "StorageClass") {
			waits[o.Name] = text(ix.content(o), "volumeBindingMode") == "WaitForFirstConsumer"
		}
		used := map[target]bool{}
		for _, w := range ix.workloads().all {
			for _, v := range w.volumes {
				used[target{"PersistentVolumeClaim", w.namespace, v.claim}] = true
			}
		}
		for _, o := range ix.Kind("", "PersistentVolumeClaim") {
			content := ix.content(o)
			phase, class := text(content, "status", "phase"), text(content, "spec", "storageClassName")
			switch {
			case phase == "Lost":
				emit(o, fail("spec.volumeName", "its PersistentVolume "+text(content, "spec", "volumeName")+" is gone"))
			case phase == "Bound":
				emit(o, pass())
			case phase == "" && !ix.Facts.Live:
				emit(o, skip("only a cluster says whether it has a volume"))
			case waits[class] && !used[target{"PersistentVolumeClaim", space(o), o.Name}]:
				emit(o, skip("StorageClass "+class+" waits for a pod that uses it"))
			default:
				emit(o, fail("spec", "it is "+cmp.Or(phase, "without a phase")+" and has no volume"))
			}
		}
	},
})

var _ = add(Check{
	Meta: control.Meta{
		ID: "volume-class-missing", Title: "A PersistentVolumeClaim names a StorageClass that does not exist", Severity: bulwark.SeverityLow, Category: "storage",
		Why:         "The claim waits for any volume of that class name, and whoever may create one decides where the data lies and whether it is encrypted.",
		Remediation: "Name a StorageClass that exists.",
		References:  []string{volumeDocs},
	},
	Reads: []Kind{{"", "PersistentVolumeClaim"}, {"storage.k8s.io", "StorageClass"}, {"", "PersistentVolume"}}, Absence: true, Across: true, Local: true,
	Judge: func(ix *Index, emit emitter) {
		made := map[string]bool{} // the classes of volumes that somebody made by hand
		for _, o := range ix.Kind("", "PersistentVolume") {
			made[text(ix.content(o), "spec", "storageClassName")] = true
		}
		for _, o := range ix.Kind("", "PersistentVolumeClaim") {
			content := ix.content(o)
			class := text(content, "spec", "storageClassName")
			if class == "" || made[class] || text(content, "status", "phase") == "Bound" || text(content, "spec", "volumeName") != "" || ix.Find("storage.k8s.io", "StorageClass", "", class) != nil {
				emit(o, pass())
				continue
			}
			r := fail("spec.storageClassName", "StorageClass "+class+" is not "+ix.here())
			r.Severity = ix.missing(bulwark.SeverityLow)
			emit(o, r)
		}
	},
})

// folder is a folder of the node and who mounts it.
type folder struct {
	users   []*workload
	spaces  map[string]bool
	written bool
}

// others gives some of the users that are not of w's object, nor of its maker: its
// other pods run on other nodes or are the same program.
func (f *folder) others(w *workload) []*workload {
	var out []*workload
	for _, o := range f.users {
		if o.obj != w.obj && (w.obj.Owner == "" || o.obj.Owner != w.obj.Owner) {
			out = append(out, o)
		}
		if len(out) == 10 {
			break
		}
	}
	return out
}

var _ = add(Check{
	Meta: control.Meta{
		ID: "host-path-shared", Title: "Workloads share a folder of the node", Severity: bulwark.SeverityMedium, Category: "storage",
		Why:         "What one of them writes there the others read or run, past every network policy, from one namespace into the next.",
		Remediation: "Give each a PersistentVolumeClaim of its own, or mount the folder read-only in all but one.",
		References:  []string{"https://kubernetes.io/docs/concepts/storage/volumes/#hostpath"},
	},
	Pods: true, Across: true,
	Judge: func(ix *Index, emit emitter) {
		shared := map[string]*folder{}
		for _, w := range ix.workloads().all {
			seen := map[string]bool{}
			for _, v := range w.volumes {
				if v.hostPath == "" {
					continue
				}
				f := shared[v.hostPath]
				if f == nil {
					f = &folder{spaces: map[string]bool{}}
					shared[v.hostPath] = f
				}
				f.written = f.written || !v.readOnly
				if !seen[v.hostPath] {
					seen[v.hostPath] = true
					f.spaces[w.namespace] = true
					f.users = append(f.users, w)
				}
			}
		}
		for _, w := range ix.workloads().all {
			asked, bad := false, false
			for _, v := range w.volumes {
				if v.hostPath == "" {
					continue
				}
				asked = true
				p := v.hostPath
				f := shared[p]
				others := f.others(w)
				if len(others) == 0 || !f.written {
					continue
				}
				bad = true
				r := fail(v.path+".hostPath.path", p+" of the node is also mounted by "+others[0].obj.String()+", and at least one of them writes there", podRefs(others)...)
				r.Key = "hostPath " + p
				if len(f.spaces) > 1 && !system(w.namespace) {
					r.Severity = bulwark.SeverityHigh
				}
				emit(w.obj, r)
			}
			if asked && !bad {
				emit(w.obj, pass())
			}
		}
	},
})

var _ = add(Check{
	Meta: control.Meta{
		ID: "volume-claim-shared", Title: "Workloads of different ServiceAccounts share a volume", Severity: bulwark.SeverityMedium, Category: "storage",
		Why:         "The weaker of them writes what the stronger reads or runs, so both have the rights of the stronger.",
		Remediation: "Give each its own claim, or mount the volume read-only in all but one.",
		References:  []string{volumeDocs},
	},
	Reads: []Kind{{"", "PersistentVolumeClaim"}}, Pods: true, Local: true,
	Judge: func(ix *Index, emit emitter) {
		type sharing struct {
			users   []*workload
			writers int
		}
		by := map[target]*sharing{}
		for _, w := range ix.workloads().all {
			for _, v := range w.volumes {
				if v.claim == "" {
					continue
				}
				t := target{"PersistentVolumeClaim", w.namespace, v.claim}
				if by[t] == nil {
					by[t] = &sharing{}
				}
				by[t].users = append(by[t].users, w)
				if !v.readOnly {
					by[t].writers++
				}
			}
		}
		for _, o := range ix.Kind("", "PersistentVolumeClaim") {
			s := by[target{"PersistentVolumeClaim", space(o), o.Name}]
			if s == nil {
				continue
			}
			accounts := map[string]bool{}
			for _, w := range s.users {
				accounts[w.account] = true
			}
			if len(accounts) < 2 || s.writers == 0 {
				emit(o, pass())
				continue
			}
			names := make([]string, 0, len(s.users))
			for _, w := range s.users {
				names = append(names, w.obj.String()+" as "+w.account)
			}
			emit(o, fail("spec", "it is mounted by "+some(names), podRefs(s.users)...))
		}
	},
})

// savers are the objects by which backups run.
func saverKinds() []Kind {
	return []Kind{
		{"velero.io", "Schedule"},
		{"snapscheduler.backube", "SnapshotSchedule"},
		{"longhorn.io", "RecurringJob"},
		{"k8up.io", "Schedule"},
		{"stash.appscode.com", "BackupConfiguration"},
		{"config.kio.kasten.io", "Policy"},
		{"cr.kanister.io", "Blueprint"},
		{"volsync.backube", "ReplicationSource"},
		{"postgresql.cnpg.io", "ScheduledBackup"},
		{"snapshot.storage.k8s.io", "VolumeSnapshot"},
	}
}

var savers = []string{"velero", "restic", "kopia", "borg", "pg_dump", "pgdump", "mysqldump", "mongodump", "backup", "rclone", "wal-g"} //nolint:gochecknoglobals // never changed

// saved says whether anything saves the volumes of a namespace, and whom it says
// so of.
func (ix *Index) saved(namespace string) *inventory.Object {
	for _, k := range saverKinds() {
		all := ix.in(k.Group, k.Kind, namespace)
		if k.Group == "velero.io" || k.Group == "config.kio.kasten.io" || k.Group == "longhorn.io" {
			all = ix.Kind(k.Group, k.Kind) // they stand in a namespace of their own
		}
		for _, o := range all {
			if k.Group != "velero.io" || scheduled(ix.content(o), namespace) {
				return o
			}
		}
	}
	crowd := ix.workloads().spaces[namespace]
	if crowd == nil {
		return nil
	}
	for _, w := range crowd.pods {
		if w.obj.Kind != "CronJob" || truth(ix.content(w.obj), "spec", "suspend") {
			continue
		}
		for _, c := range w.containers {
			words := strings.ToLower(w.obj.Name + " " + c.image + " " + strings.Join(c.args, " "))
			if slices.ContainsFunc(savers, func(s string) bool { return strings.Contains(words, s) }) {
				return w.obj
			}
		}
	}
	return nil
}

// scheduled reports whether a Velero schedule runs and takes a namespace in.
func scheduled(content map[string]any, namespace string) bool {
	in, out := texts(content, "spec", "template", "includedNamespaces"), texts(content, "spec", "template", "excludedNamespaces")
	return !truth(content, "spec", "paused") && !slices.Contains(out, namespace) &&
		(len(in) == 0 || slices.Contains(in, "*") || slices.Contains(in, namespace))
}

var _ = add(Check{
	Meta: control.Meta{
		ID: "stateful-workload-without-backup", Title: "Nothing saves the data of a stateful workload", Severity: bulwark.SeverityMedium, Category: "backup",
		Why:         "Whoever deletes or encrypts the volumes, or a mistake that does, takes the data for good.",
		Remediation: "Add a schedule of Velero or of your storage for the namespace, keep it where the cluster cannot delete it, and try the restore.",
	},
	Reads: append(saverKinds(), Kind{"", "PersistentVolumeClaim"}), Pods: true, Absence: true, Across: true, Local: true,
	Judge: func(ix *Index, emit emitter) {
		known := map[string]*inventory.Object{}
		for _, w := range ix.workloads().all {
			field := ""
			if len(w.claims) > 0 {
				field = "spec.volumeClaimTemplates"
			}
			for _, v := range w.volumes {
				if v.claim != "" && !v.readOnly {
					field = cmp.Or(field, v.path)
				}
			}
			if field == "" || w.obj.Kind == "CronJob" || w.obj.Kind == "Job" {
				continue
			}
			by, seen := known[w.namespace]
			if !seen {
				by = ix.saved(w.namespace)
				known[w.namespace] = by
			}
			if by != nil {
				r := pass()
				r.Related = []bulwark.ObjectRef{by.ObjectRef}
				emit(w.obj, r)
				continue
			}
			r := fail(field, "it keeps data in volumes, and no backup schedule for namespace "+w.namespace+" is "+ix.here())
			r.Key, r.Severity = "backup", ix.missing(bulwark.SeverityMedium)
			emit(w.obj, r)
		}
	},
})
