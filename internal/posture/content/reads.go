package content

import (
	"hash/maphash"
	"math"
	"math/bits"
	"slices"
	"strings"

	"github.com/google/cel-go/common/ast"

	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
)

// reads are the fields that the expressions of a control look at. An expression is
// a function of them and of nothing else, so where they are the same, so is the
// verdict: the pods of a replica set are judged once (see memo).
type reads struct {
	container, pod, meta, object uint64 // bits of the fields in the lists below
	// unknown: something else of the object is read.
	unknown bool
}

// whole stands for all fields.
const whole = 63

// The fields that are told apart. What is not among them reads the whole.
var (
	containerFields = []string{ //nolint:gochecknoglobals // constant
		"name", "image", "command", "args", "workingDir", "ports", "envFrom", "env", "resources", "resizePolicy", "restartPolicy",
		"restartPolicyRules", "volumeMounts", "volumeDevices", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle",
		"terminationMessagePath", "terminationMessagePolicy", "imagePullPolicy", "securityContext", "stdin", "stdinOnce", "tty",
		"targetContainerName",
	}
	podFields = []string{ //nolint:gochecknoglobals // constant
		"volumes", "initContainers", "containers", "ephemeralContainers", "restartPolicy", "terminationGracePeriodSeconds",
		"activeDeadlineSeconds", "dnsPolicy", "nodeSelector", "serviceAccountName", "serviceAccount", "automountServiceAccountToken",
		"nodeName", "hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "securityContext", "imagePullSecrets", "hostname",
		"subdomain", "affinity", "schedulerName", "tolerations", "hostAliases", "priorityClassName", "priority", "dnsConfig",
		"readinessGates", "runtimeClassName", "enableServiceLinks", "preemptionPolicy", "overhead", "topologySpreadConstraints",
		"setHostnameAsFQDN", "os", "hostUsers", "schedulingGates", "resourceClaims", "resources", "hostnameOverride",
	}
	metaFields   = []string{"namespace", "labels", "annotations", "ownerReferences", "name", "generateName"}                                   //nolint:gochecknoglobals // constant
	objectFields = []string{"kind", "apiVersion", "metadata.namespace", "metadata.labels", "metadata.annotations", "metadata.ownerReferences"} //nolint:gochecknoglobals // constant
)

func bit(fields []string, name string) uint64 {
	if i := slices.Index(fields, name); i >= 0 {
		return 1 << i
	}
	return 1 << whole
}

// add collects what an expression looks at.
func (r *reads) add(tree *ast.AST) {
	known := map[int64]bool{} // roots whose field is known
	ast.PreOrderVisit(tree.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if of, name, ok := control.Field(e); ok {
			r.field(of, name, known)
		}
		if e.Kind() != ast.IdentKind || known[e.ID()] {
			return
		}
		switch e.AsIdent() {
		case "container":
			r.container |= 1 << whole
		case "object", "variables":
			r.unknown = true
		}
	}))
}

func (r *reads) field(of ast.Expr, name string, known map[int64]bool) {
	switch of.Kind() { //nolint:exhaustive // the others are looked into by field
	case ast.IdentKind:
		switch of.AsIdent() {
		case "container":
			known[of.ID()] = true
			r.container |= bit(containerFields, name)
		case "object":
			if name == "kind" || name == "apiVersion" {
				known[of.ID()] = true
				r.object |= bit(objectFields, name)
			}
		case "variables":
			known[of.ID()] = true
			switch name {
			case "pod":
				if !known[-of.ID()] {
					r.pod |= 1 << whole
				}
			case "podMetadata":
				if !known[-of.ID()] {
					r.meta |= 1 << whole
				}
			case "containers":
				r.pod |= bit(podFields, "initContainers") | bit(podFields, "containers") | bit(podFields, "ephemeralContainers")
			case "args":
				r.container |= bit(containerFields, "command") | bit(containerFields, "args")
			}
		}
	default:
		root, first, ok := control.Field(of)
		if !ok || root.Kind() != ast.IdentKind {
			return
		}
		// The visit comes to the inner selection after this one.
		switch root.AsIdent() + "." + first {
		case "variables.pod":
			known[-root.ID()] = true
			r.pod |= bit(podFields, name)
		case "variables.podMetadata":
			known[-root.ID()] = true
			r.meta |= bit(metaFields, name)
		case "object.metadata":
			if b := bit(objectFields, "metadata."+name); b != 1<<whole {
				known[root.ID()] = true
				r.object |= b
			}
		}
	}
}

// prepared is what all controls of content share about one object.
type prepared struct {
	longest  int      // list or object in it
	text     int      // bytes of the longest string
	places   int      // pods and containers
	endless  bool     // there is a text of which inventory.Endless is true
	commands []string // that its containers run
	object   []uint64
	pods     []preparedPod
}

type preparedPod struct {
	spec, meta []uint64
	all        []any // the containers, for variables.containers
	containers []preparedContainer
}

type preparedContainer struct {
	hashes []uint64
	args   []any
}

func prepare(s *control.Subject) *prepared {
	if p, ok := s.Prepared.(*prepared); ok {
		return p
	}
	p := &prepared{pods: make([]preparedPod, len(s.Pods)), places: len(s.Pods)}
	n := len(objectFields)
	for i := range s.Pods {
		n += len(podFields) + len(metaFields) + 2 + (len(containerFields)+1)*len(s.ContainersOf(i))
	}
	// One piece of memory for all: there are many objects.
	slots := make([]uint64, n)
	take := func(n int) []uint64 {
		out := slots[:n:n]
		slots = slots[n:]
		return out
	}
	p.measure(s.Content)
	p.object = take(len(objectFields))
	for i := range s.Pods {
		pod := &p.pods[i]
		pod.spec, pod.meta = take(len(podFields)+1), take(len(metaFields)+1)
		for _, k := range s.ContainersOf(i) {
			p.commands = append(p.commands, command(k.Spec))
		}
		pod.containers = make([]preparedContainer, len(s.ContainersOf(i)))
		p.places += len(pod.containers)
		for k := range pod.containers {
			pod.containers[k].hashes = take(len(containerFields) + 1)
		}
	}
	s.Prepared = p
	return p
}

// measure finds the longest list and string, and quantities without an end.
func (p *prepared) measure(v any) {
	switch v := v.(type) {
	case string:
		p.text = max(p.text, len(v))
		p.endless = p.endless || inventory.Endless(v)
	case []any:
		p.longest = max(p.longest, len(v))
		for _, e := range v {
			p.measure(e)
		}
	case map[string]any:
		p.longest = max(p.longest, len(v))
		for _, e := range v {
			p.measure(e)
		}
	}
}

// sum mixes the hashes of the fields that mask names; slots keep them.
func sum(h, mask uint64, names []string, slots []uint64, of map[string]any) uint64 {
	for m := mask; m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m)
		if i == whole {
			i = len(names)
		}
		v := slots[i]
		if v == 0 {
			if i == len(names) {
				v = hash(of) | 1
			} else {
				v = hashField(of, names[i]) | 1
			}
			slots[i] = v
		}
		h = mix(h, v)
	}
	return h
}

// sumObject is sum over the fields of the object itself.
func (p *prepared) sumObject(h, mask uint64, content map[string]any) uint64 {
	for m := mask; m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m)
		if p.object[i] == 0 {
			var v uint64
			name, within := strings.CutPrefix(objectFields[i], "metadata.")
			metadata, ok := content["metadata"].(map[string]any)
			switch {
			case within && ok:
				v = hashField(metadata, name)
			case within:
				v = mix(0x5, hashField(content, "metadata"))
			default:
				v = hashField(content, name)
			}
			p.object[i] = v | 1
		}
		h = mix(h, p.object[i])
	}
	return h
}

// The seed and the keys are not known outside, so nobody can make two values of one
// hash.
var (
	seed  = maphash.MakeSeed()                               //nolint:gochecknoglobals // constant of the process
	first = maphash.String(seed, "of what is there already") //nolint:gochecknoglobals // as above
	next  = maphash.String(seed, "of what comes")            //nolint:gochecknoglobals // as above
)

// mix puts v behind h. The fields of an object are added up, so what comes of one
// must say nothing of what comes of another: a rotation and a product let two
// switches that change places, {a: true, b: false} and {a: false, b: true}, have
// one sum. The folded product of both with secret keys does not.
func mix(h, v uint64) uint64 {
	high, low := bits.Mul64(h^first, v^next)
	return high ^ low
}

// hashField tells a field that is not there from one that is null, as has does.
func hashField(of map[string]any, name string) uint64 {
	v, ok := of[name]
	if !ok {
		return 0x3
	}
	return hash(v)
}

// hash gives a hash of a JSON value.
func hash(v any) uint64 {
	switch v := v.(type) {
	case nil:
		return 0x1
	case bool:
		if v {
			return 0x7c15_0001_0000_0003
		}
		return 0x7c15_0001_0000_0005
	case string:
		return maphash.String(seed, v)
	case int64:
		return mix(0x11, maphash.Comparable(seed, v))
	case float64:
		return mix(0x13, maphash.Comparable(seed, math.Float64bits(v)))
	case []any:
		h := uint64(0x17)
		for _, e := range v {
			h = mix(h, hash(e))
		}
		return mix(h, uint64(len(v)))
	case map[string]any:
		h := uint64(0x1d)
		for k, e := range v {
			h += mix(maphash.String(seed, k), hash(e)) // in any order
		}
		return mix(h, uint64(len(v)))
	}
	return maphash.Comparable(seed, v)
}
