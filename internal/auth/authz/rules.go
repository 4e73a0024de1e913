package authz

import (
	"fmt"
	"net/http"

	"bulwark.dev/bulwark"
)

// Rule is one condition and what it decides.
type Rule struct {
	Name  string
	Allow bool
	When  string
}

// Rules are the ordered rules of one policy: the first whose condition holds
// decides. Nothing holds: refused. A condition that cannot be evaluated:
// refused, whatever the rule would have said. The zero Rules refuse.
type Rules struct {
	name  string
	rules []rule
}

type rule struct {
	name  string
	allow bool
	when  *Bool
}

// NewRules compiles the rules of the policy part called name. The error says
// every rule that cannot be served.
func NewRules(c *Compiler, name string, rules []Rule) (*Rules, error) {
	rs := &Rules{name: name}
	var errs []error
	seen := make(map[string]bool)
	for _, r := range rules {
		when, err := c.Bool(r.When)
		switch {
		case r.Name == "" || seen[r.Name]:
			errs = append(errs, fmt.Errorf("rule %q: names must be there and differ", r.Name))
		case err != nil:
			errs = append(errs, fmt.Errorf("rule %q: %w", r.Name, err))
		}
		seen[r.Name] = true
		rs.rules = append(rs.rules, rule{name: name + " rule " + r.Name, allow: r.Allow, when: when})
	}
	if len(errs) > 0 {
		return nil, oneLine(errs)
	}
	return rs, nil
}

// oneLine joins errors the way conditions and logs want them.
func oneLine(errs []error) error {
	err := errs[0]
	for _, e := range errs[1:] {
		err = fmt.Errorf("%w; %w", err, e)
	}
	return err
}

// Decide judges one request.
func (rs *Rules) Decide(v *View) bulwark.Decision {
	for i := range rs.rules {
		r := &rs.rules[i]
		holds, err := r.when.Eval(v)
		switch {
		case err != nil:
			return bulwark.Refuse(http.StatusForbidden, bulwark.CodeForbidden, r.name, "the rule cannot be evaluated: "+err.Error())
		case !holds:
			continue
		case r.allow:
			return bulwark.Allow(r.name)
		}
		return bulwark.Refuse(http.StatusForbidden, bulwark.CodeForbidden, r.name, "the rule refuses")
	}
	return bulwark.Refuse(http.StatusForbidden, bulwark.CodeForbidden, rs.name, "no rule matched")
}
