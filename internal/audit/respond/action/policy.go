package action

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit"
)

// The modes of a binding. The zero value is none of them: it is taken for dry-run.
const (
	ModeDryRun  = "dry-run"
	ModeEnforce = "enforce"
)

// Policy says what may be done, to whom never, and what is done by itself.
type Policy struct {
	// Expiry is how long a measure stands that does not say, MaxExpiry the longest.
	Expiry    metav1.Duration `json:"expiry,omitzero"`
	MaxExpiry metav1.Duration `json:"maxExpiry,omitzero"`
	Protected Protected       `json:"protected,omitzero"`
	Evidence  Evidence        `json:"evidence,omitzero"`
	Limits    Limits          `json:"limits,omitzero"`
	Responses []Binding       `json:"responses,omitempty"`
}

// Protected is what no action touches, besides what is protected always. A star at the
// end of a name stands for any ending.
type Protected struct {
	Namespaces []string `json:"namespaces,omitempty"`
	// Identities are user names, groups and ServiceAccounts by their user names.
	Identities []string `json:"identities,omitempty"`
	Nodes      []string `json:"nodes,omitempty"`
}

// Evidence says whose word is enough for what is done without a person. An empty list
// takes everybody's; a star at the end stands for any ending.
type Evidence struct {
	// API and Gateway are the sources of events, such as "webhook/apiserver-0": who may send
	// one kind of event to the trail may not thereby send the other.
	API     []string `json:"api,omitempty"`
	Gateway []string `json:"gateway,omitempty"`
	// Routes are namespaces whose routes a request must have taken. Whoever writes the
	// SecurityPolicies of a namespace says who vouches for names there, under any issuer.
	Routes []string `json:"routes,omitempty"`
}

// Limits bound what is done without a person, so that forged events cannot turn the
// responder against the cluster.
type Limits struct {
	// PerHour is how many automatic measures are carried out in an hour, Standing how many
	// may stand at once.
	PerHour  int `json:"perHour,omitempty"`
	Standing int `json:"standing,omitempty"`
	// PerActor is how many of those of an hour one user's doings may bring about, so that
	// nobody uses up what is there against all.
	PerActor int `json:"perActor,omitempty"`
	// MaxAge is how old an alert may be that is still acted on.
	MaxAge metav1.Duration `json:"maxAge,omitzero"`
}

// Binding is one automatic response.
type Binding struct {
	// Detection is the rule's name, Severity the least that it must have.
	Detection string `json:"detection"`
	Severity  string `json:"severity"`
	Action    string `json:"action"`
	// From is the reading of the evidence: object or caller.
	From   string          `json:"from,omitempty"`
	Mode   string          `json:"mode,omitempty"`
	Expiry metav1.Duration `json:"expiry,omitzero"`

	least bulwark.Severity
}

// What stands where a policy says nothing.
const (
	defaultExpiry    = time.Hour
	defaultMaxExpiry = 24 * time.Hour
	defaultPerHour   = 10
	defaultStanding  = 20
	defaultMaxAge    = 15 * time.Minute
	// longest is more than anybody should leave to a machine.
	longest = 30 * 24 * time.Hour
)

// alwaysProtected are the namespaces that no action touches.
func alwaysProtected() []string {
	return []string{"kube-system", "kube-public", "kube-node-lease"}
}

// DefaultPolicy protects what is always protected and does nothing by itself.
func DefaultPolicy() *Policy {
	p := &Policy{}
	p.complete()
	return p
}

// ParsePolicy reads a policy and checks it against the actions there are.
func ParsePolicy(text []byte, actions map[string]*Action) (*Policy, error) {
	p := &Policy{}
	if err := yaml.UnmarshalStrict(text, p); err != nil {
		return nil, fmt.Errorf("read the response policy: %w", err)
	}
	p.complete()
	var wrong []error
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if p.Expiry.Duration <= 0 || p.Expiry.Duration > p.MaxExpiry.Duration || p.MaxExpiry.Duration > longest {
		bad("expiry %v and maxExpiry %v: expected more than 0, not more than each other, and at most %v", p.Expiry.Duration, p.MaxExpiry.Duration, longest)
	}
	if p.Limits.PerHour < 0 || p.Limits.Standing < 0 || p.Limits.PerActor < 0 || p.Limits.MaxAge.Duration < 0 {
		bad("limits: expected no negative values")
	}
	for _, list := range [][]string{p.Protected.Namespaces, p.Protected.Identities, p.Protected.Nodes, p.Evidence.API, p.Evidence.Gateway, p.Evidence.Routes} {
		for _, s := range list {
			if strings.TrimSpace(s) != s || s == "" || strings.ContainsRune(strings.TrimSuffix(s, "*"), '*') {
				bad("protected, evidence: %q: expected a name without white space around it, and a star at most at its end", s)
			}
		}
	}
	for i := range p.Responses {
		b := &p.Responses[i]
		if err := b.check(p, actions); err != nil {
			bad("responses[%d]: %w", i, err)
		}
	}
	if len(wrong) > 0 {
		return nil, fmt.Errorf("response policy: %w", errors.Join(wrong...))
	}
	return p, nil
}

func (b *Binding) check(p *Policy, actions map[string]*Action) error {
	a := actions[b.Action]
	if a == nil {
		return fmt.Errorf("there is no action %q", b.Action)
	}
	if b.Detection == "" {
		return errors.New("detection is required")
	}
	var err error
	if b.least, err = bulwark.ParseSeverity(b.Severity); err != nil {
		return fmt.Errorf("severity %w", err)
	}
	if _, _, err := a.reading(b.From); err != nil {
		return err
	}
	switch b.Mode {
	case "":
		b.Mode = ModeDryRun
	case ModeDryRun, ModeEnforce:
	default:
		return fmt.Errorf("mode %q: expected %s or %s", b.Mode, ModeDryRun, ModeEnforce)
	}
	if b.Expiry.Duration == 0 {
		b.Expiry = p.Expiry
	}
	if b.Expiry.Duration < 0 || b.Expiry.Duration > p.MaxExpiry.Duration {
		return fmt.Errorf("expiry %v: expected more than 0 and at most maxExpiry, %v", b.Expiry.Duration, p.MaxExpiry.Duration)
	}
	if b.Mode == ModeEnforce && a.denies() && len(p.Protected.Identities) == 0 {
		return fmt.Errorf("action %s: name at least one identity under protected.identities that is never denied, so that somebody can get in", a.Name)
	}
	return nil
}

func (p *Policy) complete() {
	set := func(d *metav1.Duration, to time.Duration) {
		if d.Duration == 0 {
			d.Duration = to
		}
	}
	set(&p.MaxExpiry, defaultMaxExpiry)
	set(&p.Expiry, min(defaultExpiry, p.MaxExpiry.Duration))
	set(&p.Limits.MaxAge, defaultMaxAge)
	if p.Limits.PerHour == 0 {
		p.Limits.PerHour = defaultPerHour
	}
	if p.Limits.Standing == 0 {
		p.Limits.Standing = defaultStanding
	}
	if p.Limits.PerActor == 0 {
		p.Limits.PerActor = (p.Limits.PerHour + 1) / 2
	}
}

// denies reports whether an action denies an identity.
func (a *Action) denies() bool {
	return slices.ContainsFunc(a.Steps, func(s Step) bool { return s.Do == DoDeny })
}

// expiry checks how long a person wants a measure to stand; 0 is the default.
func (p *Policy) expiry(d time.Duration) (time.Duration, error) {
	if d == 0 {
		return p.Expiry.Duration, nil
	}
	if d < 0 || d > p.MaxExpiry.Duration {
		return 0, refusef("an expiry of %v: expected more than 0 and at most %v", d, p.MaxExpiry.Duration)
	}
	return d, nil
}

// listed reports whether a list has a name. A star at the end stands for any ending.
func listed(list []string, name string) bool {
	return slices.ContainsFunc(list, func(p string) bool {
		if prefix, ok := strings.CutSuffix(p, "*"); ok {
			return strings.HasPrefix(name, prefix)
		}
		return p == name
	})
}

// namespace says why a namespace is not touched.
func (e *Engine) namespace(name string) error {
	if slices.Contains(alwaysProtected(), name) || name == e.cfg.Namespace || listed(e.cfg.Policy.Protected.Namespaces, name) {
		return refusef("namespace %s is protected", name)
	}
	return nil
}

// identity says why an identity is not touched. ServiceAccounts are judged by their
// namespaces; other names of the system belong to the control plane.
func (e *Engine) identity(name, self string) error {
	rest, isAccount := strings.CutPrefix(name, accountPrefix)
	switch {
	case name == self:
		return refusef("%s is Bulwark itself", name)
	case listed(e.cfg.Policy.Protected.Identities, name):
		return refusef("identity %q is protected", name)
	case isAccount:
		space, _, _ := strings.Cut(rest, ":")
		return e.namespace(space)
	case strings.HasPrefix(name, "system:"):
		return refusef("identity %q belongs to Kubernetes itself", name)
	}
	return nil
}

// group says why a group's members, and its rights, are not touched.
func (e *Engine) group(name string) error {
	space, accounts := strings.CutPrefix(name, "system:serviceaccounts:")
	switch {
	case slices.Contains([]string{"system:masters", "system:nodes", "kubeadm:cluster-admins"}, name), listed(e.cfg.Policy.Protected.Identities, name):
		return refusef("group %q is protected", name)
	case accounts:
		return e.namespace(space)
	}
	return nil
}

// trusted says why an event is not enough for what is done without a person.
func (e *Engine) trusted(ev *audit.Event) error {
	from := e.cfg.Policy.Evidence.API
	if ev.Kind != audit.KindAPI {
		from = e.cfg.Policy.Evidence.Gateway
	}
	if len(from) > 0 && !listed(from, ev.Source) {
		return refusef("event %d came from %q, whose word on events of kind %s is not taken", ev.Seq, ev.Source, ev.Kind)
	}
	routes := e.cfg.Policy.Evidence.Routes
	if len(routes) == 0 || ev.Kind != audit.KindGateway {
		return nil
	}
	route, err := first(ev, []string{"more.gateway.route"})
	if parts := strings.Split(route, "/"); err != nil || len(parts) < 3 || !listed(routes, parts[1]) {
		return refusef("event %d took the route %q, whose namespace is not one where names are taken", ev.Seq, route)
	}
	return nil
}
