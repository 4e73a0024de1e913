// Package auth joins the kinds of credentials (authn) into the one question
// that a policy asks: who is this? Authorization is in authz.
package auth

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/auth/authn"
	"bulwark.dev/bulwark/internal/auth/query"
)

// Request is what the chain reads of a request, and takes out of it before it
// goes to a backend. Field names are lower-case.
type Request interface {
	// Header gives the first value of a field and how often it occurs.
	Header(name string) (value string, count int)
	// RawQuery is the query as it came.
	RawQuery() string
	// PeerCertificates is what the peer of the finished TLS handshake presented.
	PeerCertificates() []*x509.Certificate
	RemoveHeader(name string)
	SetRawQuery(raw string)
}

// Alternative is one accepted kind of credential. Exactly one of the pointers is
// set.
type Alternative struct {
	JWT               *authn.JWTConfig
	APIKey            *authn.APIKeyConfig
	Basic             *authn.BasicConfig
	ClientCertificate *authn.ClientCertificateConfig
	Anonymous         *Anonymous

	// Header carries a JWT or an API key. Empty, or "Authorization", means the
	// scheme Bearer for a JWT.
	Header string
	// Query is the parameter that carries an API key. Exactly one of Header and
	// Query is set for one.
	Query string
	// Forward keeps the credential on the request to the backend. Where several
	// alternatives of one kind stand in one place, all must agree.
	Forward bool
}

// Anonymous admits requests without a credential.
type Anonymous struct{ Roles []string }

// Deps is what authenticators need from outside.
type Deps struct {
	Shared *authn.Shared
	// HTTP fetches key sets. It has a timeout.
	HTTP *http.Client
}

const authorization = "authorization"

// kinds are the kinds of credentials. The order does not decide anything: the
// policy's does.
var kinds = []func(Alternative, Deps) (*source, error){
	newJWT,
	newAPIKey,
	newBasic,
	newClientCertificate,
	newAnonymous,
}

// source is one place of a request and who judges what stands there. Exactly
// one of header, query and certificate says where.
type source struct {
	header, query string
	certificate   bool
	readers       []reader
	anonymous     *authn.Anonymous
}

func (s *source) same(o *source) bool {
	return s.header == o.header && s.query == o.query && s.certificate == o.certificate
}

// reader judges the credentials of one scheme in one place. The scheme is
// lower-case, and empty where the whole value is the credential.
type reader struct {
	scheme    string
	jwts      authn.JWTs
	keys      []*authn.APIKey
	other     authn.Authenticator
	forward   bool
	challenge string
}

// Chain is the accepted alternatives of one policy. The first place, in the
// order of the policy, where a request carries a credential decides: what is
// wrong there is refused and nothing else is tried. The zero Chain refuses.
type Chain struct {
	sources   []*source
	anonymous *authn.Anonymous
	claims    bool // a name is claimed before it is proved
}

// New makes the chain. The error says which alternative cannot be served.
func New(anyOf []Alternative, deps Deps) (*Chain, error) {
	c := &Chain{}
	for i, alt := range anyOf {
		s, err := newSource(alt, deps)
		if err != nil {
			return nil, fmt.Errorf("alternative %d: %w", i, err)
		}
		if s.anonymous != nil {
			c.anonymous = s.anonymous
			continue
		}
		c.claims = c.claims || alt.Basic != nil
		if err := c.add(s); err != nil {
			return nil, fmt.Errorf("alternative %d: %w", i, err)
		}
	}
	return c, nil
}

func newSource(alt Alternative, deps Deps) (*source, error) {
	var found *source
	for _, newKind := range kinds {
		s, err := newKind(alt, deps)
		if err != nil {
			return nil, err
		}
		switch {
		case s == nil:
		case found != nil:
			return nil, errors.New("two kinds of credentials in one alternative")
		default:
			found = s
		}
	}
	if found == nil {
		return nil, errors.New("no kind of credential is named")
	}
	return found, nil
}

// add joins a source with the one that reads the same place.
func (c *Chain) add(s *source) error {
	i := slices.IndexFunc(c.sources, s.same)
	if i < 0 {
		c.sources = append(c.sources, s)
		return nil
	}
	at, r := c.sources[i], s.readers[0]
	for k := range at.readers {
		old := &at.readers[k]
		switch {
		case old.scheme != r.scheme && (old.scheme == "" || r.scheme == ""):
			return fmt.Errorf("the header %q cannot carry this and a credential with a scheme", s.header)
		case old.scheme != r.scheme:
			continue
		case old.jwts != nil && r.jwts != nil:
			old.jwts = append(old.jwts, r.jwts...)
		case old.keys != nil && r.keys != nil:
			old.keys = append(old.keys, r.keys...)
		default:
			return errors.New("another alternative reads the same place of the request")
		}
		old.forward = old.forward && r.forward
		return nil
	}
	at.readers = append(at.readers, r)
	return nil
}

// Challenges are what a request without a credential is told (RFC 9110
// 11.6.1).
func (c *Chain) Challenges() []string {
	var out []string
	for _, s := range c.sources {
		for _, r := range s.readers {
			if !slices.Contains(out, r.challenge) {
				out = append(out, r.challenge)
			}
		}
	}
	return out
}

// Authenticate says who a request comes from, and takes the credentials that
// the backend must not see out of it. Exactly one of the results is nil.
func (c *Chain) Authenticate(ctx context.Context, r Request, now time.Time) (*bulwark.Identity, *authn.Failure) {
	var by *source
	var cred authn.Credential
	for _, s := range c.sources {
		got, count, err := s.read(r)
		if err != nil {
			return nil, refused(err.Error())
		}
		if count > 1 {
			return nil, refused("the credential in " + s.place() + " occurs more than once")
		}
		if count == 1 && by == nil {
			by, cred = s, got
		}
	}
	if by == nil {
		if c.anonymous != nil {
			return c.anonymous.Authenticate(ctx, cred, now)
		}
		return nil, refused("the request carries no accepted credential")
	}
	rd, value := by.choose(cred.Value)
	if rd == nil {
		f := refused("the scheme of the credential is not accepted")
		return nil, f
	}
	cred.Value = value
	id, f := rd.judge(ctx, cred, now)
	if f != nil {
		return nil, f
	}
	if !id.Known() {
		return nil, refused("the authenticator gave no identity")
	}
	c.strip(r, by, rd)
	return id, nil
}

// refused is a request without a credential that could be judged. No challenge
// of its own: all of them apply.
func refused(reason string) *authn.Failure {
	return &authn.Failure{Status: http.StatusUnauthorized, Code: bulwark.CodeUnauthenticated, Reason: reason}
}

// Claimed is the name that a request claims before it is proved, for lock-outs:
// the user of a password. Empty where there is none. Tokens and keys claim no
// name: what stands in an unproved token is anybody's choice.
func (c *Chain) Claimed(r Request) string {
	if !c.claims {
		return ""
	}
	v, count := r.Header(authorization)
	if count != 1 {
		return ""
	}
	scheme, rest, _ := strings.Cut(v, " ")
	if !strings.EqualFold(scheme, "basic") {
		return ""
	}
	name, _, _ := authn.SplitBasic(rest)
	return name
}

func (s *source) place() string {
	switch {
	case s.certificate:
		return "the TLS handshake"
	case s.query != "":
		return "the query"
	}
	return "header " + s.header
}

// read looks for a credential in the source's place.
func (s *source) read(r Request) (authn.Credential, int, error) {
	switch {
	case s.certificate:
		certs := r.PeerCertificates()
		return authn.Credential{Certificates: certs}, min(len(certs), 1), nil
	case s.query != "":
		v, n, err := query.Get(r.RawQuery(), s.query)
		if err != nil {
			return authn.Credential{}, 0, fmt.Errorf("look for the credential: %w", err)
		}
		return authn.Credential{Value: v}, n, nil
	}
	v, n := r.Header(s.header)
	return authn.Credential{Value: v}, n, nil
}

// choose finds who judges a value by its scheme (RFC 9110 11.4) and gives what
// follows it. Exactly one space stands between.
func (s *source) choose(value string) (*reader, string) {
	for i := range s.readers {
		r := &s.readers[i]
		n := len(r.scheme)
		if n == 0 {
			return r, value
		}
		if len(value) > n && value[n] == ' ' && strings.EqualFold(value[:n], r.scheme) {
			return r, value[n+1:]
		}
	}
	return nil, ""
}

func (r *reader) judge(ctx context.Context, c authn.Credential, now time.Time) (*bulwark.Identity, *authn.Failure) {
	if r.jwts != nil {
		return r.jwts.Authenticate(ctx, c, now)
	}
	if r.keys == nil {
		return r.other.Authenticate(ctx, c, now)
	}
	var f *authn.Failure
	for _, k := range r.keys {
		var id *bulwark.Identity
		if id, f = k.Authenticate(ctx, c, now); f == nil {
			return id, nil
		}
	}
	return nil, f
}

// strip takes out every credential that no authenticator wants forwarded. Of
// the place that decided, the reader that did has the say.
func (c *Chain) strip(r Request, by *source, rd *reader) {
	for _, s := range c.sources {
		forward := rd.forward
		if s != by {
			forward = !slices.ContainsFunc(s.readers, func(r reader) bool { return !r.forward })
		}
		switch {
		case forward || s.certificate:
		case s.query != "":
			r.SetRawQuery(query.Without(r.RawQuery(), s.query))
		default:
			r.RemoveHeader(s.header)
		}
	}
}
