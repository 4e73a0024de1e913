package filters

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/auth"
	"bulwark.dev/bulwark/internal/auth/lockout"
	"bulwark.dev/bulwark/internal/gateway/ir"
)

// lockOut refuses who failed too often, before any credential is looked at: the
// answer is the same whether or not the next one would be right.
type lockOut struct {
	policy *lockout.Policy
	locks  *lockout.Table
	// chain reads the name that a request claims; nil where names do not lock.
	chain *auth.Chain
	rule  string
}

func newLockOut(rule *ir.Rule, deps Deps) (step, error) {
	l := rule.LockOut
	if l == nil {
		return nil, nil
	}
	if deps.State == nil || deps.State.Auth == nil {
		return nil, errors.New("no state")
	}
	p, err := lockPolicy(l)
	if err != nil {
		return nil, err
	}
	s := &lockOut{policy: p, locks: deps.State.Auth.locks, rule: l.Rule + " lockOut"}
	if l.ByIdentity && rule.Authentication != nil {
		if s.chain, err = deps.State.Auth.chain(rule.Authentication, deps.HTTP); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func lockPolicy(l *ir.LockOut) (*lockout.Policy, error) {
	p := &lockout.Policy{
		Name: l.Rule, Attempts: l.Attempts, Window: l.Window, Duration: l.Duration,
		ByName: l.ByIdentity, BySource: l.BySource,
	}
	const mostAttempts = 10_000
	if p.Attempts < 1 || p.Attempts > mostAttempts || p.Window <= 0 || p.Duration <= 0 || !p.ByName && !p.BySource {
		return nil, fmt.Errorf("lock-out of %s: 1 to %d attempts, a window, a duration and what to lock are required", l.Rule, mostAttempts)
	}
	return p, nil
}

func (s *lockOut) request(_ context.Context, x *Exchange) bulwark.Decision {
	subject := lockout.Subject{Source: x.Source}
	if s.chain != nil {
		subject.Name = s.chain.Claimed(credentials{x})
	}
	what, left := s.locks.Locked(s.policy, subject, x.Now)
	if what == "" {
		return bulwark.Allow(s.rule)
	}
	d := bulwark.Refuse(http.StatusTooManyRequests, bulwark.CodeLockedOut, s.rule, "too many failed credentials: the "+what+" is locked")
	// Whole seconds, rounded up: that is how Retry-After is sent.
	d.RetryAfter = (left + time.Second - 1).Truncate(time.Second)
	return d
}
