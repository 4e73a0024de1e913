package cluster

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

func checkHTTPRoute(r *gwv1.HTTPRoute) field.ErrorList {
	spec := field.NewPath("spec")
	errs := checkParents(r.Spec.ParentRefs, spec.Child("parentRefs"))
	errs = append(errs, checkHostnames(r.Spec.Hostnames, spec.Child("hostnames"))...)
	names, matches := map[gwv1.SectionName]bool{}, 0
	for i := range r.Spec.Rules {
		rule, at := &r.Spec.Rules[i], spec.Child("rules").Index(i)
		errs = append(errs, checkRuleName(rule.Name, names, at)...)
		for j := range rule.Matches {
			errs = append(errs, checkHTTPMatch(&rule.Matches[j], at.Child("matches").Index(j))...)
		}
		matches += len(rule.Matches)
		onePrefix := len(rule.Matches) == 1 && rule.Matches[0].Path != nil && deref(rule.Matches[0].Path.Type) == gwv1.PathMatchPathPrefix
		errs = append(errs, checkHTTPFilters(rule.Filters, onePrefix, at.Child("filters"))...)
		redirect := slices.IndexFunc(rule.Filters, func(f gwv1.HTTPRouteFilter) bool { return f.RequestRedirect != nil })
		if redirect >= 0 && len(rule.BackendRefs) > 0 {
			errs = append(errs, field.Invalid(at.Child("filters").Index(redirect), "RequestRedirect", "a rule that redirects has no backendRefs"))
		}
		for j := range rule.BackendRefs {
			b, at := &rule.BackendRefs[j], at.Child("backendRefs").Index(j)
			errs = append(errs, checkBackend(&b.BackendObjectReference, at)...)
			errs = append(errs, checkHTTPFilters(b.Filters, onePrefix, at.Child("filters"))...)
		}
		errs = append(errs, checkTimeouts(rule.Timeouts, at.Child("timeouts"))...)
		errs = append(errs, checkSession(rule.SessionPersistence, at.Child("sessionPersistence"))...)
	}
	return append(errs, checkMatchCount(matches, spec.Child("rules"))...)
}

func checkHTTPMatch(m *gwv1.HTTPRouteMatch, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if p := m.Path; p != nil {
		value, at := deref(p.Value), at.Child("path", "value")
		if deref(p.Type) == gwv1.PathMatchRegularExpression {
			errs = append(errs, checkPattern(value, at)...)
		} else if msg := checkPath(value); msg != "" {
			errs = append(errs, field.Invalid(at, value, msg))
		}
	}
	for i, h := range m.Headers {
		if deref(h.Type) == gwv1.HeaderMatchRegularExpression {
			errs = append(errs, checkPattern(h.Value, at.Child("headers").Index(i).Child("value"))...)
		}
	}
	for i, q := range m.QueryParams {
		if deref(q.Type) == gwv1.QueryParamMatchRegularExpression {
			errs = append(errs, checkPattern(q.Value, at.Child("queryParams").Index(i).Child("value"))...)
		}
	}
	return errs
}

// checkPath gives what is wrong with the path of an Exact or PathPrefix match,
// or "". A path that no normalised request can have would never match, and a
// rule that protects by matching would be silently off.
func checkPath(p string) string {
	switch {
	case !strings.HasPrefix(p, "/"):
		return "must begin with /"
	case strings.Contains(p, "//"), strings.Contains(p, "/./"), strings.Contains(p, "/../"),
		strings.HasSuffix(p, "/."), strings.HasSuffix(p, "/.."):
		return "must be normalised: without //, /./ and /../"
	case strings.Contains(strings.ToLower(p), "%2f"):
		return "must not hold an encoded slash"
	case strings.ContainsAny(p, "#?"):
		return "must not hold # or ?: it is the path alone"
	case !pathChars.MatchString(p):
		return "must hold only the characters of a URL path (RFC 3986); encode others as %XX"
	}
	return ""
}

func checkHTTPFilters(filters []gwv1.HTTPRouteFilter, onePrefix bool, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	types := make([]gwv1.HTTPRouteFilterType, 0, len(filters))
	for i := range filters {
		f, at := &filters[i], at.Index(i)
		types = append(types, f.Type)
		errs = append(errs, checkMember(at, string(f.Type), []union{
			{"RequestHeaderModifier", "requestHeaderModifier", f.RequestHeaderModifier != nil},
			{"ResponseHeaderModifier", "responseHeaderModifier", f.ResponseHeaderModifier != nil},
			{"RequestMirror", "requestMirror", f.RequestMirror != nil},
			{"RequestRedirect", "requestRedirect", f.RequestRedirect != nil},
			{"URLRewrite", "urlRewrite", f.URLRewrite != nil},
			{"CORS", "cors", f.CORS != nil},
			{"ExternalAuth", "externalAuth", f.ExternalAuth != nil},
			{"ExtensionRef", "extensionRef", f.ExtensionRef != nil},
		})...)
		if f.RequestMirror != nil {
			errs = append(errs, checkMirror(f.RequestMirror, at.Child("requestMirror"))...)
		}
		if f.RequestRedirect != nil {
			errs = append(errs, checkPathModifier(f.RequestRedirect.Path, onePrefix, at.Child("requestRedirect", "path"))...)
		}
		if f.URLRewrite != nil {
			errs = append(errs, checkPathModifier(f.URLRewrite.Path, onePrefix, at.Child("urlRewrite", "path"))...)
		}
		if f.CORS != nil {
			errs = append(errs, checkCORSFilter(f.CORS, at.Child("cors"))...)
		}
		if f.ExternalAuth != nil {
			errs = append(errs, checkExternalAuth(f.ExternalAuth, at.Child("externalAuth"))...)
		}
	}
	if i := slices.Index(types, gwv1.HTTPRouteFilterURLRewrite); i >= 0 && slices.Contains(types, gwv1.HTTPRouteFilterRequestRedirect) {
		errs = append(errs, field.Invalid(at.Index(i), "URLRewrite", "cannot stand beside RequestRedirect: a redirected request is not forwarded"))
	}
	return append(errs, checkOnce(types, at)...)
}

func checkPathModifier(p *gwv1.HTTPPathModifier, onePrefix bool, at *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	errs := checkMember(at, string(p.Type), []union{
		{"ReplaceFullPath", "replaceFullPath", p.ReplaceFullPath != nil},
		{"ReplacePrefixMatch", "replacePrefixMatch", p.ReplacePrefixMatch != nil},
	})
	if p.Type == gwv1.PrefixMatchHTTPPathModifier && !onePrefix {
		errs = append(errs, field.Invalid(at.Child("type"), p.Type, "needs a rule with exactly one match, of type PathPrefix: else there is no one prefix to replace"))
	}
	return errs
}

func checkCORSFilter(c *gwv1.HTTPCORSFilter, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	star := func(name string, n int, has bool) {
		if has && n > 1 {
			errs = append(errs, field.Invalid(at.Child(name), "*", "stands for all and must be alone"))
		}
	}
	star("allowOrigins", len(c.AllowOrigins), slices.Contains(c.AllowOrigins, "*"))
	star("allowMethods", len(c.AllowMethods), slices.Contains(c.AllowMethods, "*"))
	star("allowHeaders", len(c.AllowHeaders), slices.Contains(c.AllowHeaders, "*"))
	return errs
}

func checkExternalAuth(a *gwv1.HTTPExternalAuthFilter, at *field.Path) field.ErrorList {
	errs := checkBackend(&a.BackendRef, at.Child("backendRef"))
	return append(errs, checkMember(at, string(a.ExternalAuthProtocol), []union{
		{"GRPC", "grpc", a.GRPCAuthConfig != nil},
		{"HTTP", "http", a.HTTPAuthConfig != nil},
	})...)
}
