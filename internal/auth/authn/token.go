package authn

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// The limits of a token in bytes.
const (
	maxToken       = 16 << 10
	maxTokenHeader = 4 << 10
	maxKeyID       = 256
)

// token is a JWS in compact form (RFC 7515 7.1), taken apart but not verified.
type token struct {
	alg       algorithm
	kid       string
	hasKid    bool
	typ       string
	claims    map[string]any
	signed    string // what the signature covers
	signature []byte
}

// split takes a compact JWS apart without decoding it.
func split(raw string) (header, payload, signature string, err error) {
	if len(raw) > maxToken {
		return "", "", "", fmt.Errorf("the token has %d bytes, the limit is %d", len(raw), maxToken)
	}
	switch dots := strings.Count(raw, "."); dots {
	case 2:
	case 4:
		return "", "", "", errors.New("the token is encrypted (JWE); only signed tokens are accepted")
	default:
		return "", "", "", fmt.Errorf("the token has %d dots, a signed token has 2", dots)
	}
	header, rest, _ := strings.Cut(raw, ".")
	payload, signature, _ = strings.Cut(rest, ".")
	switch {
	case header == "" || payload == "":
		return "", "", "", errors.New("the token has an empty part")
	case signature == "":
		return "", "", "", errors.New("the token has no signature")
	case len(header) > maxTokenHeader:
		return "", "", "", fmt.Errorf("the token's header has %d bytes, the limit is %d", len(header), maxTokenHeader)
	}
	return header, payload, signature, nil
}

// decodeBase64 decodes base64url without padding in its one canonical form:
// encoding/base64 skips line breaks, so those are looked for first, and Strict
// refuses trailing bits.
func decodeBase64(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("line break in base64url")
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("not canonical base64url: %w", err)
	}
	return b, nil
}

// parseToken takes a token apart and refuses every header parameter that would
// change how it is verified or let it bring its own key (RFC 8725 3). Nothing
// of it may be believed yet.
func parseToken(raw string) (*token, error) {
	h, p, s, err := split(raw)
	if err != nil {
		return nil, err
	}
	t := &token{signed: raw[:len(h)+1+len(p)]}
	if err := t.header(h); err != nil {
		return nil, fmt.Errorf("the token's header: %w", err)
	}
	if t.signature, err = decodeBase64(s); err != nil {
		return nil, fmt.Errorf("the token's signature: %w", err)
	}
	body, err := decodeBase64(p)
	if err != nil {
		return nil, fmt.Errorf("the token's claims: %w", err)
	}
	if t.claims, err = decodeObject(body); err != nil {
		return nil, fmt.Errorf("the token's claims: %w", err)
	}
	return t, nil
}

func (t *token) header(part string) error {
	data, err := decodeBase64(part)
	if err != nil {
		return err
	}
	m, err := decodeObject(data)
	if err != nil {
		return err
	}
	alg, _ := m["alg"].(string)
	var known bool
	if t.alg, known = algorithmOf(alg); !known {
		return fmt.Errorf("algorithm %q is not accepted", brief(alg))
	}
	for name, v := range m {
		switch name {
		case "alg", "x5c", "x5t", "x5t#S256":
			// Certificates that a token brings prove nothing, and are not looked at.
		case "kid":
			if t.kid, t.hasKid = v.(string); !t.hasKid || len(t.kid) > maxKeyID {
				return fmt.Errorf("\"kid\" must be a string of at most %d bytes", maxKeyID)
			}
		case "typ":
			var ok bool
			if t.typ, ok = v.(string); !ok || t.typ == "" {
				return errors.New("\"typ\" must be a string")
			}
		case "cty":
			if s, ok := v.(string); !ok || strings.EqualFold(mediaType(s), "jwt") {
				return errors.New("nested tokens are not accepted")
			}
		case "crit", "b64", "zip", "enc", "p2c", "p2s", "epk":
			return fmt.Errorf("the parameter %q changes how a token is read and is not accepted", name)
		case "jku", "jwk", "x5u":
			return fmt.Errorf("the parameter %q brings a key and is not accepted", name)
		}
	}
	return nil
}

// mediaType drops the prefix that RFC 7515 4.1.9 lets senders leave out.
func mediaType(s string) string {
	const prefix = "application/"
	if len(s) > len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) && !strings.Contains(s[len(prefix):], "/") {
		return s[len(prefix):]
	}
	return s
}

// claimedIssuer is the "iss" that an unverified token claims, to choose who
// verifies it, and "" where it claims none.
func (t *token) claimedIssuer() string {
	iss, _ := t.claims["iss"].(string)
	return iss
}
