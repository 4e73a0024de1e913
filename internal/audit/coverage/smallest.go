package coverage

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditapi "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark/internal/audit"
)

// need is one kind of request that has to be recorded.
type need struct {
	verb, group, resource string // resource with its subresource; "" for a path
	path                  string
}

// verbs are what a rule is tried with besides the verbs of its samples.
var verbs = []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"} //nolint:gochecknoglobals // read only

var levels = []auditapi.Level{auditapi.LevelMetadata, auditapi.LevelRequest, auditapi.LevelRequestResponse} //nolint:gochecknoglobals // read only

// Smallest gives an audit policy, as YAML, that records what the cases need and
// nothing else: each kind of request at the least level at which the rules still
// fire. It looks beyond the samples: a verb with which a sample would fire the rule
// as well is recorded too. It proves its result: every case that fires when whole
// fires under it, and an error says which does not.
func Smallest(cases []Case) ([]byte, error) {
	needs := map[need]auditapi.Level{}
	received := false
	for i := range cases {
		c := &cases[i]
		if !c.Fires(c.Events) {
			continue // Judge tells of it
		}
		level := least(c, c.Events)
		for _, e := range c.Events {
			if e.Kind != audit.KindAPI {
				continue
			}
			received = received || e.Stage == string(auditapi.StageRequestReceived)
			raise(needs, of(e), level)
		}
		for _, v := range verbs {
			other := turned(c.Events, v)
			if other != nil && c.Fires(other) {
				at := least(c, other)
				for _, e := range other {
					if e.Kind == audit.KindAPI {
						raise(needs, of(e), at)
					}
				}
			}
		}
	}
	if len(needs) == 0 {
		return nil, errors.New("smallest audit policy: no rule has a sample of the API server that fires it")
	}
	p := write(needs, received)
	text, err := yaml.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("write audit policy: %w", err)
	}
	text = bytes.Replace(text, []byte("metadata: {}\n"), nil, 1) // the type has no way to leave it out
	return text, prove(text, cases)
}

// prove is an error when a case does not fire under the policy.
func prove(text []byte, cases []Case) error {
	p, err := ParsePolicy(text)
	if err != nil {
		return err
	}
	for i := range cases {
		if c := &cases[i]; c.Fires(c.Events) {
			if left, lost := p.filter(c.Events); !c.Fires(left) {
				return fmt.Errorf("smallest audit policy: rule %s does not fire for %q: %v", c.Rule, c.Name, lost)
			}
		}
	}
	return nil
}

// least is the lowest level at which the events of a case fire its rule.
func least(c *Case, events []*audit.Event) auditapi.Level {
	for _, level := range levels {
		cut := make([]*audit.Event, len(events))
		for i, e := range events {
			cut[i] = e
			if e.Kind == audit.KindAPI {
				cut[i], _ = degrade(e, level)
			}
		}
		if c.Fires(cut) {
			return level
		}
	}
	return auditapi.LevelRequestResponse
}

// turned gives the events as if all had been done with another verb, or nil where
// that means nothing: a normalised verb, or a request that is not for a resource.
func turned(events []*audit.Event, verb string) []*audit.Event {
	out := make([]*audit.Event, 0, len(events))
	for _, e := range events {
		if e.Kind == audit.KindAPI {
			if e.SaidVerb != "" || e.Object.Resource == "" {
				return nil
			}
			e = whole(e)
			e.Verb = verb
		}
		out = append(out, e)
	}
	return out
}

func of(e *audit.Event) need {
	if e.Object.Resource == "" {
		path := e.RequestURI
		if u, err := url.ParseRequestURI(path); err == nil {
			path = u.Path
		}
		return need{verb: verb(e), path: path}
	}
	return need{verb: verb(e), group: e.Object.APIGroup, resource: resource(e)}
}

func raise(needs map[need]auditapi.Level, n need, level auditapi.Level) {
	if was, ok := needs[n]; !ok || was.Less(level) {
		needs[n] = level
	}
}

// write puts needs into as few rules as it can. Each kind of request stands in one
// rule only, so their order does not matter.
func write(needs map[need]auditapi.Level, received bool) *auditv1.Policy {
	p := &auditv1.Policy{TypeMeta: metav1.TypeMeta{APIVersion: "audit.k8s.io/v1", Kind: "Policy"}}
	if !received {
		p.OmitStages = []auditv1.Stage{auditv1.Stage(auditapi.StageRequestReceived)}
	}
	for _, level := range slices.Backward(levels) {
		p.Rules = append(p.Rules, rulesAt(needs, level)...)
	}
	p.Rules = append(p.Rules, auditv1.PolicyRule{Level: auditv1.LevelNone})
	return p
}

// rulesAt gives one rule for each set of verbs: the resources that need just these at
// the level, by group, and the paths.
func rulesAt(needs map[need]auditapi.Level, level auditapi.Level) []auditv1.PolicyRule {
	type thing struct{ group, resource, path string }
	wanted := map[thing][]string{}
	for n, l := range needs {
		if l == level {
			t := thing{n.group, n.resource, n.path}
			wanted[t] = append(wanted[t], n.verb)
		}
	}
	byVerbs := map[string][]thing{}
	for t, vs := range wanted {
		slices.Sort(vs)
		key := fmt.Sprint(t.resource == "", vs)
		byVerbs[key] = append(byVerbs[key], t)
	}
	var out []auditv1.PolicyRule
	for _, key := range slices.Sorted(maps.Keys(byVerbs)) {
		things := byVerbs[key]
		slices.SortFunc(things, func(a, b thing) int {
			return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.resource, b.resource), cmp.Compare(a.path, b.path))
		})
		rule := auditv1.PolicyRule{Level: auditv1.Level(level), Verbs: wanted[things[0]]}
		for _, t := range things {
			switch last := len(rule.Resources) - 1; {
			case t.resource == "":
				rule.NonResourceURLs = append(rule.NonResourceURLs, t.path)
			case last >= 0 && rule.Resources[last].Group == t.group:
				rule.Resources[last].Resources = append(rule.Resources[last].Resources, t.resource)
			default:
				rule.Resources = append(rule.Resources, auditv1.GroupResources{Group: t.group, Resources: []string{t.resource}})
			}
		}
		out = append(out, rule)
	}
	return out
}
