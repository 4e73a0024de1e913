package posture

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/content"
	"bulwark.dev/bulwark/internal/posture/control"
)

// told is a finding with the object that it stands in, nil for the cluster.
type told struct {
	bulwark.Finding
	object *inventory.Object
	shared []bulwark.ObjectRef // Report.Shared
}

// report puts together what was said.
func (r *run) report(ctx context.Context) (*Report, error) {
	e := r.e
	out := &Report{
		Objects: len(r.snap.Objects()), Facts: r.snap.Facts,
		Unreadable: r.snap.Unreadable, Problems: slices.Clone(r.snap.Problems), Tallies: make([]Tally, len(e.metas)),
	}
	for i, m := range e.metas {
		out.Tallies[i].Meta = m
	}
	var all []told
	for _, o := range r.snap.Objects() {
		j := r.judged[o]
		if r.family.parent(o) == nil || !nameless(o) {
			all = r.own(all, j)
		}
		if of := r.family.children(o); len(of) > 0 {
			var folded int
			all, folded = r.siblings(all, of)
			out.Folded += folded
		}
		out.Folded += j.folded
		r.tally(out.Tallies, j)
		if j.problem != nil {
			out.Problems = append(out.Problems, *j.problem)
		}
	}
	r.tallyMade(out.Tallies, all)
	for i := range r.joint {
		var folded int
		all, folded = r.jointly(all, &out.Tallies[len(e.opt.Single)+i], i)
		out.Folded += folded
	}
	r.unread(out.Tallies)
	r.components(out.Tallies)
	slices.SortFunc(out.Tallies, func(a, b Tally) int { return strings.Compare(a.ID, b.ID) })

	err := e.each(ctx, len(all), 64, func(i int) {
		if all[i].object != nil {
			all[i].Location = all[i].object.Locate(all[i].Field)
		}
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b told) int { return order(&a.Finding, &b.Finding) })
	out.Findings = make([]bulwark.Finding, len(all))
	for i := range all {
		out.Findings[i] = all[i].Finding
	}
	number(out.Findings)
	for i := range all {
		if len(all[i].shared) > 0 {
			if out.Shared == nil {
				out.Shared = map[string][]bulwark.ObjectRef{}
			}
			out.Shared[out.Findings[i].Fingerprint] = all[i].shared
		}
	}
	return out, nil
}

// own appends the findings of an object that has a name for people.
func (r *run) own(all []told, j *judged) []told {
	for i := range j.results {
		res := &j.results[i]
		f := r.e.finding(res.control, j.object, &res.Result)
		f.Fingerprint = Fingerprint(f.Control, j.object.ObjectRef, res.Key)
		all = append(all, told{Finding: f, object: j.object})
	}
	return all
}

// siblings appends the findings of the nameless objects that one owner made, each
// once, with the first object that has it. They are named after the owner at the
// root: the names of what it makes change with every roll-out.
func (r *run) siblings(all []told, made []*inventory.Object) ([]told, int) {
	at := map[uint64]int{}
	folded := 0
	begin := len(all)
	for _, o := range made {
		if !nameless(o) {
			continue
		}
		j := r.judged[o]
		for i := range j.results {
			res := &j.results[i]
			k := res.same
			if first, ok := at[k]; ok {
				all[first].shared = append(all[first].shared, o.ObjectRef)
				folded++
				continue
			}
			at[k] = len(all)
			f := r.e.finding(res.control, o, &res.Result)
			f.Fingerprint = Fingerprint(f.Control, r.family.root(o).ObjectRef, o.Kind+" "+res.Key)
			all = append(all, told{Finding: f, object: o})
		}
	}
	for i := begin; i < len(all); i++ {
		if n := len(all[i].shared); n > 0 {
			all[i].Message += fmt.Sprintf(" (and %d more of the same owner)", n)
		}
	}
	return all, folded
}

// jointly appends the findings of a joint check and counts its verdicts.
func (r *run) jointly(all []told, t *Tally, check int) ([]told, int) {
	index := len(r.e.opt.Single) + check
	has := map[*inventory.Object]map[uint64]bool{}
	verdicts, say := r.verdicts(check, t)
	for i := range say {
		em := &say[i]
		if em.object != nil && len(r.family.children(em.object)) > 0 {
			if has[em.object] == nil {
				has[em.object] = map[uint64]bool{}
			}
			has[em.object][r.e.key(index, &em.Result, "")] = true
		}
	}
	folded := 0
	for i := range say {
		em := &say[i]
		key := r.e.key(index, &em.Result, "")
		if r.above(em.object, func(o *inventory.Object) bool { return has[o][key] }) {
			folded++
			continue
		}
		f := r.e.finding(index, em.object, &em.Result)
		f.Fingerprint = Fingerprint(f.Control, f.Object, em.Key)
		all = append(all, told{Finding: f, object: em.object})
	}
	for o, v := range verdicts {
		// What was made is not counted where it is as its owner.
		same := func(owner *inventory.Object) bool { was, ok := verdicts[owner]; return ok && was == v }
		if r.above(o, same) {
			continue
		}
		t.count(v)
	}
	return all, folded
}

// above reports whether something is so of one of the owners of an object. A joint
// check need not look at each of them.
func (r *run) above(o *inventory.Object, is func(owner *inventory.Object) bool) bool {
	for o = r.family.parent(o); o != nil; o = r.family.parent(o) {
		if is(o) {
			return true
		}
	}
	return false
}

// finding makes a Finding of one result, without fingerprint and location.
func (e *Engine) finding(i int, o *inventory.Object, r *control.Result) bulwark.Finding {
	m := &e.metas[i]
	f := bulwark.Finding{
		Control: m.ID, Title: m.Title, Severity: m.Severity, Verdict: r.Verdict, Field: r.Field, Container: r.Container,
		Message: r.Message, Remediation: m.Remediation, Reason: r.Reason, Related: r.Related, Fix: r.Fix,
	}
	if r.Severity != 0 {
		f.Severity = r.Severity
	}
	if o != nil {
		f.Object = o.ObjectRef
	}
	if f.Message == "" && r.Verdict == bulwark.VerdictUnknown {
		f.Message = "cannot be judged: " + r.Reason
	}
	return f
}

// tally counts what Singles say of an object. Of what was made only the controls
// that are not for its owner count here.
func (r *run) tally(tallies []Tally, j *judged) {
	parent := r.family.parent(j.object)
	owner := r.judged[parent]
	for i, v := range j.verdicts {
		switch {
		case v == none:
		case parent == nil:
			tallies[i].count(v)
		case v != bulwark.VerdictFail && v != bulwark.VerdictUnknown && (owner.verdicts == nil || owner.verdicts[i] == none):
			tallies[i].count(v)
		}
	}
	for _, why := range j.reasons {
		tallies[why.control].reason(why.why)
	}
	for i := range j.results {
		tallies[j.results[i].control].reason(j.results[i].Reason)
	}
}

// tallyMade counts the objects that an owner made and that are told of.
func (r *run) tallyMade(tallies []Tally, all []told) {
	type pair struct {
		control string
		object  *inventory.Object
	}
	verdicts := map[pair]bulwark.Verdict{}
	for i := range all {
		if r.family.parent(all[i].object) == nil {
			continue
		}
		k := pair{all[i].Control, all[i].object}
		if v, ok := verdicts[k]; !ok || worst(all[i].Verdict) > worst(v) {
			verdicts[k] = all[i].Verdict
		}
	}
	for k, v := range verdicts {
		tallies[r.e.byID[k.control]].count(v)
	}
}

// unread counts one unknown for each kind that could not be read, for the Singles
// that are for it. Joint checks see to that themselves.
func (r *run) unread(tallies []Tally) {
	for _, u := range r.e.unreadKinds(r.snap.Unreadable) {
		s := placeholder(u)
		if s == nil {
			continue
		}
		pods := len(s.Pods) > 0
		for i, c := range r.e.opt.Single {
			own, _ := c.(*content.Control)
			if results := one(applies{c}, s); results != nil || pods && own != nil && own.AppliesTo.Component != "" {
				tallies[i].Unknown++
				tallies[i].reason(u.Reason)
			}
		}
	}
}

// components says why nothing is known of the parts of a control plane that no pod
// of a live cluster runs.
func (r *run) components(tallies []Tally) {
	if !r.snap.Facts.Live {
		return
	}
	for i, s := range r.e.opt.Single {
		c, ok := s.(*content.Control)
		t := &tallies[i]
		if !ok || c.AppliesTo.Component == "" || t.Pass+t.Fail+t.Unknown+t.Excepted+t.NotApplicable > 0 {
			continue
		}
		if by := r.snap.Facts.Managed; by != "" && slices.Contains(planes, c.AppliesTo.Component) {
			t.NotApplicable++
			t.reason("the control plane is run by the provider (" + by + ")")
			continue
		}
		t.Unknown++
		t.reason("no pod runs " + c.AppliesTo.Component + ": it may run as a service of the node")
	}
}

// planes are the components that a provider runs where it runs the control plane.
var planes = []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd", "cloud-controller-manager"} //nolint:gochecknoglobals // constant

// applies is a control that only says whether it is for an object.
type applies struct{ control.Single }

// Judge says that it is.
func (applies) Judge(*control.Subject) []control.Result {
	return []control.Result{{Verdict: bulwark.VerdictUnknown}}
}

// placeholder stands for the objects of a kind that could not be read.
func placeholder(u inventory.Unreadable) *control.Subject {
	if u.Kind == "" {
		return nil
	}
	head := map[string]any{"apiVersion": strings.TrimPrefix(u.Group+"/v1", "/"), "kind": u.Kind, "metadata": map[string]any{"name": "unread"}}
	if carriers[u.Kind] == u.Group && carriers[u.Kind] != "" || u.Group == "" && (u.Kind == "Pod" || u.Kind == "ReplicationController") {
		spec := map[string]any{"containers": []any{map[string]any{"name": "unread"}}}
		switch u.Kind {
		case "Pod":
			head["spec"] = spec
		case "CronJob":
			head["spec"] = map[string]any{"jobTemplate": map[string]any{"spec": map[string]any{"template": map[string]any{"spec": spec}}}}
		default:
			head["spec"] = map[string]any{"template": map[string]any{"spec": spec}}
		}
	}
	s, err := control.SubjectOf(head)
	if err != nil {
		return nil
	}
	return s
}

// carriers are the kinds with pod templates and their groups.
var carriers = map[string]string{ //nolint:gochecknoglobals // constant
	"Deployment": "apps", "DaemonSet": "apps", "ReplicaSet": "apps", "StatefulSet": "apps", "Job": "batch", "CronJob": "batch",
}
