package graph

import (
	"bytes"
	"cmp"
	"maps"
	"path"
	"runtime"
	"slices"
	"sync"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// workload is a pod template that nothing else in the snapshot made: a
// Deployment, and not its ReplicaSet and Pods.
type workload struct {
	obj       *inventory.Object
	namespace string
	path      string // of the pod specification
	meta      string // path of the pods' metadata, "" where they have none
	labels    map[string]string
	notes     map[string]string // annotations of the pods
	replicas  int64             // -1 where that is no question, as for a DaemonSet
	account   string            // ServiceAccount
	token     *bool             // automountServiceAccountToken
	hostNet   bool
	hostPID   bool
	hostIPC   bool

	containers []container
	volumes    []volume
	refs       []use
	claims     []claim // templates of a StatefulSet
}

type container struct {
	name, path, image string
	console           string // the administration page that the image has, see console
	args              []string
	privileged        bool
	ports             []port
	limits            bool // anything in resources
}

type port struct {
	name, protocol string
	number         int64
}

type volume struct {
	name, path, hostPath, claim string
	readOnly                    bool // by every mount
	projected                   bool // has a ServiceAccount token
}

type claim struct{ name, path, class string }

// target names a Secret, a ConfigMap or another object that is referred to.
type target struct{ kind, namespace, name string }

// use is a place that refers to a target.
type use struct {
	target
	by        *inventory.Object
	field     string
	container string
	key       string // the entry of a ConfigMap or Secret, "" for all
	optional  bool
}

func (w *workload) ref() bulwark.ObjectRef { return w.obj.ObjectRef }

// load is all workloads, and how to find them by label.
type load struct {
	all    []*workload // by namespace, and there what was made by others last
	spaces map[string]*crowd
	byObj  map[*inventory.Object][]*workload // of a view only
}

// crowd is the workloads of one namespace.
type crowd struct {
	pods  []*workload
	label map[[2]string][]*workload
}

// find gives those that a selector picks.
func (c *crowd) find(s *selector) []*workload {
	if c == nil || s.bad != "" {
		return nil
	}
	var out []*workload
	for _, w := range c.narrow(s) {
		if s.matches(w.labels) {
			out = append(out, w)
		}
	}
	return out
}

// first gives one that a selector picks, or nil. It does not look far.
func (c *crowd) first(s *selector) *workload {
	const far = 200
	from := c.narrow(s)
	for _, w := range from[:min(len(from), far)] {
		if s.matches(w.labels) {
			return w
		}
	}
	return nil
}

// narrow gives the shortest list of those that a selector could pick.
func (c *crowd) narrow(s *selector) []*workload {
	from := c.pods
	for i := range s.needs {
		n := &s.needs[i]
		if n.op != opIn || len(n.values) != 1 {
			continue
		}
		if some := c.label[[2]string{n.key, n.values[0]}]; len(some) < len(from) {
			from = some
		}
	}
	return from
}

// picks reports whether a selector picks anything of the crowd.
func (c *crowd) picks(s *selector) bool {
	return c != nil && s.bad == "" && slices.ContainsFunc(c.narrow(s), func(w *workload) bool { return s.matches(w.labels) })
}

func (ix *Index) workloads() *load {
	return ix.load.get(func() *load {
		if ix.whole != nil {
			return ix.buildLoad()
		}
		l := &load{spaces: map[string]*crowd{}}
		for _, v := range ix.all().list {
			l.all = append(l.all, v.workloads().all...)
			maps.Copy(l.spaces, v.workloads().spaces)
		}
		return l
	})
}

// carries reports whether an object may have a pod template, without decoding it.
// A key can be written with escapes, so any escape makes it worth a look.
func carries(o *inventory.Object) bool {
	return bytes.Contains(o.Raw(), []byte(`"containers"`)) || bytes.Contains(o.Raw(), []byte(`\u`))
}

// families finds the objects with pod templates and which of them another one of
// their namespace has made, which is where owners are: roots maps each of the latter
// to the first of its line.
func (ix *Index) families() (tops, made []*inventory.Object, roots map[*inventory.Object]*inventory.Object) {
	maker := map[string]*inventory.Object{}
	var all []*inventory.Object
	for _, o := range ix.Objects() {
		if carries(o) {
			all = append(all, o)
			if o.UID != "" {
				maker[o.UID] = o
			}
		}
	}
	roots = map[*inventory.Object]*inventory.Object{}
	for _, o := range all {
		root := o
		// Owners come from the object itself: in files anybody can write anything
		// there, and even in a cluster the line must end.
		const longest = 8
		for range longest {
			if up := maker[root.Owner]; ix.Facts.Live && root.Owner != "" && up != nil && up != root {
				root = up
				continue
			}
			break
		}
		if root == o || maker[root.Owner] != nil {
			tops = append(tops, o)
			continue
		}
		made = append(made, o)
		roots[o] = root
	}
	return tops, made, roots
}

func (ix *Index) buildLoad() *load {
	l := &load{spaces: map[string]*crowd{}, byObj: map[*inventory.Object][]*workload{}}
	tops, made, roots := ix.families()
	pool := newWords()
	for _, some := range ix.readAll(tops, pool, func(*inventory.Object) bool { return true }) {
		l.put(some)
	}
	// What looks like its maker says is judged there. All else stands for itself:
	// an owner that is made up hides nothing.
	rest := ix.readAll(made, pool, func(o *inventory.Object) bool { return !ix.alike(o, l.byObj[roots[o]]) })
	for _, some := range rest {
		l.put(some)
	}
	return l
}

// readAll reads the objects that are wanted, in order, on all processors: decoding
// is most of the time that all checks take together.
func (ix *Index) readAll(all []*inventory.Object, pool *words, wanted func(*inventory.Object) bool) [][]*workload {
	out := make([][]*workload, len(all))
	var wait sync.WaitGroup
	lanes := runtime.GOMAXPROCS(0)
	for lane := range lanes {
		wait.Go(func() {
			for i := lane; i < len(all); i += lanes {
				if wanted(all[i]) {
					out[i] = ix.readWorkloads(all[i], pool)
				}
			}
		})
	}
	wait.Wait()
	return out
}

func (l *load) put(some []*workload) {
	for _, w := range some {
		l.all = append(l.all, w)
		l.byObj[w.obj] = append(l.byObj[w.obj], w)
		c := l.spaces[w.namespace]
		if c == nil {
			c = &crowd{label: map[[2]string][]*workload{}}
			l.spaces[w.namespace] = c
		}
		c.pods = append(c.pods, w)
		for k, v := range w.labels {
			c.label[[2]string{k, v}] = append(c.label[[2]string{k, v}], w)
		}
	}
}

func (ix *Index) readWorkloads(o *inventory.Object, pool *words) []*workload {
	return keep(ix, o, func() []*workload {
		content := ix.content(o)
		if content == nil {
			return nil
		}
		var out []*workload
		for _, t := range inventory.PodTemplates(content) {
			w := readWorkload(o, content, &t)
			w.detach(pool)
			out = append(out, w)
		}
		return out
	})
}

func readWorkload(o *inventory.Object, content map[string]any, t *inventory.PodTemplate) *workload {
	w := &workload{
		obj: o, namespace: space(o), path: t.Path, meta: t.MetadataPath, replicas: -1,
		labels: labels(t.Metadata, "labels"), notes: labels(t.Metadata, "annotations"),
		account: cmp.Or(text(t.Spec, "serviceAccountName"), text(t.Spec, "serviceAccount"), "default"),
		hostNet: truth(t.Spec, "hostNetwork"), hostPID: truth(t.Spec, "hostPID"), hostIPC: truth(t.Spec, "hostIPC"),
	}
	if b, ok := at(t.Spec, "automountServiceAccountToken").(bool); ok {
		w.token = &b
	}
	if n, ok := number(content, "spec", "replicas"); ok && o.Kind != "Pod" {
		w.replicas = n
	} else if slices.Contains([]string{"Deployment", "StatefulSet", "ReplicaSet"}, o.Kind) {
		w.replicas = 1
	}
	for i, c := range list(content, "spec", "volumeClaimTemplates") {
		w.claims = append(w.claims, claim{text(c, "metadata", "name"), item("spec.volumeClaimTemplates", i), text(c, "spec", "storageClassName")})
	}
	w.readContainers(t)
	w.readVolumes(t)
	for i, s := range list(t.Spec, "imagePullSecrets") {
		w.refer("Secret", text(s, "name"), "", item(t.Path+".imagePullSecrets", i)+".name", "", false)
	}
	return w
}

func (w *workload) refer(kind, name, key, field, container string, optional bool) {
	if name == "" {
		return
	}
	w.refs = append(w.refs, use{target{kind, w.namespace, name}, w.obj, field, container, key, optional})
}

func (w *workload) readContainers(t *inventory.PodTemplate) {
	for _, c := range t.Containers() {
		one := container{
			name: text(c.Spec, "name"), path: c.Path, image: text(c.Spec, "image"),
			console:    console(text(c.Spec, "image")),
			args:       append(texts(c.Spec, "command"), texts(c.Spec, "args")...),
			privileged: truth(c.Spec, "securityContext", "privileged"),
			limits:     len(fields(c.Spec, "resources")) > 0,
		}
		for _, p := range list(c.Spec, "ports") {
			n, _ := number(p, "containerPort")
			one.ports = append(one.ports, port{text(p, "name"), cmp.Or(text(p, "protocol"), "TCP"), n})
		}
		w.containers = append(w.containers, one)
		for i, e := range list(c.Spec, "env") {
			path := item(c.Path+".env", i) + ".valueFrom"
			s, m := at(e, "valueFrom", "secretKeyRef"), at(e, "valueFrom", "configMapKeyRef")
			w.refer("Secret", text(s, "name"), text(s, "key"), path+".secretKeyRef", one.name, truth(s, "optional"))
			w.refer("ConfigMap", text(m, "name"), text(m, "key"), path+".configMapKeyRef", one.name, truth(m, "optional"))
		}
		for i, e := range list(c.Spec, "envFrom") {
			path := item(c.Path+".envFrom", i)
			s, m := at(e, "secretRef"), at(e, "configMapRef")
			w.refer("Secret", text(s, "name"), "", path+".secretRef", one.name, truth(s, "optional"))
			w.refer("ConfigMap", text(m, "name"), "", path+".configMapRef", one.name, truth(m, "optional"))
		}
	}
}

// nodePath gives a path of the node in one form, "" for none: the API takes "//etc/."
// for /etc.
func nodePath(p string) string {
	if p == "" {
		return ""
	}
	return path.Clean("/" + p)
}

func (w *workload) readVolumes(t *inventory.PodTemplate) {
	readOnly := map[string]bool{}
	for _, c := range t.Containers() {
		for _, m := range list(c.Spec, "volumeMounts") {
			name := text(m, "name")
			before, seen := readOnly[name]
			readOnly[name] = truth(m, "readOnly") && (before || !seen)
		}
	}
	for i, v := range list(t.Spec, "volumes") {
		path := item(t.Path+".volumes", i)
		one := volume{
			name: text(v, "name"), path: path, hostPath: nodePath(text(v, "hostPath", "path")),
			claim:    text(v, "persistentVolumeClaim", "claimName"),
			readOnly: readOnly[text(v, "name")] || truth(v, "persistentVolumeClaim", "readOnly"),
		}
		s, m := at(v, "secret"), at(v, "configMap")
		w.refer("Secret", text(s, "secretName"), "", path+".secret", "", truth(s, "optional"))
		w.refer("ConfigMap", text(m, "name"), "", path+".configMap", "", truth(m, "optional"))
		for j, p := range list(v, "projected", "sources") {
			sub := item(path+".projected.sources", j)
			s, m := at(p, "secret"), at(p, "configMap")
			w.refer("Secret", text(s, "name"), "", sub+".secret", "", truth(s, "optional"))
			w.refer("ConfigMap", text(m, "name"), "", sub+".configMap", "", truth(m, "optional"))
			one.projected = one.projected || at(p, "serviceAccountToken") != nil
		}
		// Every other source that names a Secret does it in one of these fields.
		for _, source := range slices.Sorted(maps.Keys(fields(v))) {
			for _, f := range []string{"secretRef", "nodePublishSecretRef"} {
				w.refer("Secret", text(v, source, f, "name"), "", path+"."+source+"."+f, "", false)
			}
			if source == "azureFile" {
				w.refer("Secret", text(v, source, "secretName"), "", path+".azureFile.secretName", "", false)
			}
		}
		w.volumes = append(w.volumes, one)
	}
}

// holdsToken reports whether the pods are given a token of their ServiceAccount.
// account is the ServiceAccount's content, nil where it is not there.
func (w *workload) holdsToken(account map[string]any) bool {
	if w.projectsToken() {
		return true
	}
	if w.token != nil {
		return *w.token
	}
	if b, ok := at(account, "automountServiceAccountToken").(bool); ok {
		return b
	}
	return true
}

// saysToken reports whether the pods say themselves if they are given a token.
func (w *workload) saysToken() bool { return w.token != nil || w.projectsToken() }

// projectsToken reports whether a volume of the pods holds a token.
func (w *workload) projectsToken() bool {
	return slices.ContainsFunc(w.volumes, func(v volume) bool { return v.projected })
}
