// Package compile translates Gateway API objects and SecurityPolicies into the
// gateway's table (package ir). It is pure and deterministic: the same objects
// give the same table in whatever order they come. It never fails and never
// opens anything: what is broken, missing or not understood becomes a refusal
// in the table and a condition in the report.
package compile

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/api/v1alpha1"
	"bulwark.dev/bulwark/internal/gateway/ir"
)

// What Options and a configuration in files fall back to.
const (
	DefaultController = "bulwark.dev/gateway"
	// DefaultClass is the class that a Gateway may name without a GatewayClass
	// object.
	DefaultClass   = "bulwark"
	defaultAddress = "127.0.0.1"
)

// MinTLSVersionOption is the key of a listener's tls.options that sets the
// lowest TLS version, "1.2" (the default) or "1.3".
const MinTLSVersionOption = "bulwark.dev/min-tls-version"

// Input is the objects that decide. Nothing in it is changed. Each object comes
// once; nil entries are passed over.
type Input struct {
	GatewayClasses     []*gwv1.GatewayClass
	Gateways           []*gwv1.Gateway
	HTTPRoutes         []*gwv1.HTTPRoute
	GRPCRoutes         []*gwv1.GRPCRoute
	TLSRoutes          []*gwv1.TLSRoute
	ListenerSets       []*gwv1.ListenerSet
	ReferenceGrants    []*gwv1.ReferenceGrant
	BackendTLSPolicies []*gwv1.BackendTLSPolicy
	SecurityPolicies   []*v1alpha1.SecurityPolicy
	Services           []*corev1.Service
	EndpointSlices     []*discoveryv1.EndpointSlice
	Secrets            []*corev1.Secret
	ConfigMaps         []*corev1.ConfigMap
	Namespaces         []*corev1.Namespace
	// Unreadable are the kinds of which nothing, or not everything, could be
	// read. What depends on them is refused, never served without them.
	Unreadable []Unreadable
}

// Unreadable is a kind whose objects could not be read.
type Unreadable struct {
	Kind string
	// Reason is for the operator, for example "no permission to list secrets".
	Reason string
}

// Placement says where a Gateway is reached when not its own process decides
// (a Service in a cluster).
type Placement struct {
	// Addresses go into the Gateway's status.
	Addresses []gwv1.GatewayStatusAddress
	// Pending says why there is no address yet: the Gateway is then bound, but
	// Programmed is False with reason AddressNotAssigned.
	Pending string
	// Unusable says why an address that the Gateway asks for cannot be had:
	// Programmed is False with reason AddressNotUsable.
	Unusable string
	// Bind is "ip" to bind (0.0.0.0 or ::) and Ports the port to bind for each
	// port of the Gateway's listeners. A port that is missing is not bound yet.
	Bind  string
	Ports map[int32]uint16
}

// Options is what the operator, not an object, decides. The zero Options are
// the safe ones.
type Options struct {
	// ControllerName is what a GatewayClass must name for its Gateways to be
	// served. Default: DefaultController.
	ControllerName string
	// Unprotected serves routes that no SecurityPolicy covers. Without it they
	// answer 403.
	Unprotected bool
	// DefaultAddresses are the IP addresses of Gateways that ask for none.
	// Default: 127.0.0.1.
	DefaultAddresses []string
	// Place, where set, places Gateways in place of their spec.addresses and
	// DefaultAddresses. It must be pure.
	Place func(*gwv1.Gateway) Placement
}

// Compile gives the table to serve and the report on every object it judged.
// It never fails: see the package comment.
func Compile(in Input, opt Options) (*ir.Table, *Report) {
	c := newCompiler(in, opt, nil)
	table := c.compile()
	return table, c.rep
}

// compiler holds one run of Compile.
type compiler struct {
	opt  Options
	ix   *index
	rep  *Report
	memo *memo      // nil for a run that stands alone
	good *goodForms // likewise

	*frame
	run    int      // of the memo, or 1
	routes []*route // by kind, namespace and name

	policies  []*policy
	attached  map[target]*policy // the policy in force on each target
	asked     []*backend         // the backends of the table, in the order of their making
	rules     []*madeRule        // likewise
	unread    *ir.Refusal        // of every rule, where policies could not be read
	explain   bool               // fill in explained
	explained []explainedRule
}

func newCompiler(in Input, opt Options, m *memo) *compiler {
	if opt.ControllerName == "" {
		opt.ControllerName = DefaultController
	}
	if len(opt.DefaultAddresses) == 0 {
		opt.DefaultAddresses = []string{defaultAddress}
	}
	c := &compiler{
		opt: opt, ix: newIndex(in, m), rep: &Report{}, memo: m, run: 1,
		attached: map[target]*policy{},
	}
	if m != nil {
		c.run = m.run
	}
	for _, u := range in.Unreadable {
		c.rep.warn("objects of kind %s could not all be read: %s", u.Kind, u.Reason)
	}
	if why, ok := c.ix.unreadable(kindSecurityPolicy); ok {
		c.unread = &ir.Refusal{Status: statusBroken, Reason: "SecurityPolicies could not all be read: " + why}
	}
	return c
}

func (c *compiler) compile() *ir.Table {
	c.buildFrame()
	c.buildRoutes()
	c.settleKinds()
	c.buildPolicies()
	c.countRoutes()
	table := c.assemble()
	c.reportGateways()
	c.reportRoutes()
	c.reportPolicies()
	c.reportUses()
	c.rep.finish()
	return table
}

// older orders objects by age, then name: of two that want the same thing, the
// first gets it.
func older(at, bt time.Time, a, b key) int {
	if c := at.Compare(bt); c != 0 {
		return c
	}
	return a.compare(b)
}
