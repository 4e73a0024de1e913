package authn

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"bulwark.dev/bulwark"
)

// maxNumericDate is the last second of the year 9999.
const maxNumericDate = 253402300799

// errOutOfDate is a token that was good once or will be.
var errOutOfDate = errors.New("out of date")

// numericDate reads a NumericDate (RFC 7519 2). Fractions, exponents, strings
// and absurd values are refused: each has been read in different ways by
// different libraries.
func numericDate(claims map[string]any, name string) (at int64, present bool, err error) {
	v, ok := claims[name]
	if !ok {
		return 0, false, nil
	}
	n, ok := v.(json.Number)
	if !ok {
		return 0, true, fmt.Errorf("%q must be a number", name)
	}
	at, err = strconv.ParseInt(n.String(), 10, 64)
	if err != nil || at < 0 || at > maxNumericDate {
		return 0, true, fmt.Errorf("%q must be whole seconds between 0 and %d", name, int64(maxNumericDate))
	}
	return at, true, nil
}

// window is when a token may be used, in Unix seconds with the skew inside:
// from notBefore on, until before expires.
type window struct{ notBefore, expires int64 }

func (w window) holds(now int64) bool { return now >= w.notBefore && now < w.expires }

func (j *JWT) window(claims map[string]any, now time.Time) (window, error) {
	skew := int64(j.skew / time.Second)
	exp, ok, err := numericDate(claims, "exp")
	if err != nil {
		return window{}, err
	}
	if !ok {
		return window{}, errors.New("\"exp\" is required")
	}
	w := window{expires: exp + skew}
	nbf, _, err := numericDate(claims, "nbf")
	if err != nil {
		return window{}, err
	}
	iat, _, err := numericDate(claims, "iat")
	if err != nil {
		return window{}, err
	}
	w.notBefore = max(nbf, iat) - skew
	switch at := now.Unix(); {
	case at >= w.expires:
		return window{}, fmt.Errorf("%w: the token ended at %s", errOutOfDate, utc(exp))
	case at < w.notBefore:
		return window{}, fmt.Errorf("%w: the token begins at %s", errOutOfDate, utc(max(nbf, iat)))
	}
	return w, nil
}

func utc(at int64) string { return time.Unix(at, 0).UTC().Format(time.RFC3339) }

// audience checks that "aud" names one of the accepted audiences.
func (j *JWT) audience(claims map[string]any) error {
	auds, err := stringsOf(claims["aud"])
	if err != nil {
		return fmt.Errorf("\"aud\": %w", err)
	}
	for _, aud := range auds {
		if slices.Contains(j.audiences, aud) {
			return nil
		}
	}
	return errors.New("\"aud\" names none of the accepted audiences")
}

// stringsOf reads a string or a list of strings; nil for an absent value.
func stringsOf(v any) ([]string, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		out := make([]string, 0, len(v))
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, errors.New("must hold strings only")
			}
			out = append(out, s)
		}
		return out, nil
	}
	return nil, errors.New("must be a string or a list of strings")
}

// names reads a claim that gives groups or roles. The claims "scope" and "scp"
// hold a list in one string (RFC 8693 4.2); any other string is one name.
func names(claims map[string]any, claim string) ([]string, error) {
	v := lookup(claims, claim)
	out, err := stringsOf(v)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", claim, err)
	}
	if s, ok := v.(string); ok && (claim == "scope" || claim == "scp") {
		out = strings.Fields(s)
	}
	for _, s := range out {
		if !printable(s) {
			return nil, fmt.Errorf("%q holds an empty, overlong or unprintable name", claim)
		}
	}
	return out, nil
}

// identity makes the identity of a token that is verified.
func (j *JWT) identity(claims map[string]any) (*bulwark.Identity, error) {
	name, ok := lookup(claims, j.nameClaim).(string)
	if !ok || !printable(name) {
		return nil, fmt.Errorf("%q must be a printable string that is not empty", j.nameClaim)
	}
	groups, err := names(claims, j.groupsClaim)
	if err != nil {
		return nil, err
	}
	roles, err := names(claims, j.rolesClaim)
	if err != nil {
		return nil, err
	}
	acr, _ := claims["acr"].(string)
	plain(claims)
	return &bulwark.Identity{
		Name: name, Method: MethodJWT, Issuer: j.issuer,
		Groups: groups, Roles: roles, Claims: claims, Assurance: acr,
	}, nil
}
