package action

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// The gateway's policies: a rule in front of a policy's own decides first, and data
// planes have it as soon as the controller tells them, like any other edit.
const (
	policyVersion  = "bulwark.dev/v1alpha1"
	policyResource = "securitypolicies"
	policyKind     = "SecurityPolicy"
	// maxRules is how many a policy may have.
	maxRules = 128
)

// deny plans a refusal in every SecurityPolicy that lets anybody in. One that has no
// authorization of its own takes it from its Gateway's or refuses everyone.
func (p *planner) deny(ctx context.Context, s *Step) error {
	name := p.run.Parameters[s.Identity]
	if err := p.engine.identity(name, p.self); err != nil {
		return err
	}
	if len(p.engine.cfg.Policy.Protected.Identities) == 0 {
		return refusef("name at least one identity under protected.identities of the response policy that is never denied, so that somebody can get in")
	}
	policies, err := p.engine.cfg.Cluster.List(ctx, policyVersion, policyResource, "")
	if apierrors.IsNotFound(err) {
		return refusef("the cluster has no SecurityPolicies: no gateway of Bulwark's is there to refuse")
	}
	if err != nil {
		return fmt.Errorf("list SecurityPolicies: %w", err)
	}
	rule := denyRule(p.run, name, p.run.Parameters[s.Issuer])
	for i := range policies {
		u := &policies[i]
		rules, ok := rulesOf(u)
		if !ok || u.GetDeletionTimestamp() != nil {
			continue
		}
		o := policyObject(u)
		if len(rules) >= maxRules {
			return refusef("%s has %d rules already, which is the most that it may have: the identity would still get in there", o, len(rules))
		}
		p.run.Changes = append(p.run.Changes, &Change{Do: DoDeny, Object: o, UID: string(u.GetUID()), Rule: rule})
	}
	if len(p.run.Changes) == 0 {
		return refusef("no SecurityPolicy lets anybody in: there is nothing to refuse")
	}
	if p.run.Parameters[s.Issuer] == "" {
		p.warn("no issuer is named: whoever has this name is refused, whoever vouches for it")
	}
	p.warn("a gateway that reads its policies from files is not reached")
	return nil
}

func policyObject(u *unstructured.Unstructured) Object {
	return Object{APIVersion: policyVersion, Resource: policyResource, Kind: policyKind, Namespace: u.GetNamespace(), Name: u.GetName()}
}

// rulesOf gives the authorization rules of a policy that has some.
func rulesOf(u *unstructured.Unstructured) ([]any, bool) {
	rules, ok, err := unstructured.NestedSlice(u.Object, "spec", "authorization", "rules")
	return rules, ok && err == nil && len(rules) > 0
}

// denyRule is the refusal. Without "allow" a rule refuses.
func denyRule(r *Run, name, issuer string) map[string]any {
	when := "identity.name == " + celString(name)
	if issuer != "" {
		when += " && identity.issuer == " + celString(issuer)
	}
	return map[string]any{"name": "bulwark-" + r.ID, "when": when}
}

// celString writes a text as a string of CEL: what is no plain letter, digit or one of a
// few signs is escaped by its number, so that nothing of it can end the string.
func celString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._@:/ ", r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// ruleAt finds a rule by its name.
func ruleAt(rules []any, name any) int {
	for i, r := range rules {
		if m, ok := r.(map[string]any); ok && m["name"] == name {
			return i
		}
	}
	return -1
}
