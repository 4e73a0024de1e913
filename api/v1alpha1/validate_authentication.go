package v1alpha1

import (
	"encoding/json"
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const maxInlineJWKS = 262144

// Algorithms lists the signature algorithms that JWT.Algorithms may name: all
// asymmetric, since a key shared with the issuer could also mint tokens.
func Algorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

func validateAuthentication(a *Authentication, path *field.Path) field.ErrorList {
	path = path.Child("anyOf")
	errs := validateCount(len(a.AnyOf), 1, 16, path)
	seen := map[string]bool{}
	for i := range a.AnyOf {
		c, at := &a.AnyOf[i], path.Index(i)
		errs = append(errs, validateOneOf(
			at,
			member{"jwt", c.JWT != nil}, member{"apiKey", c.APIKey != nil}, member{"basic", c.Basic != nil},
			member{"clientCertificate", c.ClientCertificate != nil}, member{"anonymous", c.Anonymous != nil},
		)...)
		if c.JWT != nil {
			errs = append(errs, validateJWT(c.JWT, at.Child("jwt"))...)
		}
		if c.APIKey != nil {
			errs = append(errs, validateAPIKey(c.APIKey, at.Child("apiKey"))...)
		}
		if c.Basic != nil {
			errs = append(errs, validateOnce("basic", seen, at.Child("basic"))...)
			errs = append(errs, validateBasic(c.Basic, at.Child("basic"))...)
		}
		if c.ClientCertificate != nil {
			errs = append(errs, validateClientCertificate(c.ClientCertificate, at.Child("clientCertificate"))...)
		}
		if c.Anonymous != nil {
			errs = append(errs, validateOnce("anonymous", seen, at.Child("anonymous"))...)
			errs = append(errs, validateRoles(c.Anonymous.Roles, at.Child("anonymous", "roles"))...)
		}
	}
	return errs
}

// validateOnce refuses a second credential of a kind that cannot be told from
// the first: the first decides, so the second is dead and misleads its reader.
func validateOnce(kind string, seen map[string]bool, path *field.Path) field.ErrorList {
	if seen[kind] {
		return field.ErrorList{field.Forbidden(path, "a second "+kind+" would never be asked; put all into one")}
	}
	seen[kind] = true
	return nil
}

func validateJWT(j *JWT, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if blank(j.Issuer) {
		errs = append(errs, field.Required(path.Child("issuer"), `must equal the token's "iss"`))
	}
	errs = append(errs, validateText(j.Issuer, 2048, path.Child("issuer"))...)
	if len(j.Audiences) == 0 {
		errs = append(errs, field.Required(path.Child("audiences"), "a token for another API must not be good here"))
	}
	errs = append(errs, validateTexts(j.Audiences, 16, 1024, path.Child("audiences"))...)
	errs = append(errs, validateJWKS(&j.JWKS, path.Child("jwks"))...)
	errs = append(errs, validateAlgorithms(j.Algorithms, path.Child("algorithms"))...)
	for part := range strings.SplitSeq(j.Type, "/") {
		if j.Type != "" && (!token(part) || len(j.Type) > 127) {
			errs = append(errs, field.Invalid(path.Child("type"), j.Type, `must be a media type without parameters, for example "at+jwt"`))
			break
		}
	}
	if c := j.Claims; c != nil {
		at := path.Child("claims")
		errs = append(errs, validateClaim(c.Name, at.Child("name"))...)
		errs = append(errs, validateClaim(c.Groups, at.Child("groups"))...)
		errs = append(errs, validateClaim(c.Roles, at.Child("roles"))...)
	}
	if j.Header != "" {
		errs = append(errs, validateHeaderName(j.Header, path.Child("header"))...)
	}
	return append(errs, validateDuration(j.ClockSkew, 0, MaxClockSkew, path.Child("clockSkew"))...)
}

func validateAlgorithms(list []string, path *field.Path) field.ErrorList {
	errs := validateNotEmptied(list, path)
	known := Algorithms()
	for i, alg := range list {
		if !slices.Contains(known, alg) {
			errs = append(errs, field.NotSupported(path.Index(i), alg, known))
		} else if slices.Contains(list[:i], alg) {
			errs = append(errs, field.Duplicate(path.Index(i), alg))
		}
	}
	return errs
}

// validateClaim accepts a dotted path; empty stands for the default.
func validateClaim(s string, path *field.Path) field.ErrorList {
	if s == "" {
		return nil
	}
	errs := validateText(s, 256, path)
	if slices.Contains(strings.Split(s, "."), "") {
		errs = append(errs, field.Invalid(path, s, "has an empty step: a dot steps into an object"))
	}
	return errs
}

func validateJWKS(j *JWKS, path *field.Path) field.ErrorList {
	errs := validateOneOf(
		path,
		member{"uri", j.URI != ""}, member{"inline", j.Inline != ""},
		member{"secretRef", j.SecretRef != nil}, member{"configMapRef", j.ConfigMapRef != nil},
	)
	if j.URI != "" {
		errs = append(errs, validateKeyURL(j.URI, path.Child("uri"))...)
	}
	if j.Inline != "" {
		if err := checkKeySet(j.Inline); err != nil {
			// The value is left out: by mistake it may hold a private key.
			errs = append(errs, field.Invalid(path.Child("inline"), field.OmitValueType{}, err.Error()))
		}
	}
	if j.SecretRef != nil {
		errs = append(errs, validateName(j.SecretRef.Name, path.Child("secretRef", "name"))...)
	}
	if j.ConfigMapRef != nil {
		errs = append(errs, validateName(j.ConfigMapRef.Name, path.Child("configMapRef", "name"))...)
	}
	return errs
}

func validateKeyURL(s string, path *field.Path) field.ErrorList {
	bad := func(msg string) field.ErrorList { return field.ErrorList{field.Invalid(path, s, msg)} }
	if errs := validateText(s, 2048, path); len(errs) > 0 {
		return errs
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return bad("is not a URL: " + err.Error())
	case u.Hostname() == "" || u.Opaque != "":
		return bad("must be an absolute URL with a host, for example https://idp.example/jwks")
	case u.User != nil:
		return field.ErrorList{field.Invalid(path, field.OmitValueType{}, "must not hold a user name or password")}
	case u.Fragment != "" || strings.Contains(s, "#"):
		return bad("must have no fragment")
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	case u.Scheme == "http":
		return bad("must be https: whoever is on the way could put in own keys (plain http only to localhost or a loopback address)")
	default:
		return bad("must be https")
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// checkKeySet reads as much of a JWK set (RFC 7517 section 5) as shows that it
// is one and that it holds public keys only.
func checkKeySet(s string) error {
	if len(s) > maxInlineJWKS {
		return fmt.Errorf("must be at most %d bytes", maxInlineJWKS)
	}
	var set struct {
		Keys []map[string]json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal([]byte(s), &set); err != nil {
		return fmt.Errorf(`must be a JWK set, {"keys": [...]}: not such JSON`)
	}
	if len(set.Keys) == 0 {
		return fmt.Errorf(`must be a JWK set with at least one key under "keys"`)
	}
	for i, k := range set.Keys {
		var kty string
		if err := json.Unmarshal(k["kty"], &kty); err != nil || kty == "" {
			return fmt.Errorf(`key %d has no "kty"`, i)
		}
		if kty == "oct" {
			return fmt.Errorf(`key %d is symmetric ("kty": "oct"): whoever checks with it could also sign`, i)
		}
		if _, ok := k["d"]; ok {
			return fmt.Errorf(`key %d holds a private key ("d"): give the public half only, and replace the key`, i)
		}
	}
	return nil
}

func validateAPIKey(k *APIKey, path *field.Path) field.ErrorList {
	errs := validateOneOf(path, member{"header", k.Header != ""}, member{"query", k.Query != ""})
	if k.Header != "" {
		errs = append(errs, validateHeaderName(k.Header, path.Child("header"))...)
	}
	errs = append(errs, validateText(k.Query, 256, path.Child("query"))...)
	at := path.Child("secretSelector")
	errs = append(errs, metav1validation.ValidateLabelSelector(&k.SecretSelector, metav1validation.LabelSelectorValidationOptions{}, at)...)
	if !positive(&k.SecretSelector) {
		errs = append(errs, field.Required(at, "name at least one label that a Secret must have; without one every Secret of the namespace would count as a key"))
	}
	return errs
}

// positive reports whether s asks for the presence of a label.
func positive(s *metav1.LabelSelector) bool {
	return len(s.MatchLabels) > 0 || slices.ContainsFunc(s.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool {
		return r.Operator == metav1.LabelSelectorOpIn || r.Operator == metav1.LabelSelectorOpExists
	})
}

func validateBasic(b *Basic, path *field.Path) field.ErrorList {
	errs := validateName(b.SecretRef.Name, path.Child("secretRef", "name"))
	if bad := validateText(b.Realm, 128, path.Child("realm")); len(bad) > 0 {
		return append(errs, bad...)
	}
	if strings.ContainsFunc(b.Realm, func(r rune) bool { return r > '~' || r == '"' || r == '\\' }) {
		errs = append(errs, field.Invalid(path.Child("realm"), b.Realm, `must be ASCII without " and \: it stands between quotes in a header`))
	}
	return errs
}

func validateClientCertificate(c *ClientCertificate, path *field.Path) field.ErrorList {
	errs := validateOneOf(path, member{"caSecretRef", c.CASecretRef != nil}, member{"caConfigMapRef", c.CAConfigMapRef != nil})
	if c.CASecretRef != nil {
		errs = append(errs, validateName(c.CASecretRef.Name, path.Child("caSecretRef", "name"))...)
	}
	if c.CAConfigMapRef != nil {
		errs = append(errs, validateName(c.CAConfigMapRef.Name, path.Child("caConfigMapRef", "name"))...)
	}
	at := path.Child("subjectAltNames")
	if len(c.SubjectAltNames) == 0 {
		errs = append(errs, field.Required(at, "a certificate authority alone does not say who"))
	}
	errs = append(errs, validateCount(len(c.SubjectAltNames), 0, maxList, at)...)
	for i := range c.SubjectAltNames {
		errs = append(errs, validateSAN(&c.SubjectAltNames[i], at.Index(i))...)
	}
	errs = append(errs, validateNotEmptied(c.Issuers, path.Child("issuers"))...)
	errs = append(errs, validateTexts(c.Issuers, maxList, 1024, path.Child("issuers"))...)
	for i, s := range c.Issuers {
		if !blank(s) && !strings.Contains(s, "=") {
			errs = append(errs, field.Invalid(path.Child("issuers").Index(i), s, `must be a distinguished name, for example "CN=Shop CA,O=Shop"`))
		}
	}
	return errs
}

func validateSAN(n *SubjectAltName, path *field.Path) field.ErrorList {
	at := path.Child("value")
	errs := validateRoles(n.Roles, path.Child("roles"))
	bad := func(msg string) { errs = append(errs, field.Invalid(at, n.Value, msg)) }
	if n.Value == "" {
		errs = append(errs, field.Required(at, ""))
	}
	errs = append(errs, validateText(n.Value, 2048, at)...)
	switch n.Type {
	case "DNS":
		if n.Value != "" && len(validation.IsDNS1123Subdomain(strings.TrimPrefix(n.Value, "*."))) > 0 {
			bad(`must be a lower-case DNS name, "*." as its first label standing for one label`)
		}
	case "URI":
		rest, wild := strings.CutSuffix(n.Value, "/*")
		u, err := url.Parse(rest)
		switch {
		case n.Value == "":
		case err != nil || u.Scheme == "" || u.Host == "" && u.Opaque == "" && u.Path == "":
			bad(`must be an absolute URI, for example spiffe://shop.example/ns/shop/sa/cart, a trailing "/*" standing for any rest`)
		case wild && u.Host == "":
			bad(`must name a host before "/*"`)
		case strings.Contains(rest, "*"):
			bad(`may hold * only as a trailing "/*"`)
		}
	case "Email":
		if a, err := mail.ParseAddress(n.Value); n.Value != "" && (err != nil || a.Address != n.Value) {
			bad("must be an e-mail address, compared exactly")
		}
	case "IP":
		if ip, err := netip.ParseAddr(n.Value); n.Value != "" && (err != nil || ip.Zone() != "" || ip.String() != n.Value) {
			bad("must be an IP address in its shortest form")
		}
	default:
		errs = append(errs, field.NotSupported(path.Child("type"), n.Type, []string{"DNS", "URI", "Email", "IP"}))
	}
	return errs
}

func validateRoles(roles []string, path *field.Path) field.ErrorList {
	return validateTexts(roles, maxList, 256, path)
}
