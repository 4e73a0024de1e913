package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/url"
	"testing"
	"time"
)

// certificateFeatures are client certificates as credentials.
func certificateFeatures(t *testing.T, l *lab) []feature {
	t.Helper()
	ca, second, stranger := newAuthority(t, "Lab Clients"), newAuthority(t, "Other Clients"), newAuthority(t, "Lab Clients")
	client := func(a *authority, edit func(*x509.Certificate)) tls.Certificate {
		c := &x509.Certificate{Subject: pkix.Name{CommonName: "client"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature}
		edit(c)
		return a.issue(t, c)
	}
	dns := func(name string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.DNSNames = []string{name} }
	}
	uri := func(name string) func(*x509.Certificate) {
		u, err := url.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		return func(c *x509.Certificate) { c.URIs = []*url.URL{u} }
	}
	return []feature{
		{
			name: "cert",
			policy: `authentication:
  anyOf:
  - clientCertificate:
      caSecretRef: {name: client-ca}
      issuers: ["CN=Lab Clients"]
      subjectAltNames:
      - {type: DNS, value: "*.clients.test", roles: [reader]}
      - {type: URI, value: "spiffe://lab.test/*", roles: [reader]}
      - {type: Email, value: rita@lab.test, roles: [reader]}
      - {type: IP, value: 192.0.2.1, roles: [reader]}
      - {type: DNS, value: guest.test, roles: [guest]}
authorization: {rules: [{name: readers, allow: true, when: '"reader" in identity.roles'}]}
`,
			more:  object(t, "Secret", l.ns, "client-ca", nil, map[string]string{"ca.crt": ca.pem + second.pem}),
			shows: under(credentials+"clientCertificate.", "caSecretRef.name", "issuers", "subjectAltNames[].type", "subjectAltNames[].value", "subjectAltNames[].roles"),
			try: func(t *testing.T, l *lab, path string) {
				for _, tt := range []struct {
					name   string
					status int
					cert   tls.Certificate
				}{
					{"DNS name", 200, client(ca, dns("a.clients.test"))},
					{"DNS name of two labels", 401, client(ca, dns("a.b.clients.test"))},
					{"URI", 200, client(ca, uri("spiffe://lab.test/ns/a"))},
					{"URI of another domain", 401, client(ca, uri("spiffe://lab.test.evil/ns/a"))},
					{"e-mail", 200, client(ca, func(c *x509.Certificate) { c.EmailAddresses = []string{"rita@lab.test"} })},
					{"another e-mail", 401, client(ca, func(c *x509.Certificate) { c.EmailAddresses = []string{"rita@lab.test.evil"} })},
					{"IP", 200, client(ca, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(192, 0, 2, 1)} })},
					{"another IP", 401, client(ca, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(192, 0, 2, 2)} })},
					{"role that is not allowed", 403, client(ca, dns("guest.test"))},
					{"no name", 401, client(ca, func(*x509.Certificate) {})},
					{"issuer that is not listed", 401, client(second, dns("a.clients.test"))},
					{"authority of the same name", 401, client(stranger, dns("a.clients.test"))},
					{"expired", 401, client(ca, func(c *x509.Certificate) {
						dns("a.clients.test")(c)
						c.NotAfter = time.Now().Add(-time.Second)
					})},
				} {
					l.secure(tt.cert).want(tt.status, tt.name, request{path: path})
				}
				l.secure().want(401, "no certificate", request{path: path})
				l.plain().want(401, "no TLS", request{path: path})
				forged := client(stranger, dns("a.clients.test"))
				l.plain().want(401, "certificate in a header", request{path: path, fields: []string{"X-Forwarded-Client-Cert: " + url.QueryEscape(certPEM(forged))}})
			},
		},
		{
			name:   "cert-map",
			policy: "authentication: {anyOf: [{clientCertificate: {caConfigMapRef: {name: client-ca-2}, subjectAltNames: [{type: DNS, value: one.test}]}}]}\n" + allowed,
			more:   object(t, "ConfigMap", l.ns, "client-ca-2", nil, map[string]string{"ca.crt": second.pem}),
			shows:  under(credentials+"clientCertificate.", "caConfigMapRef.name"),
			try: func(t *testing.T, l *lab, path string) {
				l.secure(client(second, dns("one.test"))).want(200, "its authority", request{path: path})
				l.secure(client(ca, dns("one.test"))).want(401, "the authority of another route", request{path: path})
			},
		},
	}
}
