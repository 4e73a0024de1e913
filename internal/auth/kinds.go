package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"bulwark.dev/bulwark/internal/auth/authn"
)

// framing are fields that say how a message is read or routed: a credential
// there would be taken out with them.
var framing = []string{
	"host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade",
	"content-type", "content-encoding", "expect", "cookie",
}

func fieldName(s string) (string, error) {
	name := strings.ToLower(s)
	if name == "" || slices.Contains(framing, name) {
		return "", fmt.Errorf("the header %q cannot carry a credential", s)
	}
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return "", fmt.Errorf("%q is not a header name", s)
		}
	}
	return name, nil
}

func newJWT(alt Alternative, deps Deps) (*source, error) {
	if alt.JWT == nil {
		return nil, nil
	}
	j, err := authn.NewJWT(*alt.JWT, deps.Shared, deps.HTTP)
	if err != nil {
		return nil, err
	}
	s := &source{header: authorization, readers: []reader{{
		scheme: "bearer", jwts: authn.JWTs{j}, forward: alt.Forward, challenge: authn.BearerChallenge,
	}}}
	if alt.Header != "" && !strings.EqualFold(alt.Header, authorization) {
		s.readers[0].scheme = ""
		if s.header, err = fieldName(alt.Header); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func newAPIKey(alt Alternative, deps Deps) (*source, error) {
	if alt.APIKey == nil {
		return nil, nil
	}
	k, err := authn.NewAPIKey(*alt.APIKey, deps.Shared)
	if err != nil {
		return nil, err
	}
	s := &source{query: alt.Query, readers: []reader{{keys: []*authn.APIKey{k}, forward: alt.Forward, challenge: authn.APIKeyChallenge}}}
	if (alt.Header == "") == (alt.Query == "") {
		return nil, errors.New("exactly one of header and query says where the key is")
	}
	if alt.Header != "" {
		if s.header, err = fieldName(alt.Header); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func newBasic(alt Alternative, deps Deps) (*source, error) {
	if alt.Basic == nil {
		return nil, nil
	}
	b, err := authn.NewBasic(*alt.Basic, deps.Shared)
	if err != nil {
		return nil, err
	}
	return &source{header: authorization, readers: []reader{{
		scheme: "basic", other: b, forward: alt.Forward, challenge: b.Challenge(),
	}}}, nil
}

func newClientCertificate(alt Alternative, deps Deps) (*source, error) {
	if alt.ClientCertificate == nil {
		return nil, nil
	}
	c, err := authn.NewClientCertificate(*alt.ClientCertificate, deps.Shared)
	if err != nil {
		return nil, err
	}
	return &source{certificate: true, readers: []reader{{other: c, challenge: authn.CertificateChallenge}}}, nil
}

func newAnonymous(alt Alternative, _ Deps) (*source, error) {
	if alt.Anonymous == nil {
		return nil, nil
	}
	return &source{anonymous: authn.NewAnonymous(alt.Anonymous.Roles)}, nil
}
