package authn

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"
)

// ca is a test authority.
type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA(t *testing.T, cn string, parent *ca) *ca {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: cn, Organization: []string{"Shop"}},
		NotBefore: testNow.Add(-time.Hour), NotAfter: testNow.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	p := &ca{cert: c, key: key}
	if parent != nil {
		p = parent
	}
	der, err := x509.CreateCertificate(rand.Reader, c, p.cert, key.Public(), p.key)
	if err != nil {
		t.Fatal(err)
	}
	out := &ca{key: key}
	if out.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return out
}

func (c *ca) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw}))
}

func (c *ca) leaf(t *testing.T, edit func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	l := c.sign(t, edit)
	if l == nil {
		t.Fatal("the certificate does not parse")
	}
	return l
}

// rawSAN is a subject alternative name extension with these bytes as its name.
func rawSAN(t *testing.T, tag int, value string) pkix.Extension {
	t.Helper()
	seq, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(value)}})
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: seq}
}

func TestClientCertificate(t *testing.T) {
	root, stranger := newCA(t, "Clients", nil), newCA(t, "Clients", nil)
	inter := newCA(t, "Sub", root)
	uri := func(s string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			u, err := url.Parse(s)
			if err != nil {
				t.Fatal(err)
			}
			c.DNSNames, c.URIs = nil, []*url.URL{u}
		}
	}
	raw := func(tag int, value string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.DNSNames, c.ExtraExtensions = nil, []pkix.Extension{rawSAN(t, tag, value)}
		}
	}
	dns := func(names ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.DNSNames = names }
	}
	all := []SAN{
		{Type: SANDNS, Value: "robot.clients.example", Roles: []string{"robot"}},
		{Type: SANDNS, Value: "*.apps.example", Roles: []string{"app"}},
		{Type: SANURI, Value: "spiffe://shop/ns/orders/*", Roles: []string{"mesh"}},
		{Type: SANURI, Value: "spiffe://shop/one", Roles: []string{"one"}},
		{Type: SANEmail, Value: "ann@shop.example"},
		{Type: SANIP, Value: "192.0.2.7"},
	}
	tests := []struct {
		name  string
		by    *ca
		edit  func(*x509.Certificate)
		extra []*x509.Certificate
		after time.Duration
		want  string // the identity's name and roles, "" for refused
	}{
		{"DNS", root, nil, nil, 0, "robot.clients.example [robot]"},
		{"DNS in other case", root, dns("Robot.CLIENTS.example"), nil, 0, "robot.clients.example [robot]"},
		{"DNS wildcard, one label", root, dns("a.apps.example"), nil, 0, "a.apps.example [app]"},
		{"DNS wildcard, two labels", root, dns("a.b.apps.example"), nil, 0, ""},
		{"DNS wildcard, no label", root, dns("apps.example"), nil, 0, ""},
		{"DNS wildcard in the certificate", root, dns("*.apps.example"), nil, 0, ""},
		{"DNS suffix", root, dns("xapps.example"), nil, 0, ""},
		{"DNS of another", root, dns("robot.clients.example.evil.example"), nil, 0, ""},
		{"several names add roles", root, dns("a.apps.example", "robot.clients.example"), nil, 0, "robot.clients.example [robot app]"},
		{"URI under the prefix", root, uri("spiffe://shop/ns/orders/sa/api"), nil, 0, "spiffe://shop/ns/orders/sa/api [mesh]"},
		{"URI climbs", root, uri("spiffe://shop/ns/orders/../admin"), nil, 0, ""},
		{"URI climbs, encoded", root, uri("spiffe://shop/ns/orders/%2e%2e/admin"), nil, 0, ""},
		{"URI of the prefix alone", root, uri("spiffe://shop/ns/orders/"), nil, 0, ""},
		{"URI with a query", root, uri("spiffe://shop/ns/orders/a?x"), nil, 0, ""},
		{"URI exact", root, uri("spiffe://shop/one"), nil, 0, "spiffe://shop/one [one]"},
		{"URI exact, in other case", root, raw(6, "SPIFFE://shop/one"), nil, 0, ""},
		{"email", root, func(c *x509.Certificate) { c.DNSNames, c.EmailAddresses = nil, []string{"ann@shop.example"} }, nil, 0, "ann@shop.example []"},
		{"IP", root, func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = nil, []net.IP{net.IPv4(192, 0, 2, 7)} }, nil, 0, "192.0.2.7 []"},
		{"IP as DNS name", root, dns("192.0.2.7"), nil, 0, ""},
		{"common name alone", root, func(c *x509.Certificate) { c.DNSNames, c.Subject.CommonName = nil, "robot.clients.example" }, nil, 0, ""},
		{"NUL in a DNS name", root, raw(2, "robot.clients.example\x00.evil.example"), nil, 0, ""},
		{"NUL in an email address", root, raw(1, "ann@shop.example\x00"), nil, 0, ""},
		{"space in a DNS name", root, raw(2, "robot.clients.example "), nil, 0, ""},
		{"signed by a stranger of the same name", stranger, nil, nil, 0, ""},
		{"signed by the stranger, root sent along", stranger, nil, []*x509.Certificate{stranger.cert}, 0, ""},
		{"self-signed by nobody", newCA(t, "Nobody", nil), nil, nil, 0, ""},
		{"through an intermediate", inter, nil, []*x509.Certificate{inter.cert}, 0, "robot.clients.example [robot]"},
		{"intermediate missing", inter, nil, nil, 0, ""},
		{"a leaf that signs", &ca{cert: root.leaf(t, nil), key: inter.key}, nil, []*x509.Certificate{root.leaf(t, nil)}, 0, ""},
		{"for servers only", root, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, nil, 0, ""},
		{"no usage at all", root, func(c *x509.Certificate) { c.ExtKeyUsage = nil }, nil, 0, "robot.clients.example [robot]"},
		{"expired", root, nil, nil, 2 * time.Hour, ""},
		{"not yet valid", root, nil, nil, -2 * time.Hour, ""},
		{"unknown critical extension", root, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}, nil, 0, ""},
		{"too many certificates", root, nil, []*x509.Certificate{root.cert, root.cert, root.cert, root.cert, root.cert, root.cert, root.cert, root.cert}, 0, ""},
	}
	ran := map[bool]int{}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, err := NewClientCertificate(ClientCertificateConfig{CA: root.pem(), SubjectAltNames: all}, newShared(t))
			if err != nil {
				t.Fatal(err)
			}
			der := tt.by.sign(t, tt.edit)
			if der == nil { // Go itself refuses to parse it: so does the TLS handshake
				ran[false]++
				return
			}
			certs := append([]*x509.Certificate{der}, tt.extra...)
			for range 2 {
				id, f := a.Authenticate(t.Context(), Credential{Certificates: certs}, testNow.Add(tt.after))
				got := ""
				if f == nil {
					got = fmt.Sprint(id.Name, " ", id.Roles)
				}
				if got != tt.want {
					t.Errorf("got %q (%+v), want %q", got, f, tt.want)
				}
				ran[f == nil]++
			}
		})
	}
	if ran[true] < 16 || ran[false] < 30 {
		t.Errorf("ran %v", ran)
	}
}

// sign is leaf, for certificates that may not parse.
func (c *ca) sign(t *testing.T, edit func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	l := &x509.Certificate{
		SerialNumber: big.NewInt(255), Subject: pkix.Name{CommonName: "admin.shop.example"},
		NotBefore: testNow.Add(-time.Hour), NotAfter: testNow.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		DNSNames: []string{"robot.clients.example"},
	}
	if edit != nil {
		edit(l)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent := *c.cert
	parent.PublicKey = c.key.Public()
	der, err := x509.CreateCertificate(rand.Reader, l, &parent, key.Public(), c.key)
	if err != nil {
		t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		return nil
	}
	return out
}

func TestClientCertificateEndsWhileRemembered(t *testing.T) {
	root := newCA(t, "Clients", nil)
	a, err := NewClientCertificate(ClientCertificateConfig{
		CA: root.pem(), SubjectAltNames: []SAN{{Type: SANDNS, Value: "robot.clients.example"}}, Issuers: []string{"CN=Clients,O=Shop"},
	}, newShared(t))
	if err != nil {
		t.Fatal(err)
	}
	certs := []*x509.Certificate{root.leaf(t, nil)}
	for _, step := range []struct {
		after time.Duration
		ok    bool
	}{{0, true}, {59 * time.Minute, true}, {61 * time.Minute, false}, {-61 * time.Minute, false}, {0, true}} {
		_, f := a.Authenticate(t.Context(), Credential{Certificates: certs}, testNow.Add(step.after))
		if (f == nil) != step.ok {
			t.Errorf("after %v: %+v", step.after, f)
		}
	}
	b, err := NewClientCertificate(ClientCertificateConfig{
		CA: root.pem(), SubjectAltNames: []SAN{{Type: SANDNS, Value: "robot.clients.example"}}, Issuers: []string{"O=Shop,CN=Clients", "CN=Clients"},
	}, newShared(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, f := b.Authenticate(t.Context(), Credential{Certificates: certs}, testNow); f == nil {
		t.Error("another issuer was accepted")
	}
}

func TestClientCertificateConfiguration(t *testing.T) {
	root := newCA(t, "Clients", nil)
	leaf := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.leaf(t, nil).Raw}))
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}}))
	rule := []SAN{{Type: SANDNS, Value: "a.example"}}
	tests := map[string]ClientCertificateConfig{
		"no CA":           {SubjectAltNames: rule},
		"garbage":         {CA: "garbage", SubjectAltNames: rule},
		"garbage behind":  {CA: root.pem() + "garbage", SubjectAltNames: rule},
		"a leaf as CA":    {CA: leaf, SubjectAltNames: rule},
		"a key":           {CA: root.pem() + key, SubjectAltNames: rule},
		"no rule":         {CA: root.pem()},
		"unknown type":    {CA: root.pem(), SubjectAltNames: []SAN{{Type: "CN", Value: "a"}}},
		"empty value":     {CA: root.pem(), SubjectAltNames: []SAN{{Type: SANDNS}}},
		"star alone":      {CA: root.pem(), SubjectAltNames: []SAN{{Type: SANDNS, Value: "*"}}},
		"star inside":     {CA: root.pem(), SubjectAltNames: []SAN{{Type: SANDNS, Value: "a.*.example"}}},
		"any URI":         {CA: root.pem(), SubjectAltNames: []SAN{{Type: SANURI, Value: "/*"}}},
		"star inside URI": {CA: root.pem(), SubjectAltNames: []SAN{{Type: SANURI, Value: "spiffe://*/x"}}},
		"bad IP":          {CA: root.pem(), SubjectAltNames: []SAN{{Type: SANIP, Value: "192.0.2.0/24"}}},
		"bad email":       {CA: root.pem(), SubjectAltNames: []SAN{{Type: SANEmail, Value: "@"}, {Type: SANEmail, Value: "example"}}},
		"empty issuer":    {CA: root.pem(), SubjectAltNames: rule, Issuers: []string{""}},
	}
	for name, c := range tests {
		if _, err := NewClientCertificate(c, newShared(t)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if id, f := new(ClientCertificate).Authenticate(t.Context(), Credential{}, testNow); f == nil {
		t.Errorf("no certificate is %v", id)
	}
}
