package authn

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"bulwark.dev/bulwark"
)

// JWTConfig says which tokens of one issuer are accepted.
type JWTConfig struct {
	// Issuer must equal "iss", and one of Audiences be in "aud". Neither may be
	// empty.
	Issuer    string
	Audiences []string
	// Exactly one of JWKS (a JWK Set) and JWKSURI gives the issuer's keys.
	JWKS    string
	JWKSURI string
	// Algorithms narrows what fits the keys. Empty means all of RS, PS, ES and
	// EdDSA.
	Algorithms []string
	// Type must equal "typ". Empty accepts tokens without one, "JWT" and
	// "at+jwt", so that a logout or proof token is no access token.
	Type string
	// The claims that give name, groups and roles. Empty means "sub", "groups",
	// "roles". A dot steps into an object.
	NameClaim, GroupsClaim, RolesClaim string
	// ClockSkew is allowed on "exp", "nbf" and "iat"; at most 5 minutes.
	ClockSkew time.Duration
}

// MaxClockSkew is the largest JWTConfig.ClockSkew.
const MaxClockSkew = 5 * time.Minute

// JWT accepts the tokens of one issuer (RFC 7519, judged by RFC 8725).
type JWT struct {
	issuer                             string
	audiences                          []string
	algorithms                         []string
	typ                                string
	nameClaim, groupsClaim, rolesClaim string
	skew                               time.Duration
	keys                               keySource
	verdicts                           verdicts
}

// id tells configurations apart. A JWTConfig holds no secret.
func (c JWTConfig) id() (digestOf, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return digestOf{}, fmt.Errorf("encode: %w", err)
	}
	return sha256.Sum256(text), nil
}

// NewJWT checks a configuration and parses its keys. Keys behind a URI are
// fetched with client when the first token comes. The same configuration gives
// the same JWT, with its verdicts on tokens, for as long as anyone uses it.
func NewJWT(c JWTConfig, shared *Shared, client *http.Client) (*JWT, error) {
	switch {
	case c.Issuer == "":
		return nil, errors.New("jwt: an issuer is required")
	case len(c.Audiences) == 0 || slices.Contains(c.Audiences, ""):
		return nil, fmt.Errorf("jwt: issuer %q: audiences are required and none may be empty", c.Issuer)
	case c.ClockSkew < 0 || c.ClockSkew > MaxClockSkew:
		return nil, fmt.Errorf("jwt: issuer %q: clock skew %s is not between 0 and %s", c.Issuer, c.ClockSkew, MaxClockSkew)
	case (c.JWKS == "") == (c.JWKSURI == ""):
		return nil, fmt.Errorf("jwt: issuer %q: exactly one of key set and key set URI is required", c.Issuer)
	case shared == nil:
		return nil, fmt.Errorf("jwt: issuer %q: no shared state", c.Issuer)
	}
	for _, name := range c.Algorithms {
		if _, ok := algorithmOf(name); !ok {
			return nil, fmt.Errorf("jwt: issuer %q: algorithm %q is not accepted", c.Issuer, name)
		}
	}
	id, err := c.id()
	if err != nil {
		return nil, fmt.Errorf("jwt: issuer %q: %w", c.Issuer, err)
	}
	return shared.jwts.get(id, func() (*JWT, error) {
		keys, err := newKeys(c, shared, client)
		if err != nil {
			return nil, fmt.Errorf("jwt: issuer %q: %w", c.Issuer, err)
		}
		return &JWT{
			issuer: c.Issuer, audiences: slices.Clone(c.Audiences), algorithms: slices.Clone(c.Algorithms), typ: mediaType(c.Type),
			nameClaim: or(c.NameClaim, "sub"), groupsClaim: or(c.GroupsClaim, "groups"), rolesClaim: or(c.RolesClaim, "roles"),
			skew: c.ClockSkew, keys: keys,
		}, nil
	})
}

func newKeys(c JWTConfig, shared *Shared, client *http.Client) (keySource, error) {
	if c.JWKSURI != "" {
		return shared.remoteKeys(c.JWKSURI, client)
	}
	keys, err := parseKeySet([]byte(c.JWKS), true)
	if err != nil {
		return nil, err
	}
	return fixedKeys{set: &keySet{keys: keys, version: 1}}, nil
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// BearerChallenge asks for a token (RFC 6750 3). Without a credential no error
// is named.
const BearerChallenge = `Bearer realm="` + Realm + `"`

const bearerInvalid = BearerChallenge + `, error="invalid_token"`

// Authenticate judges one token.
func (j *JWT) Authenticate(ctx context.Context, c Credential, now time.Time) (*bulwark.Identity, *Failure) {
	return JWTs{j}.Authenticate(ctx, c, now)
}

// JWTs are the issuers whose tokens are accepted in one place. The unverified
// "iss" of a token chooses who verifies it, and nothing more.
type JWTs []*JWT

// Authenticate judges one token.
func (js JWTs) Authenticate(ctx context.Context, c Credential, now time.Time) (*bulwark.Identity, *Failure) {
	at := now.Unix()
	if len(c.Value) > maxToken {
		return nil, wrong("the token is too long", bearerInvalid)
	}
	sum := sha256.Sum256([]byte(c.Value))
	for _, j := range js {
		// Asking for the keys first makes a verdict end with the keys that it
		// rests on.
		if set := j.keys.peek(at); set != nil {
			if id := j.verdicts.get(&sum, set.version, at); id != nil {
				return id, nil
			}
		}
	}
	t, err := parseToken(c.Value)
	if err != nil {
		return nil, wrong(err.Error(), bearerInvalid)
	}
	failure := wrong(fmt.Sprintf("\"iss\" %q is not accepted", brief(t.claimedIssuer())), bearerInvalid)
	for _, j := range js {
		if t.claimedIssuer() != j.issuer {
			continue
		}
		id, f := j.judge(ctx, t, &sum, len(c.Value), now)
		if f == nil {
			return id, nil
		}
		if failure.Code != bulwark.CodeUnavailable {
			failure = f // "cannot tell" outweighs "wrong"
		}
	}
	return nil, failure
}

// judge verifies a token that claims the right issuer.
func (j *JWT) judge(ctx context.Context, t *token, sum *digestOf, size int, now time.Time) (*bulwark.Identity, *Failure) {
	if len(j.algorithms) > 0 && !slices.Contains(j.algorithms, t.alg.name) {
		return nil, wrong(fmt.Sprintf("algorithm %s is not accepted by the policy", t.alg.name), bearerInvalid)
	}
	if err := j.typed(t.typ); err != nil {
		return nil, wrong(err.Error(), bearerInvalid)
	}
	set, why := j.keys.wait(ctx, now.Unix())
	if set == nil {
		return nil, unavailable(fmt.Sprintf("no keys of issuer %q: %s", j.issuer, why), retryFetch)
	}
	keys, known := set.candidates(t)
	if t.hasKid && !known {
		set = j.keys.refetch(ctx, set, t.kid, now.Unix())
		keys, _ = set.candidates(t)
	}
	if err := j.signed(t, keys); err != nil {
		return nil, wrong(err.Error(), bearerInvalid)
	}
	id, w, err := j.believe(t.claims, now)
	if err != nil {
		f := wrong(err.Error(), bearerInvalid)
		// The issuer did sign it: whoever sends an old token is not guessing.
		f.Guess = !errors.Is(err, errOutOfDate)
		return nil, f
	}
	j.verdicts.put(sum, verdict{identity: id, window: w, version: set.version, size: size})
	return id, nil
}

func (j *JWT) typed(typ string) error {
	typ = mediaType(typ)
	switch {
	case j.typ != "" && strings.EqualFold(typ, j.typ):
	case j.typ == "" && (typ == "" || strings.EqualFold(typ, "JWT") || strings.EqualFold(typ, "at+jwt")):
	default:
		return fmt.Errorf("\"typ\" %q is not accepted", brief(typ))
	}
	return nil
}

// signed checks the signature against the keys that may have made it.
func (j *JWT) signed(t *token, keys []key) error {
	if len(keys) == 0 {
		return fmt.Errorf("no key fits \"kid\" %q and algorithm %s", brief(t.kid), t.alg.name)
	}
	var err error
	for _, k := range keys {
		if err = verify(t.alg, k.public, []byte(t.signed), t.signature); err == nil {
			return nil
		}
	}
	return err
}

// believe reads the claims of a token whose signature is verified.
func (j *JWT) believe(claims map[string]any, now time.Time) (*bulwark.Identity, window, error) {
	if iss, _ := claims["iss"].(string); iss != j.issuer {
		return nil, window{}, errors.New("\"iss\" is not the issuer")
	}
	if err := j.audience(claims); err != nil {
		return nil, window{}, err
	}
	w, err := j.window(claims, now)
	if err != nil {
		return nil, window{}, err
	}
	id, err := j.identity(claims)
	return id, w, err
}
