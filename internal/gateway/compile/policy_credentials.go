package compile

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/crypto/bcrypt"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/api/v1alpha1"
	"bulwark.dev/bulwark/internal/gateway/ir"
)

func (c *compiler) authentication(p *policy) error {
	out := &ir.Authentication{Rule: p.String(), AnyOf: []ir.Authenticator{}}
	for i := range p.obj.Spec.Authentication.AnyOf {
		a := &p.obj.Spec.Authentication.AnyOf[i]
		built, err := c.authenticator(p, a)
		if err != nil {
			return fmt.Errorf("anyOf[%d]: %w", i, err)
		}
		out.AnyOf = append(out.AnyOf, built)
	}
	if len(out.AnyOf) == 0 {
		return errors.New("anyOf is empty")
	}
	p.steps.Authentication = out
	return nil
}

func (c *compiler) authenticator(p *policy, a *v1alpha1.Authenticator) (ir.Authenticator, error) {
	var out ir.Authenticator
	var err error
	kinds := 0
	if a.JWT != nil {
		kinds++
		out.JWT, err = c.jwt(p, a.JWT)
	}
	if a.APIKey != nil && err == nil {
		kinds++
		out.APIKey, err = c.apiKey(p, a.APIKey)
	}
	if a.Basic != nil && err == nil {
		kinds++
		out.Basic, err = c.basic(p, a.Basic)
	}
	if a.ClientCertificate != nil && err == nil {
		kinds++
		out.ClientCertificate, err = c.clientCert(p, a.ClientCertificate)
	}
	if a.Anonymous != nil {
		kinds++
		out.Anonymous = &ir.Anonymous{Roles: slices.Clone(a.Anonymous.Roles)}
	}
	switch {
	case err != nil:
		return ir.Authenticator{}, err
	case kinds != 1:
		return ir.Authenticator{}, errors.New("exactly one kind of credential must be set")
	}
	return out, nil
}

func (c *compiler) jwt(p *policy, in *v1alpha1.JWT) (*ir.JWT, error) {
	out := &ir.JWT{
		Issuer: in.Issuer, Audiences: slices.Clone(in.Audiences), Algorithms: slices.Clone(in.Algorithms), Type: in.Type,
		NameClaim: in.Claims.Name, GroupsClaim: in.Claims.Groups, RolesClaim: in.Claims.Roles,
		Header: in.Header, ClockSkew: in.ClockSkew.Duration, JWKSURI: in.JWKS.URI, Forward: in.Forward,
	}
	if !strings.EqualFold(out.Header, v1alpha1.DefaultJWTHeader) {
		out.Header = strings.ToLower(out.Header)
	} else {
		out.Header = v1alpha1.DefaultJWTHeader
	}
	if in.Issuer == "" || len(in.Audiences) == 0 || slices.Contains(in.Audiences, "") {
		return nil, errors.New("jwt: issuer and audiences are required")
	}
	raw, err := c.jwksText(p, &in.JWKS)
	if err != nil {
		return nil, fmt.Errorf("jwt.jwks: %w", err)
	}
	if in.JWKS.URI == "" {
		if out.JWKS, err = publicKeys(raw); err != nil {
			return nil, fmt.Errorf("jwt.jwks: %w", err)
		}
	}
	return out, nil
}

// jwksKey is where Secrets and ConfigMaps hold key sets.
const jwksKey = "jwks.json"

// jwksText gives the key set that is not fetched by URI.
func (c *compiler) jwksText(p *policy, in *v1alpha1.JWKS) (string, error) {
	sources := 0
	for _, set := range []bool{in.URI != "", in.Inline != "", in.SecretRef != nil, in.ConfigMapRef != nil} {
		if set {
			sources++
		}
	}
	if sources != 1 {
		return "", errors.New("exactly one of uri, inline, secretRef and configMapRef must be set")
	}
	switch {
	case in.SecretRef != nil:
		k := key{p.namespace, in.SecretRef.Name}
		s, err := c.ix.secret(k)
		if err != nil {
			return "", err
		}
		v, ok := value(s, jwksKey)
		if !ok {
			return "", fmt.Errorf("the Secret %s has no key %q", k, jwksKey)
		}
		return string(v), nil
	case in.ConfigMapRef != nil:
		k := key{p.namespace, in.ConfigMapRef.Name}
		m, err := c.ix.configMap(k)
		if err != nil {
			return "", err
		}
		v, ok := text(m, jwksKey)
		if !ok {
			return "", fmt.Errorf("the ConfigMap %s has no key %q", k, jwksKey)
		}
		return v, nil
	}
	return in.Inline, nil
}

// publicKeys checks a key set and writes it again with nothing but what a public
// key has. Private and symmetric keys are refused: whoever can read them can
// sign.
func publicKeys(raw string) (string, error) {
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(raw), &set); err != nil {
		// The cause may quote the set, which may come from a Secret.
		return "", errors.New("the key set is not valid JSON of RFC 7517")
	}
	var public jose.JSONWebKeySet
	for i := range set.Keys {
		k := set.Keys[i]
		if !k.Valid() || !k.IsPublic() {
			return "", fmt.Errorf("key %d is not a usable public key", i)
		}
		public.Keys = append(public.Keys, k)
	}
	if len(public.Keys) == 0 {
		return "", errors.New("the key set holds no usable key")
	}
	out, err := json.Marshal(public)
	if err != nil {
		return "", errors.New("the key set cannot be written again")
	}
	return string(out), nil
}

func (c *compiler) apiKey(p *policy, in *v1alpha1.APIKey) (*ir.APIKey, error) {
	if (in.Header != "") == (in.Query != "") {
		return nil, errors.New("apiKey: exactly one of header and query must be set")
	}
	if len(in.SecretSelector.MatchLabels)+len(in.SecretSelector.MatchExpressions) == 0 {
		return nil, errors.New("apiKey: secretSelector is empty, which would take every Secret for a key")
	}
	sel, err := metav1.LabelSelectorAsSelector(&in.SecretSelector)
	if err != nil {
		return nil, fmt.Errorf("apiKey: secretSelector: %w", err)
	}
	if why, ok := c.ix.unreadable(kindSecret); ok {
		return nil, fmt.Errorf("apiKey: Secrets could not all be read: %s", why)
	}
	out := &ir.APIKey{Issuer: p.String(), Header: strings.ToLower(in.Header), Query: in.Query, Forward: in.Forward}
	for _, s := range c.ix.secretsIn(p.namespace) {
		if !sel.Matches(labels.Set(s.Labels)) {
			continue
		}
		c.ix.look(kindSecret, keyOf(s))
		k, err := parseKey(s)
		if err != nil {
			return nil, fmt.Errorf("apiKey: Secret %s: %w", keyOf(s), err)
		}
		out.Keys = append(out.Keys, k)
	}
	if len(out.Keys) == 0 {
		c.rep.warn("%s: no Secret has the labels of apiKey.secretSelector, so no key is accepted", p)
	}
	return out, nil
}

func (c *compiler) basic(p *policy, in *v1alpha1.Basic) (*ir.Basic, error) {
	k := key{p.namespace, in.SecretRef.Name}
	s, err := c.ix.secret(k)
	if err != nil {
		return nil, fmt.Errorf("basic: %w", err)
	}
	file, ok := value(s, ".htpasswd")
	if !ok {
		if file, ok = value(s, "auth"); !ok {
			return nil, fmt.Errorf("basic: Secret %s has neither .htpasswd nor auth", k)
		}
	}
	users, err := passwordFile(string(file))
	if err != nil {
		return nil, fmt.Errorf("basic: Secret %s: %w", k, err)
	}
	return &ir.Basic{Issuer: p.String(), Realm: in.Realm, Users: users, Forward: in.Forward}, nil
}

// maxBcryptCost bounds what one guess may cost the gateway: each step doubles
// it, and 15 is already some seconds.
const maxBcryptCost = 15

// passwordFile reads lines "user:bcrypt-hash" with optional ":role1,role2".
// Errors name lines, never what stands there.
func passwordFile(file string) ([]ir.User, error) {
	var out []ir.User
	seen := map[string]bool{}
	n := 0
	for line := range strings.Lines(file) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, rest, ok := strings.Cut(line, ":")
		hash, roles, _ := strings.Cut(rest, ":")
		if !ok || name == "" || strings.Contains(roles, ":") {
			return nil, fmt.Errorf("line %d is not \"user:hash\" or \"user:hash:roles\"", n)
		}
		if seen[name] {
			return nil, fmt.Errorf("line %d names a user again", n)
		}
		seen[name] = true
		if err := checkBcrypt(hash); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		out = append(out, ir.User{Name: name, Hash: bulwark.NewSecret([]byte(hash)), Roles: commaList(roles)})
	}
	if len(out) == 0 {
		return nil, errors.New("it names no user")
	}
	return out, nil
}

func checkBcrypt(hash string) error {
	known := strings.HasPrefix(hash, "$2a$") || strings.HasPrefix(hash, "$2b$") || strings.HasPrefix(hash, "$2y$")
	cost, err := bcrypt.Cost([]byte(hash))
	if !known || err != nil || len(hash) != 60 {
		return errors.New("only bcrypt hashes are accepted")
	}
	if cost > maxBcryptCost {
		return fmt.Errorf("a bcrypt cost of %d is above %d", cost, maxBcryptCost)
	}
	return nil
}

func (c *compiler) clientCert(p *policy, in *v1alpha1.ClientCertificate) (*ir.ClientCertificate, error) {
	if (in.CASecretRef != nil) == (in.CAConfigMapRef != nil) {
		return nil, errors.New("clientCertificate: exactly one of caSecretRef and caConfigMapRef must be set")
	}
	kind, ref := kindSecret, in.CASecretRef
	if ref == nil {
		kind, ref = kindConfigMap, in.CAConfigMapRef
	}
	ca, err := c.ix.authoritiesOf(kind, key{p.namespace, ref.Name}, true)
	if err != nil {
		return nil, fmt.Errorf("clientCertificate: %w", err)
	}
	out := &ir.ClientCertificate{CA: ca, Issuers: slices.Clone(in.Issuers)}
	for _, s := range in.SubjectAltNames {
		if !slices.Contains([]string{"DNS", "URI", "Email", "IP"}, s.Type) || s.Value == "" {
			return nil, fmt.Errorf("clientCertificate: subjectAltNames: type %q with value %q is not known", s.Type, s.Value)
		}
		out.SubjectAltNames = append(out.SubjectAltNames, ir.SAN{Type: s.Type, Value: s.Value, Roles: slices.Clone(s.Roles)})
	}
	if len(out.SubjectAltNames) == 0 {
		return nil, errors.New("clientCertificate: subjectAltNames is empty: a CA alone does not say who")
	}
	return out, nil
}

// commaList gives the entries of a comma-separated list, without blanks.
func commaList(s string) []string {
	var out []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}
