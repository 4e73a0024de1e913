// Package coverage says which detections are blind under an API server's audit
// policy, and gives the smallest policy that lets them see.
//
// A rule's own alerting samples are the proof: each of their events is put through
// the policy as an API server would, which drops it, drops its stage, or takes its
// bodies away. What remains still has to fire the rule.
package coverage

import (
	"fmt"
	"net/url"
	"slices"

	auditapi "k8s.io/apiserver/pkg/apis/audit"
	upstream "k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"bulwark.dev/bulwark/internal/audit"
)

// Case is one way in which a rule fires: an alerting sample.
type Case struct {
	Rule   string
	Name   string
	Events []*audit.Event
	// Fires reports whether the rule raises an alert for these events, in their order.
	Fires func(events []*audit.Event) bool
}

// Policy is an audit policy that is ready to be asked.
type Policy struct{ evaluator upstream.PolicyRuleEvaluator }

// ParsePolicy reads an audit policy of any version that API servers take, in YAML or
// JSON, and validates it as they do.
func ParsePolicy(text []byte) (*Policy, error) {
	p, err := policy.LoadPolicyFromBytes(text)
	if err != nil {
		return nil, fmt.Errorf("read audit policy: %w", err)
	}
	return &Policy{policy.NewPolicyRuleEvaluator(p)}, nil
}

// State says what a rule sees of its samples.
type State string

// The states of a rule.
const (
	Sees    State = "sees"    // every sample fires it
	Partly  State = "partly"  // some do
	Blind   State = "blind"   // none does
	Unknown State = "unknown" // it has no alerting samples, or they do not fire it even when whole
)

// Verdict is what becomes of one rule under a policy.
type Verdict struct {
	Rule  string `json:"rule"`
	State State  `json:"state"`
	// Missing says of each sample that does not fire what the policy keeps from it.
	Missing []string `json:"missing,omitempty"`
}

// Judge gives a verdict on every rule of rules, in their order. Cases belong to rules
// by name.
func Judge(p *Policy, rules []string, cases []Case) []Verdict {
	out := make([]Verdict, 0, len(rules))
	for _, rule := range rules {
		v := Verdict{Rule: rule, State: Unknown}
		seen, ran := 0, 0
		for i := range cases {
			c := &cases[i]
			if c.Rule != rule {
				continue
			}
			if !c.Fires(c.Events) {
				v.Missing = append(v.Missing, fmt.Sprintf("sample %q does not fire the rule even when whole", c.Name))
				continue
			}
			ran++
			left, lost := p.filter(c.Events)
			if c.Fires(left) {
				seen++
				continue
			}
			for _, why := range lost {
				v.Missing = append(v.Missing, fmt.Sprintf("sample %q: %s", c.Name, why))
			}
		}
		switch {
		case ran == 0:
		case seen == ran:
			v.State = Sees
		case seen == 0:
			v.State = Blind
		default:
			v.State = Partly
		}
		v.Missing = slices.Compact(v.Missing)
		out = append(out, v)
	}
	return out
}

// filter gives what an API server with the policy would write of events, and says
// what it would not.
func (p *Policy) filter(events []*audit.Event) (left []*audit.Event, lost []string) {
	for _, e := range events {
		if e.Kind != audit.KindAPI {
			left = append(left, e) // not the API server's to leave out
			continue
		}
		got := p.evaluator.EvaluatePolicyRule(attributes(e))
		switch {
		case got.Level == auditapi.LevelNone || got.Level == "":
			lost = append(lost, request(e)+" is not recorded")
		case slices.Contains(got.OmitStages, auditapi.Stage(e.Stage)):
			lost = append(lost, fmt.Sprintf("%s is not recorded at stage %s", request(e), e.Stage))
		default:
			cut, less := degrade(e, got.Level)
			left = append(left, cut)
			if less {
				lost = append(lost, fmt.Sprintf("%s is recorded at level %s only", request(e), got.Level))
			}
		}
	}
	return left, lost
}

// degrade gives e as it would be written at a level, and whether that takes
// something away.
func degrade(e *audit.Event, level auditapi.Level) (out *audit.Event, less bool) {
	if level == auditapi.LevelRequestResponse {
		return e, false
	}
	cut := whole(e)
	less = len(cut.ResponseObject) > 0
	cut.ResponseObject = nil
	if level == auditapi.LevelMetadata {
		less = less || len(cut.RequestObject) > 0
		cut.RequestObject = nil
	}
	if auditapi.Level(e.Level).GreaterOrEqual(level) {
		cut.Level = string(level)
	}
	return cut, less
}

// whole gives a copy of e whose fields may be changed.
func whole(e *audit.Event) *audit.Event {
	return &audit.Event{
		Seq: e.Seq, Kind: e.Kind, Source: e.Source, Cluster: e.Cluster, Received: e.Received,
		AuditID: e.AuditID, Level: e.Level, Stage: e.Stage, RequestURI: e.RequestURI, Verb: e.Verb, SaidVerb: e.SaidVerb,
		User: e.User, Impersonated: e.Impersonated, SourceIPs: e.SourceIPs, UserAgent: e.UserAgent, Object: e.Object, Status: e.Status,
		RequestObject: e.RequestObject, ResponseObject: e.ResponseObject, RequestReceived: e.RequestReceived, StageAt: e.StageAt,
		Annotations: e.Annotations, Redactions: e.Redactions, More: e.More,
	}
}

// attributes are what the API server asks its policy with. The policy is asked
// before impersonation, so the user is who authenticated.
func attributes(e *audit.Event) authorizer.Attributes {
	path := e.RequestURI
	if u, err := url.ParseRequestURI(e.RequestURI); err == nil {
		path = u.Path
	}
	return authorizer.AttributesRecord{
		User:            &user.DefaultInfo{Name: e.User.Username, UID: e.User.UID, Groups: e.User.Groups, Extra: e.User.Extra},
		Verb:            verb(e),
		Namespace:       e.Object.Namespace,
		APIGroup:        e.Object.APIGroup,
		APIVersion:      e.Object.APIVersion,
		Resource:        e.Object.Resource,
		Subresource:     e.Object.Subresource,
		Name:            e.Object.Name,
		ResourceRequest: e.Object.Resource != "",
		Path:            path,
	}
}

// verb is what the API server calls it: its policy knows no normalised verbs.
func verb(e *audit.Event) string {
	if e.SaidVerb != "" {
		return e.SaidVerb
	}
	return e.Verb
}

func request(e *audit.Event) string {
	what := resource(e)
	if what == "" {
		what = e.RequestURI
	}
	if e.Object.APIGroup != "" {
		what += " of " + e.Object.APIGroup
	}
	return verb(e) + " " + what
}

// resource is the resource with its subresource, as a policy writes it.
func resource(e *audit.Event) string {
	if e.Object.Subresource == "" {
		return e.Object.Resource
	}
	return e.Object.Resource + "/" + e.Object.Subresource
}
