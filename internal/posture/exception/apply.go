package exception

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/posture"
	"bulwark.dev/bulwark/internal/posture/control"
)

// The controls over exceptions themselves.
const (
	idExpired = "exception-expired"
	idUnused  = "exception-unused"
	idBroad   = "exception-too-broad"
	idInvalid = "exception-invalid"
)

// Controls describes the controls over exceptions.
func Controls() []control.Meta {
	return []control.Meta{
		{
			ID: idBroad, Title: "An exception covers too much", Severity: bulwark.SeverityHigh, Category: "exceptions",
			Why:         "An exception for everything hides what nobody has looked at yet; it is not honoured.",
			Remediation: "Name the controls, and the objects by namespace, name or labels.",
		},
		{
			ID: idExpired, Title: "An exception has expired", Severity: bulwark.SeverityMedium, Category: "exceptions",
			Why:         "A risk was accepted for a time, and that time is over; what it covered counts again.",
			Remediation: "Repair what it covered and take it away, or have its owner decide anew.",
		},
		{
			ID: idInvalid, Title: "An exception cannot be read", Severity: bulwark.SeverityMedium, Category: "exceptions",
			Why:         "It covers nothing, and somebody believes that it does.",
			Remediation: "Give it owner, reason and expiry in the form that the guide shows.",
		},
		{
			ID: idUnused, Title: "An exception covers nothing", Severity: bulwark.SeverityLow, Category: "exceptions",
			Why:         "It stays behind and will hide the next finding in that place.",
			Remediation: "Take it away, or correct the names in it.",
		},
	}
}

// Options are what Apply needs to know beside the report.
type Options struct {
	Now time.Time
	// Never are the ids of controls whose findings may not be excepted.
	Never []string
	// Known tells whether a control of that id exists, whether it ran or not.
	Known func(id string) bool
}

// Apply sets the verdict of what the exceptions cover to excepted, counts the
// tallies anew, and adds findings and tallies for the exceptions themselves.
func Apply(rep *posture.Report, labels func(bulwark.ObjectRef) map[string]string, all []*PostureException, invalid []Invalid, opt Options) {
	valid, out := sort(all, opt)
	used := make(map[*PostureException]bool, len(valid))
	byControl := map[string][]*PostureException{}
	for _, e := range valid {
		for _, id := range e.Spec.Controls {
			if !slices.Contains(opt.Never, id) {
				byControl[id] = append(byControl[id], e)
			}
		}
	}
	before := count(rep.Findings)
	for i := range rep.Findings {
		cover(&rep.Findings[i], labels, byControl, used)
	}
	recount(rep, before)
	ran := map[string]bool{}
	for i := range rep.Tallies {
		ran[rep.Tallies[i].ID] = true
	}
	for _, e := range valid {
		if why := e.unused(ran, opt); why != "" && !used[e] {
			out = append(out, e.finding(idUnused, why))
		}
	}
	for _, v := range invalid {
		out = append(out, seal(bulwark.Finding{
			Control: idInvalid, Object: v.Object, Field: v.Field, Location: v.Location, Message: v.Object.String() + ": the exception cannot be read: " + v.What,
		}))
	}
	tally(rep, out, len(all)+len(invalid))
}

// sort parts the exceptions that hold from findings about the others.
func sort(all []*PostureException, opt Options) (valid []*PostureException, out []bulwark.Finding) {
	for _, e := range all {
		why := e.broad()
		switch {
		case why != "":
			out = append(out, e.finding(idBroad, why+"; it is not honoured"))
		case !opt.Now.Before(e.expires):
			out = append(out, e.finding(idExpired, fmt.Sprintf("it held until %s; %s answers for it", e.Spec.Expires, e.Spec.Owner)))
		default:
			valid = append(valid, e)
		}
	}
	return valid, out
}

func cover(f *bulwark.Finding, labels func(bulwark.ObjectRef) map[string]string, byControl map[string][]*PostureException, used map[*PostureException]bool) {
	candidates := byControl[f.Control]
	if len(candidates) == 0 || f.Verdict != bulwark.VerdictFail && f.Verdict != bulwark.VerdictUnknown {
		return
	}
	have := labels(f.Object)
	for _, e := range candidates {
		if !e.covers(f, have) {
			continue
		}
		used[e] = true
		// What could not be judged stays unknown: nobody can accept a risk that
		// nobody has seen.
		if f.Verdict == bulwark.VerdictFail {
			f.Verdict, f.Exception = bulwark.VerdictExcepted, e.Name()
			f.Reason = fmt.Sprintf("%s (%s, until %s)", e.Spec.Reason, e.Spec.Owner, e.Spec.Expires)
		}
		return
	}
}

// unused says why an exception that covered nothing should go, or "" where a
// control of it did not run and so nobody knows.
func (e *PostureException) unused(ran map[string]bool, opt Options) string {
	for _, id := range e.Spec.Controls {
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

func (e *PostureException) finding(id, what string) bulwark.Finding {
	ref := bulwark.ObjectRef{APIVersion: APIVersion, Kind: Kind, Namespace: e.Metadata.Namespace, Name: e.Metadata.Name}
	field, subject := "", "exception "+e.Name()
	if e.on != nil {
		ref, field = *e.on, fmt.Sprintf("metadata.annotations[%q]", Prefix+e.Spec.Controls[0])
		subject = "exception for " + e.Spec.Controls[0] + " on " + e.on.String()
	}
	return seal(bulwark.Finding{Control: id, Object: ref, Field: field, Location: e.at, Message: subject + ": " + what})
}

// seal fills in what the control says and the fingerprint.
func seal(f bulwark.Finding) bulwark.Finding {
	for _, m := range Controls() {
		if m.ID == f.Control {
			f.Title, f.Severity, f.Remediation = m.Title, m.Severity, m.Remediation
		}
	}
	f.Verdict = bulwark.VerdictFail
	sum := sha256.Sum256([]byte(strings.Join([]string{f.Control, f.Object.Group(), f.Object.Kind, f.Object.Namespace, f.Object.Name, f.Field}, "\x00")))
	f.Fingerprint = hex.EncodeToString(sum[:16])
	return f
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
