package v1alpha1

import (
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// The bounds that the field comments name.
const (
	MaxClockSkew       = 5 * time.Minute
	MaxQueueTimeout    = time.Minute
	MaxLockOutWindow   = 24 * time.Hour
	MaxLockOutDuration = 720 * time.Hour
	MaxCORSMaxAge      = 24 * time.Hour
	MaxExpression      = 4096
)

const maxList = 64

// Validate gives every problem of p's spec, as the CRD's rules and the field
// comments state them, in the order of the fields. It looks at p alone: whether
// targets, Secrets and key sets exist, and whether CEL expressions compile, is
// for the caller. It accepts policies with and without defaults, and changes
// nothing. No message holds an inline key set's content.
func Validate(p *SecurityPolicy) field.ErrorList {
	spec := field.NewPath("spec")
	errs := validateTargets(p.Spec.TargetRefs, spec.Child("targetRefs"))
	if what, ok := p.Annotations[AnnotationUnread]; ok {
		errs = append(errs, field.Forbidden(field.NewPath("metadata", "annotations").Key(AnnotationUnread),
			"this version of Bulwark cannot read all of the policy, so it is not in force: "+what))
	}
	if a := p.Spec.Authentication; a != nil {
		errs = append(errs, validateAuthentication(a, spec.Child("authentication"))...)
	}
	if a := p.Spec.Authorization; a != nil {
		errs = append(errs, validateAuthorization(a, spec.Child("authorization"))...)
	}
	errs = append(errs, validateRateLimits(p.Spec.RateLimits, spec.Child("rateLimits"))...)
	if c := p.Spec.Concurrency; c != nil {
		errs = append(errs, validateConcurrency(c, spec.Child("concurrency"))...)
	}
	if l := p.Spec.LockOut; l != nil {
		errs = append(errs, validateLockOut(l, spec.Child("lockOut"))...)
	}
	if n := p.Spec.Network; n != nil {
		errs = append(errs, validateNetwork(n, spec.Child("network"))...)
	}
	if r := p.Spec.Request; r != nil {
		errs = append(errs, validateRequest(r, spec.Child("request"))...)
	}
	if c := p.Spec.CORS; c != nil {
		errs = append(errs, validateCORS(c, spec.Child("cors"))...)
	}
	if t := p.Spec.Transform; t != nil {
		errs = append(errs, validateTransform(t, spec.Child("transform"))...)
	}
	return errs
}

// TargetKinds lists the kinds of Gateway API that TargetRefs may name.
func TargetKinds() []gwv1.Kind {
	return []gwv1.Kind{"Gateway", "ListenerSet", "HTTPRoute", "GRPCRoute", "TLSRoute"}
}

func validateTargets(refs []gwv1.LocalPolicyTargetReferenceWithSectionName, path *field.Path) field.ErrorList {
	errs := validateCount(len(refs), 1, 16, path)
	type target struct {
		kind    gwv1.Kind
		name    gwv1.ObjectName
		section gwv1.SectionName
	}
	seen := map[target]bool{}
	for i, r := range refs {
		at := path.Index(i)
		if r.Group != gwv1.GroupName {
			errs = append(errs, field.NotSupported(at.Child("group"), r.Group, []gwv1.Group{gwv1.GroupName}))
		}
		if kinds := TargetKinds(); !slices.Contains(kinds, r.Kind) {
			errs = append(errs, field.NotSupported(at.Child("kind"), r.Kind, kinds))
		}
		errs = append(errs, validateName(string(r.Name), at.Child("name"))...)
		t := target{kind: r.Kind, name: r.Name}
		if r.SectionName != nil {
			t.section = *r.SectionName
			errs = append(errs, validateName(string(t.section), at.Child("sectionName"))...)
		}
		if seen[t] {
			errs = append(errs, field.Duplicate(at, string(r.Kind)+"/"+string(r.Name)))
		}
		seen[t] = true
	}
	return errs
}

func validateAuthorization(a *Authorization, path *field.Path) field.ErrorList {
	path = path.Child("rules")
	errs := validateCount(len(a.Rules), 1, 128, path)
	seen := map[string]bool{}
	for i, r := range a.Rules {
		at := path.Index(i)
		errs = append(errs, validateRuleName(r.Name, seen, at.Child("name"))...)
		if blank(r.When) {
			errs = append(errs, field.Required(at.Child("when"), `a CEL expression that gives a bool; "true" for always`))
		}
		errs = append(errs, validateExpression(r.When, at.Child("when"))...)
	}
	return errs
}

func validateRateLimits(limits []RateLimit, path *field.Path) field.ErrorList {
	errs := validateCount(len(limits), 0, 32, path)
	seen := map[string]bool{}
	for i := range limits {
		r, at := &limits[i], path.Index(i)
		errs = append(errs, validateRuleName(r.Name, seen, at.Child("name"))...)
		errs = append(errs, validateExpression(r.When, at.Child("when"))...)
		errs = append(errs, validateExpression(r.Key, at.Child("key"))...)
		if _, _, err := ParseRate(r.Rate); err != nil {
			errs = append(errs, field.Invalid(at.Child("rate"), r.Rate, "write <count>/<unit>, for example 600/m, with a count from 1 to 999999999 and the unit one of s, m, h and d"))
		}
		if r.Burst != 0 {
			errs = append(errs, validateOneTo(int64(r.Burst), 1000000, at.Child("burst"))...)
		}
		switch r.Scope {
		case "", ScopeLocal:
		case ScopeCluster:
			errs = append(errs, field.Invalid(at.Child("scope"), r.Scope, "no shared store in this release; use local"))
		default:
			errs = append(errs, field.NotSupported(at.Child("scope"), r.Scope, []string{ScopeLocal}))
		}
		if r.Overflow != nil {
			errs = append(errs, validateOverflow(r.Overflow, at.Child("overflow"))...)
		}
	}
	return errs
}

func validateOverflow(o *Overflow, path *field.Path) field.ErrorList {
	errs := validateOneOf(path, member{"reject", o.Reject != nil}, member{"queue", o.Queue != nil})
	if q := o.Queue; q != nil {
		at := path.Child("queue")
		errs = append(errs, validateOneTo(int64(q.Depth), 100000, at.Child("depth"))...)
		errs = append(errs, validateDuration(&q.Timeout, 1, MaxQueueTimeout, at.Child("timeout"))...)
	}
	return errs
}

func validateConcurrency(c *Concurrency, path *field.Path) field.ErrorList {
	errs := validateExpression(c.Key, path.Child("key"))
	return append(errs, validateOneTo(int64(c.Max), 1000000, path.Child("max"))...)
}

func validateLockOut(l *LockOut, path *field.Path) field.ErrorList {
	errs := validateOneTo(int64(l.Attempts), 10000, path.Child("attempts"))
	errs = append(errs, validateDuration(l.Window, 1, MaxLockOutWindow, path.Child("window"))...)
	errs = append(errs, validateDuration(l.Duration, 1, MaxLockOutDuration, path.Child("duration"))...)
	switch l.By {
	case "", LockByIdentity, LockBySource, LockByBoth:
	default:
		errs = append(errs, field.NotSupported(path.Child("by"), l.By, []string{LockByIdentity, LockBySource, LockByBoth}))
	}
	return errs
}

// member is one field of a union, and whether it is set.
type member struct {
	name string
	set  bool
}

// validateOneOf refuses a union of which not exactly one member is set.
func validateOneOf(path *field.Path, members ...member) field.ErrorList {
	var names, present []string
	for _, m := range members {
		names = append(names, m.name)
		if m.set {
			present = append(present, m.name)
		}
	}
	switch len(present) {
	case 1:
		return nil
	case 0:
		return field.ErrorList{field.Required(path, "set exactly one of "+and(names))}
	default:
		return field.ErrorList{field.Invalid(path, and(present), "set exactly one of "+and(names))}
	}
}

func validateCount(n, low, high int, path *field.Path) field.ErrorList {
	switch {
	case n < low && low == 1:
		return field.ErrorList{field.Required(path, "at least one is needed")}
	case n > high:
		return field.ErrorList{field.TooMany(path, n, high)}
	}
	return nil
}

func validateOneTo(v, high int64, path *field.Path) field.ErrorList {
	if v < 1 || v > high {
		return field.ErrorList{field.Invalid(path, v, fmt.Sprintf("must be from 1 to %d", high))}
	}
	return nil
}

// validateDuration accepts nil, which stands for the default. A low of 1
// nanosecond means more than zero.
func validateDuration(d *metav1.Duration, low, high time.Duration, path *field.Path) field.ErrorList {
	if d == nil || d.Duration >= low && d.Duration <= high {
		return nil
	}
	from := "from 0s to "
	if low > 0 {
		from = "more than 0s and at most "
	}
	return field.ErrorList{field.Invalid(path, d.Duration.String(), "must be "+from+short(high))}
}

// validateName checks the name of another object.
func validateName(name string, path *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	var errs field.ErrorList
	for _, msg := range validation.IsDNS1123Subdomain(name) {
		errs = append(errs, field.Invalid(path, name, msg))
	}
	return errs
}

// validateRuleName checks a name that events carry, and enters it in seen.
func validateRuleName(name string, seen map[string]bool, path *field.Path) field.ErrorList {
	errs := validateText(name, 63, path)
	if blank(name) {
		errs = append(errs, field.Required(path, "events name the rule that decided"))
	}
	if seen[name] {
		errs = append(errs, field.Duplicate(path, name))
	}
	seen[name] = true
	return errs
}

func validateExpression(s string, path *field.Path) field.ErrorList {
	if n := runes(s); n > MaxExpression {
		return field.ErrorList{field.TooLong(path, "", MaxExpression)}
	}
	return nil
}
