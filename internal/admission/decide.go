package admission

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	admissionv1 "k8s.io/api/admission/v1"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
)

// The outcomes that metrics and logs tell apart.
const (
	outcomeAllowed       = "allowed"
	outcomeDenied        = "denied"
	outcomeDryRun        = "would-deny"
	outcomeExempt        = "exempt"
	outcomeNotApplicable = "not-applicable"
)

// decision is the answer to a request. The zero decision refuses.
type decision struct {
	allowed     bool
	outcome     string
	exempt      string // what it is exempt by
	message     string
	warnings    []string
	annotations map[string]string
	findings    []finding
}

// finding is what one control says that is not pass.
type finding struct {
	control.Meta
	control.Result
	// denies says that it refuses the request, or would.
	denies bool
	// old says that the object has it already.
	old bool
	// exception names what excuses it.
	exception string
}

// controls names the controls that refuse.
func (d *decision) controls() []string {
	var out []string
	for _, f := range d.findings {
		if f.denies && !slices.Contains(out, f.ID) {
			out = append(out, f.ID)
		}
	}
	return out
}

func (w *Webhook) decide(ctx context.Context, req *request) *decision {
	switch req.Operation {
	case admissionv1.Create, admissionv1.Update:
	case admissionv1.Delete, admissionv1.Connect:
		return &decision{allowed: true, outcome: outcomeNotApplicable}
	default:
		return w.cannot(req, fmt.Sprintf("operation %q is not known", req.Operation))
	}
	if !judged(req.AdmissionRequest) {
		return &decision{allowed: true, outcome: outcomeNotApplicable}
	}
	if by := w.exempt(req); by != "" {
		return &decision{allowed: true, outcome: outcomeExempt, exempt: by, annotations: map[string]string{"exempt": by}}
	}
	if req.why != "" {
		return w.cannot(req, req.why)
	}
	if req.object == nil {
		return w.cannot(req, "the review has no object")
	}
	found, why := w.judge(ctx, req.object)
	if why != "" {
		return w.cannot(req, why)
	}
	if len(found) > 0 && req.old != nil && req.Operation == admissionv1.Update {
		before, why := w.judge(ctx, req.old)
		if why != "" {
			return w.cannot(req, why)
		}
		markOld(found, before, sync.OnceValue(func() bool { return unchanged(req.object, req.old) }))
	}
	return w.conclude(req, found)
}

// exempt says by what a request is exempt, or "". A Namespace is exempt by its own
// name; other objects without a namespace never are by one.
func (w *Webhook) exempt(req *request) string {
	namespace := req.Namespace
	if namespaceItself(req.AdmissionRequest) && req.object != nil {
		namespace = req.object.Name
	}
	switch {
	case namespace != "" && slices.Contains(w.cfg.ExemptNamespaces, namespace):
		return "namespace " + namespace
	case slices.Contains(w.cfg.ExemptUsers, req.UserInfo.Username):
		return "user " + req.UserInfo.Username
	}
	for _, g := range req.UserInfo.Groups {
		if slices.Contains(w.cfg.ExemptGroups, g) {
			return "group " + g
		}
	}
	return ""
}

// judge runs the controls. why is "" unless they could not be run.
func (w *Webhook) judge(ctx context.Context, o *inventory.Object) (found []finding, why string) {
	s, err := control.NewSubject(o)
	if err != nil {
		return nil, "the object cannot be read"
	}
	for _, c := range w.cfg.Controls {
		if ctx.Err() != nil {
			return nil, "the time was not enough to judge the object"
		}
		found = append(found, one(c, s)...)
	}
	return found, ""
}

// one runs a control. One that panics says unknown.
func one(c control.Single, s *control.Subject) (found []finding) {
	meta := c.Meta()
	defer func() {
		if recover() != nil {
			found = []finding{{Meta: meta, Result: control.Result{Verdict: bulwark.VerdictUnknown, Message: "the control failed", Reason: "the control failed"}}}
		}
	}()
	if !c.Applies(s) {
		return nil
	}
	for _, r := range c.Judge(s) {
		if r.Verdict == bulwark.VerdictFail || r.Verdict == bulwark.VerdictUnknown {
			found = append(found, finding{Meta: meta, Result: r})
		}
	}
	return found
}

func (f *finding) severity() bulwark.Severity { return cmp.Or(f.Result.Severity, f.Meta.Severity) }

// text says what is found, for people.
func (f *finding) text() string {
	out := fmt.Sprintf("[%s] %s: ", f.severity(), f.ID)
	if f.Field != "" {
		out += f.Field + ": "
	}
	if f.Message != "" {
		return out + f.Message
	}
	return out + cmp.Or(f.Reason, f.Title)
}

// same tells whether two findings are one: the same part of the object, with the
// same in it.
type same struct {
	control, key, message string
	verdict               bulwark.Verdict
	severity              bulwark.Severity
}

func (f *finding) identity() same {
	key := cmp.Or(f.Key, f.Container)
	if key == "" {
		key = withoutIndexes(f.Field)
	}
	return same{f.ID, key, f.Message, f.Verdict, f.severity()}
}

// markOld marks what the object had before, each as often as it had it. What could
// not be judged before and cannot now may hide something new: it is old only where
// the object is unchanged.
func markOld(found, before []finding, unchanged func() bool) {
	had := map[same]int{}
	for i := range before {
		had[before[i].identity()]++
	}
	for i := range found {
		id := found[i].identity()
		if had[id] > 0 && (found[i].Verdict == bulwark.VerdictFail || unchanged()) {
			had[id]--
			found[i].old = true
		}
	}
}

// unchanged reports whether an update changes nothing but the object's status and
// what the API server and controllers keep in its metadata.
func unchanged(now, before *inventory.Object) bool {
	a, errA := now.Content()
	b, errB := before.Content()
	for _, content := range []map[string]any{a, b} {
		delete(content, "status")
		meta, _ := content["metadata"].(map[string]any)
		for _, field := range []string{"resourceVersion", "generation", "managedFields", "finalizers", "deletionTimestamp", "deletionGracePeriodSeconds"} {
			delete(meta, field)
		}
	}
	return errA == nil && errB == nil && reflect.DeepEqual(a, b)
}

func withoutIndexes(field string) string {
	var b strings.Builder
	for {
		head, rest, ok := strings.Cut(field, "[")
		b.WriteString(head)
		if !ok {
			return b.String()
		}
		inner, after, _ := strings.Cut(rest, "]")
		if _, err := strconv.Atoi(inner); err != nil {
			b.WriteString("[" + inner + "]")
		}
		field = after
	}
}

// cannot is the decision on what cannot be judged.
func (w *Webhook) cannot(req *request, why string) *decision {
	f := finding{
		Meta:   control.Meta{ID: "admission", Title: "The request cannot be judged", Severity: bulwark.SeverityCritical},
		Result: control.Result{Verdict: bulwark.VerdictUnknown, Message: "the request cannot be judged: " + why, Reason: why},
	}
	return w.conclude(req, []finding{f})
}

// conclude weighs findings.
func (w *Webhook) conclude(req *request, found []finding) *decision {
	d := &decision{outcome: outcomeAllowed, findings: found}
	deny := false
	for i := range found {
		f := &found[i]
		if f.Verdict == bulwark.VerdictFail && req.object != nil {
			f.exception = w.cfg.Except(req.object, f.Meta, f.Result)
		}
		may := f.Verdict == bulwark.VerdictUnknown && w.cfg.Unknown == UnknownAllow
		f.denies = f.severity() >= w.cfg.DenyAt && f.exception == "" && !f.old && !may
		deny = deny || f.denies
		w.metrics.found(f)
	}
	slices.SortStableFunc(found, func(a, b finding) int { return cmp.Compare(b.severity(), a.severity()) })
	d.allowed = !deny || w.cfg.DryRun
	if deny {
		d.outcome = outcomeDenied
		if w.cfg.DryRun {
			d.outcome = outcomeDryRun
		}
	}
	w.tell(d)
	return d
}
