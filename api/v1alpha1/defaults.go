package v1alpha1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The values of fields that a policy leaves out. The field comments of
// SecurityPolicySpec promise them.
const (
	DefaultJWTHeader       = "Authorization"
	DefaultNameClaim       = "sub"
	DefaultGroupsClaim     = "groups"
	DefaultRolesClaim      = "roles"
	DefaultClockSkew       = 30 * time.Second
	DefaultBurst           = int32(1)
	DefaultLockOutWindow   = 5 * time.Minute
	DefaultLockOutDuration = 15 * time.Minute
	DefaultMaxBodyBytes    = int64(10485760)
	DefaultCORSMaxAge      = 5 * time.Second
)

// What RateLimit.Scope may say. ScopeCluster is refused until there is a shared
// store.
const (
	ScopeLocal   = "local"
	ScopeCluster = "cluster"
)

// What LockOut.By may say.
const (
	LockByIdentity = "identity"
	LockBySource   = "source"
	LockByBoth     = "both"
)

// Default gives a deep copy of p in which every field that is left out holds
// its default. A part that p does not set stays unset, so that a Gateway's
// policy can still supply it; call Default before merging two policies, since
// the realm comes from the name of the policy that asks for Basic. A nil p
// gives nil.
func Default(p *SecurityPolicy) *SecurityPolicy {
	out := p.DeepCopy()
	if out == nil {
		return nil
	}
	s := &out.Spec
	if s.Authentication != nil {
		for i := range s.Authentication.AnyOf {
			defaultAuthenticator(&s.Authentication.AnyOf[i], out.Name)
		}
	}
	for i := range s.RateLimits {
		defaultRateLimit(&s.RateLimits[i])
	}
	if l := s.LockOut; l != nil {
		set(&l.Window, metav1.Duration{Duration: DefaultLockOutWindow})
		set(&l.Duration, metav1.Duration{Duration: DefaultLockOutDuration})
		fill(&l.By, LockByBoth)
	}
	if s.Request != nil {
		set(&s.Request.MaxBodyBytes, DefaultMaxBodyBytes)
	}
	if s.CORS != nil {
		set(&s.CORS.MaxAge, metav1.Duration{Duration: DefaultCORSMaxAge})
	}
	return out
}

func defaultAuthenticator(a *Authenticator, policy string) {
	if j := a.JWT; j != nil {
		set(&j.Claims, ClaimNames{})
		fill(&j.Claims.Name, DefaultNameClaim)
		fill(&j.Claims.Groups, DefaultGroupsClaim)
		fill(&j.Claims.Roles, DefaultRolesClaim)
		fill(&j.Header, DefaultJWTHeader)
		set(&j.ClockSkew, metav1.Duration{Duration: DefaultClockSkew})
	}
	if a.Basic != nil {
		fill(&a.Basic.Realm, policy)
	}
}

func defaultRateLimit(r *RateLimit) {
	fill(&r.Burst, DefaultBurst)
	fill(&r.Scope, ScopeLocal)
	set(&r.Overflow, Overflow{Reject: &Reject{}})
}

// set points *p at v where it points nowhere.
func set[T any](p **T, v T) {
	if *p == nil {
		*p = &v
	}
}

// fill gives *p the value v where it is zero.
func fill[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}
