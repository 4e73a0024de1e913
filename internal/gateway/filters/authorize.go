package filters

import (
	"context"
	"net/http"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/auth/authz"
	"bulwark.dev/bulwark/internal/gateway/ir"
)

// authorize judges who may do what. It refuses what no rule allows.
type authorize struct{ rules *authz.Rules }

// newAuthorize never gives nil: a rule without authorization refuses, unless the
// operator asked for unprotected routes by name.
func newAuthorize(rule *ir.Rule, _ Deps) (step, error) {
	a := rule.Authorization
	switch {
	case a == nil && rule.Unprotected:
		return unprotected{}, nil
	case a == nil:
		return refuseAll{bulwark.Refuse(http.StatusForbidden, bulwark.CodeForbidden, rule.ID, "no authorization is configured")}, nil
	}
	c, err := compiler()
	if err != nil {
		return nil, err
	}
	rules := make([]authz.Rule, len(a.Rules))
	for i, r := range a.Rules {
		rules[i] = authz.Rule{Name: r.Name, Allow: r.Allow, When: r.When}
	}
	rs, err := authz.NewRules(c, a.Rule+" authorization", rules)
	if err != nil {
		return nil, err
	}
	return &authorize{rules: rs}, nil
}

func (a *authorize) request(_ context.Context, x *Exchange) bulwark.Decision {
	d, err := withView(x, func(v *authz.View) (bulwark.Decision, error) { return a.rules.Decide(v), nil })
	if err != nil {
		return bulwark.Refuse(http.StatusForbidden, bulwark.CodeForbidden, "", err.Error())
	}
	if d.Allowed {
		x.Decided = d.Rule
	}
	return d
}

// unprotected lets through what the operator asked to leave open.
type unprotected struct{}

func (unprotected) request(_ context.Context, x *Exchange) bulwark.Decision {
	const rule = "unprotected: no SecurityPolicy covers the route"
	x.Decided = rule
	return bulwark.Allow(rule)
}

// refuseAll is the step of a part that is missing.
type refuseAll struct{ decision bulwark.Decision }

func (r refuseAll) request(context.Context, *Exchange) bulwark.Decision { return r.decision }
