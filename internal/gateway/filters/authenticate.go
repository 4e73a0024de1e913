package filters

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"slices"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/auth"
	"bulwark.dev/bulwark/internal/auth/authn"
	"bulwark.dev/bulwark/internal/auth/lockout"
	"bulwark.dev/bulwark/internal/gateway/ir"
)

// authenticate says who asks. It refuses who does not prove it, and takes
// credentials that are not to be forwarded out of the request.
type authenticate struct {
	chain *auth.Chain
	rule  string
	// challenges are for requests that carry no credential.
	challenges []string
	lock       *lockout.Policy // nil where failures are not counted
	locks      *lockout.Table
	log        *slog.Logger
}

// newAuthenticate never gives nil: a rule without authentication refuses, unless
// the operator asked for unprotected routes by name.
func newAuthenticate(rule *ir.Rule, deps Deps) (step, error) {
	a := rule.Authentication
	switch {
	case a == nil && rule.Unprotected:
		return unprotected{}, nil
	case a == nil || len(a.AnyOf) == 0:
		return refuseAll{bulwark.Refuse(http.StatusForbidden, bulwark.CodeForbidden, rule.ID, "no authentication is configured")}, nil
	case deps.State == nil || deps.State.Auth == nil:
		return nil, errors.New("no state")
	}
	chain, err := deps.State.Auth.chain(a, deps.HTTP)
	if err != nil {
		return nil, err
	}
	s := &authenticate{chain: chain, rule: a.Rule + " authentication", challenges: chain.Challenges(), log: deps.Log}
	if rule.LockOut != nil {
		if s.lock, err = lockPolicy(rule.LockOut); err != nil {
			return nil, err
		}
		s.locks = deps.State.Auth.locks
	}
	return s, nil
}

// alternative says the same in the words of package auth, which knows no ir.
func alternative(a *ir.Authenticator) auth.Alternative {
	var out auth.Alternative
	if j := a.JWT; j != nil {
		out.Header, out.Forward = j.Header, j.Forward
		out.JWT = &authn.JWTConfig{
			Issuer: j.Issuer, Audiences: j.Audiences, JWKS: j.JWKS, JWKSURI: j.JWKSURI, Algorithms: j.Algorithms, Type: j.Type,
			NameClaim: j.NameClaim, GroupsClaim: j.GroupsClaim, RolesClaim: j.RolesClaim, ClockSkew: j.ClockSkew,
		}
	}
	if k := a.APIKey; k != nil {
		out.Header, out.Query, out.Forward = k.Header, k.Query, k.Forward
		c := &authn.APIKeyConfig{Issuer: k.Issuer, Keys: make([]authn.Key, len(k.Keys))}
		for i, key := range k.Keys {
			c.Keys[i] = authn.Key(key)
		}
		out.APIKey = c
	}
	if b := a.Basic; b != nil {
		out.Forward = b.Forward
		c := &authn.BasicConfig{Issuer: b.Issuer, Realm: b.Realm, Users: make([]authn.User, len(b.Users))}
		for i, u := range b.Users {
			c.Users[i] = authn.User(u)
		}
		out.Basic = c
	}
	if cc := a.ClientCertificate; cc != nil {
		c := &authn.ClientCertificateConfig{CA: cc.CA, Issuers: cc.Issuers, SubjectAltNames: make([]authn.SAN, len(cc.SubjectAltNames))}
		for i, san := range cc.SubjectAltNames {
			c.SubjectAltNames[i] = authn.SAN(san)
		}
		out.ClientCertificate = c
	}
	if n := a.Anonymous; n != nil {
		out.Anonymous = &auth.Anonymous{Roles: slices.Clone(n.Roles)}
	}
	return out
}

func (s *authenticate) request(ctx context.Context, x *Exchange) bulwark.Decision {
	claimed := ""
	if s.lock != nil {
		claimed = s.chain.Claimed(credentials{x})
	}
	id, f := s.chain.Authenticate(ctx, credentials{x}, x.Now)
	if f != nil {
		return s.refuse(ctx, x, f, claimed)
	}
	if s.lock != nil && claimed != "" && id.Method == authn.MethodBasic {
		s.locks.Succeeded(s.lock, lockout.Subject{Source: x.Source, Name: claimed}, x.Now)
	}
	x.Identity = id
	return bulwark.Allow(s.rule)
}

func (s *authenticate) refuse(ctx context.Context, x *Exchange, f *authn.Failure, claimed string) bulwark.Decision {
	if f.Guess && s.lock != nil {
		if what := s.locks.Failed(s.lock, lockout.Subject{Source: x.Source, Name: claimed}, x.Now); what != "" && s.log != nil {
			s.log.LogAttrs(ctx, slog.LevelWarn, "locked out after too many failed credentials",
				slog.String("rule", s.lock.Name), slog.String("locked", what),
				slog.String("source", x.Source.String()), slog.Duration("for", s.lock.Duration))
		}
	}
	switch {
	case f.Status != http.StatusUnauthorized:
	case f.Challenge != "":
		x.ResponseHeader.Add("www-authenticate", f.Challenge)
	default:
		for _, c := range s.challenges {
			x.ResponseHeader.Add("www-authenticate", c)
		}
	}
	d := bulwark.Refuse(f.Status, f.Code, s.rule, f.Reason)
	d.RetryAfter = f.RetryAfter
	return d
}

// credentials shows an exchange to package auth. It is one pointer wide, so that
// showing it costs nothing.
type credentials struct{ x *Exchange }

// Header gives the first value of a field and how often it occurs.
func (c credentials) Header(name string) (string, int) { return c.x.Req.Header.Lookup(name) }

// RawQuery is the query as it came.
func (c credentials) RawQuery() string { return c.x.Req.Query }

// PeerCertificates are those of a finished handshake.
func (c credentials) PeerCertificates() []*x509.Certificate {
	if c.x.TLS == nil || !c.x.TLS.HandshakeComplete {
		return nil
	}
	return c.x.TLS.PeerCertificates
}

// RemoveHeader takes a field out of the request.
func (c credentials) RemoveHeader(name string) { c.x.Req.Header.Del(name) }

// SetRawQuery replaces the query; an empty one is none.
func (c credentials) SetRawQuery(raw string) { c.x.Req.Query, c.x.Req.HasQuery = raw, raw != "" }
