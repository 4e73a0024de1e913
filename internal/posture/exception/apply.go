package exception

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture"
)

// Options are what is needed to know beside reports and exceptions.
type Options struct {
	// Now decides what has expired. At the zero time nothing holds.
	Now time.Time
	// Never are the ids of controls whose findings may not be excepted.
	Never []string
	// Known tells whether a control of that id exists, whether it ran or not.
	Known func(id string) bool
}

// Part is the report of one snapshot and the exceptions that stand in it, which
// cover nothing of another: the overlays of development and production hold objects
// of one name.
type Part struct {
	Report *posture.Report
	// Labels gives those of an object; nil knows none.
	Labels  func(bulwark.ObjectRef) map[string]string
	Found   []*PostureException
	Invalid []Invalid
}

// Of gives the part of a snapshot.
func Of(snap *inventory.Snapshot, rep *posture.Report) Part {
	p := Part{Report: rep, Labels: func(ref bulwark.ObjectRef) map[string]string {
		if o := snap.Find(ref.Group(), ref.Kind, ref.Namespace, ref.Name); o != nil {
			return o.Labels
		}
		return nil
	}}
	p.Found, p.Invalid = Find(snap)
	return p
}

// Apply is Join for one report, which it changes.
func Apply(rep *posture.Report, labels func(bulwark.ObjectRef) map[string]string, all []*PostureException, invalid []Invalid, opt Options) {
	Join([]Part{{Report: rep, Labels: labels, Invalid: invalid}}, all, opt)
}

// Cover sets the verdict of what the exceptions cover in one part to excepted,
// those in the part and those given, and counts its tallies anew.
func Cover(p Part, given []*PostureException, opt Options) {
	valid, _ := sort(given, opt)
	own, _ := sort(p.Found, opt)
	p.cover(append(valid, own...), map[*PostureException]bool{}, opt)
}

// Join does what Cover does in each part, makes one report of all, and adds
// findings and tallies for the exceptions themselves.
func Join(parts []Part, given []*PostureException, opt Options) *posture.Report {
	valid, out := sort(given, opt)
	used := make(map[*PostureException]bool, len(valid))
	total := len(given)
	reports := make([]*posture.Report, len(parts))
	found := make([][]*PostureException, len(parts)) // those that hold
	told := make([][]bulwark.Finding, len(parts))    // about those that do not
	for i := range parts {
		p := parts[i]
		p.Found = slices.DeleteFunc(slices.Clone(p.Found), func(e *PostureException) bool { return e.among(given) })
		found[i], told[i] = sort(p.Found, opt)
		p.cover(slices.Concat(valid, found[i]), used, opt)
		for j := range p.Invalid {
			told[i] = append(told[i], p.Invalid[j].finding())
		}
		reports[i] = p.Report
		total += len(p.Invalid) + len(p.Found)
	}
	rep := posture.Join(reports)
	ran := map[string]bool{}
	for i := range rep.Tallies {
		ran[rep.Tallies[i].ID] = true
	}
	for _, e := range valid {
		if why := e.unused(ran, opt); why != "" && !used[e] {
			out = append(out, e.finding(idUnused, why))
		}
	}
	// One that stands in several parts is used if it is in one of them.
	somewhere := map[string]bool{}
	for _, e := range slices.Concat(found...) {
		if used[e] {
			somewhere[e.finding(idUnused, "").Fingerprint] = true
		}
	}
	for i := range found {
		for _, e := range found[i] {
			why := e.unused(ran, opt)
			if f := e.finding(idUnused, why); why != "" && !e.copied && !somewhere[f.Fingerprint] {
				told[i] = append(told[i], f)
			}
		}
		told[i] = numbered(told[i])
	}
	tally(rep, append(numbered(out), once(slices.Concat(told...))...), total)
	return rep
}

// among reports whether a file of exceptions, which was given, is among what is
// judged: then it is not told of twice.
func (e *PostureException) among(given []*PostureException) bool {
	return e.on == nil && slices.ContainsFunc(given, func(g *PostureException) bool {
		return g.Name() == e.Name() && reflect.DeepEqual(g.Spec, e.Spec)
	})
}

// sort parts the exceptions that hold from findings about the others.
func sort(all []*PostureException, opt Options) (valid []*PostureException, out []bulwark.Finding) {
	for _, e := range all {
		id, why := idBroad, e.broad()
		switch {
		case why != "":
			why += "; it is not honoured"
		case opt.Now.IsZero():
			id, why = idExpired, "the time is not known, so nobody can say whether it holds"
		case !opt.Now.Before(e.expires):
			id, why = idExpired, fmt.Sprintf("it held until %s; %s answers for it", e.Spec.Expires, e.Spec.Owner)
		default:
			valid = append(valid, e)
			continue
		}
		if !e.copied {
			out = append(out, e.finding(id, why))
		}
	}
	return valid, out
}

// slot is where the exceptions for a control are that may cover an object: those of
// a namespace or of all, or the annotations of one object.
type slot struct {
	control, namespace string
	on                 bulwark.ObjectRef
}

// cover applies exceptions that hold.
func (p *Part) cover(valid []*PostureException, used map[*PostureException]bool, opt Options) {
	at := map[slot][]*PostureException{}
	for _, e := range valid {
		for _, id := range e.Spec.Controls {
			s := slot{control: id, namespace: e.Metadata.Namespace}
			if e.on != nil {
				s = slot{control: id, on: e.on.ObjectRef}
			}
			if !slices.Contains(opt.Never, id) {
				at[s] = append(at[s], e)
			}
		}
	}
	if len(at) == 0 {
		return
	}
	before := count(p.Report.Findings)
	for i := range p.Report.Findings {
		f := &p.Report.Findings[i]
		if f.Verdict != bulwark.VerdictFail && f.Verdict != bulwark.VerdictUnknown {
			continue
		}
		by := p.by(f, f.Object, at, used)
		for _, other := range p.Report.Shared[f.Fingerprint] {
			// The finding stands for theirs too.
			if p.by(f, other, at, used) == nil {
				by = nil
			}
		}
		// What could not be judged stays unknown: nobody can accept a risk that
		// nobody has seen.
		if by != nil && f.Verdict == bulwark.VerdictFail {
			f.Verdict, f.Exception = bulwark.VerdictExcepted, by.Name()
			f.Reason = fmt.Sprintf("%s (%s, until %s)", by.Spec.Reason, by.Spec.Owner, by.Spec.Expires)
		}
	}
	recount(p.Report, before)
}

// by gives the first exception that covers a finding on an object, nil if there is
// none, and notes all that do.
func (p *Part) by(f *bulwark.Finding, ref bulwark.ObjectRef, at map[slot][]*PostureException, used map[*PostureException]bool) (first *PostureException) {
	slots := []slot{{control: f.Control}, {control: f.Control, namespace: ref.Namespace}, {control: f.Control, on: ref}}
	if ref.Namespace == "" {
		slots = slots[1:] // the first two are one
	}
	o := target{ObjectRef: ref}
	asked := p.Labels == nil
	for _, s := range slots {
		for _, e := range at[s] {
			if !asked {
				o.labels, asked = p.Labels(ref), true
			}
			if !e.covers(f, &o) {
				continue
			}
			used[e] = true
			if first == nil {
				first = e
			}
		}
	}
	return first
}

// unused says why an exception that covered nothing should go, or "" where a
// control of it did not run and so nobody knows.
func (e *PostureException) unused(ran map[string]bool, opt Options) string {
	own := Controls()
	for _, id := range e.Spec.Controls {
		for i := range own {
			if own[i].ID == id {
				return "findings about exceptions cannot be excepted"
			}
		}
		switch {
		case slices.Contains(opt.Never, id):
			return "control " + id + " may not be excepted here"
		case opt.Known != nil && !opt.Known(id):
			return "no control is named " + id
		}
	}
	for _, id := range e.Spec.Controls {
		if !ran[id] {
			return ""
		}
	}
	return "nothing that it covers fails"
}

// place is one control on one object.
type place struct {
	control string
	object  bulwark.ObjectRef
}

// count gives the worst verdict of each control on each object.
func count(findings []bulwark.Finding) map[place]bulwark.Verdict {
	rank := func(v bulwark.Verdict) int {
		return slices.Index([]bulwark.Verdict{bulwark.VerdictExcepted, bulwark.VerdictUnknown, bulwark.VerdictFail}, v)
	}
	worst := map[place]bulwark.Verdict{}
	for i := range findings {
		f := &findings[i]
		p := place{f.Control, f.Object}
		if have, ok := worst[p]; !ok || rank(f.Verdict) > rank(have) {
			worst[p] = f.Verdict
		}
	}
	return worst
}

// recount moves objects whose failures are all excepted from fail to what is left.
func recount(rep *posture.Report, before map[place]bulwark.Verdict) {
	at := map[string]*posture.Tally{}
	for i := range rep.Tallies {
		at[rep.Tallies[i].ID] = &rep.Tallies[i]
	}
	for p, now := range count(rep.Findings) {
		t := at[p.control]
		if t == nil || now == before[p] || before[p] != bulwark.VerdictFail || t.Fail == 0 {
			continue
		}
		t.Fail--
		if now == bulwark.VerdictUnknown {
			t.Unknown++
		} else {
			t.Excepted++
		}
	}
}

// tally adds the findings about exceptions and their tallies, and puts both back
// in order.
func tally(rep *posture.Report, out []bulwark.Finding, total int) {
	if total == 0 {
		return
	}
	fails := map[string]int{}
	for i := range out {
		fails[out[i].Control]++
	}
	for _, m := range Controls() {
		rep.Tallies = append(rep.Tallies, posture.Tally{Meta: m, Fail: fails[m.ID], Pass: total - fails[m.ID]})
	}
	slices.SortFunc(rep.Tallies, func(a, b posture.Tally) int { return cmp.Compare(a.ID, b.ID) })
	rep.Findings = append(rep.Findings, out...)
	slices.SortStableFunc(rep.Findings, func(a, b bulwark.Finding) int { return cmp.Compare(b.Severity, a.Severity) })
}
