package compile

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

// The statuses of refusals.
const (
	statusUncovered   = 403 // no SecurityPolicy covers the rule
	statusUnsupported = 500 // the route asks for what cannot be done, or for a backend that is not there
	statusBroken      = 503 // a policy or certificate that protects is broken or missing
)

// route is an HTTPRoute, GRPCRoute or TLSRoute in the one form that the rest works on.
type route struct {
	kind string
	key
	meta      *metav1.ObjectMeta
	refs      []gwv1.ParentReference
	defaults  gwv1.GatewayDefaultScope
	hostnames []string
	rules     []*rule
	// rejected is why no request reaches the route; invalid is why every rule
	// of it refuses.
	rejected, invalid problem
	unresolved        problem
	partial           []string
	warnings          []string

	kept        *keptRoute // nil where nothing of it may be taken over
	parents     []parent
	attachments []*attachment
	through     []*gateway               // see gateways
	status      []gwv1.RouteParentStatus // once it was made
	policy      *policy
	misnamed    string // a policy that names a rule which is not there
}

// rule is one rule of a route, with what does not depend on the listener.
type rule struct {
	name     string
	matches  []*match
	base     *ir.Rule // filters, timeouts and retry; not changed once parsed
	refusal  problem
	backends []backendRef
	mirrors  []mirrorRef
	// What the rule asks for, to be resolved.
	httpRefs []gwv1.HTTPBackendRef
	asked    []mirrorRef
	policy   *policy
}

// String gives "Kind namespace/name".
func (r *route) String() string { return r.kind + " " + r.key.String() }

func (r *route) created() time.Time { return r.meta.CreationTimestamp.Time }

func (r *route) id(n int) string {
	return r.kind + "/" + r.namespace + "/" + r.name + "/" + strconv.Itoa(n)
}

// buildRoutes brings all routes into their common form, attached and resolved.
func (c *compiler) buildRoutes() {
	c.routes = make([]*route, 0, len(c.ix.GRPCRoutes)+len(c.ix.HTTPRoutes)+len(c.ix.TLSRoutes))
	for _, o := range c.ix.GRPCRoutes {
		addRoute(c, o, grpcRoute)
	}
	for _, o := range c.ix.HTTPRoutes {
		addRoute(c, o, httpRoute)
	}
	for _, o := range c.ix.TLSRoutes {
		addRoute(c, o, tlsRoute)
	}
}

func grpcRoute(o *gwv1.GRPCRoute) *route {
	r := newRoute(kindGRPCRoute, &o.ObjectMeta, o.Spec.CommonRouteSpec, o.Spec.Hostnames)
	rules := o.Spec.Rules
	if len(rules) == 0 {
		rules = []gwv1.GRPCRouteRule{{}}
	}
	for i := range rules {
		r.addGRPCRule(&rules[i])
	}
	r.checkNames()
	return r
}

func httpRoute(o *gwv1.HTTPRoute) *route {
	r := newRoute(kindHTTPRoute, &o.ObjectMeta, o.Spec.CommonRouteSpec, o.Spec.Hostnames)
	rules := o.Spec.Rules
	if len(rules) == 0 {
		rules = []gwv1.HTTPRouteRule{{}}
	}
	for i := range rules {
		r.addHTTPRule(&rules[i])
	}
	r.checkNames()
	return r
}

func newRoute(kind string, meta *metav1.ObjectMeta, spec gwv1.CommonRouteSpec, hosts []gwv1.Hostname) *route {
	r := &route{kind: kind, key: key{meta.Namespace, meta.Name}, meta: meta, refs: spec.ParentRefs, defaults: spec.UseDefaultGateways}
	for _, h := range hosts {
		name, err := hostname(string(h))
		if err != nil {
			r.rejected = problemOf(gwv1.RouteReasonUnsupportedValue, "spec.hostnames: %s", err)
			continue
		}
		if !slices.Contains(r.hostnames, name) {
			r.hostnames = append(r.hostnames, name)
		}
	}
	return r
}

// checkNames refuses a route whose rules cannot be told apart by name.
func (r *route) checkNames() {
	if len(r.rules) < 2 {
		return
	}
	names := map[string]bool{}
	for _, u := range r.rules {
		if u.name != "" && names[u.name] {
			r.invalid = problemOf(gwv1.RouteReasonUnsupportedValue, "several rules are named %q", u.name)
		}
		names[u.name] = true
	}
}

func (r *route) addHTTPRule(spec *gwv1.HTTPRouteRule) {
	u := &rule{name: or(spec.Name, ""), base: &ir.Rule{}, httpRefs: spec.BackendRefs}
	specs := spec.Matches
	if len(specs) == 0 {
		specs = []gwv1.HTTPRouteMatch{{}}
	}
	for i := range specs {
		m, err := httpMatch(&specs[i])
		r.addMatch(u, m, i, err)
	}
	u.timeouts(spec.Timeouts)
	u.retry(spec.Retry)
	if spec.SessionPersistence != nil {
		u.refuse(gwv1.RouteReasonUnsupportedValue, "sessionPersistence is not supported")
	}
	r.filters(u, spec.Filters)
	r.rules = append(r.rules, u)
}

func (r *route) addGRPCRule(spec *gwv1.GRPCRouteRule) {
	u := &rule{name: or(spec.Name, ""), base: &ir.Rule{}}
	for _, b := range spec.BackendRefs {
		ref := gwv1.HTTPBackendRef{BackendRef: b.BackendRef}
		for _, f := range b.Filters {
			ref.Filters = append(ref.Filters, asHTTPFilter(f))
		}
		u.httpRefs = append(u.httpRefs, ref)
	}
	specs := spec.Matches
	if len(specs) == 0 {
		specs = []gwv1.GRPCRouteMatch{{}}
	}
	for i := range specs {
		m, err := grpcMatch(&specs[i])
		r.addMatch(u, m, i, err)
	}
	if spec.SessionPersistence != nil {
		u.refuse(gwv1.RouteReasonUnsupportedValue, "sessionPersistence is not supported")
	}
	filters := make([]gwv1.HTTPRouteFilter, 0, len(spec.Filters))
	for _, f := range spec.Filters {
		filters = append(filters, asHTTPFilter(f))
	}
	r.filters(u, filters)
	r.rules = append(r.rules, u)
}

// asHTTPFilter gives the HTTPRoute form of a filter: GRPCRoute's are a part of
// HTTPRoute's, by the same names.
func asHTTPFilter(f gwv1.GRPCRouteFilter) gwv1.HTTPRouteFilter {
	return gwv1.HTTPRouteFilter{
		Type: gwv1.HTTPRouteFilterType(f.Type), RequestHeaderModifier: f.RequestHeaderModifier,
		ResponseHeaderModifier: f.ResponseHeaderModifier, RequestMirror: f.RequestMirror, ExtensionRef: f.ExtensionRef,
	}
}

// addMatch adds a match. One that cannot be read makes the whole route refuse:
// were it left out, requests meant for it would fall to another rule, which may
// protect less.
func (r *route) addMatch(u *rule, m *match, n int, err error) {
	if err != nil && !r.invalid.any() {
		r.invalid = problemOf(gwv1.RouteReasonUnsupportedValue, "rule %d, match %d: %s", len(r.rules), n, err)
	}
	if m != nil {
		u.matches = append(u.matches, m)
	}
}

// refuse makes the rule answer nothing but an error; the first reason stays.
func (u *rule) refuse(reason gwv1.RouteConditionReason, format string, args ...any) {
	if !u.refusal.any() {
		u.refusal = problemOf(reason, format, args...)
	}
}

// durations are Gateway API's (GEP-2257).
var durations = regexp.MustCompile(`^([0-9]{1,5}(h|m|s|ms)){1,4}$`)

func parseDuration(d gwv1.Duration) (time.Duration, error) {
	if !durations.MatchString(string(d)) {
		return 0, fmt.Errorf("%q is no duration", d)
	}
	v, err := time.ParseDuration(string(d))
	if err != nil {
		return 0, fmt.Errorf("%q is no duration: %w", d, err)
	}
	return v, nil
}

// timeouts fills in the rule's: "0s" asks for none, which the table says as a
// negative one.
func (u *rule) timeouts(t *gwv1.HTTPRouteTimeouts) {
	if t == nil {
		return
	}
	read := func(d *gwv1.Duration, name string) time.Duration {
		if d == nil {
			return 0
		}
		v, err := parseDuration(*d)
		if err != nil {
			u.refuse(gwv1.RouteReasonUnsupportedValue, "timeouts.%s: %s", name, err)
		}
		if v == 0 {
			return -1
		}
		return v
	}
	u.base.RequestTimeout = read(t.Request, "request")
	u.base.BackendTimeout = read(t.BackendRequest, "backendRequest")
	if u.base.RequestTimeout > 0 && u.base.BackendTimeout > u.base.RequestTimeout {
		u.refuse(gwv1.RouteReasonUnsupportedValue, "timeouts.backendRequest is longer than timeouts.request")
	}
}

// The limits of retry, and its attempts where the route does not say.
const (
	defaultAttempts = 1
	maxAttempts     = 10
)

func (u *rule) retry(spec *gwv1.HTTPRouteRetry) {
	if spec == nil {
		return
	}
	out := &ir.Retry{Attempts: defaultAttempts}
	if spec.Attempts != nil {
		out.Attempts = *spec.Attempts
	}
	if out.Attempts < 0 || out.Attempts > maxAttempts {
		u.refuse(gwv1.RouteReasonUnsupportedValue, "retry.attempts must be 0 to %d", maxAttempts)
	}
	for _, code := range spec.Codes {
		if code < 400 || code > 599 {
			u.refuse(gwv1.RouteReasonUnsupportedValue, "retry.codes: %d is no error status", code)
		}
		out.Codes = append(out.Codes, int(code))
	}
	slices.Sort(out.Codes)
	out.Codes = slices.Compact(out.Codes)
	if spec.Backoff != nil {
		d, err := parseDuration(*spec.Backoff)
		if err != nil {
			u.refuse(gwv1.RouteReasonUnsupportedValue, "retry.backoff: %s", err)
		}
		out.Backoff = d
	}
	u.base.Retry = out
}

// resolveRoute finds the backends of a route that is ours.
func (c *compiler) resolveRoute(r *route) {
	if len(r.parents) == 0 {
		return
	}
	c.rep.Warnings = append(c.rep.Warnings, r.warnings...)
	bad := 0
	for i, u := range r.rules {
		c.resolveMirrors(r, u)
		c.resolveBackends(r, u)
		if u.refusal.any() {
			bad++
			r.partial = append(r.partial, fmt.Sprintf("rule %d: %s", i, u.refusal.why))
		}
	}
	if bad == len(r.rules) && !r.invalid.any() {
		r.invalid = r.rules[0].refusal
		r.partial = nil
	}
}

// unresolve records a reference of the route that leads nowhere.
func (r *route) unresolve(p problem) {
	if !r.unresolved.any() {
		r.unresolved = p
	}
}
