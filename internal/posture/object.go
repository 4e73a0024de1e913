package posture

import (
	"hash/maphash"
	"slices"
	"strings"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
)

// none stands in judged.verdicts where the control is not for the object.
const none bulwark.Verdict = 255

// judged is what the controls of one object say of it.
type judged struct {
	object *inventory.Object
	// verdicts are by the index of the control; nil where nothing was judged.
	verdicts []bulwark.Verdict
	// results are those that fail or are unknown and that the owner does not have.
	results []result
	// keys are of all that fail or are unknown, sorted; what it owns is folded by
	// them. nil where it owns nothing.
	keys []uint64
	// reasons are why controls do not apply.
	reasons []reason
	folded  int
	pods    bool // it has pod specifications
	problem *inventory.Problem
}

type result struct {
	control int
	// same tells whether another object has this finding too. It is set where there is
	// an owner or something owned.
	same uint64
	control.Result
}

type reason struct {
	control int
	why     string
}

// judge runs all Singles over one object. owner is nil where the object has none
// in the snapshot, and owns says that other objects have this one as theirs.
func (e *Engine) judge(o *inventory.Object, owner *judged, owns bool) *judged {
	j := &judged{object: o}
	s, err := control.NewSubject(o)
	if err != nil {
		j.problem = &inventory.Problem{Location: o.Locate(""), What: "cannot be judged: " + err.Error()}
		return j
	}
	j.pods = len(s.Pods) > 0
	if owner != nil && history(s, owner.object) {
		return j
	}
	j.verdicts = make([]bulwark.Verdict, len(e.opt.Single))
	for i, c := range e.opt.Single {
		results := one(c, s)
		if results == nil {
			j.verdicts[i] = none
			continue
		}
		j.add(i, results)
	}
	e.fold(j, s, owner, owns)
	return j
}

// one runs one control. A panic is unknown for this object, and no more: one
// control or one strange object must not end a scan.
func one(c control.Single, s *control.Subject) (out []control.Result) {
	defer func() {
		if r := recover(); r != nil {
			out = []control.Result{{
				Verdict: bulwark.VerdictUnknown, Reason: "the control broke down on this object",
				Message: "cannot be judged: the control broke down on this object",
			}}
		}
	}()
	if !c.Applies(s) {
		return nil
	}
	if out = c.Judge(s); len(out) == 0 {
		out = []control.Result{{Verdict: bulwark.VerdictUnknown, Reason: "the control said nothing"}}
	}
	return out
}

// add takes the results of control i.
func (j *judged) add(i int, results []control.Result) {
	v := bulwark.VerdictNotApplicable
	for _, r := range results {
		if worst(r.Verdict) > worst(v) {
			v = r.Verdict
		}
		switch r.Verdict {
		case bulwark.VerdictFail, bulwark.VerdictUnknown:
			if r.Key == "" {
				r.Key = defaultKey(&r)
			}
			j.results = append(j.results, result{control: i, Result: r})
		case bulwark.VerdictNotApplicable:
			j.reasons = append(j.reasons, reason{i, r.Reason})
		case bulwark.VerdictPass, bulwark.VerdictExcepted:
		}
	}
	j.verdicts[i] = v
}

// fold drops the results that the owner has too.
func (e *Engine) fold(j *judged, s *control.Subject, owner *judged, owns bool) {
	if owner != nil || owns {
		from := repositories(s, j.results)
		for i := range j.results {
			r := &j.results[i]
			r.same = e.key(r.control, &r.Result, from[r.Container])
		}
	}
	if owns {
		j.keys = make([]uint64, 0, len(j.results))
		for i := range j.results {
			j.keys = append(j.keys, j.results[i].same)
		}
		slices.Sort(j.keys)
	}
	if owner != nil && len(owner.keys) > 0 {
		before := len(j.results)
		j.results = slices.DeleteFunc(j.results, func(r result) bool {
			_, has := slices.BinarySearch(owner.keys, r.same)
			return has
		})
		j.folded = before - len(j.results)
	}
	// A copy of what is left: most of what pods say is folded, and as long as the slice
	// stands, so does the room for all of it.
	j.results = append([]result(nil), j.results...)
}

// key tells whether two objects have the same finding. The message is a part of
// it: the one in a pod that admission changed may tell of more. So is where the
// container's image comes from: what runs something else under the name of its
// owner's container has a finding of its own.
func (e *Engine) key(control int, r *control.Result, from string) uint64 {
	var h maphash.Hash
	h.SetSeed(e.seed)
	_ = h.WriteByte(byte(r.Verdict))
	_ = h.WriteByte(byte(r.Severity))
	for _, part := range []string{e.metas[control].ID, r.Key, r.Message} {
		_, _ = h.WriteString(part)
		_ = h.WriteByte(0)
	}
	_, _ = h.WriteString(from)
	return h.Sum64()
}

// repositories gives, by the names of the containers that results are about, where
// their images come from.
func repositories(s *control.Subject, results []result) map[string]string {
	if !slices.ContainsFunc(results, func(r result) bool { return r.Container != "" }) {
		return nil
	}
	out := map[string]string{}
	for i := range s.Pods {
		for _, c := range s.ContainersOf(i) {
			name, _ := c.Spec["name"].(string)
			image, _ := c.Spec["image"].(string)
			from := repository(image)
			if before, ok := out[name]; ok && before != from {
				from = before + " " + from
			}
			out[name] = from
		}
	}
	return out
}

// repository gives an image's name without tag and digest, which admission often
// pins, and with the registry that is meant where none is written.
func repository(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if colon := strings.LastIndexByte(image, ':'); colon > strings.LastIndexByte(image, '/') {
		image = image[:colon]
	}
	host, _, path := strings.Cut(image, "/")
	switch {
	case image == "":
		return ""
	case !path:
		return "docker.io/library/" + image
	case host != "localhost" && !strings.ContainsAny(host, ".:"):
		return "docker.io/" + image
	}
	return image
}

// defaultKey is the container, and else the field without its indexes and, within a
// pod template, from there on: so it is the same in a pod and in what made it.
func defaultKey(r *control.Result) string {
	if r.Container != "" {
		return r.Container
	}
	var b strings.Builder
	rest := r.Field
	for _, at := range []string{"spec.jobTemplate.spec.template.", "spec.template."} {
		rest = strings.TrimPrefix(rest, at)
	}
	for rest != "" {
		before, after, ok := strings.Cut(rest, "[")
		b.WriteString(before)
		if !ok {
			break
		}
		num, tail, ok := strings.Cut(after, "]")
		if !ok || strings.Trim(num, "0123456789") != "" {
			num, tail = num+"]", after[min(len(num)+1, len(after)):]
			b.WriteString("[" + num)
		}
		rest = tail
	}
	return b.String()
}

// history reports whether an object is a replica set that its deployment keeps to
// go back to. Pods that it still runs are judged as they are.
func history(s *control.Subject, owner *inventory.Object) bool {
	if s.Object.Kind != "ReplicaSet" || s.Object.Group() != "apps" || owner.Kind != "Deployment" || owner.Group() != "apps" {
		return false
	}
	spec, _ := s.Content["spec"].(map[string]any)
	n, ok := spec["replicas"].(int64)
	return ok && n == 0
}
