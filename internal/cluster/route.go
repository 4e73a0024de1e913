package cluster

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// maxMatches is how many matches all rules of a route may have together.
const maxMatches = 128

// checkParents refuses references to one parent that cannot be told apart.
func checkParents(refs []gwv1.ParentReference, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	type parent struct {
		group     gwv1.Group
		kind      gwv1.Kind
		namespace gwv1.Namespace
		name      gwv1.ObjectName
	}
	type part struct {
		section gwv1.SectionName
		port    gwv1.PortNumber
	}
	seen := map[parent][]part{}
	for i, r := range refs {
		k := parent{deref(r.Group), deref(r.Kind), deref(r.Namespace), r.Name}
		p := part{deref(r.SectionName), deref(r.Port)}
		for _, other := range seen[k] {
			if p == other || (p.section == "") != (other.section == "") || (p.port == 0) != (other.port == 0) {
				errs = append(errs, field.Invalid(at.Index(i), string(r.Name), "names a parent again; each reference to it needs a sectionName or port of its own"))
				break
			}
		}
		seen[k] = append(seen[k], p)
	}
	return errs
}

func checkHostnames(names []gwv1.Hostname, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, h := range names {
		errs = append(errs, checkHostname(h, at.Index(i))...)
	}
	return errs
}

func checkRuleName(name *gwv1.SectionName, seen map[gwv1.SectionName]bool, at *field.Path) field.ErrorList {
	if name == nil {
		return nil
	}
	if seen[*name] {
		return field.ErrorList{field.Duplicate(at.Child("name"), *name)}
	}
	seen[*name] = true
	return nil
}

// checkBackend demands the port of a Service: without it there is nothing to
// connect to.
func checkBackend(r *gwv1.BackendObjectReference, at *field.Path) field.ErrorList {
	if deref(r.Group) == "" && deref(r.Kind) == "Service" && r.Port == nil {
		return field.ErrorList{field.Required(at.Child("port"), "a reference to a Service needs it")}
	}
	return nil
}

func checkMirror(m *gwv1.HTTPRequestMirrorFilter, at *field.Path) field.ErrorList {
	errs := checkBackend(&m.BackendRef, at.Child("backendRef"))
	if m.Percent != nil && m.Fraction != nil {
		errs = append(errs, field.Invalid(at, "percent and fraction", "set at most one of the two"))
	}
	if f := m.Fraction; f != nil && f.Denominator != nil && f.Numerator > *f.Denominator {
		errs = append(errs, field.Invalid(at.Child("fraction", "numerator"), f.Numerator, "must be at most the denominator"))
	}
	return errs
}

func checkSession(s *gwv1.SessionPersistence, at *field.Path) field.ErrorList {
	if s == nil || s.CookieConfig == nil {
		return nil
	}
	var errs field.ErrorList
	if deref(s.Type) != gwv1.CookieBasedSessionPersistence {
		errs = append(errs, field.Forbidden(at.Child("cookieConfig"), "belongs to type Cookie"))
	}
	if deref(s.CookieConfig.LifetimeType) == gwv1.PermanentCookieLifetimeType && s.AbsoluteTimeout == nil {
		errs = append(errs, field.Required(at.Child("absoluteTimeout"), "a Permanent cookie needs it"))
	}
	return errs
}

// checkOnce refuses filters that may come once only. Gateway API names those
// that repeat: mirrors, extensions and external authorization.
func checkOnce[T ~string](types []T, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, t := range types {
		switch string(t) {
		case "RequestMirror", "ExtensionRef", "ExternalAuth":
			continue
		}
		if slices.Contains(types[:i], t) {
			errs = append(errs, field.Invalid(at.Index(i), t, "may come once only"))
		}
	}
	return errs
}

var (
	grpcService = regexp.MustCompile(`^(?i)\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*$`)
	grpcMethod  = regexp.MustCompile(`^[A-Za-z_][A-Za-z_0-9]*$`)
	pathChars   = regexp.MustCompile(`^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+$`)
)

func checkGRPCRoute(r *gwv1.GRPCRoute) field.ErrorList {
	spec := field.NewPath("spec")
	errs := checkParents(r.Spec.ParentRefs, spec.Child("parentRefs"))
	errs = append(errs, checkHostnames(r.Spec.Hostnames, spec.Child("hostnames"))...)
	names, matches := map[gwv1.SectionName]bool{}, 0
	for i := range r.Spec.Rules {
		rule, at := &r.Spec.Rules[i], spec.Child("rules").Index(i)
		errs = append(errs, checkRuleName(rule.Name, names, at)...)
		for j, m := range rule.Matches {
			matches++
			if m.Method != nil {
				errs = append(errs, checkGRPCMethod(m.Method, at.Child("matches").Index(j).Child("method"))...)
			}
			for k, h := range m.Headers {
				if deref(h.Type) == gwv1.GRPCHeaderMatchRegularExpression {
					errs = append(errs, checkPattern(h.Value, at.Child("matches").Index(j).Child("headers").Index(k).Child("value"))...)
				}
			}
		}
		errs = append(errs, checkGRPCFilters(rule.Filters, at.Child("filters"))...)
		for j := range rule.BackendRefs {
			b, at := &rule.BackendRefs[j], at.Child("backendRefs").Index(j)
			errs = append(errs, checkBackend(&b.BackendObjectReference, at)...)
			errs = append(errs, checkGRPCFilters(b.Filters, at.Child("filters"))...)
		}
		errs = append(errs, checkSession(rule.SessionPersistence, at.Child("sessionPersistence"))...)
	}
	return append(errs, checkMatchCount(matches, spec.Child("rules"))...)
}

func checkTLSRoute(r *gwv1.TLSRoute) field.ErrorList {
	spec := field.NewPath("spec")
	errs := checkParents(r.Spec.ParentRefs, spec.Child("parentRefs"))
	errs = append(errs, checkHostnames(r.Spec.Hostnames, spec.Child("hostnames"))...)
	names := map[gwv1.SectionName]bool{}
	for i := range r.Spec.Rules {
		rule, at := &r.Spec.Rules[i], spec.Child("rules").Index(i)
		errs = append(errs, checkRuleName(rule.Name, names, at)...)
		for j := range rule.BackendRefs {
			errs = append(errs, checkBackend(&rule.BackendRefs[j].BackendObjectReference, at.Child("backendRefs").Index(j))...)
		}
	}
	return errs
}

func checkMatchCount(n int, at *field.Path) field.ErrorList {
	if n > maxMatches {
		return field.ErrorList{field.Invalid(at, n, fmt.Sprintf("all rules together may have at most %d matches", maxMatches))}
	}
	return nil
}

func checkGRPCMethod(m *gwv1.GRPCMethodMatch, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if m.Service == nil && m.Method == nil {
		errs = append(errs, field.Required(at, "set service, method or both"))
	}
	if deref(m.Type) == gwv1.GRPCMethodMatchRegularExpression {
		errs = append(errs, checkPattern(deref(m.Service), at.Child("service"))...)
		return append(errs, checkPattern(deref(m.Method), at.Child("method"))...)
	}
	if m.Service != nil && !grpcService.MatchString(*m.Service) {
		errs = append(errs, field.Invalid(at.Child("service"), *m.Service, "must be a gRPC service name, for example shop.v1.Orders"))
	}
	if m.Method != nil && !grpcMethod.MatchString(*m.Method) {
		errs = append(errs, field.Invalid(at.Child("method"), *m.Method, "must be a gRPC method name, for example ListOrders"))
	}
	return errs
}

func checkGRPCFilters(filters []gwv1.GRPCRouteFilter, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	types := make([]gwv1.GRPCRouteFilterType, 0, len(filters))
	for i := range filters {
		f, at := &filters[i], at.Index(i)
		types = append(types, f.Type)
		errs = append(errs, checkMember(at, string(f.Type), []union{
			{"RequestHeaderModifier", "requestHeaderModifier", f.RequestHeaderModifier != nil},
			{"ResponseHeaderModifier", "responseHeaderModifier", f.ResponseHeaderModifier != nil},
			{"RequestMirror", "requestMirror", f.RequestMirror != nil},
			{"ExtensionRef", "extensionRef", f.ExtensionRef != nil},
		})...)
		if f.RequestMirror != nil {
			errs = append(errs, checkMirror(f.RequestMirror, at.Child("requestMirror"))...)
		}
	}
	return append(errs, checkOnce(types, at)...)
}

// checkPattern compiles a regular expression (RE2).
func checkPattern(s string, at *field.Path) field.ErrorList {
	if _, err := regexp.Compile(s); err != nil {
		return field.ErrorList{field.Invalid(at, s, "is not an RE2 pattern: "+strings.TrimPrefix(err.Error(), "error parsing regexp: "))}
	}
	return nil
}

func checkTimeouts(t *gwv1.HTTPRouteTimeouts, at *field.Path) field.ErrorList {
	if t == nil || t.Request == nil || t.BackendRequest == nil {
		return nil
	}
	// The schema's pattern is a subset of what ParseDuration reads; a value
	// that it refused has been reported.
	all, err1 := time.ParseDuration(string(*t.Request))
	one, err2 := time.ParseDuration(string(*t.BackendRequest))
	if err1 == nil && err2 == nil && all != 0 && one > all {
		return field.ErrorList{field.Invalid(at.Child("backendRequest"), *t.BackendRequest, "must be at most the request timeout, "+string(*t.Request))}
	}
	return nil
}
